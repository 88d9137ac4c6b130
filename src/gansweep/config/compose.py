"""Composing a request with Hydra in the parent process: overrides in, checked settings out, errors told in one line.

Nothing is created on disk here. Hydra composes the same request again when it runs it; by then it is known to be right.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from gansweep.config import conf_dir, told
from gansweep.config.explain import select, validate
from gansweep.config.listed import refuse_too_many
from gansweep.config.many import CONFIG_NAME, Composer, FilesReadOnce, choices_of
from gansweep.config.naming import run_name
from gansweep.config.request import check_request
from gansweep.config.settings import Settings
from gansweep.errors import UserError, nearest

_OPEN = tuple(f"{table}{mark}" for table in ("schedule.curves", "terms", "data.args") for mark in ".=")
_MAY_LACK = ("experiment", "scale_down")
_OURS = {"launcher": ("pool", "slurm", "ray"), "sweeper": ("gansweep", "search")}
_PATHS = ("data.path", "data.cache_dir", "judge.weights", "model.warm_start.from")


@dataclass(frozen=True)
class Job:
    """One run that a request asks for: its number, its own overrides, its name and its checked settings."""

    number: int
    overrides: tuple[str, ...]
    name: str
    settings: Settings


def user_dirs(config_dir: str | None = None, cwd: Path | None = None) -> list[Path]:
    """Return the folders that add groups to the shipped ones: `--config-dir` first, then conf/ where the user stands.

    Raises UserError when `config_dir` is not a folder.
    """
    found: list[Path] = []
    if config_dir is not None:
        if not Path(config_dir).expanduser().is_dir():
            raise UserError(f"--config-dir {config_dir}: no such folder")
        found.append(Path(config_dir).expanduser().resolve())
    own = (cwd or Path.cwd()) / "conf"
    if own.is_dir() and own.resolve() != conf_dir().resolve():
        found.append(own.resolve())
    return found


def shadowed(dirs: Sequence[Path]) -> list[Path]:
    """Return the user's group files that are never read, because the shipped conf/ has a file of that name."""
    files = [(folder, file.relative_to(folder)) for folder in dirs for file in sorted(folder.rglob("*.yaml"))]
    return [folder / name for folder, name in files if len(name.parts) > 1 and (conf_dir() / name).is_file()]


def quoted(argument: str) -> str:
    """Return an override with its value quoted where the shell's plain text would be read as Hydra's grammar.

    That is the free text of `note`, and the path of a file or folder that is there.
    """
    key, equals, value = argument.partition("=")
    if not equals or not value or value[0] in "'\"" or not set(value) & set(",=(){}[]:'\" #~"):
        return argument
    # Hydra's grammar has no ~; a path from home is one word all the same.
    home = value[0] == "~" and key in _PATHS and not set(value) & set(",(){}[]'\"")
    if key == "note" or home or (value[0] in "~/." and Path(value).expanduser().exists()):
        return f"{key}='" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return argument


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a composed configuration as plain containers, interpolations resolved, without Hydra's own node."""
    if "hydra" in cfg:
        cfg = cfg.copy()
        with open_dict(cfg):
            del cfg["hydra"]
    values: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    for dotted in _PATHS:
        *parents, last = dotted.split(".")
        node, value = select(values, parents), select(values, dotted.split("."))
        # A run id stays a run id; what is a path must mean the same from another directory tomorrow.
        if isinstance(value, str) and value and (last != "from" or Path(value).expanduser().exists()):
            node[last] = str(Path(value).expanduser().absolute())
    return values


def to_settings(cfg: DictConfig, name: str | None = None) -> Settings:
    """Check a composed configuration; `name` fills the run's name where the user gave none."""
    settings = validate(plain(cfg))
    return settings if settings.name is not None or name is None else settings.model_copy(update={"name": name})


