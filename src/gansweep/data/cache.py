"""The cache of packed sets: one folder per key, built once under a lock, and there only when it is whole.

A build happens in a temporary folder beside its place and is renamed into it when every byte is on the disk. Whatever
was interrupted leaves only such a temporary folder, which the next build removes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, SoftFileLock, Timeout
from numpy.typing import NDArray

from gansweep.data.bad import BadFile, judge
from gansweep.data.columns import Column, in_memory, read_column
from gansweep.data.crops import centre
from gansweep.data.dataset import Dataset, Fields
from gansweep.data.pack import FORMAT, pack
from gansweep.data.source import Source
from gansweep.errors import UserError

if TYPE_CHECKING:
    from gansweep.config.settings import DataSettings

_KEY_DIGITS = 20
_DRAFT_SUFFIX = ".packing"


def cache_root(cfg: DataSettings) -> Path:
    """Return the folder of all packed sets: data.cache_dir, or gansweep/data in the user's cache folder."""
    if cfg.cache_dir:
        return Path(cfg.cache_dir).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home) / "gansweep" / "data"


def place_of(source: Source) -> Path:
    """Return where the packed form of this source belongs: its name and a hash of all that changes what is packed."""
    cfg = source.cfg
    what = {
        "format": FORMAT,
        "reader": f"{type(source).__module__}.{type(source).__qualname__}",
        "settings": {key: getattr(cfg, key) for key in source.pixel_keys},
        "stamp": source.stamp(),
    }
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:_KEY_DIGITS]
    return cache_root(cfg) / f"{re.sub(r'[^A-Za-z0-9_-]', '_', cfg.name)}-{key}"


def open_cached(source: Source, *, progress: bool) -> Dataset:
    """Open the packed form of `source`, packing it first when it is not there whole; see `gansweep.data.open_data`."""
    place = place_of(source)
    manifest = read_manifest(place)
    if manifest is None:
        manifest = _build(source, place, progress)
    else:
        _judge(source, manifest)
    return load(place, manifest, source, progress)


def read_manifest(place: Path) -> dict[str, Any] | None:
    """Return the manifest of a packed set, or None unless everything it lists is there in the size it lists."""
    try:
        manifest: dict[str, Any] = json.loads((place / "manifest.json").read_bytes())
        whole = manifest["format"] == FORMAT and all(
            (place / name).stat().st_size == size for name, size in manifest["bytes"].items()
        )
        images = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
        whole = whole and list(images.shape) == manifest["shape"] and images.dtype == np.uint8
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if whole else None


def load(place: Path, manifest: dict[str, Any], source: Source, progress: bool = False) -> Dataset:
    """Open a whole packed set: images and columns in memory up to data.ram_limit_mb of them, mapped read-only beyond.

    Each is one or the other as a whole; columns come first, because they are small but for further pictures.
    """
    images: NDArray[np.uint8] = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
    fields: Fields = {"box": np.load(place / "box.npy", allow_pickle=False)}
    if manifest["labels"]:
        fields["label"] = np.load(place / "label.npy", allow_pickle=False)
    with (place / "rows.jsonl").open("rb") as lines:
        rows = [json.loads(line) for line in lines]
    fields["id"] = [row["id"] for row in rows]
    fields["group"] = [row["group"] for row in rows]
    for name, key in (("caption", "captions"), ("tags", "tags")):
        if any(row[key] for row in rows):
            fields[name] = [row[key] for row in rows]
    room = source.cfg.ram_limit_mb * 2**20
    for name in manifest.get("columns", ()):  # sets packed before there were any have none
        fields[name], room = _within(room, read_column(place, name))
    pixels, _ = _within(room, images)
    wide = source.margin_px > 0
    return Dataset(
        images=centre(pixels, source.cfg.size) if wide else pixels,
        fields=fields,
        label_names=manifest["labels"],
        fingerprint=manifest["fingerprint"],
        manifest=manifest,
        source=manifest["source"],
        val_fraction=source.cfg.val_fraction,
        relations=source.relations(fields),
        encoding=dataclasses.replace(source.encoding, folder=place, progress=progress),
        wide=pixels if wide else None,
        cuts={"image": 1, f"image_{source.cfg.size}": 1, **source.cuts} if wide else {},
        _held_out=source.held_out(fields),
    )


def _within(room: int, column: Column) -> tuple[Any, int]:
    """Return the column, in memory if it fits into `room` bytes, and the room that is left."""
    return (in_memory(column), room - column.nbytes) if column.nbytes <= room else (column, room)


def _build(source: Source, place: Path, progress: bool) -> dict[str, Any]:
    """Pack under the lock of this key, unless another process has done so while we waited for it."""
    root = place.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = _lock_of(place)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"gansweep: another process is packing data={source.cfg.name}; waiting for it", file=sys.stderr)
            lock.acquire(poll_interval=0.1)
    except OSError as error:
        raise UserError(f"data.cache_dir: {root} cannot be written ({error.strerror}); give another folder") from error
    try:
        manifest = read_manifest(place)
        if manifest is not None:
            _judge(source, manifest)
            return manifest
        clean(root, held=place.name)
        return _build_alone(source, place, progress)
    finally:
        _leave(lock, place)


def _lock_of(place: Path) -> FileLock:
    return FileLock(place.with_name(f"{place.name}.lock"))


def _leave(lock: FileLock, place: Path) -> None:
    """Release the lock, which we hold, of a place; its file goes too when nothing was built there.

    It goes while we hold it. Whoever waits for it has opened a file that is no more, which filelock (3.21 and newer)
    finds out once it has locked it, and begins anew: two never build at the same time.
    """
    if not place.exists() and not isinstance(lock, SoftFileLock):  # which has no such check, and removes its own file
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()
    lock.release()


def _build_alone(source: Source, place: Path, progress: bool) -> dict[str, Any]:
    draft = Path(tempfile.mkdtemp(prefix=f"{place.name}.", suffix=_DRAFT_SUFFIX, dir=place.parent))
    try:
        manifest, bad = pack(source, draft, progress=progress)
        cfg = source.cfg
        judge(bad, manifest["total"], cfg.on_bad, cfg.max_bad_fraction, announce=True, what=source.counted)
        draft.chmod(0o755)
        _sync_folder(draft)
        if place.exists():  # Damaged: whole ones were returned before.
            shutil.rmtree(place)
        draft.rename(place)
        _sync_folder(place.parent)
        return manifest
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def clean(root: Path, held: str | None = None) -> list[Path]:
    """Remove and return the temporary folders of builds that are no more; `held` is a place whose lock we hold."""
    removed = []
    for draft in root.glob(f"*{_DRAFT_SUFFIX}"):
        place = root / draft.name.split(".")[0]
        lock = _lock_of(place)
        try:
            if place.name != held:
                lock.acquire(timeout=0)
        except (Timeout, OSError):
            continue  # Its builder lives.
        try:
            shutil.rmtree(draft, ignore_errors=True)
            removed.append(draft)
        finally:
            if place.name != held:
                _leave(lock, place)
    return removed


def _judge(source: Source, manifest: dict[str, Any]) -> None:
    """Apply today's data.on_bad to what was left out when the set was packed."""
    bad = [BadFile(**one) for one in manifest["skipped"]]
    total = manifest.get("total", manifest["count"] + len(bad))  # sets packed before files were counted have none
    judge(bad, total, source.cfg.on_bad, source.cfg.max_bad_fraction, announce=False, what=source.counted)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
