"""What `model` may hold for a talking face, and all of its widths times one factor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gansweep.losses import GAN_LOSSES
from gansweep.nets.blocks import ACTIVATIONS, NORMS, OUTPUTS, ConfigError, scaled
from gansweep.nets.given import Check, flag, listed, number, one_of, positive, table, whole
from gansweep.nets.talkingface import FLAT_NORMS, INITIALISERS, SKIPS
from gansweep.nets.talkingface_judges import DEEP_NORMS
from gansweep.systems.talkingface_cut import REGIONS


def whole_or_zero(key: str, value: Any) -> None:
    """Refuse what is not a whole number of at least 0."""
    if value != 0 or not isinstance(value, int) or isinstance(value, bool):
        whole(key, value)


def any_number(key: str, value: Any) -> None:
    """Refuse what is not a finite number, of either sign."""
    number(key, -value if isinstance(value, int | float) and value < 0 else value)


_ACT: dict[str, Check] = {"act": one_of(ACTIVATIONS), "slope": number}
_SAMPLE_CONV = table(channels=whole, kernel=whole, stride=whole, padding=whole_or_zero, norm=one_of(FLAT_NORMS))
_SPEECH = table(conv=listed(_SAMPLE_CONV), dense=listed(whole, least=0), **_ACT)

TAKES: dict[str, Check] = {
    "frames": whole,
    "samples": whole,
    "latent": whole,
    "step": one_of(("clip", "frame")),
    "run": whole,
    "noise_per": one_of(("frame", "clip")),
    "region": one_of(REGIONS),
    "remake": flag,
    "detached": listed(one_of(("sync", "seq")), least=0),
    "pixels": table(offset=any_number, scale=positive),
    "gen": table(
        **_ACT,
        widths=listed(whole, least=2),
        skip=one_of(SKIPS),
        padding=one_of(("auto", "valid", "same")),
        enlarge=one_of(("nearest", "bilinear")),
        output=one_of(OUTPUTS),
        context=whole_or_zero,
        speech=_SPEECH,
        noise=listed(whole, least=0),
    ),
    "id": table(
        **_ACT,
        kind=one_of(("patch", "plain", "blocks")),
        base_width=whole,
        levels=whole,
        widths=listed(whole, least=2),
        norm=one_of(NORMS),
    ),
    "sync": table(
        **_ACT,
        kind=one_of(("joint", "cosine")),
        frames=whole,
        context=whole_or_zero,
        crop=one_of(REGIONS),
        video=table(**_ACT, conv=listed(whole), dense=listed(whole, least=0), norm=one_of(NORMS)),
        speech=_SPEECH,
        joint=listed(whole),
    ),
    "seq": table(
        **_ACT,
        kind=one_of(("conv3d", "gru")),
        widths=listed(whole, least=2),
        kernel_frames=whole,
        stride_frames=whole,
        norm=one_of(DEEP_NORMS),
        hidden=whole,
        head=one_of(("linear", "state")),
        earlier=one_of(("made", "as_coded")),
    ),
    "init": one_of(INITIALISERS),
    "init_slope": number,
    "gan_loss": one_of(GAN_LOSSES),
}


def refuse_short(frames: int, run: int, window: int) -> None:
    """Refuse (ConfigError) a run longer than the clip, and sync's window longer than the run."""
    if run > frames:
        raise ConfigError(f"model.run={run}: longer than the clip of model.frames={frames}; at most {frames}")
    if window > run:
        raise ConfigError(f"model.sync.frames={window}: longer than the {run} frames that a step makes; at most {run}")


_WIDTHS = ("base_width", "hidden", "channels")
_LISTS = ("widths", "conv", "dense", "noise")


def thinner(part: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Return a network's part of `model` with every width times `factor`, at least 1; counts of logits stay.

    A width of 1 is a map of one channel, a logit's or a signal's, and stays 1; the last of `joint` counts logits.
    """
    found: dict[str, Any] = {}
    for key, value in part.items():
        if isinstance(value, Mapping):
            found[key] = thinner(value, factor)
        elif key == "joint":
            found[key] = [*(_thinner(width, factor) for width in value[:-1]), value[-1]]
        elif key in _LISTS:
            found[key] = [thinner(w, factor) if isinstance(w, Mapping) else _thinner(w, factor) for w in value]
        else:
            found[key] = _thinner(value, factor) if key in _WIDTHS else value
    return found


def _thinner(width: int, factor: float) -> int:
    return scaled(width, factor) if width > 1 else width
