"""Four claims about curves, told as those about pictures are; and the list of all nine."""

from __future__ import annotations

import math
from functools import partial

from finding_claims import FLOORS, L1_ZERO, LIGHT, NO_SEQ_NO_SYNC, ONLY_ID, SMALL_BATCH, TALKING
from finding_curves import entropy, measure_decay, measure_factor, measure_runaway, measure_smoothing
from finding_pictures import decay_picture, factor_picture, runaway_picture, smoothing_picture
from finding_rules import Bound, Claim

RUNAWAY = Claim(
    name="bce-runaway",
    journal="VAE, last week of March 2022",
    says="Cross-entropy spirals out of control (on z-scored targets).",
    common=(
        "model=vae",
        "data=heads",
        "data.args.people=40",
        "data.val_fraction=0.15",
        "data.size=32",
        "model.output=sigmoid",
        "model.width_factor=0.25",
        "model.latent=32",
        "scales.l1=null",
        "scales.bce=1",
        "batch_size=32",
        "optimizer.lr=2e-4",
        "steps=400",
        "val_every=0",
        "sample_every=0",
        "log_every=5",
    ),
    arms={"z-scores": ("data.normalize=zscore",), "in [0, 1]": ("data.normalize=unit",)},
    measure=measure_runaway,
    bounds=(
        Bound("end_z-scores", "asinh of the cross-entropy a value at the end, z-scored targets", high=0.0),
        Bound(
            "deeper_z-scores", "ln of its lowest value of the last third over that of the middle third", low=math.log(2)
        ),
        Bound(
            "end_in [0, 1]", "asinh of the cross-entropy a value at the end, targets in [0, 1]", low=0.0, control=True
        ),
    ),
    shown={
        "stopped_z-scores": "share of runs that the program stopped because a number was no longer finite, z-scores",
    },
    may_stop=True,
    first_seed=7,
    seeds=5,
    history="Three earlier looks could not tell. The first rule took means of plain numbers (seeds 1 to 3; at a rate "
    "of 1e-3 one run of three was stopped, no longer finite): -2e9 a value, and an interval to both sides of zero. "
    "The second asked that the mean of the last third be below that of the middle third by half of the fall "
    "before it: at -1e7 to -1e10 a value the loss also leaps back by factors of ten, as the code's divergence "
    "blows up with it, and one run of three ended in such a leap. Hence the lowest values; with seeds 4 to 6 "
    "all of them got lower, by e to the 1.0, 1.0 and 4.4, which is an interval from -2.7 to 7.0. Under that "
    "same rule five other seeds decide.",
    read="Runs away: below zero at the end, where cross-entropy of targets in [0, 1] cannot be, and without a bound "
    "in sight: its lowest value in the last third of the run is at least twice as far below zero as in the "
    "middle third. A loss that settles below zero would not be running away. Seeds differ by orders of "
    "magnitude: hence the (signed) logarithms.",
    picture=runaway_picture,
    caption="Cross-entropy a value over the steps, all seeds; mind the two scales.",
)

EVERY = 100
DECAY = Claim(
    name="decay-to-2-percent",
    journal="talking face, 11 April 2021",
    says='"Decay 2 %", coded as a factor 0.02: no face after 150 epochs (asked here: learning stops).',
    common=(
        *TALKING,
        "steps=500",
        f"val_every={EVERY}",
        "scales.id=1",
        "scales.l1=600",
        *NO_SEQ_NO_SYNC,
        f"checkpoint_every={EVERY}",
        "checkpoint.keep=null",
    ),
    arms={
        "by 2 %": (
            f"schedule.curves.optimizer.gen.lr={{kind:decay,decay_by:0.02,every_steps:{EVERY}}}",
            f"schedule.curves.optimizer.id.lr={{kind:decay,decay_by:0.1,every_steps:{EVERY}}}",
        ),
        "to 2 %": (
            f"schedule.curves.optimizer.gen.lr={{kind:decay,multiply_by:0.02,every_steps:{EVERY}}}",
            f"schedule.curves.optimizer.id.lr={{kind:decay,multiply_by:0.1,every_steps:{EVERY}}}",
        ),
    },
    measure=partial(measure_decay, every=EVERY),
    bounds=(
        Bound("moved_ratio", "way of gen's weights after the second decay, to 2 % over by 2 %", high=0.05),
        Bound("fall_ratio", "fall of the held-out distance after the second decay, to 2 % over by 2 %", high=0.25),
        Bound(
            "fall_said", "that fall with by 2 %, as a share: there was still something to learn", low=0.05, control=True
        ),
    ),
    shown={
        "rate_coded": "rate of gen at the end, to 2 %",
        "rate_said": "rate of gen at the end, by 2 %",
        "moved_coded": "way of gen's weights after the second decay over their length, to 2 %",
        "moved_said": "the same, by 2 %",
        "error_ratio": "held-out distance at the end, to 2 % over by 2 %",
    },
    read="The journal decayed every 10 epochs (150 to 300 steps); here every 100 steps, five times, G by or to 2 %, "
    "D by or to 10 %. Learning has stopped: after the second decay the weights go less than a twentieth of the "
    "way, and the held-out distance falls by less than a quarter, of what they do where the rate decays by 2 %.",
    picture=decay_picture,
    caption="Rate of the generator and held-out distance, all seeds.",
)

