"""What a sweep's jobs run is what was there when it was started: each point's settings, and the code, copied.

A job that starts an hour later reads nothing that could have been edited since: neither conf/, nor gansweep's own
files, nor the user's modules that settings name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import gansweep
from gansweep.config import conf_dir
from gansweep.config.explain import validate
from gansweep.config.settings import Settings
from gansweep.errors import UserError
from gansweep.runs.rundir import write_json

POINTS_DIR, CODE_DIR, CONF_DIR, ORIGIN_FILE = "points", "code", "conf", "origin.json"
FIRST = "first"
# What is larger in a user's package is data, which is not copied; so is what tools leave.
_FILE_MOST_BYTES = 5 * 2**20
_OF_TOOLS = ("__pycache__", ".git", ".venv", "node_modules", "outputs", "multirun", "mlruns")


def _left_out(folder: str, names: list[str]) -> list[str]:
    """Return which of a folder's entries are not copied."""
    found = []
    for name in names:
        path = Path(folder) / name
        of_tools = name in _OF_TOOLS and not (path / "__init__.py").is_file()
        odd = name.startswith(".#") or name.endswith((".pyc", ".pyo")) or not path.exists()  # dangling links
        if of_tools or odd or (path.is_file() and path.stat().st_size > _FILE_MOST_BYTES):
            found.append(name)
    return found


def freeze_points(directory: Path, points: Mapping[int | str, Settings]) -> None:
    """Write the settings of each point, by job number, into the sweep's directory; FIRST: what a search began with."""
    folder = directory / POINTS_DIR
    folder.mkdir(exist_ok=True)
    for job, settings in points.items():
        text = json.dumps(settings.model_dump(mode="json"), ensure_ascii=False)
        (folder / f"{job}.json").write_text(text + "\n", encoding="utf-8")


def frozen_conf(directory: Path) -> tuple[Path, list[Path]]:
    """Return the copies of the shipped conf/ and of the user's own folders that a sweep was started with."""
    return directory / CODE_DIR / "gansweep" / "conf", sorted((directory / CONF_DIR).glob("*"))


def frozen_point(directory: Path, job: int | str) -> Settings:
    """Return the settings of one point; UserError when they are not there or cannot be read."""
    path = directory / POINTS_DIR / f"{job}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: cannot be read (no settings)")
    try:
        return validate(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def refuse_incomplete(directory: Path) -> None:
    """Raise UserError for a sweep whose frozen code is not there: its jobs would run today's without a word."""
    for path in (directory / CODE_DIR / "gansweep" / "__init__.py", directory / ORIGIN_FILE):
        if not path.is_file():
            raise UserError(f"{path}: is gone, and with it what this sweep was started with; start it anew")
    if os.pathsep in str(directory):
        raise UserError(f"{directory}: a sweep's directory has no {os.pathsep} in its path: its code is found by that")


def freeze_code(directory: Path, conf_dirs: Sequence[Path] = ()) -> None:
    """Copy gansweep, its conf/, the user's `conf_dirs` and loaded modules into the sweep's directory.

    To be called once every job was checked: what settings name is imported then. What was there in git (commits,
    uncommitted changes) is kept beside it, for the runs' record.
    """
    from gansweep.runs.provenance import collect

    target = directory / CODE_DIR
    shutil.copytree(Path(gansweep.__file__).parent, target / "gansweep", ignore=_left_out)
    shutil.copytree(conf_dir(), target / "gansweep" / "conf", dirs_exist_ok=True, ignore=_left_out)
    for number, folder in enumerate(conf_dirs):
        shutil.copytree(folder, directory / CONF_DIR / str(number), ignore=_left_out)
    users: dict[str, Path] = {}
    for source, place in _users_own():
        where = target / place
        where.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, where, ignore=_left_out, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, where)
        users |= {name: path for name, path in _files(source, place).items() if path.suffix == ".py"}
    sources = {place: str(path.absolute()) for place, path in users.items()}
    code = [asdict(code) for code in collect().code]
    write_json(directory / ORIGIN_FILE, {"code": code, "digests": _digests(_ours() | users), "sources": sources})


def changed_since(directory: Path) -> list[str]:
    """Return which files differ today from those that the sweep in `directory` was started with; sorted, as copied.

    Of gansweep also those that it has gained or lost; of the user's modules those that were copied.
    """
    try:
        origin = json.loads((directory / ORIGIN_FILE).read_text(encoding="utf-8"))
        then, sources = origin["digests"], origin["sources"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    now = _digests(_ours())
    for place, source in sources.items():
        path = Path(source)
        now[place] = _digest(path) if path.is_file() else "gone"
    return sorted(name for name in {*then, *now} if then.get(name) != now.get(name))


def _ours() -> dict[str, Path]:
    """Return gansweep's own files by the place where they are copied to."""
    package = Path(gansweep.__file__).parent
    return {**_files(package, Path("gansweep")), **_files(conf_dir(), Path("gansweep/conf"))}


def _files(source: Path, place: Path) -> dict[str, Path]:
    if source.is_file():
        return {str(place): source}
    found: dict[str, Path] = {}
    for folder, folders, names in os.walk(source):
        out = set(_left_out(folder, [*folders, *names]))
        folders[:] = [name for name in folders if name not in out]
        for name in names:
            if name not in out:
                path = Path(folder) / name
                found[str(place / path.relative_to(source))] = path
    return found


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    return {place: _digest(path) for place, path in files.items()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _users_own() -> Iterator[tuple[Path, Path]]:
    """Yield file or package folder, and where it goes, of loaded modules that neither Python nor a package manager has.

    A module keeps its path below the entry of sys.path that it was found in.
    """
    installed = [Path(entry).resolve() for entry in {*sysconfig.get_paths().values(), *_site_folders()} if entry]
    ours = Path(gansweep.__file__).resolve().parent
    found: dict[Path, Path] = {}
    for module in list(sys.modules.values()):
        origin = getattr(module, "__file__", None)
        if not origin or not origin.endswith(".py") or module.__name__ == "__main__" or not Path(origin).is_file():
            continue  # a file that is not there: torch has modules that only pretend to have one
        file = Path(origin).resolve()
        if file.is_relative_to(ours) or any(file.is_relative_to(folder) for folder in installed):
            continue
        if any("site-packages" in part or "dist-packages" in part for part in file.parts):
            continue
        top = module.__name__.partition(".")[0]
        depth = module.__name__.count(".") + (file.name == "__init__.py")
        root = file.parents[depth] if depth < len(file.parents) else file.parent
        package = root / top
        if (package / "__init__.py").is_file():
            found[package] = Path(top)
        else:
            found[file] = file.relative_to(root)
    yield from sorted(found.items())


def _site_folders() -> list[str]:
    return [*site.getsitepackages(), site.getusersitepackages(), os.path.dirname(os.__file__)]
