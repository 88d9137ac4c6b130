"""weights: only the right file gets the name that the judge looks for, whole, whichever way it comes."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cli.weights_files import BOTH_WAYS, NAME, digest, in_cache, one_line, small_state
from gansweep import weights
from gansweep.cli import main
from gansweep.errors import Missing
from gansweep.metrics import inception
from gansweep.metrics.inception import InceptionJudge


@pytest.fixture(autouse=True)
def cache(weights_cache: Path) -> Path:
    return weights_cache


@pytest.mark.parametrize("way", ["add", "get"])
def test_a_right_file_is_kept_and_the_judge_takes_it(
    way: str, public_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256 = digest(public_file)
    monkeypatch.setattr(inception, "SHA256_PREFIX", sha256[:8])
    assert (
        main(
            ["weights", "add", str(public_file)]
            if way == "add"
            else ["weights", "get", "--from", f"file://{public_file}"]
        )
        == 0
    )
    assert capsys.readouterr() == (f"{cache / NAME} is kept, SHA-256 {sha256}\n", "")
    assert in_cache(cache) == [NAME] and digest(cache / NAME) == sha256
    assert (cache / NAME).stat().st_mode == public_file.stat().st_mode  # others may read it as they may any new file
    judge = InceptionJudge()
    assert (judge.key, judge.identity()["weights_sha256"]) == ("inception_score", sha256)


def test_the_same_file_twice_is_said_to_be_there(
    small_file: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "add", "small.pth"]) == 0
    before = (cache / NAME).stat()
    capsys.readouterr()
    assert main(["weights", "add", str(cache / NAME)]) == main(["weights", "add", "small.pth"]) == 0
    told = f"{cache / NAME} is there already, SHA-256 {digest(small_file)}\n"
    assert capsys.readouterr() == (2 * told, "")
    assert (cache / NAME).stat() == before and in_cache(cache) == [NAME]


def test_a_damaged_file_in_the_cache_is_told_and_replaced(
    small_file: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(small_file.read_bytes()[:-1])
    assert main(["weights"]) == 0
    told = capsys.readouterr().out.splitlines()[0]
    assert "missing" in told and "damaged" in told and digest(cache / NAME) in told
    assert main(["weights", "add", "small.pth"]) == 0
    assert digest(cache / NAME) == digest(small_file)


def test_two_at_once_leave_one_whole_file(small_file: Path, cache: Path) -> None:
    with ThreadPoolExecutor(4) as several:
        told = list(several.map(weights.add, [small_file] * 8))
    assert all(digest(small_file) in line for line in told)
    assert in_cache(cache) == [NAME] and digest(cache / NAME) == digest(small_file)


class Payload:
    """Pickled code: unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.mkdir, (self.folder,)


def bad_input(kind: str, folder: Path) -> Path:
    """Make what is no weights file, of a size that gets it looked into."""
    path, state = folder / "given.pth", small_state()
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(folder / "nothing")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "empty":
        path.touch()
    elif kind == "short":
        path.write_text("<html>log in first</html>")
    elif kind == "text":
        path.write_text("no weights\n" * 2**17)
    elif kind == "code":
        torch.save(state | {"x": Payload(folder / "ran")}, path)
    elif kind == "tensor":
        torch.save(torch.zeros(10**6), path)
    elif kind == "number":
        torch.save(state | {"fc.bias": 3}, path)
    elif kind == "cut":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-500])
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(2**30 + 1)  # takes no room
    elif kind != "no file":
        torch.save(other_layout(kind, state), path)
    return path


