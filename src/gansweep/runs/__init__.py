"""What is kept of a run: record, spool of metrics, tracker, checkpoints. Imports nothing that trains."""
