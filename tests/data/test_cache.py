from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gansweep.config.settings import DataSettings
from gansweep.data import open_data
from gansweep.data.cache import cache_root, clean, place_of, read_manifest
from gansweep.data.folder import Folder
from gansweep.errors import UserError

from .conftest import CONF, Draw, Settings
from .slow_reader import PATIENCE_S

COUNT = 6


@pytest.fixture
def small(settings: Settings, draw: Draw, pictures: Path) -> Callable[..., DataSettings]:
    """Settings for six pictures in a folder."""
    for number in range(COUNT):
        draw(f"{number}.png")

    def make(**changes: Any) -> DataSettings:
        return settings("folder", **{"path": str(pictures), "size": 8, **changes})

    return make


def packed(tmp_path: Path) -> list[Path]:
    """Packed sets and drafts in the cache, lock files aside."""
    cache = tmp_path / "cache"
    return sorted(path for path in cache.iterdir() if path.is_dir()) if cache.exists() else []


def test_the_second_opening_reads_what_the_first_packed(
    small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = open_data(small())
    assert capsys.readouterr() == ("", "")  # no bar where stderr is no terminal
    (place,) = packed(tmp_path)
    written = (place / "images.npy").stat().st_mtime_ns
    second = open_data(small())
    assert (place / "images.npy").stat().st_mtime_ns == written
    assert second.count == COUNT and second.size_px == 8 and second.channels == 3
    np.testing.assert_array_equal(first.images, second.images)
    assert first.fingerprint == second.fingerprint
    assert first.fields.keys() == second.fields.keys()


@pytest.mark.parametrize(
    "change",
    [
        {"flip": True}, {"normalize": "unit"}, {"val_fraction": 0.5}, {"ram_limit_mb": 0}, {"workers": 1},
        {"on_bad": "skip"}, {"max_bad_fraction": 0.5}, {"skin_tones": True},
    ],
)  # fmt: skip
def test_settings_that_leave_pixels_alone_do_not_pack_again(small: Any, tmp_path: Path, change: dict[str, Any]) -> None:
    open_data(small())
    open_data(small(**change))
    assert len(packed(tmp_path)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"size": 16}, {"channels": 1}, {"resize": "pad"}, {"resample": "box"}, {"limit": 3}, {"pad_value": 3},
        {"min_side": 2}, {"name_tags": True},
    ],
)  # fmt: skip
def test_settings_that_change_pixels_or_rows_pack_anew(small: Any, tmp_path: Path, change: dict[str, Any]) -> None:
    open_data(small())
    open_data(small(**change))
    assert len(packed(tmp_path)) == 2


def test_a_changed_file_packs_anew_and_changes_the_fingerprint(small: Any, draw: Draw, tmp_path: Path) -> None:
    before = open_data(small())
    draw("0.png", (31, 31))
    after = open_data(small())
    assert len(packed(tmp_path)) == 2
    assert before.fingerprint != after.fingerprint


def test_the_fingerprint_knows_content_not_paths(small: Any, pictures: Path, tmp_path: Path) -> None:
    before = open_data(small())
    elsewhere = tmp_path / "elsewhere" / "deep"
    shutil.copytree(pictures, elsewhere)
    for number in range(COUNT):
        (elsewhere / f"{number}.png").rename(elsewhere / f"img{number}.png")
    after = open_data(small(path=str(elsewhere)))
    assert after.fingerprint == before.fingerprint
    (elsewhere / "img0.txt").write_text("a caption")
    assert open_data(small(path=str(elsewhere))).fingerprint != before.fingerprint


def test_large_sets_are_mapped_and_small_ones_held_both_read_only(small: Any) -> None:
    mapped, held = open_data(small(ram_limit_mb=0)).images, open_data(small()).images
    assert isinstance(mapped, np.memmap) and not isinstance(held, np.memmap)
    np.testing.assert_array_equal(mapped, held)
    for images in (mapped, held):
        with pytest.raises(ValueError, match="read-only"):
            images[0] = 0


def cut(place: Path) -> None:
    with (place / "images.npy").open("r+b") as file:
        file.truncate(200)


def spoil_manifest(place: Path) -> None:
    (place / "manifest.json").write_text("{")


def lose_rows(place: Path) -> None:
    (place / "rows.jsonl").unlink()


def lie_about_shape(place: Path) -> None:
    manifest = json.loads((place / "manifest.json").read_text())
    (place / "manifest.json").write_text(json.dumps({**manifest, "shape": [5, 3, 8, 8]}))


