"""What is about to be measured of one set of networks, and what each score will be called before it is taken.

Used by eval-is for checkpoints and by training for the networks at hand; `gansweep.take` does the measuring.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from gansweep.config.settings import EvalSettings, Settings
from gansweep.drawing import Drawer
from gansweep.engine.distributed import World
from gansweep.errors import UserError
from gansweep.metrics.inception import NAME as INCEPTION
from gansweep.metrics.judges import INCEPTION_KEY, INCEPTION_TARGET, Judge, open_judge, score_key
from gansweep.metrics.kept import KEEP
from gansweep.metrics.panel import AGAINST_REAL, Measures, check_judge, keys_of
from gansweep.metrics.precision import in_words
from gansweep.metrics.protocols import ORDER_SEED, protocol_named
from gansweep.metrics.score import check_sizes
from gansweep.metrics.weights import sha256_of
from gansweep.runs import provenance
from gansweep.runs.rundir import say
from gansweep.scoring.card import DEFINITION, card_id
from gansweep.scoring.real import chosen_rows, described, digest_of

REC_KEYS = ("rec_psnr", "rec_ssim", "rec_ms_ssim")
_DRAWN_AT_A_TIME = {"cpu": 64, "cuda": 256}
_JUDGED_AT_A_TIME = {"cpu": 16, "cuda": 256}


@dataclass
class Bench:
    """What several scores share: each judge in memory once, each warning said once, the code's version asked once."""

    place: World = field(default_factory=World)
    opened: dict[str, Judge] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)

    def warn(self, message: str | None) -> None:
        """Say a warning that was not said yet, if there is one."""
        if message is not None and message not in self.warned and self.place.leads:
            self.warned.add(message)
            say(message)

    def judge(self, settings: Settings, device: torch.device) -> Judge:
        """Return the judge that the settings name, on that device, in the arithmetic that `eval.precision` names."""
        named, precision = settings.judge.model_dump(mode="json"), settings.eval.precision
        key = json.dumps([named, precision, str(device)], sort_keys=True)
        if key not in self.opened:
            self.opened[key] = open_judge(named, device, precision)
        return self.opened[key]

    @cached_property
    def code(self) -> dict[str, str]:
        """Which code scores: versions, commit, whether it has uncommitted changes."""
        found = provenance.collect()
        told: dict[str, str] = {name: found.versions[name] for name in ("gansweep", "torch") if name in found.versions}
        if found.commit is not None:
            told["commit"] = found.commit[:12] + (" with uncommitted changes" if found.dirty else "")
        return told


@dataclass(frozen=True)
class Subject:
    """What is scored: the run that made it, its checkpoint's name and step, the digest of its weights, its data's."""

    run_id: str
    run_name: str
    checkpoint: str
    step: int
    weights_sha256: str
    ema: bool
    data: Mapping[str, str]

    def told(self) -> dict[str, str]:
        """Return it as a card bears it."""
        weights = {"checkpoint": self.checkpoint, "step": str(self.step), "weights_sha256": self.weights_sha256}
        return {"run": self.run_id, "name": self.run_name, **weights}


