"""What `gansweep data` does: build a packed set, look at it, check its files. Each returns the text to be printed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gansweep.data import open_data
from gansweep.data.bad import BadFiles, judge
from gansweep.data.cache import place_of, read_manifest
from gansweep.data.card import card
from gansweep.data.checks import check_settings, reader_class
from gansweep.data.columns import row_digest
from gansweep.data.content import Content
from gansweep.data.dataset import Dataset
from gansweep.data.pack import decoded
from gansweep.data.source import BadPicture, Source
from gansweep.data.split import share_of
from gansweep.errors import UserError
from gansweep.grids import make_grid, save_png

if TYPE_CHECKING:
    from gansweep.config.settings import DataSettings

__all__ = ["build", "card", "check", "inspect"]

_SHEET_PICTURES = 100
_TILE_MIN_PX, _TILE_MAX_PX = 48, 128
_SHOWN = 8


def build(cfg: DataSettings, *, progress: bool = True) -> str:
    """Pack the set unless it is packed already, and say where it is."""
    check_settings(cfg)
    source = _own_reader(cfg)
    known = source is not None and read_manifest(place_of(source)) is not None
    dataset = open_data(cfg, progress=progress)
    where = (
        f"{'already ' if known else ''}packed in {place_of(source)}"
        if source
        else "read (a set of your own is not kept)"
    )
    return f"data={cfg.name}: {_counted(dataset)}, {where}\nfingerprint {dataset.fingerprint}"


def inspect(cfg: DataSettings, out_png: Path, *, progress: bool = True) -> str:
    """Describe the set, packing it if need be, and draw up to a hundred of its pictures on a sheet at `out_png`."""
    dataset = open_data(cfg, progress=progress)
    sheet = contact_sheet(dataset, out_png)
    source = _own_reader(cfg)
    train, val = len(dataset.split("train")), len(dataset.split("val"))
    how = "the set's own parts" if dataset.has_given_split else f"data.val_fraction={cfg.val_fraction:g}"
    rows = [
        ("source", dataset.source),
        ("pictures", _counted(dataset)),
        ("split", f"{train:,} for training, {val:,} held out ({how})"),
        ("fields", ", ".join(["image", *dataset.fields])),
    ]
    if "label" in dataset.fields:
        counts = np.bincount(dataset.fields["label"], minlength=len(dataset.label_names))
        names = dataset.label_names or [str(number) for number in range(len(counts))]
        rows.append(("classes", _listed([f"{name} {count:,}" for name, count in zip(names, counts, strict=True)])))
    if "tags" in dataset.fields:
        tags = Counter(tag for row in dataset.fields["tags"] for tag in row).most_common()
        rows.append(("tags", f"{_listed([f'{tag} {count:,}' for tag, count in tags])}"))
    if "caption" in dataset.fields:
        captions = [dataset.fields["caption"][row] for row in _sample(dataset)[:_SHOWN]]
        rows.append(("captions", _listed([repr(texts[0]) for texts in captions if texts])))
    rows += [(key, ", ".join(f"{value:.4f}" for value in dataset.manifest[key])) for key in ("mean", "std")]
    rows.append(("packed", f"{dataset.images.nbytes / 2**20:,.2f} MB{f' in {place_of(source)}' if source else ''}"))
    rows.append(("fingerprint", dataset.fingerprint))
    rows.append(("sheet", str(sheet)))
    return "\n".join(f"{key:<12} {value}" for key, value in rows)


def check(cfg: DataSettings, *, progress: bool = True) -> str:
    """Decode every picture anew, and compare the packed set, where there is one, with its fingerprint.

    Raises UserError, with the report of unusable pictures that training would give, or when the packed set is damaged.
    """
    check_settings(cfg)
    source = _own_reader(cfg)
    if source is None:
        dataset = open_data(cfg, progress=progress)
        return f"data={cfg.name}: {_counted(dataset)}, every item fits"
    items = source.items().items
    outcomes = decoded(source, items, progress=progress, verb="checking")
    bad = BadFiles(items)
    for item, one in outcomes:
        if isinstance(one, BadPicture):
            bad.add(item, one)
    judge(bad.listed, bad.total, cfg.on_bad, cfg.max_bad_fraction, announce=True, what=source.counted)
    place = place_of(source)
    manifest = read_manifest(place)
    if manifest is None:
        kept = "not packed yet"
    elif _content_of(open_data(cfg, progress=False)) == manifest["fingerprint"]:
        kept = f"the packed set in {place} is intact"
    else:
        raise UserError(f"the packed set in {place} is damaged (its content changed since it was written): remove it")
    return f"data={cfg.name}: {bad.total - len(bad.listed):,} of {bad.total:,} {source.counted} can be used; {kept}"


def contact_sheet(dataset: Dataset, out_png: Path) -> Path:
    """Draw up to a hundred pictures, always the same ones of a set, ten to a row, and return the path of the PNG."""
    pictures = np.stack([_tile(dataset.images[row]) for row in _sample(dataset)])
    columns = int(np.ceil(np.sqrt(len(pictures))))
    return save_png(make_grid(pictures, columns=columns), out_png)


def _tile(picture: np.ndarray) -> np.ndarray:
    """Bring a picture to a size that can be seen and fits a screen, by whole factors, so that pixels stay pixels."""
    size = picture.shape[-1]
    if size < _TILE_MIN_PX:
        factor = -(-_TILE_MIN_PX // size)
        return picture.repeat(factor, axis=1).repeat(factor, axis=2)
    step = -(-size // _TILE_MAX_PX)
    return picture[:, ::step, ::step]


def _sample(dataset: Dataset) -> list[int]:
    """Return up to a hundred rows, spread over the set by hash: neighbours in a folder are often alike."""
    order = sorted(range(dataset.count), key=lambda row: share_of(str(row), "sheet"))
    return order[:_SHEET_PICTURES]


def _content_of(dataset: Dataset) -> str:
    content = Content(dataset.channels)
    columns = [dataset.fields[name] for name in sorted(dataset.manifest.get("columns", ()))]
    for row, picture in enumerate(dataset.images if dataset.wide is None else dataset.wide):
        content.add(picture, more=[row_digest(column, row) for column in columns])
    nothing: list[list[str]] = [[]] * dataset.count
    captions, tags = dataset.fields.get("caption", nothing), dataset.fields.get("tags", nothing)
    labels: list[str | None] = [None] * dataset.count
    if "label" in dataset.fields:
        labels = [dataset.label_names[number] for number in dataset.fields["label"]]
    content.finish(dataset.fields["box"], zip(captions, tags, labels, strict=True))
    return content.fingerprint()


def _own_reader(cfg: DataSettings) -> Source | None:
    """Return gansweep's reader for the set, or nothing for a set of the user's own."""
    reader = reader_class(cfg)
    return reader(cfg) if isinstance(reader, type) and issubclass(reader, Source) else None


def _counted(dataset: Dataset) -> str:
    skipped = len(dataset.manifest["skipped"])
    left_out = f", {skipped:,} unusable ones left out" if skipped else ""
    colour = "grey" if dataset.channels == 1 else "in colour"
    return f"{dataset.count:,} pictures of {dataset.size_px} px, {colour}{left_out}"


def _listed(texts: list[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (f", … ({len(texts):,} in all)" if len(texts) > _SHOWN else "")
