"""The systems: networks plus phases. Reached by `model._target_` from conf, never by a list in code."""
