"""Weights files: which one is taken, what of another one is told, and that no code in one is run."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
import torch

from gansweep.errors import Missing, UserError
from gansweep.metrics import weights as weights_room
from gansweep.metrics.weights import Weights, cache_folder, check_state_dict, find_weights, read_state_dict

NAMES = ("first.pth", "second.pth")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache_folder().mkdir(parents=True)
    return cache_folder()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_explicit_file_comes_before_the_cache_and_its_names_in_turn(cache: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "mine.pth", cache / "first.pth", cache / "second.pth"):
        path.write_bytes(path.name.encode())
    found = find_weights(str(tmp_path / "mine.pth"), NAMES, sha256(b"mine.pth")[:8], "get it")
    assert found == Weights(tmp_path / "mine.pth", sha256(b"mine.pth"))
    assert find_weights(None, NAMES, None, "get it").path == cache / "first.pth"
    (cache / "first.pth").unlink()
    (cache / "first.pth").symlink_to("nothing")
    assert find_weights(None, NAMES, None, "get it").path == cache / "second.pth"


def test_without_any_the_way_to_get_it_is_told() -> None:
    with pytest.raises(Missing, match=r"^get it$"):
        find_weights(None, NAMES, None, "get it")
    with pytest.raises(Missing, match=r"^judge\.weights=nowhere\.pth is no file; get it$"):
        find_weights("nowhere.pth", NAMES, None, "get it")


def test_another_digest_is_told_whole_beside_the_right_ones_beginning(cache: Path) -> None:
    (cache / "first.pth").write_bytes(b"another")
    with pytest.raises(UserError, match=f"its SHA-256 is {sha256(b'another')}, not 0123abcd…; "):
        find_weights(None, NAMES, "0123abcd", "get it")


def test_a_change_after_the_first_use_is_seen(cache: Path) -> None:
    (cache / "first.pth").write_bytes(b"right")
    find_weights(None, NAMES, sha256(b"right")[:8], "get it")
    (cache / "first.pth").write_bytes(b"wrong")
    with pytest.raises(UserError, match=sha256(b"wrong")):
        find_weights(None, NAMES, sha256(b"right")[:8], "get it")


def test_a_file_that_may_not_be_read_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (cache / "first.pth").touch()
    monkeypatch.setattr(weights_room, "sha256_of", refuse)
    with pytest.raises(UserError, match=r"first\.pth: Permission denied"):
        find_weights(None, NAMES, None, "get it")


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_new_and_old_torch_are_read(zipped: bool, tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3)}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert read_state_dict(Weights(tmp_path / "w.pth", ""))["a"].tolist() == [0, 1, 2]


class _Code:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_named_and_not_run(zipped: bool, tmp_path: Path) -> None:
    torch.save({"a": _Code(tmp_path / "ran")}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"^the file is no PyTorch state dict \(it holds code, posix\.mkdir, which was"):
        read_state_dict(Weights(tmp_path / "w.pth", ""), "the file")
    assert not (tmp_path / "ran").exists()


def test_the_first_difference_in_the_layouts_order_is_named() -> None:
    wanted = {"z": (2,), "b": (1,), "a": (3, 4)}
    check_state_dict({name: torch.zeros(shape) for name, shape in wanted.items()}, wanted, "it")
    check_state_dict(
        {name: torch.zeros(shape) for name, shape in wanted.items()} | {"z.num_batches_tracked": torch.tensor(1)},
        wanted,
        "it",
    )
    with pytest.raises(UserError, match=r"^it does not fit .* 2 missing \(first: z\), 1 not known \(first: c\)$"):
        check_state_dict({"c": torch.zeros(1), "a": torch.zeros(3, 4)}, wanted, "it")
    with pytest.raises(UserError, match=r"entries 2 of another shape \(first: z \(3,\) instead of \(2,\)\)$"):
        check_state_dict({"a": torch.zeros(1), "b": torch.zeros(1), "z": torch.zeros(3)}, wanted, "it")
