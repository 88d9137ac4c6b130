"""Scores and the judges (classifiers) that they rest on. Knows tensors: no systems, no runs, no config."""
