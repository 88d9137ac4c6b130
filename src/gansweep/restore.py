"""A checkpoint made into networks again: for scoring and for drawing pictures, never for training on.

The checkpoint alone decides the model; a request may change only how it is looked at (judge, eval, runtime).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gansweep.assemble import differences, pick_device
from gansweep.build import build_system
from gansweep.config.explain import select, validate
from gansweep.config.request import check_threads
from gansweep.config.settings import Settings
from gansweep.data import Batches, open_data, to_uint8
from gansweep.engine.handle import evaluation_nets
from gansweep.engine.noise import Noise, mix
from gansweep.errors import Missing, RunFailed, UserError, nearest
from gansweep.metrics.judges import full_fp32
from gansweep.runs import checkpoint, store
from gansweep.runs.rundir import Run
from gansweep.system import System
from gansweep.trust import refuse_foreign_code

# What a look at a checkpoint may change; everything else is the run's own.
FREE_GROUPS = ("judge", "eval", "runtime")
# Keeps the samples' noise apart from that of training, whose seeds are small numbers too.
_SAMPLES = zlib.crc32(b"samples")

Change = Callable[[Mapping[str, Any]], Settings]


@dataclass
class Restored:
    """A checkpoint's networks in eval mode on a device, without gradients.

    `run` is the run that made the checkpoint, None when it cannot be found from here. `ema` says whether these are the
    running means of the weights.
    """

    path: Path
    run: Run | None
    run_id: str
    step: int
    settings: Settings
    system: System
    device: torch.device
    dtype: torch.dtype
    ema: bool

    def __post_init__(self) -> None:
        self.nets = evaluation_nets(self.system.nets)

    @property
    def weights(self) -> str:
        """What the networks hold, in words."""
        return "EMA weights" if self.ema else "weights as trained (no EMA)"

    def draw(self, count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
        """Yield `count` samples in batches, uint8 (B, C, H, W) on the device: the finest of the system's outputs.

        Sample i has the noise of (seed, i), drawn on the CPU: the same for every checkpoint, machine, `count` and
        `batch_size`. RunFailed when a sample is not finite.
        """
        for start in range(0, count, batch_size):
            rows = range(start, min(start + batch_size, count))
            noise = self._noise(seed, rows, draw=0)
            with full_fp32():
                images = list(self.system.sample(self.nets, _Lazy(self, rows), noise).values())[-1]
                images = self._to_uint8(images)
            yield images

    def reconstruct(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return up to `count` held-out pictures and what the system makes of them, uint8 (B, C, H, W) on the device.

        UserError when the system reconstructs nothing.
        """
        if not hasattr(self.system, "reconstruct"):
            raise UserError(
                f"{self.path}: {self.settings.model.target} has no reconstructions; leave out --reconstruct"
            )
        rows = range(min(count, len(self._held_out[1])))
        batch = self.pictures(rows)
        with full_fp32():
            outputs = self.system.reconstruct(self.nets, batch, self._noise(seed, rows, draw=1))
            return self._to_uint8(batch["image"]), self._to_uint8(list(outputs.values())[-1])

    def pictures(self, rows: range) -> Mapping[str, Tensor]:
        """Return rows of the run's held-out data (training data when nothing is held out), round and round."""
        dataset, held_out = self._held_out
        picked = held_out[[row % len(held_out) for row in rows]]
        fields = tuple(self.system.inputs)
        options: dict[str, Any] = {"normalize": self.settings.data.normalize, "fields": fields, "shuffle": False}
        return Batches(dataset, picked, len(rows), 0, **options, device=self.device, dtype=self.dtype).batch(0)

    def _noise(self, seed: int, rows: range, draw: int) -> dict[str, Tensor]:
        noise = Noise(mix(seed, _SAMPLES), "cpu", self.dtype)
        drawn: dict[str, Tensor] = {}
        for name, spec in self.system.noise.items():
            each = [noise.site(name, spec, 1, row, draw) for row in (rows if spec.batched else (0,))]
            drawn[name] = (torch.cat(each) if spec.batched else each[0]).to(self.device)
        return drawn

    @cached_property
    def _held_out(self) -> tuple[Any, Any]:
        dataset = open_data(self.settings.data, progress=self.settings.runtime.progress)
        rows = dataset.split("val")
        return dataset, rows if len(rows) else dataset.split("train")

    def _to_uint8(self, images: Tensor) -> Tensor:
        if not bool(torch.isfinite(images).all()):
            raise RunFailed(
                f"{self.path}: draws pictures that are not finite; its run went wrong before step {self.step}"
            )
        return to_uint8(images, self.settings.data.normalize)


class _Lazy(Mapping[str, Tensor]):
    """The fields that a conditional system reads while it samples; the data set is opened by the first of them."""

    def __init__(self, restored: Restored, rows: range) -> None:
        self._restored, self._rows = restored, rows

    @cached_property
    def _batch(self) -> Mapping[str, Tensor]:
        return self._restored.pictures(self._rows)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._restored.system.inputs:
            raise KeyError(name)
        return self._batch[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._restored.system.inputs)

    def __len__(self) -> int:
        return len(self._restored.system.inputs)


