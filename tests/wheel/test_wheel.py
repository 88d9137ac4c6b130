"""The wheel, built, installed beside nothing of the checkout, and used from another directory as a user would."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 300.0
# Python is started without site-packages' .pth files (-S): one of them puts the checkout's src on the path.
WHERE = "import gansweep, hydra_plugins.gansweep as p; print(gansweep.__file__); print(p.__file__)"
MINE = {
    "model": "# @package _global_\ndefaults:\n  - /model/vae@_global_\n  - _self_\nmodel:\n  latent: 5\n",
    "scales": "defaults:\n  - vae\n  - _self_\nl1: 7.0\n",
    "schedule": "defaults:\n  - vae\n  - _self_\n",
}


def run(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def built(folder: Path) -> Path:
    """Build the wheel from a copy of what it is made of, so that nothing is written into the checkout."""
    source = folder / "source"
    source.mkdir()
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)], folder)
    shutil.rmtree(source)
    (wheel,) = folder.glob("*.whl")
    return wheel


class Installed:
    """The wheel's contents in a folder, and the gansweep command that runs from there."""

    def __init__(self, wheel: Path, target: Path) -> None:
        self.target = target
        pip = ["pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
        run([sys.executable, "-m", *pip, "--target", str(target), str(wheel)], target.parent)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV_", "PYTEST"))}
        path = os.pathsep.join([str(target), sysconfig.get_paths()["purelib"]])
        self.env = {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    def python(self, words: list[str], cwd: Path) -> str:
        return run([sys.executable, "-S", *words], cwd, self.env).stdout

    def gansweep(self, words: list[str], cwd: Path) -> str:
        return self.python(["-m", "gansweep", *words], cwd)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"))


def write_groups(folder: Path, name: str) -> None:
    for group, text in MINE.items():
        file = folder / group / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text)


@pytest.mark.slow
def test_conf_and_modules_are_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    for folder, inside in ((ROOT / "conf", "gansweep/conf/"), (ROOT / "src", "")):
        files = [file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        expected = {f"{inside}{file.relative_to(folder)}": file.read_bytes() for file in files}
        assert {name: held.get(name) for name in expected} == expected
    shipped = {name for name in held if name.startswith("gansweep/conf/")}
    assert shipped == {f"gansweep/conf/{f.relative_to(ROOT / 'conf')}" for f in (ROOT / "conf").rglob("*.*")}


@pytest.mark.slow
def test_the_installed_wheel_trains_and_sweeps_with_a_users_own_groups(
    wheel: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    target, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    installed = Installed(wheel, target)
    places = installed.python(["-c", WHERE], here).split()
    assert places == [str(target / "gansweep/__init__.py"), str(target / "hydra_plugins/gansweep/__init__.py")]
    assert str(ROOT / "src") not in installed.python(["-c", "import sys; print(sys.path)"], here)

    composed = installed.gansweep(["train", "--cfg", "job"], here)
    assert "gansweep.systems.vaegan.VaeGan" in composed and list(here.iterdir()) == []
    found = installed.gansweep(["train", "--info", "searchpath"], here)
    assert str(target / "gansweep/conf") in found and str(ROOT / "conf") not in found

    write_groups(here / "conf", "mine")
    own = [word for word in small_overrides if not word.startswith("model.latent")]
    short = [*own, "steps=2", "log_every=1", "sample_every=0", "val_every=0", "checkpoint_every=0"]
    said = installed.gansweep(["train", "model=mine", *short], here)
    assert said.startswith("FINISHED: ")
    (record,) = here.glob("outputs/*/*/run.json")
    config = (record.parent / "config.yaml").read_text()
    assert json.loads(record.read_text())["status"] == "FINISHED"
    assert "latent: 5" in config and "l1: 7.0" in config

    elsewhere = tmp_path / "elsewhere"
    write_groups(elsewhere, "theirs")
    composed = installed.gansweep(["train", "--config-dir", str(elsewhere), "model=theirs", "--cfg", "job"], here)
    assert "latent: 5" in composed and "l1: 7.0" in composed

    installed.gansweep(["-m", "model=mine", "seed=1,2", *short], here)
    with next(here.glob("multirun/*/*/jobs.csv")).open() as table:
        assert [row["status"] for row in csv.DictReader(table)] == ["FINISHED", "FINISHED"]
