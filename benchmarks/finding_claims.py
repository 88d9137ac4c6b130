"""Five claims about pictures: each a few small sweeps, what is measured, and the rule, fixed before the numbers."""

from __future__ import annotations

from functools import partial

from finding_pictures import clips_picture, faces_picture, floors_picture, samples_picture
from finding_pixels import measure_floors, measure_light, measure_lost, measure_motion, measure_small_batch
from finding_rules import Bound, Claim

# Thin networks on drawn speakers of 32 px, the built-in voice; the journal's moments, five times its rate.
TALKING = (
    "model=talkingface",
    "data=talking",
    "data.args.voice=syllables",
    "data.size=32",
    "model.width_factor=0.125",
    "batch_size=4",
    "optimizer.betas=[0.5,0.999]",
    "optimizer.lr=5e-4",
    "sample_every=0",
    "log_every=10",
)
# Neither judge has a turn, and the generator hears neither.
NO_SEQ_NO_SYNC = (
    "scales.seq=null",
    "scales.sync=null",
    "schedule.phases.seq.until=0",
    "schedule.phases.sync.until=0",
)

L1_ZERO = Claim(
    name="l1-zero",
    journal="talking face, 30 March 2021",
    says="With the pixel loss's weight at 0 pictures come out black.",
    common=(*TALKING, "steps=250", "val_every=0", "scales.id=1", "scales.seq=0.6", "scales.sync=0.9"),
    arms={"l1=600": ("scales.l1=600",), "l1=0": ("scales.l1=0",)},
    measure=measure_lost,
    bounds=(
        Bound("bad_without", "share of held-out frames black or lost, l1 at 0", low=0.5),
        Bound("bad_with", "the same, l1 at 600", high=0.1, control=True),
    ),
    shown={
        "black_without": "share black, l1 at 0",
        "grey_without": "mean grey over the real frames', l1 at 0",
        "grey_with": "the same, l1 at 600",
    },
    read="Black: a frame's mean grey is under a quarter of the real one's. Lost: its pixels correlate with the real "
    "frame's by less than 0.5. Half of the frames must be so without the pixel loss, and no more than a tenth "
    "with it.",
    picture=clips_picture,
    caption="Frames of three held-out clips, those that move most: real, then each arm's seeds.",
)

FLOORS = Claim(
    name="output-floor",
    journal="VAE, 2 to 4 April 2022",
    says="Sigmoid and tanh outputs do not work on z-scored pictures, a linear output does.",
    common=(
        "model=vae",
        "data=heads",
        "data.args.people=40",
        "data.val_fraction=0.15",
        "data.size=32",
        "data.normalize=zscore",
        "model.width_factor=0.25",
        "model.latent=32",
        "scales.l1=null",
        "scales.mse=1",
        "scales.kld=0.0025",
        "batch_size=32",
        "optimizer.lr=1e-3",
        "steps=400",
        "val_every=50",
        "sample_every=0",
    ),
    arms={kind: (f"model.output={kind}",) for kind in ("none", "tanh", "sigmoid")},
    measure=measure_floors,
    bounds=(
        Bound("linear_to_sigmoid", "linear output's held-out error over sigmoid's floor", high=1.0),
        Bound("linear_to_tanh", "linear output's held-out error over tanh's floor", high=1.0),
        Bound("sigmoid_to_own", "sigmoid's error over its own floor", low=1.0, control=True),
        Bound("tanh_to_own", "tanh's error over its own floor", low=1.0, control=True),
    ),
    shown={
        "floor_sigmoid": "floor of sigmoid, squared error a value",
        "floor_tanh": "floor of tanh",
        "error_sigmoid": "reached with sigmoid",
        "error_tanh": "reached with tanh",
        "error_none": "reached with a linear output",
    },
    read="The floor is exact: the mean over the held-out pictures' values of the squared distance to the output's "
    "range. That no run gets below its own floor checks the floor. The claim needs a linear output that gets "
    "below both floors in the same steps: otherwise it is not the floor that holds an output back.",
    first_seed=4,
    history="With scales.kld=1, on seeds 1 to 3, this came out as not supported: the linear output reached 0.286 "
    "[0.270, 0.301], tanh 0.345 and sigmoid 0.736, above tanh's floor of 0.136 all of them. But the squared "
    "error is summed over pixels: beside the sum over 32 x 32 the divergence weighs 400 times what it does "
    "beside the journal's 640 x 640. It is now 1/400, nothing else is changed, and seeds 4 to 6 decide.",
    picture=floors_picture,
    caption="Held-out error over the steps, all seeds, and both floors.",
)

HDGAN_STEPS = 300
SMALL_BATCH = Claim(
    name="small-batch",
    journal="HDGAN, by 30 October 2017",
    says="A small batch is a total failure, with mode collapse.",
    common=(
        "model=hdgan",
        "data=emoji",
        "data.size=64",
        "model.width_factor=0.0625",
        "optimizer.betas=[0.5,0.999]",
        "optimizer.lr=5e-4",
        "sample_every=0",
        "val_every=0",
        "log_every=20",
        f"checkpoint_every={HDGAN_STEPS}",
        "checkpoint.keep=null",
    ),
    arms={
        "batch 16": ("batch_size=16", f"steps={HDGAN_STEPS}"),
        "batch 2": ("batch_size=2", f"steps={8 * HDGAN_STEPS}"),
    },
    measure=partial(measure_small_batch, equal_steps=HDGAN_STEPS),
    bounds=(
        Bound("ratio", "diversity of samples with batches of 2 over that with 16, equal number of pictures", high=0.5),
        Bound("diversity_large", "diversity with 16 over that of real pictures", low=0.25, control=True),
    ),
    shown={
        "diversity_small": "diversity with 2 over that of real pictures",
        "ratio_equal_steps": "with 2 over with 16 at equal steps (2 has then seen an eighth of the pictures)",
        "one_caption_large": "diversity of one caption's samples over that of real pictures, 16",
        "one_caption_small": "the same, 2",
    },
    read="Diversity is the mean distance of two samples (48 held-out captions, 6 draws of the noise), each averaged "
    "to 16 px so that noise in the pixels does not count. Fair is an equal number of pictures: the author "
    "compared epochs, and a smaller batch has more updates in one; the same rate for both. At equal steps the "
    "small batch would have seen less, which is no collapse. Collapse: less than half as diverse.",
    picture=samples_picture,
    caption="Held-out captions: real pictures, then samples of each arm's seeds.",
)