FLOOR = (entropy(0.9) + entropy(0.2)) / 2
SMOOTHING = Claim(
    name="smoothing-floor",
    journal="talking face, 23 March 2021",
    says="Noisy labels, real 0.9 and fake 0.2, do not work (today: D's loss rests at 0.413, and D is perfect).",
    common=(
        *TALKING,
        "steps=300",
        "val_every=0",
        "scales.id=1",
        "scales.l1=null",
        "optimizer.gen.lr=1e-9",
        *NO_SEQ_NO_SYNC,
    ),
    arms={
        "0.9 and 0.2": ("model.knobs.real_label=0.9", "model.knobs.fake_label=0.2", "model.knobs.fool_label=0.9"),
        "1 and 0": ("model.knobs.real_label=1", "model.knobs.fake_label=0", "model.knobs.fool_label=1"),
    },
    measure=measure_smoothing,
    bounds=(
        Bound("end_0.9 and 0.2", "loss of D at the end, smoothed", low=FLOOR - 1e-4, high=FLOOR + 0.02),
        Bound("lowest_0.9 and 0.2", "lowest loss of D, smoothed", low=FLOOR - 1e-4),
        Bound("end_1 and 0", "loss of D at the end, not smoothed", high=0.05),
    ),
    read="The identity discriminator against a generator that stays as it was drawn (rate 1e-9): D should become "
    f"perfect. The floor is the labels' own entropy, (H(0.9) + H(0.2)) / 2 = {FLOOR:.4f}. Supported: D ends "
    "within 0.02 of it and is never below it, and without smoothing ends below 0.05.",
    picture=smoothing_picture,
    caption="Loss of the identity discriminator over the steps, all seeds.",
)

_PLAIN = ("scales.mse_dec=1", "scales.adv_rec=0.1")
_SCALED = ("scales.mse_dec=5", "scales.adv_rec=0.5")
_SGD = ("optimizer.dec.kind=sgd", "optimizer.dec.lr=0.01")
FACTOR = Claim(
    name="factor-under-adam",
    journal="VAE-GAN, Tests 1 and 2, January 2021",
    says="Five times all of the generator's loss: a change (today's reading: under Adam it changes nothing).",
    common=(
        "experiment=vaegan/test1",
        "data=emoji",
        "data.size=32",
        "model.width_factor=0.25",
        "batch_size=16",
        "optimizer.lr=5e-4",
        "steps=300",
        "log_every=10",
        "val_every=50",
        "sample_every=0",
    ),
    arms={
        "1x": _PLAIN,
        "5x": _SCALED,
        "1x eps/5": (*_PLAIN, "optimizer.dec.eps=2e-9"),
        "1x sgd": (*_PLAIN, *_SGD),
        "5x sgd": (*_SCALED, *_SGD),
    },
    measure=measure_factor,
    bounds=(
        Bound("ratio", "distance of the curves with and without the factor, over that between seeds", high=1.0),
        Bound("shift", "held-out squared error with the factor over without it, less 1", low=-0.05, high=0.05),
        Bound(
            "ratio_sgd",
            "the same distance over that between seeds, with plain gradient steps for G",
            low=1.0,
            control=True,
        ),
    ),
    shown={
        "between_seeds": "distance of curves between seeds, as a share of their height",
        "ratio_eps": "distance of 5x from 1x with eps / 5 over that between seeds (equal but for rounding)",
    },
    read="Same seed, same weights, batches and noise. Adam divides the factor out but for its eps of 1e-8: five "
    "times the gradient is the same gradient with eps / 5, so the third sweep differs from the second by "
    "rounding alone, and what it still differs by is chaos. Nothing: curves (reconstruction, both adversarial "
    "terms, D's loss) are nearer to each other than to another seed's, and the held-out error over the second "
    "half moves by less than 5 %. That the measure sees a factor where there is one: under plain gradient steps "
    "it must exceed the distance between seeds.",
    picture=factor_picture,
    caption="Reconstruction and adversarial term of the generator, unscaled, all seeds.",
)

ALL = (L1_ZERO, FLOORS, RUNAWAY, SMALL_BATCH, ONLY_ID, LIGHT, DECAY, SMOOTHING, FACTOR)