def other_layout(kind: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    if kind == "lacking":
        del state["fc.weight"]
    elif kind == "misshapen":
        state["fc.weight"] = torch.zeros(10, 21)
    elif kind == "foreign":
        state["tricky\nname\x1b[2J"] = torch.zeros(1)
    return state


BAD = {
    "no file": "no such file",
    "folder": "a folder",
    "link": "a link to nothing",
    "pipe": "no plain file",
    "empty": "is empty",
    "short": "has 25 bytes; the FID Inception weights file has about 96 MB",
    "huge": "has 1,073,741,825 bytes",
    "text": "is no PyTorch state dict",
    "code": "which was not run",
    "tensor": "holds no plain state dict",
    "number": "holds no plain state dict",
    "cut": "is no PyTorch state dict",
    "lacking": "entries 1 missing (first: fc.weight)",
    "misshapen": "1 of another shape (first: fc.weight (10, 21) instead of (10, 20))",
    "foreign": r"1 not known (first: 'tricky\nname\x1b[2J')",
}


@pytest.mark.parametrize("way", ["add", "get"])
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_input_is_one_line_and_leaves_nothing(
    kind: str,
    way: str,
    tmp_path: Path,
    cache: Path,
    small_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(inception, "SHA256_PREFIX", "")  # as if somebody had made a file of the right beginning
    given = bad_input(kind, tmp_path)
    if way == "get":
        if kind in ("no file", "folder", "link", "pipe"):
            return
        code = main(["weights", "get", "--from", given.as_uri()])
    else:
        code = main(["weights", "add", str(given)])
    assert code == 2
    told = one_line(capsys)
    assert BAD[kind] in told and "given.pth" in told
    assert in_cache(cache) == [] and not (tmp_path / "ran").exists()


def test_another_files_digest_is_told_beside_the_right_one(
    small_file: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "add", "small.pth"]) == 0
    capsys.readouterr()
    torch.save(small_state() | {"fc.weight": torch.zeros(10, 20)}, tmp_path / "other.pth")
    assert main(["weights", "add", "other.pth"]) == 2
    told = one_line(capsys)
    assert digest(tmp_path / "other.pth") in told and f"begins with {digest(small_file)[:8]}" in told
    assert digest(cache / NAME) == digest(small_file) and in_cache(cache) == [NAME]


def test_another_file_is_not_even_parsed(
    tmp_path: Path, small_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def parse(*_: object, **__: object) -> None:
        raise AssertionError("parsed")

    (tmp_path / "other.pth").write_bytes(b"\0" * 2**21)
    monkeypatch.setattr(torch, "load", parse)
    assert main(["weights", "add", "other.pth"]) == 2
    assert "is not the FID Inception weights file" in one_line(capsys)


def test_a_file_that_may_not_be_read(
    small_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_ = Path.open

    def refuse(path: Path, *args: Any, **options: Any) -> Any:  # root may read everything, whatever its mode
        if path.name == "small.pth":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open_(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert main(["weights", "add", "small.pth"]) == 2
    assert one_line(capsys) == "gansweep: weights add: small.pth: Permission denied\n"
    assert in_cache(cache) == []


LIMITED = """
import resource, sys
from gansweep import weights
from gansweep.cli import main
from gansweep.metrics import inception
inception.SHA256_PREFIX = ""
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
sys.exit(main(["weights", "add", sys.argv[1]]))
"""


def test_what_cannot_be_written_whole_is_not_kept_at_all(small_file: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(b"as it was")
    done = subprocess.run([sys.executable, "-c", LIMITED, "small.pth"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"gansweep: {cache / NAME} could not be written, and nothing of it was kept: ")
    assert done.stderr.count("\n") == 1 and "File too large" in done.stderr
    assert in_cache(cache) == [NAME] and (cache / NAME).read_bytes() == b"as it was"


def test_a_disk_that_is_full_at_the_last_moment(
    small_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert main(["weights", "add", "small.pth"]) == 1
    assert "No space left on device" in one_line(capsys)
    assert in_cache(cache) == []


def test_a_cache_that_is_no_folder(
    small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert main(["weights", "add", "small.pth"]) == 1
    assert "XDG_CACHE_HOME chooses another place" in one_line(capsys)


def test_nothing_but_get_meets_the_network(
    small_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("met the network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    assert main(["weights"]) == 0
    told = capsys.readouterr().out.splitlines()[0]
    assert told.startswith("judge inception  missing") and all(way in told for way in BOTH_WAYS)
    with pytest.raises(Missing) as caught:
        InceptionJudge()
    assert caught.value.exit_code == 3 and all(way in str(caught.value) for way in BOTH_WAYS)
    assert main(["weights", "add", "small.pth"]) == 0
    capsys.readouterr()
    assert main(["weights"]) == 0
    told = capsys.readouterr().out.splitlines()[0]
    assert told.startswith("judge inception  ok") and digest(small_file) in told
