"""Small systems and engines for tests: the real ones, thin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from gansweep.config.settings import NetOptimizer, PhaseTiming
from gansweep.engine.knobs import Knobs
from gansweep.engine.noise import Noise
from gansweep.engine.objective import charged_terms
from gansweep.engine.schedule import Timetable, build_curve
from gansweep.engine.step import EagerEngine
from gansweep.system import System
from gansweep.systems.dcgan import Dcgan
from gansweep.systems.vae import Vae
from gansweep.systems.vaegan import VaeGan
from gansweep.systems.wgan_gp import WganGp

PART = {"norm": "batch", "act": "lrelu", "slope": 0.2, "conv_bias": True, "kernel": 5}
DIS = {
    **PART,
    "kernel": 3,
    "downsample": "pool",
    "blocks": None,
    "head": None,
    "head_act": "none",
    "joint_batch": False,
    "feature_block": 2,
}
CONV = [{"filters": f, "kernel": 5, "stride": s} for f, s in ((32, 2), (32, 1), (48, 2), (64, 2))]


def vaegan(size_px: int = 16, latent: int = 6, base_width: int = 4, **changes: Any) -> VaeGan:
    given: dict[str, Any] = {
        "size_px": size_px,
        "channels": 3,
        "latent": latent,
        "base_width": base_width,
        "levels": None,
        "widths": None,
        "encoder": PART,
        "decoder": {**PART, "conv_bias": False, "output": "tanh"},
        "discriminator": DIS,
        "init": "default",
        "gan_loss": "bce",
        "reduction": {"rec": "mean", "kld": "mean"},
    }
    return VaeGan(**{**given, **changes})


def vae(size_px: int = 16, latent: int = 6, width_factor: float = 0.1, **changes: Any) -> Vae:
    given: dict[str, Any] = {
        "size_px": size_px,
        "channels": 3,
        "latent": latent,
        "conv": CONV,
        "dense": 128,
        "norm": "none",
        "act": "lrelu",
        "slope": 0.3,
        "output": "none",
        "init": "glorot_uniform",
        "reduction": {"rec": "pixel_sum", "kld": "sum"},
        "width_factor": width_factor,
    }
    return Vae(**{**given, **changes})


def dcgan(size_px: int = 16, latent: int = 6, base_width: int = 4, **changes: Any) -> Dcgan:
    return Dcgan(**{**_rivals(size_px, latent, base_width, "batch"), "gan_loss": "bce", **changes})


def wgan_gp(size_px: int = 16, latent: int = 6, base_width: int = 4, **changes: Any) -> WganGp:
    return WganGp(**{**_rivals(size_px, latent, base_width, "layer"), **changes})


def _rivals(size_px: int, latent: int, base_width: int, norm: str) -> dict[str, Any]:
    part = {"norm": "batch", "conv_bias": False, "slope": 0.2}
    return {
        "size_px": size_px,
        "channels": 3,
        "latent": latent,
        "base_width": base_width,
        "prior": "normal",
        "generator": {**part, "act": "relu", "output": "tanh"},
        "discriminator": {**part, "norm": norm, "act": "lrelu"},
        "init": "dcgan",
    }


VAEGAN_SCALES: dict[str, float | None] = {
    **dict.fromkeys(("mse", "bce", "huber", "feature", "mse_dec", "bce_dec", "huber_dec", "feature_dec", "r1", "gp")),
    **{
        "l1": 2.0,
        "kld": 0.5,
        "l1_dec": 3.0,
        "adv_rec": 0.1,
        "adv_prior": 0.2,
        "d_real": 2.0,
        "d_rec": 1.0,
        "d_prior": 1.5,
    },
}
VAE_SCALES: dict[str, float | None] = {"l1": None, "mse": 1.0, "bce": None, "huber": None, "kld": 2.0}
DCGAN_SCALES: dict[str, float | None] = {"d_real": 1.0, "d_fake": 1.5, "r1": None, "adv": 2.0}
WGAN_GP_SCALES: dict[str, float | None] = {"d_real": 1.0, "d_fake": 1.0, "gp": 10.0, "adv": 1.0}
N_CRITIC = {"dis": PhaseTiming(repeat=5)}


def engine(
    system: System,
    scales: Mapping[str, float | None],
    dtype: torch.dtype = torch.float64,
    lr: float = 1e-3,
    optimizer: Mapping[str, Any] | None = None,
    curves: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "cpu",
    **options: Any,
) -> EagerEngine:
    for net in system.nets.values():
        net.to(device, dtype).train()
    base = {f"scales.{name}": value for name, value in scales.items() if value is not None}
    base |= {f"optimizer.{net}.lr": lr for net in system.nets}
    base |= {f"knobs.{name}": value for name, value in system.knobs.items()}
    built = {name: build_curve(name, config) for name, config in (curves or {}).items()}
    rates = NetOptimizer(lr=lr, **(optimizer or {}))
    return EagerEngine(
        system,
        charged_terms(system, scales, {}),
        Knobs(base, built, device, dtype),
        dict.fromkeys(system.nets, rates),
        {name: list(net.parameters()) for name, net in system.nets.items()},
        Noise(0, device, dtype),
        **options,
    )


def timetable(system: System, phases: Mapping[str, Any] | None = None, groups: Any = None) -> Timetable:
    return Timetable([phase.name for phase in system.phases], system.counts, phases or {}, groups)


def pictures(count: int, size_px: int = 16, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, size_px, size_px, generator=generator, dtype=dtype) * 2 - 1
