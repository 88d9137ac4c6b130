"""`gansweep judge fit`: a judge of one's own, a classifier fitted on a labelled data set, and the list of judges.

Its weights go to the user's cache under name and digest, its file to conf/judge where the user stands; `judge=NAME`
finds it from there on, and what a run records of it finds the weights from anywhere on the same machine.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from torch import Tensor

from gansweep.arithmetic import set_arithmetic
from gansweep.assemble import pick_device
from gansweep.config.compose import session, user_dirs
from gansweep.config.kinds import Count, Flag, Node, Positive, Seed, Text
from gansweep.config.settings import Settings
from gansweep.data import Batches, Dataset, open_data
from gansweep.data.progress import packing_bar
from gansweep.errors import UserError, nearest
from gansweep.judge_files import check_name, listed, store
from gansweep.metrics.classifier import Recipe, fit_head, fit_small
from gansweep.metrics.fitted import BASES, FORMAT, SMALL, Payload, Reader, logits_of, open_base, open_reader

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["fit", "listed"]

# The least number of pictures of a class to learn it from.
FEWEST_PER_CLASS = 5
_RATES = {SMALL: 4e-3, **dict.fromkeys(BASES, 2e-3)}
_LOOK_BATCH = 64
_GROUPS = ("data", "runtime")


class FitRequest(Node):
    """The words of `judge fit` that are its own; `lr` null: 0.004 for a network, 0.002 for a head."""

    name: Text | None = None
    base: Literal["small", "lite0", "inception"] = "small"
    steps: Annotated[Count, Field(ge=2)] = 2000
    batch_size: Annotated[Count, Field(ge=2, le=4096)] = 64
    seed: Seed = 0
    lr: Positive | None = None
    background: Flag = False
    replace: Flag = False


@dataclass(frozen=True)
class Looked:
    """How a fitted judge does on the pictures held out: shares of them, and the cross-entropy in nats.

    `majority` is the share that always naming the commonest class of the training part gets right.
    """

    pictures: int
    accuracy: float
    majority: float
    cross_entropy: float
    weakest: str


@dataclass(frozen=True)
class Labelled:
    """A labelled set in use: rows of its two parts, the classes' names, and each row's class (-1: none of them)."""

    dataset: Dataset
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]
    names: list[str]
    class_of_row: Tensor


def fit(words: list[str], config_dir: str | None = None) -> str:
    """Fit a judge as `words` (own keys, and overrides of data and runtime) ask, keep it, and say how good it is.

    UserError (exit 2) for words that are wrong, data without labels or without held-out pictures, and a name that is
    taken; Missing (exit 3) for a base that is not installed; RunFailed when the loss stops being a number.
    """
    request, settings = _read(words, config_dir)
    assert request.name is not None
    set_arithmetic(settings.runtime)
    device = pick_device(settings.runtime.device)
    if request.base != SMALL:
        open_base(request.base, device)  # an extra that is missing is told before anything is packed
    progress = settings.runtime.progress
    labelled = labelled_set(open_data(settings.data, progress=progress))
    begun = time.monotonic()
    with packing_bar(progress) as bar:
        payload, reader = fitted(labelled, request, settings, device, bar)
        looked = look(labelled, reader, request.background, bar)
    payload |= {
        "accuracy": round(looked.accuracy, 4),
        "majority": round(looked.majority, 4),
        "cross_entropy": round(looked.cross_entropy, 4),
    }
    taken_s = time.monotonic() - begun
    file, weights = store(request.name, payload, datetime.date.today())
    return _told(request, labelled, looked, taken_s, f"{file}\nweights {weights.path}\nsha256 {weights.sha256}")


def _read(words: Sequence[str], config_dir: str | None) -> tuple[FitRequest, Settings]:
    """Part the words into our own keys and Hydra's overrides, and check both."""
    own = [field for field in FitRequest.model_fields]
    given: dict[str, Any] = {}
    with session(user_dirs(config_dir)) as hydra:
        for parsed in hydra.parse(words):
            key, text = parsed.key_or_group, str(parsed.input_line)
            if parsed.is_sweep_override():
                raise UserError(f"'{text}': judge fit takes one value for each key")
            if key in own and not (parsed.is_add() or parsed.is_delete()):
                given[key] = parsed.value()
            elif key.partition(".")[0] not in _GROUPS:
                raise UserError(f"'{text}': judge fit has no such key{nearest(key, [*own, *_GROUPS], most=10)}")
        try:
            request = FitRequest.model_validate(given)
        except ValidationError as error:
            raise UserError(_fault(error, given)) from None
        check_name(request.name, hydra.options("judge"), request.replace)
        rest = [word for word in words if word.partition("=")[0] not in own]
        return request, hydra.jobs(rest, multirun=False)[0].settings


