"""The data card: what a set is, whose it is, and the scores that cost nothing, which any model must beat."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gansweep.data import open_data
from gansweep.data.checks import reader_class
from gansweep.data.columns import take
from gansweep.data.dataset import Dataset
from gansweep.data.source import Source
from gansweep.data.split import share_of

if TYPE_CHECKING:
    from gansweep.config.settings import DataSettings

# Pictures that the baselines are taken on, and those that the mean image is of.
_JUDGED, _AVERAGED = 1024, 4096
# Times that a target which is drawn anew is drawn for the error that no model can avoid.
_DRAWS = 12
_SEED = 0
# From levels 0..255 to -1..1, in which networks and the journals count.
_HALF = 127.5


def card(cfg: DataSettings, *, progress: bool = True) -> str:
    """Describe the set in a few lines, packing it if need be; raises what opening it raises."""
    dataset = open_data(cfg, progress=progress)
    reader = reader_class(cfg)
    own = reader if isinstance(reader, type) and issubclass(reader, Source) else None
    train, val = len(dataset.split("train")), len(dataset.split("val"))
    groups = len(set(dataset.fields["group"]))
    colour = "grey" if dataset.channels == 1 else "in colour"
    rows = [("name", cfg.name), ("source", dataset.source)]
    if own and own.procedural:
        rows.append(
            ("procedural", "drawn by a program: nothing in it exists, and scores on it say nothing of photographs")
        )
    rows.append(("licence", (own.licence if own else "") or "not known to gansweep: ask whoever gave you the set"))
    rows.append(("pictures", f"{dataset.count:,} of {dataset.size_px} px, {colour}, in {groups:,} groups"))
    fields = ["image", *(_field(dataset, name) for name in dataset.fields)]
    if "caption" in dataset.fields and "embedding" not in dataset.fields:
        fields.append(f"embedding ({dataset.encoding.say()})")
    rows.append(("fields", ", ".join(fields)))
    rows += [("relation" if place == 0 else "", line) for place, line in enumerate(_relations(dataset))]
    how = "as the set's own parts" if dataset.has_given_split else f"by group (data.val_fraction={cfg.val_fraction:g})"
    rows.append(("split", f"{train:,} for training, {val:,} held out {how}"))
    rows.append(("fingerprint", dataset.fingerprint))
    rows += [("baseline" if place == 0 else "", line) for place, line in enumerate(_baselines(dataset))]
    return "\n".join(f"{key:<12} {value}" for key, value in rows)


def _field(dataset: Dataset, name: str) -> str:
    values = dataset.fields[name]
    if isinstance(values, list):
        return f"{name} (text)"
    shape = " x ".join(map(str, values.shape[1:]))
    return f"{name} ({values.dtype}{f', {shape}' if shape else ''})"


def _relations(dataset: Dataset) -> list[str]:
    """Return a line for each relation: its name, and who is looked for."""
    return [f"{name}: {relation.what}" for name, relation in dataset.relations.items()]


def _baselines(dataset: Dataset) -> list[str]:
    """Return what copying the input and always giving one mean image reach, on held-out pictures where there are any.

    Errors are means over all values, which lie in -1 to 1; PSNR is of the mean squared error of all together.
    """
    judged = _some(dataset.split("val"), _JUDGED)
    side = "held-out" if len(judged) else "training (none is held out)"
    judged = judged if len(judged) else _some(dataset.split("train"), _JUDGED)
    learnt = _some(dataset.split("train"), _AVERAGED)
    paired = "target" in dataset.relations
    of = "their targets" if paired else "pictures themselves"
    mean = np.zeros(dataset.images.shape[1:])
    for at in range(0, len(learnt), 256):
        mean += _wanted(dataset, learnt[at : at + 256], paired).sum(axis=0)
    mean /= len(learnt)
    sums = np.zeros(4)
    for at in range(0, len(judged), 256):
        rows = judged[at : at + 256]
        wanted = _wanted(dataset, rows, paired)
        for place, guess in enumerate((_levels(dataset, rows), mean[None])):
            error = (guess - wanted) / _HALF
            sums[2 * place : 2 * place + 2] += ((error**2).sum(), np.abs(error).sum())
    sums /= len(judged) * mean.size
    lines = [f"on {len(judged):,} {side} pictures against {of}, in -1 to 1: any model must do better"]
    if paired:
        lines.append(f"  copy the input    {_scores(*sums[:2])}")
    lines.append(f"  one mean image    {_scores(*sums[2:])} (of {len(learnt):,} training pictures)")
    if paired:
        floor = _floor(dataset, judged[:256])
        if floor > 0:
            lines.append(f"  cannot be told    {_scores(floor)} (the target is drawn anew: no model can do better)")
    return [*lines, *_repeated(dataset, judged)]


def _repeated(dataset: Dataset, judged: NDArray[np.int64]) -> list[str]:
    """Return what repeating the still reaches against a clip's frames, in a set that has both."""
    if not {"still", "frames"} <= dataset.fields.keys():
        return []
    stills, clips = dataset.stored("still"), dataset.stored("frames")
    if stills.shape[1:] != clips.shape[2:]:
        return []
    sums = np.zeros((2, 2))
    for at in range(0, len(judged), 64):
        rows = judged[at : at + 64]
        error = (take(stills, rows)[:, None].astype(np.float32) - take(clips, rows)) / np.float32(_HALF)
        for place, part in enumerate((error, error[..., error.shape[-2] // 2 :, :])):
            means = ((part**2).mean(dtype=np.float64), np.abs(part).mean(dtype=np.float64))
            sums[place] += np.array(means) * len(rows)
    whole, lower = sums / len(judged)
    return [f"  repeat the still  {_scores(*whole)} (every frame of a clip)", f"    its lower half  {_scores(*lower)}"]


def _wanted(dataset: Dataset, rows: NDArray[np.int64], paired: bool, index: int = 0) -> NDArray[np.float64]:
    return _levels(dataset, dataset.related("target", rows, _SEED, index) if paired else rows)


def _levels(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.take(dataset.images, rows, axis=0).astype(np.float64)


def _floor(dataset: Dataset, rows: NDArray[np.int64]) -> float:
    """Return the mean squared error of the best answer to an input whose target is drawn: the targets' variance."""
    draws = [dataset.related("target", rows, _SEED, index) for index in range(_DRAWS)]
    if all((one == draws[0]).all() for one in draws):
        return 0.0
    pictures = np.stack([_levels(dataset, one).astype(np.float32) for one in draws]) / np.float32(_HALF)
    return float(pictures.var(axis=0, ddof=1, dtype=np.float64).mean())


def _some(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return up to so many rows, spread over the set by hash, in order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.array(sorted(rows.tolist(), key=lambda row: share_of(str(row), "card"))[:most], dtype=np.int64))


def _scores(squared: float, absolute: float | None = None) -> str:
    psnr = 10 * math.log10(4 / squared) if squared else math.inf
    return f"MSE {squared:.4f}  {'' if absolute is None else f'L1 {absolute:.4f}  '}PSNR {psnr:.2f} dB"
