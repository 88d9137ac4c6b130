"""Scores of checkpoints: how samples are judged, the card each score leaves, how cards compare. No engine here."""
