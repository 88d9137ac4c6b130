"""Checkpoint files: whole or absent, and never code."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from gansweep.errors import RunFailed, UserError
from gansweep.runs import checkpoint
from gansweep.runs.checkpoint import Keeper
from runs.run_setup import checkpoint_settings, wait_until


def payload(step: int = 0, **more: Any) -> dict[str, Any]:
    return {"format": 1, "step": step, "nets": {"dec": {"w": torch.arange(6.0)}}, **more}


def one_line(error: pytest.ExceptionInfo[UserError], *parts: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert error.value.exit_code == 2
    for part in parts:
        assert part in text


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.pt"
    original = payload(7, best={"value": 0.1}, counters={"dis": [1, 2]}, ema=None)
    checkpoint.save(path, original)
    loaded = checkpoint.load(path)
    assert torch.equal(loaded["nets"]["dec"].pop("w"), original["nets"]["dec"]["w"])
    assert loaded == original | {"nets": {"dec": {}}}
    assert [p.name for p in path.parent.iterdir()] == ["a.pt"]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        checkpoint.load(tmp_path / "none.pt")
    one_line(error, "none.pt", "no such")


@pytest.mark.parametrize("content", [b"just some text", pickle.dumps({"format": 1})])
def test_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        checkpoint.load(path)
    one_line(error, "not a checkpoint")


def test_a_zip_of_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("picture.png", b"x")
    with pytest.raises(UserError) as error:
        checkpoint.load(path)
    one_line(error, "not a checkpoint")


def test_a_torch_file_that_is_not_ours_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "a.pt")
    with pytest.raises(UserError) as error:
        checkpoint.load(tmp_path / "a.pt")
    one_line(error, "not a checkpoint of gansweep")


def test_a_later_format_is_said(tmp_path: Path) -> None:
    torch.save({"format": 2}, tmp_path / "a.pt")
    with pytest.raises(UserError) as error:
        checkpoint.load(tmp_path / "a.pt")
    one_line(error, "format 2", "format 1")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, payload(big=torch.randn(5000)))
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(UserError) as error:
        checkpoint.load(path)
    one_line(error, "truncated")


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    weights = torch.full((5000,), 1.0)
    checkpoint.save(path, payload(big=weights))
    content = bytearray(path.read_bytes())
    content[content.index(weights.numpy().tobytes()) + 4000] ^= 0x01
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["big"], weights)  # torch itself takes it
    with pytest.raises(UserError) as error:
        checkpoint.load(path)
    one_line(error, "a.pt", "damaged", "checksum")


def test_a_full_disk_behind_torch_s_own_words_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*_: object) -> None:
        try:
            raise OSError(28, "No space left on device")
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(RunFailed, match=r"disk full: 2 MiB needed, [\d.]+ [MG]iB free") as error:
        checkpoint.save(tmp_path / "a.pt", {"w": torch.zeros(2**19)})
    assert "inline_container" not in str(error.value)


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch $GANSWEEP_TEST_MARK",))


def test_code_is_refused_and_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "executed"
    monkeypatch.setenv("GANSWEEP_TEST_MARK", str(mark))
    torch.save(payload(evil=_Runs()), tmp_path / "a.pt")
    with pytest.raises(UserError) as error:
        checkpoint.load(tmp_path / "a.pt")
    one_line(error, "holds code", "posix.system", "refused")
    assert not mark.exists()


def test_a_kill_while_saving_leaves_the_old_file_whole(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path; from gansweep.runs.checkpoint import save\n"
        "n = 0\n"
        "while True:\n"
        "    save(Path(sys.argv[1]), {'format': 1, 'step': n, 'w': torch.full((3_000_000,), float(n))}); n += 1\n"
    )
    path = tmp_path / "last.pt"
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as process:
        wait_until(lambda: path.exists() and any(tmp_path.glob(".last.pt.*.tmp")), "a save in progress")
        process.send_signal(signal.SIGKILL)
    loaded = checkpoint.load(path)
    assert bool((loaded["w"] == loaded["step"]).all())


def test_a_file_is_replaced_never_changed(tmp_path: Path) -> None:
    # Hard links (last.pt, the tracker's artifacts) and readers rest on it.
    path = tmp_path / "a.pt"
    checkpoint.save(path, payload(1))
    os.link(path, tmp_path / "link.pt")
    checkpoint.save(path, payload(2))
    assert [checkpoint.load(tmp_path / name)["step"] for name in ("link.pt", "a.pt")] == [1, 2]


def test_a_disk_that_refuses_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    checkpoint.save(tmp_path / "a.pt", payload(1))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailed, match=r"a\.pt could not be written: disk full: .* needed, .* free"):
        checkpoint.save(tmp_path / "a.pt", payload(2))
    assert checkpoint.load(tmp_path / "a.pt")["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_payload_bytes_counts_tensors_also_on_meta() -> None:
    tensors = {"a": torch.zeros(10, device="meta"), "b": [torch.zeros(3, dtype=torch.int64), {"c": 1.0}], "d": None}
    assert checkpoint.payload_bytes(tensors) == 40 + 24


def test_room_is_checked_on_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    checkpoint.check_room(tmp_path / "not" / "yet", 1, "hydra.run.dir")
    with pytest.raises(UserError) as error:
        checkpoint.check_room(tmp_path / "not" / "yet", 2**60, "hydra.run.dir")
    one_line(error, "no room", "1073741824.0 GiB needed", "hydra.run.dir=DIR")
    assert not (tmp_path / "not").exists()


def test_the_newest_step_files_stay_and_last_is_the_newest(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, checkpoint_settings(keep=2))
    removed = [keeper.save(payload(step), step).removed for step in (1000, 2000, 10000, 20000)]
    assert [p.name for p in keeper.step_files()] == ["step-00010000.pt", "step-00020000.pt"]
    assert [[p.name for p in paths] for paths in removed] == [[], [], ["step-00001000.pt"], ["step-00002000.pt"]]
    assert checkpoint.load(tmp_path / "last.pt")["step"] == 20000
    assert (tmp_path / "last.pt").samefile(tmp_path / "step-00020000.pt")


def test_saving_one_step_twice_leaves_no_litter(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, checkpoint_settings())
    keeper.save(payload(5), 5)
    keeper.save(payload(5), 5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "step-00000005.pt"]


def test_last_is_a_copy_where_links_are_not_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    keeper = Keeper(tmp_path, checkpoint_settings(keep=1))
    keeper.save(payload(1), 1)
    written = keeper.save(payload(2), 2).written
    assert [p.name for p in written] == ["step-00000002.pt", "last.pt"]
    assert checkpoint.load(tmp_path / "last.pt")["step"] == 2


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 3)])
def test_best_is_the_step_with_the_best_value(tmp_path: Path, mode: str, best: int) -> None:
    keeper = Keeper(tmp_path, checkpoint_settings(keep=1, best_by="val/l1", best_mode=mode))
    for step, value in [(1, 5.0), (2, 3.0), (3, 6.0), (4, float("nan")), (5, 4.0)]:
        keeper.save(payload(step), step, {"val/l1": value})
    assert checkpoint.load(tmp_path / "best.pt")["step"] == best
    assert checkpoint.load(tmp_path / "last.pt")["best"]["step"] == best


def test_between_checkpoints_only_an_improvement_is_written(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, checkpoint_settings(best_by="val/l1"))
    first = keeper.save(payload(10), 10, {"val/l1": 2.0}, best_only=True)
    second = keeper.save(payload(20), 20, {"val/l1": 2.0}, best_only=True)
    assert ([p.name for p in first.written], second.written) == (["best.pt"], [])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pt"]


def test_a_resumed_keeper_knows_the_best_so_far(tmp_path: Path) -> None:
    settings = checkpoint_settings(best_by="val/l1")
    Keeper(tmp_path, settings).save(payload(1), 1, {"val/l1": 1.0})
    resumed = Keeper(tmp_path, settings)
    resumed.load_state_dict(checkpoint.load(tmp_path / "last.pt")["best"])
    assert not resumed.improves({"val/l1": 1.5})
    assert resumed.improves({"val/l1": 0.5})


def test_an_unknown_best_by_names_the_nearest() -> None:
    keeper = Keeper(Path("x"), checkpoint_settings(best_by="val/l2"))
    with pytest.raises(UserError, match=r"best_by=val/l2.*did you mean 'val/l1'"):
        keeper.check_names(["val/l1", "val/kld"])
