"""Configuration: where conf/ is, what a composed configuration may hold, and how errors in it are told."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """Return the shipped conf/: inside the package when installed from a wheel, else at the top of the checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"
