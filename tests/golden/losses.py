"""Golden losses: the first steps of each system in float64 on the CPU, to show that a change altered nothing.

Make them anew with `python tests/golden/losses.py` (only when a change is meant to alter results, and say so in its
commit). Made with fused Adam, one thread, contiguous memory; noise drawn in float32 by the engine's own streams.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from small import (
    DCGAN_SCALES,
    DIS,
    N_CRITIC,
    VAE_SCALES,
    VAEGAN_SCALES,
    WGAN_GP_SCALES,
    dcgan,
    engine,
    pictures,
    timetable,
    vae,
    vaegan,
    wgan_gp,
)

FILE = Path(__file__).with_name("losses.json")
STEPS = 5


def golden() -> dict[str, list[dict[str, float]]]:
    """Return each case's metrics, step by step."""
    torch.set_num_threads(1)
    curves = {"scales.kld": {"kind": "warmup", "steps": 4}}
    bias_free = {"norm": "batch", "act": "lrelu", "slope": 0.2, "conv_bias": False, "kernel": 5}
    nets = {
        "encoder": bias_free,
        "decoder": {**bias_free, "output": "tanh"},
        # A bias in front of a norm has no true gradient: its noise would make the numbers depend on the machine.
        "discriminator": {**DIS, "conv_bias": False},
    }
    cases = {
        "vae": (lambda: vae(), VAE_SCALES, {"curves": curves}),
        "vaegan": (lambda: vaegan(**nets), VAEGAN_SCALES, {"ema_decay": 0.9}),
        "vaegan_gp": (lambda: vaegan(gan_loss="wgan", **nets), {**VAEGAN_SCALES, "gp": 10.0}, {}),
        "vaegan_r1_hinge": (lambda: vaegan(gan_loss="hinge", **nets), {**VAEGAN_SCALES, "r1": 5.0}, {}),
        "dcgan": (lambda: dcgan(), DCGAN_SCALES, {"ema_decay": 0.9}),
        "wgan_gp": (lambda: wgan_gp(), WGAN_GP_SCALES, {}),
    }
    turns = {"wgan_gp": N_CRITIC}
    found: dict[str, list[dict[str, float]]] = {}
    for name, (make, scales, options) in cases.items():
        torch.manual_seed(0)
        ours = engine(make(), scales, **options)
        plan = timetable(ours.system, turns.get(name))
        found[name] = []
        for n in range(STEPS):
            batches = [{"image": pictures(8, seed=n + STEPS * k)} for k in range(plan.batches(n))]
            found[name].append({key: value.item() for key, value in ours.step(n, plan.at(n), batches).items()})
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps({"torch": torch.__version__, "losses": golden()}, indent=1) + "\n")