ONLY_ID = Claim(
    name="only-identity",
    journal="talking face, 5 April 2021",
    says="With the identity discriminator alone all frames of a clip are the same.",
    common=(*TALKING, "steps=250", "val_every=0"),
    arms={
        "all": ("scales.id=2", "scales.seq=0.2", "scales.sync=0.8", "scales.l1=1000"),
        "id": ("scales.id=2", "scales.l1=null", *NO_SEQ_NO_SYNC),
        "id + l1": ("scales.id=2", "scales.l1=1200", *NO_SEQ_NO_SYNC),
    },
    measure=measure_motion,
    bounds=(
        Bound("motion_id", "temporal deviation of made frames over real frames', identity alone", high=0.1),
        Bound("motion_all", "the same with all discriminators and the pixel loss", low=0.25, control=True),
        Bound("lost_id", "share of frames black or lost (as in l1-zero), identity alone", high=0.5, control=True),
    ),
    shown={
        "lost_all": "share of frames black or lost with everything",
        "motion_id + l1": "the same, identity and the pixel loss (5 April's other run)",
    },
    read="Standard deviation over a clip's frames, averaged over pixels, of made over that of real 8-bit frames, 32 "
    "held-out clips. Same frames: under a tenth of what the real ones do. Each frame has noise of its own (as "
    "published), so that frames may differ for reasons other than speech: that counts against the claim. The "
    "run with everything (3 April's weights) must move by a quarter of the real frames' at least, or standing "
    "still would say nothing about identity. Nor may the pictures be lost: the author's kept the face.",
    first_seed=4,
    seeds=5,
    history="Seeds 1 to 3 could not tell: identity alone gave 0, 0 and 0.01, but three values of the control, 0.47, "
    "0.91 and 0.48, make an interval from -0.01 to 1.25. With five other seeds the rule without its second "
    "control said supported, for the wrong reason: the pictures showed that identity alone had lost the face in "
    "every run, as black-and-white noise that stands still because it is saturated, where the author saw a face "
    "that is kept. That the face be there was then made a condition.",
    picture=clips_picture,
    caption="Frames of three held-out clips, those that move most: real, then each arm's seeds.",
)

LIGHT = Claim(
    name="fixed-light",
    journal="siamese, 16 to 19 July 2018",
    says="Light stays wrong whatever the weights; with a target of fixed light the pictures are good.",
    common=(
        "data=heads",
        "data.args.people=40",
        "data.val_fraction=0.15",
        "data.size=32",
        "model.width_factor=0.125",
        "batch_size=16",
        "optimizer.gen.lr=1e-3",
        "steps=400",
        "val_every=200",
        "sample_every=0",
        "log_every=10",
        "scales.mse=0",
    ),
    arms={
        "random": ("experiment=siamese/07-16", "data.args.target_light=random"),
        "random, class_light=5": ("experiment=siamese/07-18", "data.args.target_light=random"),
        "fixed": ("experiment=siamese/07-16", "data.args.target_light=9"),
    },
    measure=measure_light,
    bounds=(
        Bound("random_best", "error with random light over the light's variance, the better weights", low=0.9),
        Bound("removed held-out", "held-out error that fixing the light removes, over the same variance", low=0.5),
    ),
    shown={
        "removed": "error of training that fixing the light removes, over the same variance",
        "error fixed": "error over it, fixed light",
        "floor": "variance of the frontal picture over the lights, a value",
        "error random": "error over it, random light, 16 July's weights",
        "error random, class_light=5": "the same, 18 July's weights",
        "held-out error random": "held-out people, random light",
        "held-out error fixed": "held-out people, fixed light",
    },
    read="Squared errors. No weights: under random light the error of training, mean over the last fifth of the run, "
    "stays at the variance over the lights or above it (nine tenths at least), whichever weights; it is "
    "watched, not charged. That variance is computed from the data: no answer that is not told the light gets "
    "below it. Removed: with a fixed light the held-out error (34 people teach, 6 are held out) is lower than "
    "with random light and the better weights by at least half of that variance.",
    first_seed=4,
    seeds=5,
    history="The first rule asked that the error left with fixed light be under half of the variance over the lights. "
    "On seeds 1 to 3 that came out as not supported: 0.90 [0.67, 1.13] was left, with random light 1.74. But "
    "that counts as light's what these short runs had not learnt of people. What fixing removes is the "
    "difference, which is now asked for, and five other seeds decide.",
    picture=faces_picture,
    caption="Held-out people: input, each arm's first seed, and the target under the fixed light.",
)

CLAIMS = (L1_ZERO, FLOORS, SMALL_BATCH, ONLY_ID, LIGHT)