def _fault(error: ValidationError, given: Mapping[str, Any]) -> str:
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0])
    if first["type"] == "literal_error":
        return f"base={given[key]}: no such choice{nearest(str(given[key]), [SMALL, *BASES])}"
    reason = str(first["msg"])
    return f"judge fit: {key}={given[key]}: {reason[:1].lower()}{reason[1:]}"


def labelled_set(dataset: Dataset) -> Labelled:
    """Return the set's classes and parts; UserError unless it has two classes, enough of each, and held-out pictures.

    A class is one that any picture has: names without pictures are left out.
    """
    dataset.require(["label"])
    labels = dataset.column("label")
    train, held_out = dataset.split("train"), dataset.split("val")
    numbers = np.unique(labels)
    names = [dataset.label_names[number] if dataset.label_names else str(number) for number in numbers]
    if len(numbers) < 2:
        raise UserError(f"data: {dataset.source} has one class ({names[0]}): a judge tells at least two apart")
    if not len(held_out):
        raise UserError(
            f"data.val_fraction={dataset.val_fraction:g} holds no picture of {dataset.source} out, and a judge's "
            "accuracy is measured on those: say data.val_fraction=0.1"
        )
    counts = [int((labels[train] == number).sum()) for number in numbers]
    if min(counts) < FEWEST_PER_CLASS:
        least = int(np.argmin(counts))
        raise UserError(
            f"data: the class '{names[least]}' of {dataset.source} has {counts[least]} pictures to learn from, "
            f"of the {FEWEST_PER_CLASS} that are needed: leave it out (data.exclude) or add some"
        )
    class_of_row = torch.from_numpy(np.searchsorted(numbers, labels).astype(np.int64))
    return Labelled(dataset, train, held_out, names, class_of_row)


def fitted(
    labelled: Labelled, request: FitRequest, settings: Settings, device: torch.device, bar: Progress
) -> tuple[Payload, Reader]:
    """Fit the classifier and return what is to be stored of it, without its accuracy, and the judge it makes."""
    lr = request.lr if request.lr is not None else _RATES[request.base]
    recipe = Recipe(request.steps, min(request.batch_size, len(labelled.train)), lr, request.seed)
    dataset = labelled.dataset
    payload: Payload = {
        "format": FORMAT,
        "base": request.base,
        "base_sha256": "",
        "size_px": dataset.size_px,
        "channels": dataset.channels,
        "classes": labelled.names,
        "background": request.background,
        "data": settings.data.name,
        "data_fingerprint": dataset.fingerprint,
        "recipe": {"steps": recipe.steps, "batch_size": recipe.batch_size, "lr": recipe.lr, "seed": recipe.seed}
        | {"flip": settings.data.flip, "train": len(labelled.train), "held_out": len(labelled.held_out)},
    }
    make = _small if request.base == SMALL else _head
    payload["state"] = make(labelled, payload, recipe, device, bar)
    return payload, open_reader(payload, device)


