"""A checkpoint made into networks again: for scoring and for drawing pictures, never for training on.

The checkpoint alone decides the model; a request may change only how it is looked at (judge, eval, runtime).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gansweep.arithmetic import keep_freed_memory
from gansweep.assemble import differences, pick_device
from gansweep.build import build_system
from gansweep.config.explain import select, validate
from gansweep.config.request import check_threads
from gansweep.config.settings import Settings
from gansweep.drawing import Drawer
from gansweep.engine.distributed import World
from gansweep.engine.handle import evaluation_nets
from gansweep.errors import Missing, UserError, nearest
from gansweep.runs import checkpoint, store
from gansweep.runs.rundir import Run
from gansweep.system import System
from gansweep.trust import refuse_foreign_code

# What a look at a checkpoint may change; everything else is the run's own.
FREE_GROUPS = ("judge", "eval", "runtime")
Change = Callable[[Mapping[str, Any]], Settings]


@dataclass
class Restored:
    """A checkpoint's networks on a device, without gradients, in eval mode unless `eval.mode=train` was asked for.

    `run` is the run that made the checkpoint, None when it cannot be found from here. `data` identifies the data it was
    trained on. `ema` says whether these are the running means of the weights.
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
    data: Mapping[str, str]

    def __post_init__(self) -> None:
        training = self.settings.eval.mode == "train"
        self.nets = evaluation_nets(self.system.nets)
        if training:
            for net in self.system.nets.values():
                net.train()
        where = f"{self.path} (step {self.step})"
        self.drawer = Drawer(self.system, self.settings, self.nets, self.device, self.dtype, where, training=training)

    @property
    def weights(self) -> str:
        """What the networks hold, in words."""
        return "EMA weights" if self.ema else "weights as trained (no EMA)"

    def draw(self, count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
        """Yield `count` samples in batches, uint8 (B, C, H, W) on the device: the finest of the system's outputs."""
        return self.drawer.stream(count, batch_size, seed)

    def reconstruct(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return up to `count` held-out pictures and what the system makes of them, uint8 (B, C, H, W) on the device.

        UserError when the system reconstructs nothing.
        """
        if not hasattr(self.system, "reconstruct"):
            raise UserError(
                f"{self.path}: {self.settings.model.target} has no reconstructions; leave out --reconstruct"
            )
        pairs = self.drawer.reconstructions(range(min(count, len(self.drawer.held_out[1]))), seed)
        self.drawer.refuse_nonfinite()
        return pairs


def restore(path: Path, run: Run | None, change: Change, place: World | None = None) -> Restored:
    """Build the networks of the checkpoint at `path` and load its weights: EMA when `eval.ema` and it has any.

    `run` is the run in whose directory it lies; the one that made it is looked up by its id. UserError for what is no
    checkpoint, is damaged, or holds another model's weights than its own config describes; Missing for a device that is
    not there. `place`: this process among several, each of which takes its own GPU.
    """
    payload = checkpoint.load(path)
    _check_payload(payload, path)
    maker = _maker(run, str(payload["run_id"]))
    refuse_foreign_code(payload["config"], maker.dir if maker is not None else None, path)
    settings = change(payload["config"])
    device = (place or World()).device(_device(settings))
    if settings.runtime.threads is not None:
        torch.set_num_threads(settings.runtime.threads)
    keep_freed_memory()
    with torch.random.fork_rng(devices=[]):
        system = build_system(settings)
    ema = bool(settings.eval.ema and payload.get("ema"))
    _fill(system.nets, {**payload["nets"], **(payload["ema"] if ema else {})}, path, settings.model.target)
    dtype = torch.float64 if settings.runtime.precision == "fp64" else torch.float32
    for net in system.nets.values():
        net.to(device=device, dtype=dtype).requires_grad_(False)
        if settings.runtime.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = {str(part): str(text) for part, text in payload.get("data", {}).items()}
    step = int(payload["step"])
    return Restored(path, maker, str(payload["run_id"]), step, settings, system, device, dtype, ema, data)


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
    return settings.model_copy(
        update={"runtime": runtime, "eval": settings.eval.model_copy(update={"device": None, "every_steps": 0})}
    )


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
