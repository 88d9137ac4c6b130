"""Not torchvision: the names that torch-fidelity imports from it and that the score never uses.

On the path of the peer's own process alone; torchmetrics would take it for the real one and fail.
"""
