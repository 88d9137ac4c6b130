"""The house: who may import whom, how long things may be, and what may not stand in it (DESIGN: direction, budget)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "gansweep"
FILES = sorted(SRC.rglob("*.py"))

# Each room and the rooms of ours it may import; `errors` is open to all.
MAY = {
    "errors": set(),
    "system": set(),
    "losses": set(),
    "grids": set(),
    "nets": set(),
    "systems": {"system", "losses", "nets"},
    "engine": {"system"},
    "data": {"grids", "config"},
    "metrics": {"config"},
    "runs": {"config"},
}
# The heavy libraries, and the only places that may import them.
ONLY = {
    "mlflow": {"runs/mlflow.py"},
    "hydra": {"cli.py", "completion.py", "config", "sweep"},
}
LEARNT, KEPT = {"engine", "systems", "nets", "losses", "system"}, {"runs"}
MEETING = {
    "describe",
    "trust",
    "train",
    "evaluate",
    "measure",
    "loop",
    "observe",
    "assemble",
    "sample",
    "restore",
    "cli",
    "verbs",
    "together",
    "scoring",
    "judge_fit",
}


def _imports(path: Path) -> list[tuple[str, bool]]:
    """Return (module, only for type checking) of each import in a file, wherever in the file it stands."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in typing_only) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "gansweep" else [node.module]
            )
            found += [(name, id(node) in typing_only) for name in names]
    return found


def _room(path: Path) -> str:
    relative = path.relative_to(SRC)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def _rooms_used(path: Path) -> set[str]:
    used = {
        name.split(".")[1] for name, typing_only in _imports(path) if name.startswith("gansweep.") and not typing_only
    }
    return used - {_room(path), "errors"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_arrows_point_one_way(path: Path) -> None:
    room, used = _room(path), _rooms_used(path)
    if room in MAY:
        assert used <= MAY[room], f"{room} may not import {sorted(used - MAY[room])}"
    if room not in MEETING and used & LEARNT:
        assert not used & KEPT, "what is learnt and what is kept meet only in train and evaluate"


@pytest.mark.parametrize("library", ONLY)
def test_heavy_libraries_have_one_door(library: str) -> None:
    for path in FILES:
        relative = path.relative_to(SRC)
        if str(relative) in ONLY[library] or relative.parts[0] in ONLY[library]:
            continue
        names = {name.split(".")[0] for name, _ in _imports(path)}
        assert library not in names, f"{relative} imports {library}"


def test_the_engine_names_no_system() -> None:
    for path in (SRC / "engine").glob("*.py"):
        text = path.read_text()
        assert "vaegan" not in text and "gansweep.systems" not in text, path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_rooms_and_definitions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300, f"{path.name} has {len(text.splitlines())} lines"
    assert path.stem not in ("utils", "helpers", "common", "misc")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{path.name}:{node.lineno} {node.name} has {length} lines"
