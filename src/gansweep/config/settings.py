"""The settings of a run: one pydantic model whose fields are the keys of conf/, each with its type and range.

Hydra composes the YAML and knows the keys; this model knows what a value may be. Everything downstream of the command
line takes a `Settings`. `settings.model_dump(mode="json")` is what a run records and `Settings.model_validate` of that
gives the same settings back. The defaults that count for a new run are the YAML's; those here let a run that was
recorded before a key existed be read again, and keep tests short.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gansweep.config.kinds import (
    Byte,
    Count,
    Decay,
    Flag,
    Names,
    Node,
    NonNegative,
    OpenNode,
    OpenShare,
    Positive,
    Real,
    Seed,
    Share,
    Text,
    Whole,
)
from gansweep.config.learning import (
    ModelSettings,
    NetOptimizer,
    OptimizerSettings,
    PhaseTiming,
    ScheduleSettings,
    WarmStart,
)

__all__ = [
    "CheckpointSettings",
    "DataSettings",
    "EvalSettings",
    "JudgeSettings",
    "ModelSettings",
    "NetOptimizer",
    "OptimizerSettings",
    "PhaseTiming",
    "RuntimeSettings",
    "ScheduleSettings",
    "Settings",
    "TrackerSettings",
    "WarmStart",
]

Measured = Literal["is", "fid", "kid", "prdc", "rec"]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]


class DataSettings(Node):
    """`data`: which pictures, and how they become pixels. One set of keys for every kind of data set.

    `args` are a user's own class's (`_target_`). Paths, tags and what a reader needs are checked by the data part.
    """

    name: Annotated[Text, Field(min_length=1)]
    target: str | None = Field(default=None, alias="_target_")
    args: dict[str, Any] = Field(default_factory=dict)
    path: Text | None = None
    part: Literal["train", "test", "all"] = "all"
    size: Annotated[int, Field(strict=True, ge=4, le=2048)] = 64
    channels: Literal[1, 3] = 3
    normalize: Literal["tanh", "unit", "zscore"] = "tanh"
    resize: Literal["pad", "stretch", "crop"] = "pad"
    resample: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = "bicubic"
    pad_value: Byte | Annotated[list[Byte], Field(min_length=3, max_length=3)] | Literal["edge"] = 255
    flip: Flag = False
    skin_tones: Flag = False
    flags: Flag = False
    include: Names = Field(default_factory=list)
    exclude: Names = Field(default_factory=list)
    orientation: Literal["any", "portrait", "landscape"] = "any"
    name_tags: Flag = False
    group_by: Literal["file", "folder"] = "file"
    val_fraction: Decay = 0.05
    limit: Count | None = None
    cache_dir: Text | None = None
    ram_limit_mb: Whole = 1024
    workers: Annotated[Count, Field(le=256)] | None = None
    on_bad: Literal["fail", "skip"] = "fail"
    max_bad_fraction: Share = 0.01
    min_side: Count = 8
    max_aspect: Annotated[Real, Field(ge=1)] = 8.0
    max_megapixels: Positive = 100.0
    max_av_gap_frames: NonNegative = 2.0
    stands_in_for: dict[str, Text] = Field(default_factory=dict)

    @property
    def stand_in(self) -> str | None:
        """What this set is used in place of, in words; None when it is nobody's stand-in."""
        what = self.stands_in_for.get(self.name)
        return f"{self.name} stands in for {what}" if what else None


class RuntimeSettings(Node):
    """`runtime`: on what and how a run computes; none of it may change what is learnt but for rounding."""

    device: Device = "auto"
    engine: Literal["auto", "eager", "graph"] = "auto"
    compile: Flag = False
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    tf32: Flag = True
    threads: Count | None = None
    channels_last: Flag = True
    accumulate: Count = 1
    sync_batchnorm: Flag = False
    ema_decay: OpenShare | None = None
    reach: Literal["error", "warn"] = "error"
    deterministic: Flag = False
    progress: Flag = True
    fp32_nets: Names = Field(default_factory=list)