class Session:
    """Hydra, initialised on the shipped conf/ and the user's own folders, for as long as `session()` is open."""

    def __init__(self, dirs: Sequence[Path]) -> None:
        loader: Any = GlobalHydra.instance().config_loader()
        for folder in dirs:
            loader.config_search_path.prepend("user", f"file://{folder}", anchor="schema")
        loader.repository.initialize_sources(loader.config_search_path)
        self.loader = loader
        self._read = lru_cache(maxsize=4096)(OverridesParser.create(config_loader=loader).parse_override)
        self._look_anew()

    def _look_anew(self) -> None:
        """Forget what was read of the files: they may be others by the next request."""
        self.loader.repository = FilesReadOnce(self.loader.repository.sources)
        self.many = Composer(self.loader)
        self._base = lru_cache(maxsize=1024)(self._values_of_groups)
        self._groups_in = lru_cache(maxsize=None)(self.loader.list_groups)

    def groups(self) -> list[str]:
        """Return the names of the groups at the top."""
        return [name for name in self._groups_in("") if name != "hydra"]

    def options(self, group: str) -> list[str]:
        """Return the choices of one group, those in its sub-folders included: `vaegan/test1`."""
        below = [
            f"{folder}/{name}"
            for folder in self.loader.list_groups(group)
            for name in self.options(f"{group}/{folder}")
        ]
        return [*self.loader.get_group_options(group), *below]

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Parse overrides. Raises UserError."""
        parsed: list[Override] = []
        for text in overrides:
            try:
                override = self._read(quoted(text))
            except Exception:
                raise UserError(told.unreadable(text)) from None
            if not override.key_or_group:
                raise UserError(told.unreadable(text))
            parsed.append(override)
        return parsed

    def normal(self, overrides: Sequence[str]) -> list[str]:
        """Return the overrides as Hydra is to get them: quoted where needed, and with + where there is no default.

        A key inside a table that is the user's to fill (curves, own losses) is new by nature; it needs no plus.
        """
        parsed = self.parse(overrides)
        for override in parsed:
            group = override.key_or_group
            if override.is_delete() and self.is_group(group) and group not in _MAY_LACK:
                raise UserError(f"~{group}: every run has one; choose with {group}=…{nearest('', self.options(group))}")
        lines = [str(override.input_line) for override in parsed]
        return [
            f"+{line}" if line.startswith("scale_down=") else f"++{line}" if line.startswith(_OPEN) else line
            for line in lines
        ]

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Compose; raises UserError in one line for whatever is wrong."""
        try:
            return compose(CONFIG_NAME, list(overrides), return_hydra_config=True)
        except Exception as error:
            raise UserError(told.composition(error, overrides, self)) from None

    def values(self, cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
        """Return the plain values of a composed configuration; raises UserError for what cannot be resolved."""
        try:
            return plain(cfg)
        except Exception as error:
            raise UserError(told.composition(error, overrides, self)) from None

    def raw(self, overrides: Sequence[str]) -> dict[str, Any] | None:
        """Compose quietly, for suggestions: None when that fails too."""
        try:
            return plain(compose(CONFIG_NAME, list(overrides)))
        except Exception:
            return None

    def is_group(self, key: str) -> bool:
        """Tell whether an override's key names a group of files rather than one value."""
        parent, _, name = key.partition("@")[0].rpartition("/")
        return name in self._groups_in(parent)

    def job(self, number: int, overrides: Sequence[str], swept: Collection[str] = ()) -> Job:
        """Compose and check one job; the keys that its sweep varies (`swept`) stand in its name. Raises UserError."""
        parsed = self.parse(overrides)
        values, choices = self._composed(overrides)
        settings = validate(values, [override.key_or_group for override in parsed])
        check_request(settings)
        if settings.name is not None:
            return Job(number, tuple(overrides), settings.name, settings)
        # `scales={l1: 3}` sets keys of the group, it chooses none.
        chosen = [p for p in parsed if self.is_group(p.key_or_group) and not isinstance(p.value(), dict)]
        groups = tuple(str(p.input_line) for p in chosen)
        heads = tuple(line for line in groups if line.partition("=")[0] in ("experiment", "model"))
        name = run_name(parsed, values, self._base(groups), choices, self.many.choices(heads), swept)
        return Job(number, tuple(overrides), name, settings.model_copy(update={"name": name}))

    def _composed(self, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """Return one job's plain values and choices: the fast way, or Hydra's own wherever that will not do."""
        try:
            point = self.many.point([self._read(line) for line in overrides])
            if point is not None:
                known = {} if point.keys else self._base(point.groups)
                return known or plain(point.cfg), point.choices
        except Exception:  # told of in what follows
            pass
        cfg = self.compose(overrides)
        return self.values(cfg, overrides), choices_of(cfg)

    def _values_of_groups(self, groups: tuple[str, ...]) -> dict[str, Any]:
        """Return the values that group choices give by themselves; empty where they cannot stand alone."""
        try:
            chosen = self.many.groups(groups)
            return {} if chosen is None else plain(chosen.cfg())
        except Exception:
            return {}

    def expand(self, overrides: Sequence[str]) -> list[list[str]]:
        """Return the overrides of every job of a sweep, in the order in which Hydra's sweeper numbers them."""
        parsed = self.parse(overrides)
        params = self._sweeper_params(parsed)
        refuse_too_many([*params, *parsed])
        return BasicSweeper.split_arguments([*params, *parsed], None)[0]

    def _sweeper_params(self, parsed: list[Override]) -> list[Override]:
        """Return what `hydra.sweeper.params` of a config file sweeps over, before the command line's own."""
        fixed = [p.input_line or "" for p in parsed if not p.is_sweep_override()]
        cfg = self.compose(fixed)
        params = OmegaConf.select(cfg, "hydra.sweeper.params") or {}
        if not isinstance(params, Mapping | DictConfig):
            raise UserError(f"hydra.sweeper.params={params!r}: keys with values, as in {{scales.l1: '100,600'}}")
        return self.parse([f"{key}={value}" for key, value in params.items()])

    def plugin(self, name: str, overrides: Sequence[str]) -> dict[str, Any]:
        """Return the keys that hydra/launcher or hydra/sweeper (`name`) has with these overrides. Raises UserError."""
        fixed = [p.input_line or "" for p in self.parse(overrides) if not p.is_sweep_override()]
        chosen = OmegaConf.select(self.compose(fixed), f"hydra.{name}")
        found = OmegaConf.to_container(chosen, resolve=True) if isinstance(chosen, DictConfig) else None
        if not isinstance(found, dict) or not str(found.get("_target_")).startswith("hydra_plugins.gansweep."):
            raise UserError(f"hydra/{name}: none of gansweep's{nearest('', _OURS[name])}, as in hydra/{name}=…")
        return {str(key): value for key, value in found.items()}

    def jobs(self, overrides: Sequence[str], multirun: bool) -> list[Job]:
        """Compose and check everything a request asks for, before anything starts. Raises UserError."""
        self._look_anew()
        normal = self.normal(overrides)
        if not multirun:
            return [self.job(0, normal)]
        found: list[Job] = []
        expanded = self.expand(normal)
        varied = {line.lstrip("+").partition("=")[0] for own in expanded for line in own if line not in expanded[0]}
        for number, own in enumerate(expanded):
            try:
                found.append(self.job(number, [line for line in own if not line.startswith("hydra")], varied))
            except UserError as error:
                raise type(error)(told.job_prefix(number, own, expanded) + str(error)) from None
        _refuse_twins(found)
        return found


def _refuse_twins(jobs: Sequence[Job]) -> None:
    """Raise UserError when two jobs of a sweep would be the same run twice."""
    first: dict[str, Job] = {}
    for job in jobs:
        twin = first.setdefault(job.settings.model_dump_json(), job)
        if twin is not job:
            same = " ".join(job.overrides)
            raise UserError(f"jobs {twin.number} and {job.number} are the same run ({same}); give each value once")


@contextlib.contextmanager
def session(dirs: Sequence[Path] = (), shipped: Path | None = None) -> Iterator[Session]:
    """Open Hydra on the shipped conf/ (or a copy) and `dirs`; always closes it, so that hydra.main can open its own."""
    GlobalHydra.instance().clear()
    setup_globals()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(shipped or conf_dir()), job_name="gansweep"):
            yield Session(dirs)
    finally:
        GlobalHydra.instance().clear()


def search_override(dirs: Sequence[Path]) -> list[str]:
    """Return the override that adds the user's folders, behind the shipped ones, under hydra.main; none for none."""
    if not dirs:
        return []
    listed = ",".join("'file://" + str(folder).replace("'", "\\'") + "'" for folder in dirs)
    return [f"hydra.searchpath=[{listed}]"]
