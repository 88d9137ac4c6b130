"""Judges that a user fitted (`gansweep judge fit`): a small network, or a linear head on a built-in judge's features.

The weights lie in the user's cache under the judge's name and digest, or in the file that `judge.weights` names; the
digest that conf/judge/NAME.yaml and every run record is what decides which file is the right one. Writes `is_<name>`.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gansweep.errors import Missing, UserError, nearest, refused_by_system
from gansweep.metrics.classifier import SmallNetwork, scaled, small_entries
from gansweep.metrics.inception import InceptionJudge
from gansweep.metrics.judges import Reading, check_images, score_key
from gansweep.metrics.lite0 import Lite0Judge
from gansweep.metrics.precision import Precision, at_precision, in_words
from gansweep.metrics.weights import Weights, cache_folder, check_state_dict, sha256_of

TARGET = "gansweep.metrics.fitted.FittedJudge"
SMALL = "small"
BASES: dict[str, type[Lite0Judge] | type[InceptionJudge]] = {"lite0": Lite0Judge, "inception": InceptionJudge}
FORMAT = 1
_MOST_PX = 2048
# What the file holds, and of which kind each is. `classes`: the names; `state`: the weights by name.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "base": str,
    "base_sha256": str,
    "size_px": int,
    "channels": int,
    "classes": list,
    "background": bool,
    "data": str,
    "data_fingerprint": str,
    "recipe": dict,
    "accuracy": float,
    "majority": float,
    "cross_entropy": float,
    "state": dict,
}
# ITU-R 601, as pictures are made grey when a data set is packed.
_LUMA = (0.299, 0.587, 0.114)

Payload = dict[str, Any]


class Reader(Protocol):
    """A classifier's forward from bytes to logits; `facts` are the parts of a judge's identity that it decides."""

    facts: dict[str, str]

    def read(self, images: Tensor, precision: Precision) -> Reading:
        """Return logits (N, K) and features (N, D), float32, for uint8 images (N, 1 or 3, H, W) of any size."""
        ...


class FittedJudge:
    """Logits (N, K), or (N, 1 + K) with the background first, and features (N, D), of a classifier that was fitted.

    `recorded` are what the judge's file in conf/ tells about its weights; they must agree with the weights. UserError
    for another digest than `sha256` or another layout, Missing (exit 3) when the file is not there.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        device: torch.device | str = "cpu",
        sha256: str | None = None,
        **recorded: object,
    ) -> None:
        self.name, self.key = name, score_key(name)
        self.device = torch.device(device)
        self.precision: Precision = "exact"
        self.weights = find_fitted(name, weights, None if sha256 is None else str(sha256))
        payload = read_payload(self.weights.path)
        _check_recorded(name, recorded, payload)
        self.background: bool = payload["background"]
        self.accuracy: float = payload["accuracy"]
        self.class_names: list[str] = payload["classes"]
        self._reader = open_reader(payload, self.device, str(self.weights.path))

    def identity(self) -> dict[str, str]:
        """Return the parts of the definition that must agree for two scores to be comparable."""
        return {
            "judge": self.name,
            "weights_sha256": self.weights.sha256,
            "classes": str(len(self.class_names)),
            "background": "logit 0" if self.background else "none",
            "bias": "yes",
            **self._reader.facts,
            "accuracy": f"{self.accuracy:.4f}",
            "precision": in_words(self.precision),
        }

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (N, K or 1 + K) float32 for uint8 images (N, 1 or 3, H, W)."""
        return self.read(images).logits

    def read(self, images: Tensor) -> Reading:
        """Return logits and features (N, D), float32, for uint8 images (N, 1 or 3, H, W)."""
        return self._reader.read(images, self.precision)


class SmallReader:
    """The small network, with its own resizing and scaling."""

    def __init__(self, payload: Payload, device: torch.device) -> None:
        self.size_px, self.channels, self.device = payload["size_px"], payload["channels"], device
        self.network = SmallNetwork(self.size_px, self.channels, logits_of(payload), folded=True)
        self.network.load_state_dict(payload["state"])
        self.network.requires_grad_(False).eval().to(device)
        self.facts = {
            "network": "small CNN",
            "resize": f"antialiased bilinear to {self.size_px} px, {'grey' if self.channels == 1 else 'RGB'}",
            "scaling": "x / 127.5 - 1",
        }

    def read(self, images: Tensor, precision: Precision) -> Reading:
        """See `Reader.read`."""
        with at_precision(precision, self.device):
            features = self.network.features(scaled(self._fitting(images)))
            return Reading(self.network.head(features).float(), features.float())

    def _fitting(self, images: Tensor) -> Tensor:
        """Return pixels of 0..255, float, in the network's channels and size."""
        rgb = check_images(images)
        x = (rgb if self.channels == 3 else images).to(self.device, torch.float32)
        if self.channels < x.shape[1]:
            x = (x * x.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        if tuple(x.shape[2:]) == (self.size_px, self.size_px):
            return x
        return F.interpolate(x, (self.size_px, self.size_px), mode="bilinear", align_corners=False, antialias=True)


class HeadReader:
    """A linear head on a built-in judge's features, behind that judge's own preprocessing."""

    def __init__(self, payload: Payload, device: torch.device) -> None:
        self.base = open_base(payload["base"], device)
        if self.base.weights.sha256 != payload["base_sha256"]:
            raise UserError(
                f"the judge was fitted on {payload['base']} weights of SHA-256 {payload['base_sha256'][:12]}…, "
                f"those here ({self.base.weights.path}) have {self.base.weights.sha256[:12]}…"
            )
        self.device = device
        weight = payload["state"]["weight"]
        self.head = nn.Linear(weight.shape[1], weight.shape[0])
        self.head.load_state_dict(payload["state"])
        self.head.requires_grad_(False).to(device)
        told = self.base.identity()
        self.facts = {
            "network": f"linear head on {told['network']}",
            "base_sha256": self.base.weights.sha256,
            "resize": told["resize"],
            "scaling": told["scaling"],
        }

    def read(self, images: Tensor, precision: Precision) -> Reading:
        """See `Reader.read`."""
        self.base.precision = precision
        features = self.base.read(images).features
        with at_precision(precision, self.device):
            return Reading(self.head(features).float(), features)


def open_base(name: str, device: torch.device) -> Lite0Judge | InceptionJudge:
    """Return the built-in judge whose features a head reads; Missing, as it says itself, when it is not there."""
    return BASES[name](name, device=device)


def open_reader(payload: Payload, device: torch.device, source: str = "the judge's weights") -> Reader:
    """Return the classifier that a checked payload holds, on `device`; UserError for weights that do not fit it."""
    if payload["base"] == SMALL:
        check_state_dict(payload["state"], _small_entries(payload), source)
        return SmallReader(payload, device)
    features = getattr(payload["state"].get("weight"), "shape", (0, 0))[-1]
    wanted = {"weight": (logits_of(payload), features), "bias": (logits_of(payload),)}
    check_state_dict(payload["state"], wanted, source)
    return HeadReader(payload, device)


def logits_of(payload: Payload) -> int:
    """Return how many logits the classifier has: one for each class, and one for the background where there is one."""
    return len(payload["classes"]) + int(payload["background"])


def _small_entries(payload: Payload) -> dict[str, tuple[int, ...]]:
    return small_entries(payload["size_px"], payload["channels"], logits_of(payload))


def judges_folder() -> Path:
    """Return where the weights of fitted judges are kept: `gansweep/judges` in the user's cache folder."""
    return cache_folder().parent / "judges"


def file_name(name: str, sha256: str) -> str:
    """Return the name of a fitted judge's weights file in the cache."""
    return f"{name}-{sha256[:12]}.pt"


def find_fitted(name: str, explicit: str | None, sha256: str | None) -> Weights:
    """Find and hash a fitted judge's weights: the explicit path, else the cached file of that name and digest.

    UserError when the digest is another than `sha256`; Missing (exit 3) when there is no file.
    """
    how = f"fit it anew (gansweep judge fit data=… name={name}) or give judge.weights=FILE"
    if explicit is not None:
        path = Path(explicit).expanduser()
        if not path.is_file():
            raise Missing(f"judge.weights={explicit} is no file; {how}")
    elif sha256 is None:
        raise UserError(f"judge '{name}' names no weights: judge.sha256 says which of the fitted ones, or {how}")
    else:
        # Under judge.name=another it is the same file: the digest decides.
        folder, wanted = judges_folder(), file_name(name, sha256)
        found = [folder / wanted, *sorted(folder.glob(f"*-{sha256[:12]}.pt"))]
        path = next((file for file in found if file.is_file()), folder / wanted)
        if not path.is_file():
            raise Missing(f"judge '{name}' needs its weights, {path}, which are not there: {how}")
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise UserError(f"the weights of judge '{name}' cannot be read: {refused_by_system(error)}") from None
    if sha256 is not None and digest != sha256:
        raise UserError(f"{path} is not the file that judge '{name}' is: its SHA-256 is {digest}, not {sha256}")
    return Weights(path, digest)


def payload_bytes(payload: Payload) -> bytes:
    """Return the bytes of a weights file; the same payload gives the same bytes."""
    buffer = io.BytesIO()
    torch.save({key: payload[key] for key in _KINDS}, buffer)
    return buffer.getvalue()


def read_payload(path: Path) -> Payload:
    """Read a weights file without running code in it; UserError, naming the first key that differs, for another one."""
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # what torch says first is how to run that code after all
        raise UserError(f"{path} is no fitted judge: it holds more than plain weights; nothing was run") from None
    except Exception as error:  # a file of any content comes here
        reason = ascii(next(iter(str(error).strip().splitlines()), type(error).__name__))[1:121]
        raise UserError(f"{path} is no fitted judge: it cannot be read as plain weights ({reason})") from None
    if not isinstance(payload, dict):
        raise UserError(f"{path} is no fitted judge: it holds no table of its parts")
    for key in [*_KINDS, *payload]:
        if key not in payload:
            raise UserError(f"{path} is no fitted judge: it lacks '{key}'")
        if key not in _KINDS:
            raise UserError(f"{path} is no fitted judge: {ascii(key)[:40]} is not known")
        if not isinstance(payload[key], _KINDS[key]):
            raise UserError(f"{path} is no fitted judge: '{key}' is of kind {type(payload[key]).__name__}")
    if payload["format"] != FORMAT:
        raise UserError(f"{path} has format {payload['format']}, this gansweep reads {FORMAT}: fit the judge anew")
    if payload["base"] != SMALL and payload["base"] not in BASES:
        raise UserError(f"{path}: base '{payload['base']}' is not known{nearest(payload['base'], [SMALL, *BASES])}")
    if payload["channels"] not in (1, 3) or not 1 <= payload["size_px"] <= _MOST_PX:
        raise UserError(f"{path} is no fitted judge: its pictures are {payload['channels']} x {payload['size_px']} px")
    for key, parts, kind in (("classes", payload["classes"], str), ("state", payload["state"].values(), Tensor)):
        if not all(isinstance(part, kind) for part in parts):
            raise UserError(f"{path} is no fitted judge: '{key}' holds something else than {kind.__name__}")
    return payload


def told_of(payload: Payload) -> dict[str, object]:
    """Return what conf/judge/NAME.yaml repeats of the weights, for people and to be checked against them."""
    return {
        "base": payload["base"],
        "classes": len(payload["classes"]),
        "background": payload["background"],
        "accuracy": payload["accuracy"],
        "majority": payload["majority"],
        "cross_entropy": payload["cross_entropy"],
        "data": payload["data"],
        "data_fingerprint": payload["data_fingerprint"],
    }


def _check_recorded(name: str, recorded: Mapping[str, object], payload: Payload) -> None:
    """Refuse (UserError) a judge's file in conf/ that tells something else than its weights; `date` is the file's."""
    told = told_of(payload)
    for key, value in recorded.items():
        if key != "date" and key not in told:
            choices = ["name", "weights", "sha256", *told]
            raise UserError(f"judge.{key} is not a setting of the judge '{name}'{nearest(key, choices, most=3)}")
        if key in told and value != told[key]:
            raise UserError(f"judge.{key}={value}: the weights of judge '{name}' say {told[key]}")
