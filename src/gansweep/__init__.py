"""gansweep: train, sweep and score GANs and VAEs so that the comparison can be trusted."""

__version__ = "0.1.0"
