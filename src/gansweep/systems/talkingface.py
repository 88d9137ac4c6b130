"""Speech-driven talking face: one still picture and raw speech become the frames of that person speaking.

After Vougioukas et al. 2019 as a journal of March and April 2021 rebuilt it: a U-Net against three discriminators, of
the person (id), of the run of frames (seq), and of lips against speech (sync), and the pixels' distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gansweep.losses import GAN_LOSSES, l1
from gansweep.nets.blocks import OUTPUT_RANGES, OUTPUTS
from gansweep.nets.given import Check
from gansweep.nets.talkingface import Generator, draw_weights
from gansweep.nets.talkingface_judges import Identity, SequenceConv3d, SequenceGru, Sync
from gansweep.system import Look, Phase, Shared, Spec, Term, View
from gansweep.systems.parts import probability
from gansweep.systems.talkingface_cut import (
    AS_THE_DATA,
    Pixels,
    drawn_place,
    heard,
    motion,
    region,
    region_px,
    taken,
    windows,
    with_context,
)
from gansweep.systems.talkingface_given import TAKES, refuse_short, thinner

LABELS = ("knobs.real_label", "knobs.fake_label")
FOOL = ("knobs.fool_label", "knobs.fake_label")


class TalkingFace:
    """Networks gen, id, sync, seq; phases id, sync, seq (each learns its own), then gen (learns gen).

    Inputs: `still` (C, S, S), the person; `frames` (T, C, S, S), a clip of them; `audio` (T, samples), the speech of
    each frame; `wrong.audio`, speech that does not belong to the clip, which sync must tell from it.

    Both kinds of step share one forward, `made`, of n frames of each clip:

    - `step` clip: all T frames are made, and id, sync and l1 look at each of them: one update for the whole clip.
    - `step` frame: a frame of each clip is drawn (noise site `at`), and the `run` frames that end there are made; id
      and l1 look at the drawn frame alone, seq at the run: one update a frame, as the journal began.

    sync looks at windows of `sync.frames` frames, one after the other (what is left over at the end of a clip is not
    looked at); where that is 1, at the frames that id looks at. Speech has `context` frames more on either side,
    silence beyond the clip's ends. seq always looks at the whole run. `noise_per` frame: noise of its own for each
    frame; clip: for each clip.

    What the original code ran by mistake is here by name: `detached` (terms of gen that see a clip cut off from its
    graph), the terms d_*_leak (what was left of the generator's gradient when a discriminator stepped), `seq.earlier`
    as_coded (D's fake run begins with real frames, G's with detached ones), `seq.head` state, and `pixels`: networks
    see (value - offset) / scale of the data's values, and what gen's output can reach is moved and stretched with it.

    `remake` has gen make its frames anew, at the cost of a forward without graph: with runtime.accumulate the graphs of
    all parts would be held otherwise. `width_factor` multiplies every width but counts of logits. Raises ConfigError.
    """

    counts = "gen"
    takes: ClassVar[dict[str, Check]] = TAKES

    def __init__(
        self,
        size_px: int,
        channels: int,
        frames: int,
        samples: int,
        latent: int,
        step: str,
        run: int,
        noise_per: str,
        region: str,
        remake: bool,
        detached: Sequence[str],
        gen: Mapping[str, Any],
        id: Mapping[str, Any],
        sync: Mapping[str, Any],
        seq: Mapping[str, Any],
        init: str,
        init_slope: float,
        gan_loss: str,
        pixels: Mapping[str, float] = AS_THE_DATA,
        width_factor: float = 1.0,
    ):
        self.pixels = Pixels(**pixels)
        self.by_frame, self.frames, self.region = step == "frame", frames, region
        self.run = run if self.by_frame else frames
        refuse_short(frames, self.run, sync["frames"])
        self.context, self.earlier_as_coded = gen["context"], seq["earlier"] == "as_coded"
        self.window, self.sync_context, self.crop = sync["frames"], sync["context"], sync["crop"]
        gen, id, sync, seq = (thinner(part, width_factor) for part in (gen, id, sync, seq))
        painter = Generator(size_px, channels, samples * (1 + 2 * self.context), latent, gen)
        heard_samples = samples * (self.window + 2 * self.sync_context)
        gru = seq["kind"] == "gru"
        self.nets: dict[str, nn.Module] = {
            "gen": painter,
            "id": Identity(size_px, channels, id),
            "sync": Sync(region_px(size_px, self.crop), size_px, channels, heard_samples, sync),
            "seq": SequenceGru(size_px, channels, seq) if gru else SequenceConv3d(size_px, channels, self.run, seq),
        }
        for net in self.nets.values():
            draw_weights(net, init, init_slope)
        self.native_px = painter.native_px
        self.output, reach = OUTPUTS[gen["output"]], OUTPUT_RANGES.get(gen["output"])
        self.output_range = reach and (self.pixels.outward(reach[0]), self.pixels.outward(reach[1]))
        picture, speech = Spec((channels, size_px, size_px)), Spec((frames, samples), "vector")
        clip = Spec((frames, channels, size_px, size_px))
        self.inputs = {"still": picture, "frames": clip, "audio": speech, "wrong.audio": speech}
        self.noise = {"eps": Spec((frames if noise_per == "frame" else 1, latent), "normal")}
        if self.by_frame:
            self.noise["at"] = Spec((), "uniform")
        self.knobs = {"real_label": 1.0, "fake_label": 0.0, "fool_label": 1.0}
        self.memory: dict[str, Tensor] = {}
        self.gan = GAN_LOSSES[gan_loss]
        self.shared = self._shared(remake)
        self.phases = (self._id(), self._sync(), self._seq(), self._gen(remake, tuple(detached)))

    # What is looked at

    def _shared(self, remake: bool) -> dict[str, Shared]:
        """Forwards that phases share: the made frames, and which real ones stand against them."""
        place = {"place": Shared(lambda nets, x: drawn_place(x.noise["at"], self.frames, self.run))}
        return {
            **(place if self.by_frame else {}),
            "person": Shared(lambda nets, x: self.pixels.inward(x.batch["still"])),
            "real": Shared(lambda nets, x: self.pixels.inward(self._run(x, x.batch["frames"]))),
            "shown": Shared(lambda nets, x: self._looked_at(x, x["real"]).flatten(0, 1)),
            "made": Shared(self._make, live=() if remake else ("gen",), stale=("id", "sync", "seq")),
        }

    def _run(self, x: Look, clips: Tensor, extra: int = 0) -> Tensor:
        """Return what stands for the frames that a step makes, and `extra` entries more: (B, n + extra, …)."""
        return taken(clips, x["place"].start, self.run + extra) if self.by_frame else clips

    def _looked_at(self, x: Look, run: Tensor) -> Tensor:
        """Return the frames of a run that are looked at one by one, (B, n or 1, …)."""
        return taken(run, x["place"].at, 1) if self.by_frame else run

    def _make(self, nets: Any, x: Look) -> Tensor:
        """Return the generator's frames, (B, n, C, S, S)."""
        around = 2 * self.context
        speech = heard(self._run(x, with_context(x.batch["audio"], self.context), around), 1, self.context)
        drawn = x.noise["eps"]
        return self.output(nets.gen(x["person"], speech, self._run(x, drawn) if drawn.shape[1] > 1 else drawn))

    def _identity(self, nets: Any, x: Look, frames: Tensor) -> Tensor:
        return nets.id(frames, _for_each(x["person"], frames))

    def _synchrony(self, nets: Any, x: Look, run: Tensor, audio: str) -> Tensor:
        """Return what sync says of a run's windows (B, n, C, S, S) with the speech of that name."""
        context = self.sync_context
        speech = self._run(x, with_context(x.batch[audio], context), 2 * context)
        if self.window == 1 and self.by_frame:
            run, speech = self._looked_at(x, run), taken(speech, x["place"].at, 1 + 2 * context)
        lips = windows(region(run, self.crop), self.window, self.window)
        return nets.sync(lips, heard(speech, self.window, context).flatten(0, 1))

    def _before(self, run: Tensor, earlier: Tensor) -> Tensor:
        """Return the run with all but its last frame taken from `earlier`, where that is asked for."""
        return torch.cat([earlier[:, :-1], run[:, -1:]], 1) if self.earlier_as_coded else run

    # Phases

    def _judge(self, name: str, **views: View) -> Phase:
        """Return a discriminator's phase: `real` should be taken for real, `fake` (and `wrong`) not."""
        real, fake, fools = self.gan
        judges = {"real": real, "fake": fake, "wrong": fake}
        return Phase(
            name=name,
            learns=(name,),
            views={f"{name}_{of}": view for of, view in views.items()},
            terms={
                **{f"d_{name}_{of}": Term(judges[of], (f"{name}_{of}", *LABELS)) for of in views},
                f"d_{name}_leak": Term(fools, (f"{name}_fake", *FOOL)),
            },
            reports={f"p_{of}": Term(probability, (f"{name}_{of}",)) for of in views},
            pair=(f"{name}_real", f"{name}_fake"),
        )

    def _id(self) -> Phase:
        return self._judge(
            "id",
            real=lambda nets, x: self._identity(nets, x, x["shown"]),
            fake=lambda nets, x: self._identity(nets, x, self._looked_at(x, x["made"]).flatten(0, 1)),
        )

    def _sync(self) -> Phase:
        return self._judge(
            "sync",
            real=lambda nets, x: self._synchrony(nets, x, x["real"], "audio"),
            fake=lambda nets, x: self._synchrony(nets, x, x["made"], "audio"),
            wrong=lambda nets, x: self._synchrony(nets, x, x["real"], "wrong.audio"),
        )

    def _seq(self) -> Phase:
        return self._judge(
            "seq",
            real=lambda nets, x: nets.seq(x["real"]),
            fake=lambda nets, x: nets.seq(self._before(x["made"], x["real"])),
        )

    def _gen(self, remake: bool, detached: tuple[str, ...]) -> Phase:
        def run(x: Look, term: str) -> Tensor:
            return x["made"].detach() if term in detached else x["made"]

        fools = self.gan[2]
        verdicts: dict[str, View] = {
            "id_logit": lambda nets, x: self._identity(nets, x, x["face"]),
            "sync_logit": lambda nets, x: self._synchrony(nets, x, run(x, "sync"), "audio"),
            "seq_logit": lambda nets, x: nets.seq(self._before(run(x, "seq"), x["made"].detach())),
        }
        return Phase(
            name="gen",
            learns=("gen",),
            views={
                **({"made": self._make} if remake else {}),
                "face": lambda nets, x: self._looked_at(x, x["made"]).flatten(0, 1),
                **verdicts,
            },
            terms={
                "id": Term(fools, ("id_logit", *FOOL)),
                "sync": Term(fools, ("sync_logit", *FOOL)),
                "seq": Term(fools, ("seq_logit", *FOOL)),
                "l1": Term(partial(_l1_of, self.region), ("face", "shown")),
            },
            reports=self._reports(),
            pair=("face", "shown"),
        )

    def _reports(self) -> dict[str, Term]:
        """Distances by half, and that of the still, which any model must beat; liveliness; the side really painted."""
        reports = {
            "l1_upper": Term(partial(_l1_of, "upper_half"), ("face", "shown")),
            "l1_lower": Term(partial(_l1_of, "lower_half"), ("face", "shown")),
            "l1_copy": Term(
                lambda still, shown: _l1_of(self.region, _for_each(self.pixels.inward(still), shown), shown),
                ("batch.still", "shown"),
            ),
            "native_px": Term(lambda made: made.new_full((), float(self.native_px)), ("made",)),
        }
        if not self.by_frame and self.frames > 1:
            reports["motion"] = Term(
                lambda made, frames: motion(made, self.pixels.inward(frames)), ("made", "batch.frames")
            )
        return reports

    def sample(self, nets: Any, batch: Mapping[str, Tensor] | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {"image": each clip's middle frame, (B, C, S, S)}, in the data's normalised range.

        `batch` has the stills and the speech. Raises ValueError without it.
        """
        if batch is None:
            raise ValueError("a talking face is painted from a still and speech: sample needs a batch")
        return {"image": self._clip(nets, batch, noise)[:, self.frames // 2]}

    def clips(self, nets: Any, batch: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return clips for a film: frames made and real (B, T, C, S, S), the still, the sound (B, T · samples)."""
        made = self._clip(nets, batch, noise)
        return {"made": made, "real": batch["frames"], "still": batch["still"], "sound": batch["audio"].flatten(1)}

    def _clip(self, nets: Any, batch: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> Tensor:
        speech = heard(with_context(batch["audio"], self.context), 1, self.context)
        frames = self.output(nets.gen(self.pixels.inward(batch["still"]), speech, noise["eps"]))
        return self.pixels.outward(frames)


def _for_each(still: Tensor, frames: Tensor) -> Tensor:
    """Repeat each still (B, …) for each of its frames (B · n, …)."""
    count = len(frames) // len(still)
    return still.unsqueeze(1).expand(-1, count, *still.shape[1:]).flatten(0, 1)


def _l1_of(which: str, made: Tensor, real: Tensor) -> Tensor:
    return l1(region(made, which), region(real, which))