def _small(
    labelled: Labelled, payload: Payload, recipe: Recipe, device: torch.device, bar: Progress
) -> dict[str, Tensor]:
    batches = Batches(
        labelled.dataset,
        labelled.train,
        recipe.batch_size,
        recipe.seed,
        flip=payload["recipe"]["flip"],
        normalize="tanh",
        device=device,
    )
    classes = labelled.class_of_row.to(device) + int(payload["background"])

    def batch(step: int) -> tuple[Tensor, Tensor]:
        given = batches.batch(step)
        return given["image"], classes[given["index"]]

    task = bar.add_task("fitting the judge", total=recipe.steps)
    size_px, channels = payload["size_px"], payload["channels"]
    network = fit_small(
        size_px, channels, logits_of(payload), batch, recipe, device, lambda steps: bar.advance(task, steps)
    )
    return plain_state(network.state_dict())


def _head(
    labelled: Labelled, payload: Payload, recipe: Recipe, device: torch.device, bar: Progress
) -> dict[str, Tensor]:
    base = open_base(payload["base"], device)
    payload["base_sha256"] = base.weights.sha256
    task = bar.add_task("reading pictures", total=len(labelled.train))
    parts = []
    for rows in _cut(labelled.train):
        # A copy, since what a judge gives was made for inference and cannot be learnt from.
        parts.append(base.read(torch.from_numpy(labelled.dataset.images[rows])).features.clone())
        bar.advance(task, len(rows))
    features = torch.cat(parts)
    batches = Batches(labelled.dataset, labelled.train, recipe.batch_size, recipe.seed)
    classes = labelled.class_of_row + int(payload["background"])

    def batch(step: int) -> tuple[Tensor, Tensor]:
        rows = batches.rows_of(step)
        places = torch.from_numpy(np.searchsorted(labelled.train, rows))
        return places.to(device), classes[torch.from_numpy(rows)].to(device)

    task = bar.add_task("fitting the judge", total=recipe.steps)
    head = fit_head(features, logits_of(payload), batch, recipe, lambda steps: bar.advance(task, steps))
    return plain_state(head.state_dict())


def plain_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights as they are stored: float32 on the CPU, in the default layout."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}


def look(labelled: Labelled, reader: Reader, background: bool, bar: Progress) -> Looked:
    """Judge the held-out pictures; where there is a background logit, it does not count."""
    rows, classes = labelled.held_out, labelled.class_of_row[torch.from_numpy(labelled.held_out)]
    task = bar.add_task("held-out pictures", total=len(rows))
    parts = []
    for own in _cut(rows):
        logits = reader.read(torch.from_numpy(labelled.dataset.images[own]), "exact").logits
        parts.append(logits[:, int(background) :].double().cpu())
        bar.advance(task, len(own))
    logits = torch.cat(parts)
    right = logits.argmax(dim=1) == classes
    common = int(torch.bincount(labelled.class_of_row[torch.from_numpy(labelled.train)]).argmax())
    shares = {
        name: float(right[classes == number].double().mean())
        for number, name in enumerate(labelled.names)
        if bool((classes == number).any())
    }
    weakest = min(shares, key=lambda name: shares[name])
    return Looked(
        pictures=len(rows),
        accuracy=float(right.double().mean()),
        majority=float((classes == common).double().mean()),
        cross_entropy=float(torch.nn.functional.cross_entropy(logits, classes)),
        weakest=f"{weakest} {shares[weakest]:.2f}",
    )


def _cut(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + _LOOK_BATCH] for start in range(0, len(rows), _LOOK_BATCH)]


def _told(request: FitRequest, labelled: Labelled, looked: Looked, taken_s: float, where: str) -> str:
    logits = "1 + " if request.background else ""
    lines = [
        f"judge={request.name}: {request.base}, {logits}{len(labelled.names)} classes, "
        f"fitted on {len(labelled.train):,} pictures of {labelled.dataset.source} in {taken_s:.0f} s",
        f"held-out accuracy {looked.accuracy:.4f} on {looked.pictures:,} pictures (always the commonest class: "
        f"{looked.majority:.4f}), cross-entropy {looked.cross_entropy:.4f}; weakest class: {looked.weakest}",
    ]
    if looked.accuracy <= looked.majority:
        lines.append("it has learnt nothing: give more steps, or pictures whose classes can be seen")
    return "\n".join([*lines, where])
