"""Blocks and networks: torch only, no losses, no optimizers."""