def restore(path: Path, run: Run | None, change: Change) -> Restored:
    """Build the networks of the checkpoint at `path` and load its weights: EMA when `eval.ema` and it has any.

    `run` is the run in whose directory it lies; the one that made it is looked up by its id. UserError for what is no
    checkpoint, is damaged, or holds another model's weights than its own config describes; Missing for a device that is
    not there.
    """
    payload = checkpoint.load(path)
    _check_payload(payload, path)
    maker = _maker(run, str(payload["run_id"]))
    refuse_foreign_code(payload["config"], maker.dir if maker is not None else None, path)
    settings = change(payload["config"])
    device = _device(settings)
    if settings.runtime.threads is not None:
        torch.set_num_threads(settings.runtime.threads)
    with torch.random.fork_rng(devices=[]):
        system = build_system(settings)
    ema = bool(settings.eval.ema and payload.get("ema"))
    _fill(system.nets, {**payload["nets"], **(payload["ema"] if ema else {})}, path, settings.model.target)
    dtype = torch.float64 if settings.runtime.precision == "fp64" else torch.float32
    for net in system.nets.values():
        net.to(device=device, dtype=dtype).requires_grad_(False)
        if settings.runtime.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Restored(path, maker, str(payload["run_id"]), int(payload["step"]), settings, system, device, dtype, ema)


def _check_payload(payload: Mapping[str, Any], path: Path) -> None:
    """Raise UserError, naming the file, for entries that are not there or not what training writes."""
    kinds: dict[str, Any] = {"run_id": str, "step": int, "config": Mapping, "nets": Mapping}
    lacking = [key for key in kinds if key not in payload]
    if lacking:
        raise UserError(f"{path}: not a checkpoint of gansweep (it has no {', '.join(lacking)})")
    wrong = [key for key, kind in kinds.items() if not isinstance(payload[key], kind)]
    states = [key for key in ("nets", "ema") if isinstance(payload.get(key), Mapping)]
    wrong += [key for key in states if not all(_is_state(state) for state in payload[key].values())]
    wrong += ["ema"] if not isinstance(payload.get("ema"), Mapping | None) else []
    if wrong:
        raise UserError(f"{path}: damaged checkpoint: its {', '.join(wrong)} cannot be what training wrote")
    try:
        validate(payload["config"], offers=False)  # nobody typed it: there is nothing to type instead
    except UserError as error:
        raise UserError(f"{path}: this version of gansweep cannot read its config: {error}") from None


def _is_state(state: object) -> bool:
    """Tell whether this is one network's weights: tensors by name, as PyTorch's state_dict has them."""
    if not isinstance(state, Mapping):
        return False
    return all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items())


def _device(settings: Settings) -> torch.device:
    if settings.eval.device is None:
        return pick_device(settings.runtime.device)
    try:
        return pick_device(settings.eval.device)
    except Missing as error:
        raise Missing(str(error).replace("runtime.device", "eval.device")) from None


def _fill(nets: Mapping[str, nn.Module], states: Mapping[str, Any], path: Path, target: str) -> None:
    if set(nets) != set(states):
        raise UserError(
            f"{path}: belongs to a different model: it holds {', '.join(states)}; {target} has {', '.join(nets)}"
        )
    for name, net in nets.items():
        difference = differences(net.state_dict(), states[name])
        if difference:
            raise UserError(f"{path}: belongs to a different model: network '{name}': {difference}")
        net.load_state_dict(states[name])


def _maker(run: Run | None, run_id: str) -> Run | None:
    """Return the run that has the checkpoint's own id: `run`, or one known here, or None (a file from elsewhere)."""
    if run is not None and run.id == run_id:
        return run
    try:
        return store.find(run_id)
    except UserError:
        return None


def recorded(config: Mapping[str, Any]) -> Settings:
    """Return the settings of a recorded config, but for what names the machine that trained: that is chosen anew."""
    settings = validate(config)
    runtime = settings.runtime.model_copy(update={"device": "auto", "threads": None})
    return settings.model_copy(update={"runtime": runtime, "eval": settings.eval.model_copy(update={"device": None})})


def changes(overrides: Sequence[str], verb: str, config_dir: str | None = None) -> Change:
    """Return the function that applies `overrides` (Hydra's grammar) to a recorded config.

    They may touch judge, eval and runtime. A group choice (judge=lite0) replaces the recorded group, a value
    (eval.n=500) that value. UserError in one line for keys that are unknown or are the checkpoint's own.
    """
    if not overrides:
        return recorded
    from gansweep.config.compose import session, user_dirs

    with session(user_dirs(config_dir)) as hydra:
        parsed = hydra.parse(overrides)
        groups: dict[str, Any] = {}
        values: list[tuple[str, Any, bool]] = []
        for override in parsed:
            key, text = override.key_or_group, str(override.input_line)
            _refuse_foreign(key, text, verb)
            if override.is_sweep_override() or override.is_delete():
                raise UserError(f"'{text}': {verb} takes one value for each key")
            if hydra.is_group(key):
                groups[key] = hydra.values(hydra.compose([text]), [text])[key]
            else:
                values.append((key, override.value(), override.is_add()))

    def change(config: Mapping[str, Any]) -> Settings:
        plain = recorded(config).model_dump(mode="json") | groups
        for key, value, new in values:
            *parents, last = key.split(".")
            node = select(plain, parents)
            if not isinstance(node, dict) or (last not in node and not new):
                raise UserError(f"{key}: no such key{nearest(last, node or ())}")
            node[last] = value
        settings = validate(plain, [key for key, _, _ in values])
        check_threads(settings)
        return settings

    return change


def _refuse_foreign(key: str, text: str, verb: str) -> None:
    group = key.partition(".")[0].partition("/")[0]
    if group in FREE_GROUPS:
        return
    if group in Settings.model_fields or group in ("experiment", "scale_down"):
        raise UserError(f"'{text}': the checkpoint decides its {group}; {verb} takes judge, eval and runtime only")
    raise UserError(f"'{text}': {verb} has no such key{nearest(group, FREE_GROUPS)}")
