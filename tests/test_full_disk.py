"""A disk that fills up while a run is at work: the run says so in one line, is FAILED, and can go on later."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gansweep.config.logs import LogFile
from gansweep.config.settings import Settings
from gansweep.errors import RunFailed
from gansweep.loop import Loop
from gansweep.runs import checkpoint, reserve
from gansweep.runs.reserve import RESERVE_BYTES, RESERVE_FILE
from gansweep.train import resume, train

Compose = Callable[..., Settings]
FREQUENT = ["model=vae", "steps=12", "log_every=1", "sample_every=0", "val_every=0", "checkpoint_every=4"]


def record_of(run_dir: Path) -> dict[str, Any]:
    return dict(json.loads((run_dir / "run.json").read_text()))


class FullDisk:
    """From one step on refuses what a run writes, until the run gives back the room that it kept."""

    def __init__(self, run_dir: Path, monkeypatch: pytest.MonkeyPatch, from_step: int) -> None:
        self.run_dir, self.from_step, self.step = run_dir, from_step, 0
        write, take = os.write, Loop._take

        def stepped(loop: Loop) -> None:
            self.step = loop.step
            take(loop)

        def guarded_write(file: int, data: bytes) -> int:
            self.refuse()
            return write(file, data)

        monkeypatch.setattr(Loop, "_take", stepped)
        monkeypatch.setattr(os, "write", guarded_write)
        monkeypatch.setattr(LogFile, "_open", lambda handler: _Stream(self, handler.baseFilename))

    def refuse(self) -> None:
        if self.step >= self.from_step and (self.run_dir / RESERVE_FILE).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _Stream:
    """The stream of a log file on that disk."""

    def __init__(self, disk: FullDisk, path: str) -> None:
        self.disk, self.file = disk, open(path, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, text: str) -> None:
        self.disk.refuse()
        self.file.write(text)

    def flush(self) -> None:
        self.disk.refuse()
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def test_a_run_that_meets_a_full_disk_is_failed_says_why_and_goes_on_later(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    settings = compose(*FREQUENT)
    with monkeypatch.context() as patch:
        FullDisk(run_dir, patch, from_step=6)
        with pytest.raises(
            RunFailed, match=r"No space left on device; make room and go on with: gansweep resume"
        ) as it:
            train(settings, run_dir, [])
    assert "\n" not in str(it.value) and "failed at step 7" in str(it.value)
    told = record_of(run_dir)
    assert told["status"] == "FAILED" and told["finished"] is not None
    assert told["reason"] == f"{run_dir / 'spool.jsonl'} cannot be written: No space left on device"
    assert capfd.readouterr().err == ""
    assert "No space left on device" in (run_dir / "run.log").read_text()
    assert checkpoint.load(run_dir / "checkpoints" / "last.pt")["step"] == 4
    assert not (run_dir / RESERVE_FILE).exists()
    assert resume(str(run_dir)).status == "FINISHED"
    assert not (run_dir / RESERVE_FILE).exists()


def test_a_disk_with_no_room_at_the_start_leaves_no_running_run(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/there/.reserve")

    monkeypatch.setattr(reserve, "keep_back", full)
    with pytest.raises(RunFailed, match=r"could not begin: /there/\.reserve: No space left on device$"):
        train(compose(*FREQUENT), tmp_path / "run", [])
    assert record_of(tmp_path / "run")["status"] == "FAILED"


def test_what_cannot_be_kept_back_names_its_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path / RESERVE_FILE}'"):
        reserve.keep_back(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_back_takes_room_until_it_is_given_back(tmp_path: Path) -> None:
    reserve.keep_back(tmp_path)
    kept = tmp_path / RESERVE_FILE
    assert kept.stat().st_size == RESERVE_BYTES and kept.stat().st_blocks * 512 >= RESERVE_BYTES
    reserve.give_back(tmp_path)
    reserve.give_back(tmp_path)
    assert list(tmp_path.iterdir()) == []


# A real disk from here on.

FILLER = """
from pathlib import Path
calls = 0
def fill(output, target):
    global calls
    calls += 1
    mark = Path(MARK)
    if calls == 30 and not mark.exists():
        mark.touch()
        with open("filler", "wb", buffering=0) as file:
            for size in (2**20, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass
    return (output - target).abs().mean()
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 80 MiB, with a loss that fills it when it is called for the thirtieth time."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"may not mount a file system here: {mounted.stderr.decode().strip()}")
    try:
        (disk / "mylab.py").write_text(FILLER.replace("MARK", repr(str(tmp_path / "mark"))))
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def gansweep(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gansweep", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_real_disk_that_fills_up_is_told_in_one_line(small_disk: Path, small_overrides: list[str]) -> None:
    own = ["+terms.fit.fill=mylab.fill", "+scales.fill=1", "steps=60", "hydra.run.dir=here"]
    done = gansweep(["train", *small_overrides, *FREQUENT, *own], small_disk)
    run_dir = small_disk / "here"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("gansweep: the run failed at step ") and done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr or "disk full" in done.stderr
    told = record_of(run_dir)
    assert told["status"] == "FAILED" and told["reason"] in done.stderr
    last = checkpoint.load(run_dir / "checkpoints" / "last.pt")["step"]
    assert last >= 4
    (small_disk / "filler").unlink()
    done = gansweep(["resume", "here"], small_disk)
    assert (done.returncode, done.stderr) == (0, f"resumed at step {last}\n")
    assert record_of(run_dir)["status"] == "FINISHED"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_sweep_on_a_disk_that_fills_up_ends_with_its_table(small_disk: Path, small_overrides: list[str]) -> None:
    own = ["+terms.fit.fill=mylab.fill", "+scales.fill=1", "steps=60", "seed=1,2"]
    done = gansweep(["-m", *small_overrides, *FREQUENT, *own], small_disk)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "HYDRA_FULL_ERROR" not in done.stderr
    assert "0 of 2 finished" in done.stdout
    assert record_of(next(small_disk.glob("multirun/*/*/0")))["status"] == "FAILED"
