"""Writes a packed set: every picture decoded once into `images.npy`, with what is known of each beside it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gansweep.data.bad import BadFile, BadFiles
from gansweep.data.columns import ColumnWriters
from gansweep.data.content import Content
from gansweep.data.progress import packing_bar, say_without_a_bar
from gansweep.data.source import BadPicture, Item, Picture, Source
from gansweep.errors import UserError

# To be raised with every change of what is packed or how: older packed sets are then left alone and packed anew.
FORMAT = 2
_HEADER_ROOM_BYTES = 4096
_BYTES_PER_ROW_OF_TEXT = 512
# Pictures in flight: enough that no thread waits, little enough to hold in memory.
_AHEAD_PER_THREAD, _AHEAD_BYTES = 32, 256 * 2**20

Shape = tuple[int, int, int]


def pack(source: Source, folder: Path, *, progress: bool) -> tuple[dict[str, Any], list[BadFile]]:
    """Decode all items of `source` into `folder` and return the manifest (also written, last) and the unusable ones.

    The folder holds images.npy (uint8 N, C, H, W), box.npy, label.npy where there are labels, a file or two for every
    further column, rows.jsonl and manifest.json, each flushed to the disk. Raises UserError when the disk has no room.
    """
    listing = source.items()
    check_room(folder, len(listing.items), source.cfg.channels, source.cfg.size + source.margin_px)
    say_without_a_bar(progress, len(listing.items), source.cfg.name)
    try:
        return _pack(source, listing.items, listing.label_names, folder, progress)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"the disk of {folder.parent} filled up while packing; set data.cache_dir to another"
            raise UserError(text) from error
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


def decoded(
    source: Source, items: list[Item], *, progress: bool, verb: str = "packing"
) -> Iterator[tuple[Item, Picture | BadPicture]]:
    """Yield the items in order with their pictures, decoded by data.workers threads (null: one per core)."""

    def decode(item: Item) -> Picture | BadPicture:
        try:
            return source.picture(item)
        except BadPicture as error:
            return error

    workers = source.cfg.workers or _cores()
    picture_bytes = source.cfg.channels * source.cfg.size**2
    ahead = max(2 * workers, min(_AHEAD_PER_THREAD * workers, _AHEAD_BYTES // picture_bytes))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="pack")
    waiting: deque[tuple[Item, Future[Picture | BadPicture]]] = deque()
    with packing_bar(progress) as bar, warnings.catch_warnings():
        # Decoders warn about odd metadata on stderr; what matters comes back as BadPicture.
        warnings.simplefilter("ignore")
        task = bar.add_task(f"{verb} {source.cfg.name}", total=len(items))
        try:
            for item in items:
                waiting.append((item, pool.submit(decode, item)))
                if len(waiting) >= ahead:
                    yield _first(waiting)
                    bar.advance(task)
            while waiting:
                yield _first(waiting)
                bar.advance(task)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def write_header(out: BinaryIO, count: int, shape: Shape) -> None:
    """Write the .npy header; numpy leaves room in it for the first axis to grow, so a second one fits its place."""
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)})


def _pack(
    source: Source, items: list[Item], label_names: list[str], folder: Path, progress: bool
) -> tuple[dict[str, Any], list[BadFile]]:
    size_px = source.cfg.size + source.margin_px
    shape = (source.cfg.channels, size_px, size_px)
    content = Content(source.cfg.channels)
    kept: list[Item] = []
    boxes: list[tuple[int, ...]] = []
    bad = BadFiles(items)
    columns = ColumnWriters(folder)
    with (folder / "images.npy").open("wb") as out:
        write_header(out, len(items), shape)
        for item, outcome in decoded(source, items, progress=progress):
            if isinstance(outcome, BadPicture):
                bad.add(item, outcome)
                continue
            pixels = _checked(outcome, shape, item)
            raw = pixels.tobytes()
            out.write(raw)
            content.add(pixels, raw, columns.add(outcome.columns, item.id))
            kept.append(item)
            boxes.append(outcome.box)
        out.seek(0)
        write_header(out, len(kept), shape)
        _flush(out)
    box = np.array(boxes, dtype=np.int16).reshape(-1, 4)
    content.finish(box, ((item.captions, item.tags, item.label) for item in kept))
    _write_fields(folder, kept, box, label_names)
    manifest = {
        "format": FORMAT,
        "source": source.describe(),
        "settings": {key: getattr(source.cfg, key) for key in source.pixel_keys},
        "stamp": source.stamp(),
        "count": len(kept),
        "shape": [len(kept), *shape],
        "labels": label_names,
        "columns": columns.finish(),
        "skipped": [one.as_dict() for one in bad.listed],
        "total": bad.total,
        **content.moments(),
        "fingerprint": content.fingerprint(),
        "bytes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
    }
    with (folder / "manifest.json").open("wb") as out:
        out.write(json.dumps(manifest, indent=1).encode())
        _flush(out)
    return manifest, bad.listed


def _cores() -> int:
    """Return how many cores this process may use, which on a shared machine is fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first(waiting: deque[tuple[Item, Future[Picture | BadPicture]]]) -> tuple[Item, Picture | BadPicture]:
    item, future = waiting.popleft()
    return item, future.result()


def _checked(picture: Picture, shape: Shape, item: Item) -> NDArray[np.uint8]:
    """Return the pixels, which a reader of a user's own must give in the packed shape and type."""
    pixels = picture.pixels
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise UserError(f"data: {item.id} came out as {pixels.dtype} {tuple(pixels.shape)}, not as uint8 {shape}")
    return pixels


def _write_fields(folder: Path, kept: list[Item], box: NDArray[np.int16], label_names: list[str]) -> None:
    _save(folder / "box.npy", box)
    if label_names:
        numbers = {name: number for number, name in enumerate(label_names)}
        unknown = next((item for item in kept if item.label not in numbers), None)
        if unknown is not None:
            raise UserError(f"data: {unknown.id} has the label {unknown.label}, which is none of the set's label names")
        _save(folder / "label.npy", np.array([numbers[item.label or ""] for item in kept], dtype=np.int64))
    with (folder / "rows.jsonl").open("wb") as out:
        for item in kept:
            row = {"id": item.id, "group": item.group, "captions": item.captions, "tags": item.tags}
            out.write(json.dumps(row).encode() + b"\n")
        _flush(out)


def _save(path: Path, values: NDArray[Any]) -> None:
    with path.open("wb") as out:
        np.save(out, values, allow_pickle=False)
        _flush(out)


def _flush(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())