@pytest.mark.parametrize("damage", [cut, spoil_manifest, lose_rows, lie_about_shape])
def test_a_damaged_set_is_packed_again_not_trusted(small: Any, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    whole = open_data(small())
    (place,) = packed(tmp_path)
    damage(place)
    assert read_manifest(place) is None
    again = open_data(small())
    np.testing.assert_array_equal(again.images, whole.images)
    assert packed(tmp_path) == [place]


def test_no_room_is_told_before_packing(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("gansweep.data.pack.shutil.disk_usage", lambda _: Usage)
    with pytest.raises(UserError, match=r"packing 6 pictures of 8 px needs .* MB .* 0 MB free; set data.cache_dir"):
        open_data(small())
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_folder_that_cannot_be_written_is_named(small: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"data.cache_dir: .*file/cache cannot be written"):
        open_data(small(cache_dir=str(tmp_path / "file" / "cache")))


def test_the_default_place_follows_the_user(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    assert cache_root(settings("emoji", cache_dir=None)) == Path("/some/cache/gansweep/data")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_root(settings("emoji", cache_dir=None)) == Path("/home/me/.cache/gansweep/data")


def test_an_interrupted_packing_leaves_nothing(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Folder, item: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "picture", interrupt)
        with pytest.raises(KeyboardInterrupt):
            open_data(small())
    assert list((tmp_path / "cache").iterdir()) == []
    assert open_data(small()).count == COUNT


# Real processes from here on.


class Others:
    """Starts processes that open the same set, and stops whatever is left of them."""

    def __init__(self, cfg: DataSettings, tmp_path: Path) -> None:
        self.gate, self.notes = tmp_path / "gate", tmp_path / "notes"
        values = {**cfg.model_dump(), "_target_": "slow_reader.SlowFolder"}
        self.command = [sys.executable, "-m", "slow_reader", str(CONF / "folder.yaml"), json.dumps(values)]
        folder = str(Path(__file__).parent)
        self.environment = {**os.environ, "PYTHONPATH": folder, "NOTES": str(self.notes), "GATE": str(self.gate)}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, said: Path, **more: str) -> subprocess.Popen[str]:
        environment = self.environment | more
        with said.open("w") as stderr:
            process = subprocess.Popen(self.command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)
        self.started.append(process)
        return process

    def decoded(self) -> list[str]:
        return self.notes.read_text().split() if self.notes.exists() else []


@pytest.fixture
def others(small: Any, tmp_path: Path) -> Iterator[Others]:
    them = Others(small(workers=1), tmp_path)
    yield them
    for process in them.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(reached: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


def test_of_two_processes_one_packs_and_the_other_waits(others: Others, tmp_path: Path) -> None:
    first = others.start(tmp_path / "first.err")
    until(lambda: "2.png" in others.decoded(), "the first process to be packing")
    second = others.start(tmp_path / "second.err")
    until(lambda: "waiting for it" in (tmp_path / "second.err").read_text(), "the second to say that it waits")
    others.gate.touch()
    outputs = [process.communicate(timeout=PATIENCE_S)[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert len(outputs[0].strip()) == 64 and outputs[0] == outputs[1]
    assert sorted(others.decoded()) == [f"{number}.png" for number in range(COUNT)]
    assert len(packed(tmp_path)) == 1


def test_of_two_that_wait_for_a_set_that_is_refused_one_packs(others: Others, tmp_path: Path) -> None:
    """The lock's file is removed while they wait for it; still they pack one after the other, which is once."""
    first = others.start(tmp_path / "first.err", BROKEN="yes")
    until(lambda: "2.png" in others.decoded(), "the first process to be packing")
    said = [tmp_path / "second.err", tmp_path / "third.err"]
    waiting = [others.start(path) for path in said]
    until(lambda: all("waiting for it" in path.read_text() for path in said), "the others to say that they wait")
    others.gate.touch()
    outputs = [process.communicate(timeout=PATIENCE_S)[0] for process in waiting]
    assert first.wait() == 1 and "broken" in (tmp_path / "first.err").read_text()
    assert len(outputs[0].strip()) == 64 and outputs[0] == outputs[1]
    again = others.decoded()[-COUNT:]
    assert sorted(again) == [f"{number}.png" for number in range(COUNT)]
    assert others.decoded().count("5.png") == 2  # the first's, and one of the others'
    assert len(packed(tmp_path)) == 1


def test_a_killed_packing_leaves_nothing_half_valid(others: Others, small: Any, tmp_path: Path) -> None:
    victim = others.start(tmp_path / "victim.err")
    until(lambda: "2.png" in others.decoded(), "the process to be packing")
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    (draft,) = packed(tmp_path)
    assert read_manifest(draft) is None and draft.suffix == ".packing"
    others.gate.touch()
    rescuer = others.start(tmp_path / "rescuer.err")
    assert len(rescuer.communicate(timeout=PATIENCE_S)[0].strip()) == 64
    (place,) = packed(tmp_path)
    assert read_manifest(place) is not None and place.suffix == ""


def test_cleaning_spares_the_draft_of_a_living_process(others: Others, small: Any, tmp_path: Path) -> None:
    process = others.start(tmp_path / "living.err")
    until(lambda: "2.png" in others.decoded(), "the process to be packing")
    (draft,) = packed(tmp_path)
    open_data(small(limit=2))  # another key: packing it cleans up first
    assert draft.is_dir()
    process.kill()
    process.wait()
    assert clean(tmp_path / "cache") == [draft]
    (kept,) = packed(tmp_path)
    assert kept == place_of(Folder(small(limit=2)))
    assert {path.name for path in (tmp_path / "cache").glob("*.lock")} <= {f"{kept.name}.lock"}
