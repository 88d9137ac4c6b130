"""Composing many points of a sweep at little cost, with Hydra's own means.

Every file is read once. Each choice of groups is composed once; points that differ only in single keys are that
composition with their overrides applied by the function by which Hydra applies them. Whatever is out of the ordinary
is left to Hydra's own composition, as are all errors.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

CONFIG_NAME = "config"


class FilesReadOnce(ConfigRepository):
    """Hydra's view of the folders of configuration files, each file read and each folder asked for once.

    Every load gives a copy of its own: Hydra changes what it loads. Hydra copies its repository for each composition;
    the copies share what was read, until one of them is given other folders.
    """

    def __init__(self, sources: Sequence[ConfigSource]) -> None:
        self.sources = list(sources)
        self._files: dict[str, bytes] = {}
        self._found: dict[tuple[str, ObjectType | None], ConfigSource | None] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> FilesReadOnce:
        copied = FilesReadOnce(self.sources)
        copied._files, copied._found = self._files, self._found
        return copied

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Look in other folders from now on."""
        self._files, self._found = {}, {}
        super().initialize_sources(config_search_path)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return one file's content; None when there is no such file."""
        if config_path not in self._files:
            self._files[config_path] = pickle.dumps(super().load_config(config_path))
        found: ConfigResult | None = pickle.loads(self._files[config_path])
        return found

    def _find_object_source(self, config_path: str, object_type: ObjectType | None) -> ConfigSource | None:
        key = (config_path, object_type)
        if key not in self._found:
            self._found[key] = super()._find_object_source(config_path, object_type)
        return self._found[key]


@dataclass(frozen=True)
class Chosen:
    """What a choice of groups gives by itself: the composition (pickled, without Hydra's own node) and the choices."""

    pickled: bytes
    choices: dict[str, str]

    def cfg(self) -> DictConfig:
        """Return the composition, a new copy each time."""
        cfg: DictConfig = pickle.loads(self.pickled)
        return cfg


@dataclass(frozen=True)
class Point:
    """A composed point: its configuration without Hydra's own node, and the choice in each group.

    `groups` are its overrides that choose files, `keys` how many of the others there are.
    """

    cfg: DictConfig
    choices: dict[str, str]
    groups: tuple[str, ...]
    keys: int


class Composer:
    """Composes points on what each choice of groups gives, which is composed by Hydra once.

    `loader` is the open Hydra's. `composed` counts the choices of groups that were composed.
    """

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        self._loader = loader
        self._repository: ConfigRepository = loader.repository
        self._chosen: dict[tuple[str, ...], Chosen | None] = {}
        self._choices: dict[tuple[str, ...], dict[str, str]] = {}
        self.composed = 0

    def point(self, overrides: Sequence[Override]) -> Point | None:
        """Return the composition with these overrides.

        None where only Hydra itself can tell what they give, or what is wrong with them.
        """
        if any(override.is_sweep_override() or override.is_hydra_override() for override in overrides):
            return None
        groups: list[Override] = []
        keys: list[Override] = []
        for override in overrides:
            (groups if self.chooses(override) else keys).append(override)
        lines = tuple(str(override.input_line) for override in groups)
        chosen = self.groups(lines)
        if chosen is None:
            return None
        cfg = chosen.cfg()
        try:
            ConfigLoaderImpl._apply_overrides_to_config(keys, cfg)
        except Exception:  # told by the slow way
            return None
        return Point(cfg, chosen.choices, lines, len(keys))

    def choices(self, lines: tuple[str, ...]) -> dict[str, str]:
        """Return group -> choice that overrides which choose files lead to; empty where they cannot stand alone."""
        if lines not in self._choices:
            self._choices[lines] = self._find_choices(lines)
        return self._choices[lines]

    def _find_choices(self, lines: tuple[str, ...]) -> dict[str, str]:
        chosen = self._chosen.get(lines)
        if chosen is not None:
            return chosen.choices
        try:
            found = self._loader.compute_defaults_list(CONFIG_NAME, list(lines), RunMode.RUN)
        except Exception:
            return {}
        return _shown(found.overrides.known_choices)

    def chooses(self, override: Override) -> bool:
        """Say whether an override chooses files, by Hydra's rule: `scales={l1: 3}` sets keys of a group."""
        if not self._repository.group_exists(override.key_or_group):
            return False
        return not isinstance(override.value(), dict)

    def groups(self, lines: tuple[str, ...]) -> Chosen | None:
        """Return what overrides that choose files give by themselves; None where they cannot stand alone."""
        if lines not in self._chosen:
            self._chosen[lines] = self._compose(lines)
        return self._chosen[lines]

    def _compose(self, lines: Sequence[str]) -> Chosen | None:
        self.composed += 1
        try:
            cfg = compose(CONFIG_NAME, list(lines), return_hydra_config=True)
        except Exception:
            return None
        choices = choices_of(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return Chosen(pickle.dumps(cfg), choices)


def choices_of(cfg: DictConfig) -> dict[str, str]:
    """Return group -> choice of a composition that still has Hydra's own node."""
    choices = OmegaConf.to_container(cfg.hydra.runtime.choices)
    assert isinstance(choices, dict)
    return _shown(choices)


def _shown(choices: Mapping[Any, Any]) -> dict[str, str]:
    return {str(k): str(v) for k, v in choices.items() if v is not None and not str(k).startswith("hydra")}