def weights_digest(modules: Mapping[str, nn.Module]) -> str:
    """Return the SHA-256 of all weights and buffers by name: the same for the same networks in any file."""
    found = hashlib.sha256()
    for net, module in sorted(modules.items()):
        for name, value in module.state_dict().items():
            found.update(f"{net}.{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def measures_of(settings: EvalSettings, metrics: Sequence[str]) -> Measures:
    """Return what is measured under these settings, of the metrics named."""
    return Measures(
        settings.n,
        settings.splits,
        protocol_named(settings.protocol),
        tuple(metrics),
        settings.kid_subsets,
        settings.kid_subset_size,
        settings.prdc_nearest,
    )


def score_names(settings: Settings) -> list[str]:
    """Return the names under which samples' scores are recorded, as the judge's settings alone tell."""
    judge = settings.judge
    public = judge.target == INCEPTION_TARGET and judge.name == INCEPTION
    key = INCEPTION_KEY if public else score_key(judge.name)
    keys = keys_of(tuple(settings.eval.metrics), key, protocol_named(settings.eval.protocol))
    return [name for of in keys.values() for name in of] + (list(REC_KEYS) if "rec" in settings.eval.metrics else [])


@dataclass
class Measuring:
    """One subject about to be measured: what there is to do, and what it is called."""

    drawer: Drawer
    subject: Subject
    bench: Bench
    keep_dir: Path | None = None

    def __post_init__(self) -> None:
        settings = self.drawer.settings
        self.settings, self.place, self.device = settings.eval, self.bench.place, self.drawer.device
        if self.settings.mode == "train" and not self.place.alone:
            raise UserError("eval.mode=train: a batch's statistics are those of one process; score with one")
        warning = check_sizes(self.settings.n, self.settings.splits, protocol_named(self.settings.protocol))
        self.judge: Judge | None = None
        if set(self.settings.metrics) - {"rec"}:
            self.judge = self.bench.judge(settings, self.device)
            check_judge(self.judge, measures_of(self.settings, self.settings.metrics))
            self.bench.warn(warning)  # a request that is refused needs no advice about its score
        if "rec" in self.settings.metrics and not hasattr(self.drawer.system, "reconstruct"):
            raise UserError(f"eval.metrics: rec needs a model with an encoder, which {settings.model.target} has not")
        self._refuse_other_data()
        self._refuse_too_few()

    def _refuse_other_data(self) -> None:
        wanted = [name for name in self.settings.metrics if name in (*AGAINST_REAL, "rec")]
        then = self.subject.data.get("fingerprint", "")
        if wanted and then and self.drawer.data.fingerprint != then:
            raise UserError(
                f"{self.drawer.where}: eval.metrics: {', '.join(wanted)} need the data it was trained on, fingerprint "
                f"{then[:12]}; data now has {self.drawer.data.fingerprint[:12]}"
            )

    def _refuse_too_few(self) -> None:
        """Refuse, before anything is drawn, what too few samples or pictures cannot give."""
        wanted, settings = set(self.settings.metrics), self.settings
        if "rec" in wanted and not len(self.drawer.data.split("val")):
            raise UserError("eval.metrics: rec needs held-out pictures, and this run held none out (data.val_fraction)")
        if not wanted & set(AGAINST_REAL):
            return
        real = len(chosen_rows(self.drawer.data, settings))
        smallest = min(settings.n, real, KEEP)
        there = f"there are {settings.n} samples and {real} real pictures"
        if "kid" in wanted and smallest < settings.kid_subset_size:
            raise UserError(f"eval.kid_subset_size={settings.kid_subset_size}: {there}; at most {smallest} here")
        if "prdc" in wanted and smallest <= settings.prdc_nearest:
            raise UserError(f"eval.prdc_nearest={settings.prdc_nearest}: {there}; at most {smallest - 1} here")

    def _judge_identity(self) -> dict[str, str]:
        """Return what the judge says of itself, and what a user's own may have left out: class and weights' digest."""
        assert self.judge is not None
        asked, told = self.drawer.settings.judge, self.judge.identity()
        if not isinstance(told, dict):
            raise UserError(f"judge '{asked.name}': identity() must return a dict of texts, not {type(told).__name__}")
        own = {part: str(text) for part, text in told.items()}
        if asked.target and not asked.target.startswith("gansweep."):
            own.setdefault("target", asked.target)
            if asked.weights and "weights_sha256" not in own and Path(asked.weights).is_file():
                own["weights_sha256"] = sha256_of(Path(asked.weights))
        return own

    @cached_property
    def sizes_px(self) -> dict[str, int]:
        """Output -> its pictures' size in px, coarsest first; found by drawing a picture."""
        shown = self.drawer.samples(range(2 if self.drawer.training else 1), self.settings.seed)
        return {name: int(images.shape[-1]) for name, images in shown.items()}

    def names(self, output: str) -> dict[str, list[str]]:
        """Return metric -> the keys it is recorded under for that output; the finest output's are plain."""
        assert self.judge is not None
        finest = list(self.sizes_px)[-1]
        end = ("" if output == finest else f"_{output}") + ("" if self.settings.mode == "eval" else "_train_mode")
        keys = keys_of(tuple(self.settings.metrics), self.judge.key, protocol_named(self.settings.protocol))
        return {name: [key + end for key in of] for name, of in keys.items()}

    def measure_of(self, metric: str, output: str) -> dict[str, str]:
        """Return how `metric` is taken of `output`: the card's measure."""
        settings, runtime = self.settings, self.drawer.settings.runtime
        drawn = {
            "output": output,
            "size_px": str(self.sizes_px[output]),
            "mode": settings.mode,
            "ema": str(self.subject.ema).lower(),
            "sampling_precision": "fp64" if runtime.precision == "fp64" else "fp32",
            "definition": DEFINITION,
        }
        if settings.mode == "train":
            drawn["batch_size"] = str(self.batch_size)
        if metric == "rec":
            rows = self.drawer.held_out[1][: self.rec_rows]
            pictures = f"held out, {digest_of(self.drawer.data, rows)}"
            return {"n": str(self.rec_rows), "pictures": pictures, "seed": str(settings.seed), **drawn}
        assert self.judge is not None
        own: dict[str, str] = {}
        if metric == "is":
            order = protocol_named(settings.protocol).order_text(ORDER_SEED)
            own = {"protocol": settings.protocol, "splits": str(settings.splits), "order": order}
        else:
            own["reference"] = described(self.drawer.data, settings, self.sizes_px[output])
        if metric == "kid":
            own["subsets"] = f"{settings.kid_subsets} of {settings.kid_subset_size}"
        if metric == "prdc":
            own["nearest"] = str(settings.prdc_nearest)
        judged = {"precision": in_words("exact"), **self._judge_identity()}
        left_out = settings.n % protocol_named(settings.protocol).whole_batches_of if metric == "is" else 0
        return {**judged, "n": str(settings.n - left_out), "seed": str(settings.seed), **own, **drawn}

    @property
    def rec_keys(self) -> list[str]:
        """Names of what is measured of reconstructions."""
        return [key + ("" if self.settings.mode == "eval" else "_train_mode") for key in REC_KEYS]

    @property
    def rec_rows(self) -> int:
        """How many held-out pictures are reconstructed."""
        return min(self.settings.rec_n, len(self.drawer.held_out[1]))

    @property
    def batch_size(self) -> int:
        """How many samples are drawn at a time."""
        return self.settings.batch_size or _DRAWN_AT_A_TIME[self.device.type]

    @property
    def judge_batch_size(self) -> int:
        """How many pictures are judged at a time."""
        return self.drawer.settings.judge.batch_size or _JUDGED_AT_A_TIME[self.device.type]

    def ids(self, attempt: int = 0) -> dict[str, dict[tuple[str, str], str]]:
        """Return metric -> (output, key) -> the id that its card has, known before anything is scored."""
        found: dict[str, dict[tuple[str, str], str]] = {}
        told, device = self.subject.told(), self.device.type
        for metric in self.settings.metrics:
            outputs = list(self.sizes_px)[-1:] if metric == "rec" else list(self.sizes_px)
            found[metric] = {}
            for output in outputs:
                measure = self.measure_of(metric, output)
                for key in self.rec_keys if metric == "rec" else self.names(output)[metric]:
                    found[metric][output, key] = card_id(key, measure, told, device, attempt)
        return found
