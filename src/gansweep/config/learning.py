"""The settings of what is learnt and when: `model`, `optimizer` and `schedule`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from gansweep.config.kinds import Count, Decay, Flag, Names, Node, NonNegative, OpenNode, Positive, Real, Text, Whole

OptimizerKind = Literal["adam", "adamw", "rmsprop", "sgd"]
Betas = Annotated[list[Decay], Field(min_length=2, max_length=2)]
Piecewise = list[Annotated[list[Whole], Field(min_length=2, max_length=2)]]


class Burst(Node):
    """In a piece of `repeat`: `n` turns in its first step and in each `every`-th one after it, else `otherwise`."""

    n: Whole
    every: Count
    otherwise: Whole = 1


Bursts = list[tuple[Whole, Whole | Burst]]


class WarmStart(Node):
    """Where the first weights come from: a checkpoint, run directory or run id, and which networks take them."""

    source: Text | None = Field(default=None, alias="from")
    nets: Names | None = None


class ModelSettings(OpenNode):
    """The system to build: `_target_` (attribute `target`) and what its class takes; unknown keys go to the class."""

    target: str = Field(alias="_target_")
    size_px: Count
    channels: Count
    width_factor: Positive = 1.0
    scaled_down_size_px: Count = 64
    freeze: Names = Field(default_factory=list)
    freeze_stats: Names = Field(default_factory=list)
    warm_start: WarmStart = WarmStart()
    knobs: dict[str, Real] = Field(default_factory=dict)


class NetOptimizer(Node):
    """One network's optimizer, complete. `clip_norm` null clips nothing; `alpha` is RMSprop's smoothing."""

    kind: OptimizerKind = "adam"
    lr: Positive = 2e-4
    betas: Betas = Field(default_factory=lambda: [0.9, 0.999])
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    alpha: Decay = 0.99
    momentum: Decay = 0.0
    clip_norm: Positive | None = None


class NetOverride(Node):
    """What `optimizer.<net>` says of its own; a key that is not there is taken from `optimizer`."""

    kind: OptimizerKind | None = None
    lr: Positive | None = None
    betas: Betas | None = None
    eps: NonNegative | None = None
    weight_decay: NonNegative | None = None
    alpha: Decay | None = None
    momentum: Decay | None = None
    clip_norm: Positive | None = None

    @model_serializer(mode="wrap")
    def _only_what_was_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # An unset clip_norm (take the shared one) and a null one (clip nothing) must stay apart in the record.
        return {key: value for key, value in handler(self).items() if key in self.model_fields_set}


class OptimizerSettings(NetOptimizer):
    """`optimizer`: the values all networks share, and one node per network with its own."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, NetOverride]

    def nets(self) -> dict[str, NetOverride]:
        """Return the networks that have a node of their own."""
        return dict(self.__pydantic_extra__ or {})

    def for_net(self, name: str) -> NetOptimizer:
        """Return the optimizer of network `name`: its own node's values first, the shared ones for the rest."""
        values = {field: getattr(self, field) for field in NetOptimizer.model_fields}
        own = self.nets().get(name)
        if own is not None:
            for field in own.model_fields_set:
                value = getattr(own, field)
                if value is not None or field == "clip_norm":
                    values[field] = value
        return NetOptimizer(**values)


class PhaseTiming(Node):
    """When a phase has its turn, in steps; `every` and `repeat` are a number or `[[from_step, number], ...]`.

    In place of a number, `repeat` may have {n, every, otherwise} from a step on (see Burst).
    """

    every: Count | Piecewise = 1
    repeat: Count | Bursts = 1
    start: Whole = Field(default=0, alias="from")
    until: Whole | None = None
    new_batch: Flag = True
    watch: Flag = False

    @field_validator("repeat", mode="before")
    @classmethod
    def _bursts_told_in_one_line(cls, value: Any) -> Any:
        """Read bursts here, for a union's branches would report theirs as faults of all branches."""
        for piece in value if isinstance(value, list) else []:
            if isinstance(piece, list) and len(piece) == 2 and isinstance(piece[1], dict):
                try:
                    Burst.model_validate(piece[1])
                except ValidationError:
                    raise ValueError(f"{piece[1]} is no burst: {{n: turns, every: steps, otherwise: turns}}") from None
        return value

    @field_validator("every", "repeat")
    @classmethod
    def _pieces_in_order(cls, value: Any, info: Any) -> Any:
        if isinstance(value, list):
            starts = [start for start, _ in value]
            if not starts or starts[0] != 0 or starts != sorted(set(starts)):
                raise ValueError("a piecewise list is [[0, n], [later step, n], ...] with growing steps")
            least = 1 if info.field_name == "every" else 0
            if min((n for _, n in value if isinstance(n, int)), default=least) < least:
                raise ValueError(f"each number of a piecewise list must be at least {least}")
        return value

    @model_validator(mode="after")
    def _window_opens_or_is_shut(self) -> PhaseTiming:
        if self.until and self.until <= self.start:
            raise ValueError(f"until ({self.until}) must be greater than from ({self.start}), or 0: never")
        return self


class ScheduleSettings(Node):
    """`schedule`: the timetable's phases, which of them update together, and curves on knobs over the steps."""

    phases: dict[str, PhaseTiming] = Field(default_factory=dict)
    groups: list[Names] | None = None
    curves: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("curves", mode="before")
    @classmethod
    def _dotted(cls, value: Any) -> Any:
        """Turn `{scales: {kld: {kind: ...}}}` into `{scales.kld: {kind: ...}}`: overrides can only write the former."""
        return dict(_flatten(value, "")) if isinstance(value, dict) else value


def _flatten(node: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in node.items():
        if value is None:
            continue
        if not isinstance(value, dict):
            raise ValueError(f"{prefix}{key}={value}: a curve is {{kind: …, …}}, as in {{kind: warmup, steps: 1000}}")
        if "kind" in value:
            found.append((f"{prefix}{key}", value))
        else:
            found += _flatten(value, f"{prefix}{key}.")
    return found