class TrackerSettings(Node):
    """`tracker`: where the record goes; `drain_s` is how long the end of a run waits for what is not yet sent."""

    kind: Literal["mlflow", "none"] = "mlflow"
    uri: Text | None = None
    experiment: Annotated[Text, Field(max_length=250, pattern=r"\S")] = "gansweep"
    drain_s: Annotated[NonNegative, Field(le=86400)] = 20.0


class JudgeSettings(OpenNode):
    """`judge`: the classifier that scores samples, and the file of its weights."""

    name: Annotated[Text, Field(min_length=1)]
    target: str | None = Field(default=None, alias="_target_")
    weights: Text | None = None
    batch_size: Annotated[Count, Field(le=4096)] | None = None


def _only_is() -> list[Measured]:
    return ["is"]


class EvalSettings(Node):
    """`eval`: what is measured of which samples, and how."""

    n: Annotated[Count, Field(le=10_000_000)] = 5000
    seed: Seed = 0
    splits: Annotated[Count, Field(le=1000)] = 10
    protocol: Literal["torch-fidelity", "improved-gan", "stackgan", "torchmetrics"] = "torch-fidelity"
    metrics: Annotated[list[Measured], Field(min_length=1)] = Field(default_factory=_only_is)
    reference: Literal["train", "val", "all"] = "train"
    reference_n: Annotated[Count, Field(ge=2)] | None = None
    kid_subsets: Count = 100
    kid_subset_size: Annotated[Count, Field(ge=2)] = 1000
    prdc_nearest: Count = 5
    rec_n: Count = 1024
    precision: Literal["exact", "tf32", "bf16"] = "exact"
    mode: Literal["eval", "train"] = "eval"
    ema: Flag = True
    batch_size: Annotated[Count, Field(le=4096)] | None = None
    device: Device | None = None
    checkpoints: Literal["last", "best", "all"] | None = None
    every_steps: Whole = 0

    @model_validator(mode="after")
    def _a_sample_per_split(self) -> EvalSettings:
        if self.n < self.splits:
            raise ValueError(f"n ({self.n}) must be at least splits ({self.splits})")
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics ({', '.join(self.metrics)}) must not name one twice")
        if self.every_steps and self.mode == "train":
            raise ValueError("every_steps scores in eval mode only: a batch's statistics would move the networks' own")
        return self


# Metrics of which more is better, by how their names begin; of every other one, losses above all, less is.
_MORE_IS_BETTER = ("inception_score", "is_", "precision", "recall", "density", "coverage", "rec_")


class CheckpointSettings(Node):
    """`checkpoint`: how many step files stay (null: all), and which metric (if any) picks best.pt."""

    keep: Count | None = 3
    best_by: Text | None = None
    best_mode: Literal["min", "max"] | None = None
    upload: Flag = True

    @property
    def best_is(self) -> Literal["min", "max"]:
        """Whether the best value of `best_by` is the least or the greatest: as told, or by what the metric is."""
        if self.best_mode is not None:
            return self.best_mode
        return "max" if (self.best_by or "").startswith(_MORE_IS_BETTER) else "min"


class Settings(Node):
    """Everything that decides a run. Counts are in generator optimiser steps; 0 in a `*_every` means never."""

    seed: Seed = 0
    steps: Count
    batch_size: Count
    log_every: Count = 50
    sample_every: Whole = 500
    val_every: Whole = 500
    checkpoint_every: Whole = 1000
    name: Text | None = None
    objective: Names = Field(default_factory=list)
    note: Text | None = None
    terms: dict[str, dict[str, str]] = Field(default_factory=dict)
    model: ModelSettings
    scales: dict[str, Real | None]
    optimizer: OptimizerSettings
    schedule: ScheduleSettings = ScheduleSettings()
    data: DataSettings
    runtime: RuntimeSettings = RuntimeSettings()
    tracker: TrackerSettings = TrackerSettings()
    judge: JudgeSettings
    eval: EvalSettings = EvalSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()

    @model_validator(mode="after")
    def _parts_agree(self) -> Settings:
        if self.batch_size % self.runtime.accumulate:
            raise ValueError(
                f"runtime.accumulate ({self.runtime.accumulate}) must divide batch_size ({self.batch_size}):"
                " micro-batches are equal"
            )
        return self
