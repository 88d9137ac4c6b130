"""Checkpoint files: written so that no reader ever sees half of one, read so that none can run code."""

from __future__ import annotations

import math
import os
import pickle
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gansweep.errors import NoRoom, RunFailed, UserError, nearest, was_disk_full

if TYPE_CHECKING:
    from gansweep.config.settings import CheckpointSettings

FORMAT = 1
_STEP_FILE = re.compile(r"step-(\d+)\.pt")


def save(path: Path, payload: Mapping[str, Any]) -> None:
    """Write `payload` (plain containers and tensors) to `path`: a temporary file, fsync, rename.

    The rename is what makes a kill at any moment leave either the old file or the new one. RunFailed when the disk is
    full or refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(payload), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
        temporary.unlink(missing_ok=True)  # what it took is free again, and is counted as such
        free, needed = shutil.disk_usage(path.parent).free, payload_bytes(payload)
        if was_disk_full(error) or free < needed:
            reason = f"disk full: {_megabytes(needed)} needed, {_megabytes(free)} free"
        else:
            reason = _first_line(error)
        raise RunFailed(f"checkpoint {path} could not be written: {reason}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """Return the payload of the checkpoint at `path`, tensors on the CPU; never runs code from the file.

    UserError, one line each, for a file that is missing, is no checkpoint, is truncated or damaged, or holds code.
    """
    _check_structure(path)
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|global:?) +`?([\w.]+\.[\w.]+)", str(error))
        what = f" ({found.group(1)})" if found else ""
        raise UserError(f"{path}: holds code{what} and was refused; only weights and numbers are loaded") from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path}: truncated or damaged checkpoint ({_first_line(error)})") from error
    if not isinstance(payload, dict) or "format" not in payload:
        raise UserError(f"{path}: not a checkpoint of gansweep (a torch file without our fields)")
    if payload["format"] != FORMAT:
        raise UserError(f"{path}: checkpoint format {payload['format']}, this gansweep reads format {FORMAT}")
    return payload


def _check_structure(path: Path) -> None:
    """Raise UserError unless `path` is a whole zip archive with a torch pickle in it, every sum of it right."""
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file")
    size = path.stat().st_size
    with path.open("rb") as file:
        begins_as_zip = file.read(4) == b"PK\x03\x04"
    if size == 0:
        raise UserError(f"{path}: truncated checkpoint (the file is empty)")
    if not begins_as_zip:
        raise UserError(f"{path}: not a checkpoint (not a file that torch.save wrote)")
    try:  # a zip's table of contents is at its end, so a cut-off file has none
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            cut = any(info.header_offset + info.compress_size > size for info in archive.infolist())
            damaged = None if cut else _damaged_part(archive)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(f"{path}: truncated checkpoint (its end is missing after {size} bytes)") from error
    if cut:
        raise UserError(f"{path}: truncated checkpoint (its table of contents points past its {size} bytes)")
    if damaged is not None:
        raise UserError(f"{path}: damaged checkpoint ({damaged} in it does not match its checksum); take another copy")
    if not any(name.endswith("/data.pkl") for name in names):
        raise UserError(f"{path}: not a checkpoint (a zip archive without a torch pickle)")


def _damaged_part(archive: zipfile.ZipFile) -> str | None:
    """Return the first file of `archive` that is not as it was written: torch checks no sums when it reads."""
    for info in archive.infolist():
        try:
            with archive.open(info) as part:
                while part.read(2**20):
                    pass
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError):
            return info.filename
    return None


def payload_bytes(payload: object) -> int:
    """Return the bytes of all tensors in nested containers: what a checkpoint of them takes, to within a few per cent.

    Works on meta tensors too, so the room can be checked before anything is built.
    """
    if isinstance(payload, torch.Tensor):
        return payload.numel() * payload.element_size()
    if isinstance(payload, Mapping):
        return sum(payload_bytes(value) for value in payload.values())
    if isinstance(payload, (list, tuple)):
        return sum(payload_bytes(value) for value in payload)
    return 0


def check_room(directory: Path, bytes_needed: int, key: str) -> None:
    """Raise NoRoom when the disk that holds (or will hold) `directory` has not `bytes_needed` bytes free.

    `key` is the setting that names another directory.
    """
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < bytes_needed:
        raise NoRoom(
            f"no room for the checkpoints in {directory}: {_megabytes(bytes_needed)} needed, {_megabytes(free)} free "
            f"on that disk; lower checkpoint.keep, or name a directory on another one: {key}=DIR"
        )


class Saved(NamedTuple):
    """The files that a save wrote or changed (the written one first), and those that were removed in exchange."""

    written: list[Path]
    removed: list[Path]


class Keeper:
    """Keeps a run's checkpoints: `step-00001000.pt`, `last.pt` (a hard link to the newest) and `best.pt`.

    `settings` has keep (newest step files that stay, None for all), best_by (metric or None) and best_is (min or
    max). Which value is the best so far travels inside the checkpoint (`payload["best"]`), so that a resumed run
    decides as the uninterrupted one would.
    """

    def __init__(self, directory: Path, settings: CheckpointSettings) -> None:
        self.directory = directory
        self.keep: int | None = settings.keep
        self.best_by: str | None = settings.best_by
        self.best_mode: str = settings.best_is
        self.best: dict[str, Any] | None = None

    def check_names(self, names: Iterable[str]) -> None:
        """Raise UserError when `checkpoint.best_by` is none of the metrics `names` that the run will log."""
        known = set(names)
        if self.best_by is not None and self.best_by not in known:
            raise UserError(f"checkpoint.best_by={self.best_by}: no such metric{nearest(self.best_by, known)}")

    def improves(self, metrics: Mapping[str, float]) -> bool:
        """Say whether `metrics` hold a better best_by value than any before; a missing or non-finite one never is."""
        value = metrics.get(self.best_by) if self.best_by is not None else None
        if value is None or not math.isfinite(value):
            return False
        if self.best is None:
            return True
        before = float(self.best["value"])
        return value < before if self.best_mode == "min" else value > before

    def save(
        self, payload: dict[str, Any], step: int, metrics: Mapping[str, float] | None = None, *, best_only: bool = False
    ) -> Saved:
        """Write the checkpoint of `step` and return the files that changed.

        `metrics` are the values known at this step; when they improve on the best, best.pt becomes this checkpoint.
        `best_only` writes best.pt alone (a validation between two checkpoints) and nothing when nothing improved.
        Sets `payload["best"]`. RunFailed when the disk refuses.
        """
        better = self.improves(metrics or {})
        if better and self.best_by is not None:
            value = float((metrics or {})[self.best_by])
            self.best = {"by": self.best_by, "mode": self.best_mode, "value": value, "step": step}
        if best_only and not better:
            return Saved([], [])
        payload["best"] = dict(self.best) if self.best else None
        best_file = self.directory / "best.pt"
        if best_only:
            save(best_file, payload)
            return Saved([best_file], [])
        step_file = self.directory / f"step-{step:08d}.pt"
        save(step_file, payload)
        written = [step_file]
        for link in [self.directory / "last.pt", *([best_file] if better else [])]:
            _link(step_file, link)
            written.append(link)
        removed = [] if self.keep is None else self.step_files()[: -self.keep]
        for old in removed:
            old.unlink(missing_ok=True)
        return Saved(written, removed)

    def step_files(self) -> list[Path]:
        """Return the step files that are there, oldest first."""
        return step_files(self.directory)

    def load_state_dict(self, best: Mapping[str, Any] | None) -> None:
        """Take over `payload["best"]` of the checkpoint that a run is resumed from."""
        self.best = dict(best) if best else None


def step_files(directory: Path) -> list[Path]:
    """Return the `step-*.pt` of `directory`, oldest step first; empty when there is no such directory."""
    if not directory.is_dir():
        return []
    numbered = [(int(m.group(1)), p) for p in directory.iterdir() if (m := _STEP_FILE.fullmatch(p.name))]
    return [path for _, path in sorted(numbered)]


def _link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` in one rename; a copy where the file system has no hard links."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise RunFailed(f"checkpoint {target} could not be written: {_first_line(error)}") from error
    finally:  # renaming one link of a file over another link of it leaves both: POSIX
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable; file systems that cannot sync a folder are let be."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def _megabytes(count: int) -> str:
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
