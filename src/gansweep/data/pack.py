"""Writes a packed set: every picture decoded once into `images.npy`, with what is known of each beside it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from gansweep.data.bad import BadFile
from gansweep.data.source import BadPicture, Item, Picture, Source
from gansweep.errors import UserError

FORMAT = 1
_HEADER_ROOM_BYTES = 4096
_BYTES_PER_ROW_OF_TEXT = 512
_AHEAD = 32  # Pictures in flight per thread: enough that no thread waits, little enough to hold in memory.


def pack(source: Source, folder: Path, *, progress: bool) -> tuple[dict[str, Any], list[BadFile]]:
    """Decode all items of `source` into `folder` and return the manifest (also written, last) and the unusable ones.

    The folder holds images.npy (uint8 N, C, H, W), box.npy, label.npy where there are labels, rows.jsonl and
    manifest.json, each flushed to the disk. Raises UserError when the disk has no room.
    """
    listing = source.items()
    check_room(folder, len(listing.items), source.cfg.channels, source.cfg.size)
    try:
        return _pack(source, listing.items, listing.label_names, folder, progress)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk of {folder.parent} filled up while packing; set data.cache_dir to another"
            ) from error
        raise


def check_room(folder: Path, count: int, channels: int, size_px: int) -> None:
    """Raise UserError unless the disk that holds `folder` has room for a packed set of this shape."""
    needed = count * (channels * size_px * size_px + _BYTES_PER_ROW_OF_TEXT) + _HEADER_ROOM_BYTES
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"packing {count:,} pictures of {size_px} px needs {needed / 2**20:,.0f} MB in {folder.parent}, which has "
            f"{free / 2**20:,.0f} MB free; set data.cache_dir to another disk, or a smaller data.size or data.limit"
        )


def _pack(
    source: Source, items: list[Item], label_names: list[str], folder: Path, progress: bool
) -> tuple[dict[str, Any], list[BadFile]]:
    shape = (source.cfg.channels, source.cfg.size, source.cfg.size)
    kept: list[Item] = []
    boxes: list[tuple[int, ...]] = []
    bad: list[BadFile] = []
    content = hashlib.sha256()
    moments = _Moments(shape[0])
    with (folder / "images.npy").open("wb") as out:
        _write_header(out, len(items), shape)
        for item, outcome in _decoded(source, items, progress):
            if isinstance(outcome, BadPicture):
                bad.append(BadFile(item.id, outcome.reason, outcome.detail))
                continue
            raw = _checked(outcome, shape, item).tobytes()
            out.write(raw)
            content.update(raw)
            moments.add(outcome.pixels)
            kept.append(item)
            boxes.append(outcome.box)
        out.seek(0)
        _write_header(out, len(kept), shape)
        _flush(out)
    _write_fields(folder, kept, boxes, label_names, content)
    manifest = {
        "format": FORMAT,
        "source": source.describe(),
        "settings": {key: getattr(source.cfg, key) for key in source.pixel_keys},
        "stamp": source.stamp(),
        "count": len(kept),
        "shape": [len(kept), *shape],
        "labels": label_names,
        "skipped": [one.as_dict() for one in bad],
        **moments.as_dict(),
        "fingerprint": content.hexdigest(),
        "bytes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
    }
    with (folder / "manifest.json").open("wb") as out:
        out.write(json.dumps(manifest, indent=1).encode())
        _flush(out)
    return manifest, bad


def _decoded(source: Source, items: list[Item], progress: bool) -> Iterator[tuple[Item, Picture | BadPicture]]:
    """Yield the items in order with their pictures, decoded by as many threads as there are cores."""

    def decode(item: Item) -> Picture | BadPicture:
        try:
            return source.picture(item)
        except BadPicture as error:
            return error

    workers = source.cfg.workers or _cores()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="pack")
    waiting: deque[tuple[Item, Future[Picture | BadPicture]]] = deque()
    with _bar(progress) as bar, warnings.catch_warnings():
        # Decoders warn about odd metadata on stderr; what matters comes back as BadPicture.
        warnings.simplefilter("ignore")
        task = bar.add_task(f"packing {source.cfg.name}", total=len(items))
        try:
            for item in items:
                waiting.append((item, pool.submit(decode, item)))
                if len(waiting) >= _AHEAD * workers:
                    yield _first(waiting)
                    bar.advance(task)
            while waiting:
                yield _first(waiting)
                bar.advance(task)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _cores() -> int:
    """Return how many cores this process may use, which on a shared machine is fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first(
    waiting: deque[tuple[Item, Future[Picture | BadPicture]]],
) -> tuple[Item, Picture | BadPicture]:
    item, future = waiting.popleft()
    return item, future.result()


def _bar(progress: bool) -> Progress:
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (progress and console.is_terminal))


def _checked(picture: Picture, shape: tuple[int, int, int], item: Item) -> np.ndarray:
    """Return the pixels, which a reader of a user's own must give in the packed shape and type."""
    pixels = picture.pixels
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise UserError(
            f"data: {item.id} came out as {pixels.dtype} {tuple(pixels.shape)}, where uint8 {shape} was asked for"
        )
    return pixels


def _write_header(out: BinaryIO, count: int, shape: tuple[int, int, int]) -> None:
    """Write the .npy header; numpy leaves room for the first axis to change, so that it can be written again in place."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(out, header)


def _write_fields(
    folder: Path, kept: list[Item], boxes: list[tuple[int, ...]], label_names: list[str], content: Any
) -> None:
    """Write box.npy, label.npy and rows.jsonl, and add to the content hash what a batch or a caption could show."""
    box = np.array(boxes, dtype=np.int16).reshape(-1, 4)
    _save(folder / "box.npy", box)
    content.update(box.tobytes())
    if label_names:
        numbers = {name: number for number, name in enumerate(label_names)}
        _save(folder / "label.npy", np.array([numbers[item.label or ""] for item in kept], dtype=np.int64))
    with (folder / "rows.jsonl").open("wb") as out:
        for item in kept:
            shown = {"captions": item.captions, "tags": item.tags}
            content.update(json.dumps([item.captions, item.tags, item.label]).encode())
            out.write(json.dumps({"id": item.id, "group": item.group, **shown}).encode() + b"\n")
        _flush(out)


def _save(path: Path, values: np.ndarray) -> None:
    with path.open("wb") as out:
        np.save(out, values, allow_pickle=False)
        _flush(out)


def _flush(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())


class _Rate(ProgressColumn):
    """Pictures per second, once there is something to divide."""

    def render(self, task: Task) -> Text:
        """Return the rate as the bar's column."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


class _Moments:
    """Mean and deviation per channel of all pixels, from exact integer sums; in units of the full range (0 to 1)."""

    def __init__(self, channels: int) -> None:
        self.counts = np.zeros((channels, 256), dtype=np.int64)

    def add(self, pixels: np.ndarray) -> None:
        for counts, plane in zip(self.counts, pixels, strict=True):
            counts += np.bincount(plane.reshape(-1), minlength=256)

    def as_dict(self) -> dict[str, list[float]]:
        values = np.arange(256) / 255
        number = np.maximum(self.counts.sum(axis=1), 1)
        mean = (self.counts * values).sum(axis=1) / number
        variance = (self.counts * values**2).sum(axis=1) / number - mean**2
        return {"mean": mean.tolist(), "std": np.sqrt(np.maximum(variance, 0)).tolist()}
