"""What Hydra finds of gansweep: plugins are accepted from this namespace alone, so these are shims and nothing more."""
