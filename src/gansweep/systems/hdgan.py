"""HDGAN: a sentence becomes pictures of several sizes at once, each size with a discriminator of its own.

After Zhang, Xie and Yang 2018 (arXiv 1802.09178): the topology of the published code, and what its authors' journal
tried before. Phases in their order: discriminators, then the generator, on the same fakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from gansweep.losses import GAN_LOSSES, REDUCTIONS, kld
from gansweep.nets.blocks import ACTIVATIONS, INITIALISERS, ConfigError, initialise, scaled
from gansweep.nets.given import Check, flag, listed, maybe, number, one_of, positive, table, whole
from gansweep.nets.hdgan import SKIPS, START_PX, Generator
from gansweep.nets.hdgan_blocks import HDGAN_NORMS
from gansweep.nets.hdgan_dis import HEADS_256, IMAGE_HEADS, Discriminator
from gansweep.system import Phase, Shared, Spec, Term, View
from gansweep.systems.hdgan_replay import REPLAY, Replay, Shown
from gansweep.systems.hdgan_terms import absent_terms, discriminator_reports, discriminator_terms, generator_terms
from gansweep.systems.vaegan import clip_weights

LEAST_OUTPUT_PX = 16
_LAYER = {"norm": one_of(HDGAN_NORMS), "act": one_of(ACTIVATIONS), "slope": number}


class Painted(NamedTuple):
    """What the generator gives: pictures of each size, the smallest first, and its code's mean and log-deviation."""

    pictures: tuple[Tensor, ...]
    mean: Tensor
    log_deviation: Tensor


def _prefixed(prefix: str, each: Check) -> Check:
    """Return a check of a group whose keys are `prefix` and a number of pixels, each value by `each`."""

    def check(key: str, value: Any) -> None:
        if not isinstance(value, Mapping) or not value:
            raise ConfigError(f"{key}={value}: must be a group of keys such as {prefix}64")
        for name, own in value.items():
            if not str(name).startswith(prefix) or not str(name).removeprefix(prefix).isdecimal():
                raise ConfigError(f"{key}.{name}: no such key; keys are {prefix} and a size in px, such as {prefix}64")
            each(f"{key}.{name}", own)

    return check


def _sentences(key: str, value: Any) -> None:
    """Check how many sentences a picture has; mean, as data.args.captions says it, is one."""
    if value != "mean":
        whole(key, value)


def outputs_of(outputs: Mapping[str, Mapping[str, Any]], size_px: int) -> list[int]:
    """Return the sizes of the outputs, px, the smallest first: those that `outputs.at_SIZE` does not make null.

    ConfigError for a size that has no entry, one whose largest output is another, and sizes the networks cannot have.
    """
    key = f"model.outputs.at_{size_px}"
    table_ = outputs.get(f"at_{size_px}")
    if table_ is None:
        known = sorted(int(name.removeprefix("at_")) for name in outputs)
        near = " or ".join(str(k) for k in sorted(sorted(known, key=lambda k: abs(k - size_px))[:2]))
        raise ConfigError(f"data.size={size_px}: model.outputs names no outputs for it; nearest: {near}")
    sizes = sorted(int(name.removeprefix("px_")) for name, weight in table_.items() if weight is not None)
    if not sizes or sizes[-1] != size_px:
        largest = f"the largest is {sizes[-1]} px; say data.size={sizes[-1]}" if sizes else "there is none"
        raise ConfigError(f"{key}: its largest output must be data.size, {size_px} px, and {largest}")
    for size in sizes:
        if size < LEAST_OUTPUT_PX or size & (size - 1):
            raise ConfigError(f"{key}.px_{size}: outputs are {LEAST_OUTPUT_PX} px doubled some times")
    return sizes


class Hdgan:
    """Networks gen, dis (one discriminator for each output); phases dis (learns dis), gen (learns gen).

    `outputs` says which sizes of picture there are for each `size_px` (see `outputs_of`). Inputs: `image` at the
    largest size, `image_S` at each other one, the same of a sample of another class (`wrong.image`, …), and `embedding`
    (B, embedding), the sentence, or with several `captions` (B, captions, embedding), of which each turn takes the mean
    of `num_emb`. Pictures are in [-1, 1]. `width_factor` multiplies every width but those of sentence,
    code and noise. Raises ConfigError for what the layer lists cannot produce.
    """

    counts = "gen"
    positive_knobs = ("clip",)
    output_range = (-1.0, 1.0)
    takes: ClassVar[dict[str, Check]] = {
        "outputs": _prefixed("at_", _prefixed("px_", maybe(number))),
        "embedding": whole,
        "captions": _sentences,
        "num_emb": whole,
        "latent": whole,
        "code": whole,
        "generator": table(
            **_LAYER,
            arch=one_of(("nested", "multistage")),
            hid_dim=whole,
            res_blocks=whole,
            reduce_dim_at=listed(whole, least=0),
            skip=one_of(SKIPS),
            detach=flag,
            stage_width=whole,
            stage_res_blocks=whole,
        ),
        "discriminator": table(
            **_LAYER,
            hid_dim=whole,
            text_code=whole,
            image_head=one_of(IMAGE_HEADS),
            head_256=one_of(HEADS_256),
            joint_1x1=flag,
            share_trunk=flag,
        ),
        "init": one_of(INITIALISERS),
        "gan_loss": one_of(GAN_LOSSES),
        "clip": maybe(positive),
        "fresh_fakes": flag,
        "replay": REPLAY,
        "reduction": table(kld=one_of(REDUCTIONS)),
    }

    def __init__(
        self,
        size_px: int,
        channels: int,
        outputs: Mapping[str, Mapping[str, Any]],
        embedding: int,
        latent: int,
        code: int,
        generator: Mapping[str, Any],
        discriminator: Mapping[str, Any],
        init: str,
        gan_loss: str,
        replay: Mapping[str, Any],
        reduction: Mapping[str, str],
        width_factor: float = 1.0,
        captions: int | str = 1,
        num_emb: int = 1,
        clip: float | None = None,
        fresh_fakes: bool = False,
    ):
        self.sizes_px = outputs_of(outputs, size_px)
        self.declared_px = sorted({int(name.removeprefix("px_")) for at in outputs.values() for name in at})
        for at in generator["reduce_dim_at"]:
            if at < 2 * START_PX or at & (at - 1):
                raise ConfigError(f"model.generator.reduce_dim_at: {at} px is no side after 4 px doubled: 8, 16, 32, …")
        captions = 1 if isinstance(captions, str) else captions
        if num_emb > captions:
            raise ConfigError(f"model.num_emb={num_emb}: a picture has model.captions={captions} sentences, no more")
        stage = scaled(generator["stage_width"], width_factor)
        hid = scaled(generator["hid_dim"], width_factor)
        enc = 4 * scaled(discriminator["hid_dim"], width_factor)
        self.nets: dict[str, nn.Module] = {
            "gen": Generator(self.sizes_px, channels, embedding, latent, code, hid, stage, generator),
            "dis": Discriminator(self.sizes_px, channels, embedding, discriminator["text_code"], enc, discriminator),
        }
        for part, net in zip((generator, discriminator), self.nets.values(), strict=True):
            # As published: linear layers keep the framework's own.
            initialise(net, init, part["slope"], dense="default")
        self.gan = GAN_LOSSES[gan_loss]
        self.fresh_fakes = fresh_fakes
        self.replay = Replay(replay, self.sizes_px, channels, embedding) if replay["capacity"] else None
        self.captions, self.num_emb = captions, num_emb
        self.inputs = self._inputs(channels, embedding)
        self.noise = {"z": Spec((latent,), "normal"), "eps": Spec((code,), "normal")}
        if fresh_fakes:
            self.noise |= {f"{name}_dis": spec for name, spec in self.noise.items()}
        if captions > 1:
            self.noise["captions"] = Spec((captions,), "uniform")
        if self.replay is not None:
            self.noise |= self.replay.noise
        self.knobs = {"real_label": 1.0, "fake_label": 0.0, "fool_label": 1.0}
        if clip is not None:
            self.knobs["clip"] = float(clip)
        self.memory: dict[str, Tensor] = {} if self.replay is None else self.replay.memory
        self.shared = self._shared()
        self.phases = (self._dis(clip is not None), self._gen(reduction["kld"]))

    def _column(self, size_px: int) -> str:
        """Return the name of the pictures of one size, as the data call them."""
        return "image" if size_px == self.sizes_px[-1] else f"image_{size_px}"

    def _inputs(self, channels: int, embedding: int) -> dict[str, Spec]:
        pictures = {self._column(size): Spec((channels, size, size)) for size in reversed(self.sizes_px)}
        wrong = {f"wrong.{name}": spec for name, spec in pictures.items()}
        sentences = (embedding,) if self.captions == 1 else (self.captions, embedding)
        return {**pictures, "embedding": Spec(sentences, "vector"), **wrong}

    def _shared(self) -> dict[str, Shared]:
        """The sentence of a draw; the fakes: one forward for both phases (the release) or one each (`fresh_fakes`)."""

        def paint(suffix: str) -> View:
            def run(nets: Any, x: Any) -> Painted:
                return Painted(*nets.gen(x["sentence"], x.noise[f"z{suffix}"], x.noise[f"eps{suffix}"]))

            return run

        sentence = {"sentence": Shared(self._sentence)}
        if not self.fresh_fakes:
            return {**sentence, "painted": Shared(paint(""), live=("gen",), stale=("dis",))}
        own = {"painted_dis": Shared(paint("_dis"), stale=("dis",))}
        return {**sentence, "painted": Shared(paint(""), live=("gen",)), **own}

    def _sentence(self, nets: Any, x: Any) -> Tensor:
        """Return one vector a picture, (B, embedding): the mean of `num_emb` of its sentences, drawn without return."""
        vectors = x.batch["embedding"]
        if self.captions == 1:
            return vectors
        drawn = x.noise["captions"].argsort(dim=1, stable=True)[:, : self.num_emb, None]
        return vectors.take_along_dim(drawn, 1).mean(1)

    def _dis(self, clipped: bool) -> Phase:
        fakes = "painted_dis" if self.fresh_fakes else "painted"
        replay = self.replay

        def shown(nets: Any, x: Any) -> Shown:
            pictures, sentence = x[fakes].pictures, x["sentence"]
            return Shown(pictures, sentence) if replay is None else replay.mix(pictures, sentence, x)

        views: dict[str, View] = {"shown": shown}
        terms: dict[str, Term] = {}
        reports: dict[str, Term] = {}
        for n, size in enumerate(self.sizes_px):
            views |= self._verdicts(n, size)
            terms |= discriminator_terms(self.gan, size)
            reports |= discriminator_reports(size)
        finest = self.sizes_px[-1]
        views["real_score"] = lambda nets, x: x[f"right_{finest}"][0]
        views["fake_score"] = lambda nets, x: x[f"fake_{finest}"][0]
        return Phase(
            name="dis",
            learns=("dis",),
            views=views if replay is None else {**views, **replay.views},
            terms={**terms, **self._absent("dis")},
            reports=reports if replay is None else {**reports, **replay.reports()},
            keeps={} if replay is None else replay.keeps,
            after=(clip_weights,) if clipped else (),
            pair=("real_score", "fake_score"),
        )

    def _verdicts(self, n: int, size_px: int) -> dict[str, View]:
        """Views of what D says at one size of real pictures with their sentence and with a wrong one, and of fakes."""
        column = self._column(size_px)
        return {
            f"right_{size_px}": lambda nets, x: nets.dis(x.batch[column], x["sentence"], size_px),
            f"wrong_{size_px}": lambda nets, x: nets.dis(x.batch[f"wrong.{column}"], x["sentence"], size_px),
            f"fake_{size_px}": lambda nets, x: nets.dis(x["shown"].pictures[n], x["shown"].sentence, size_px),
        }

    def _gen(self, reduction: str) -> Phase:
        def judged(n: int, size_px: int) -> View:
            return lambda nets, x: nets.dis(x["painted"].pictures[n], x["sentence"], size_px)

        terms: dict[str, Term] = {}
        for size in self.sizes_px:
            terms |= generator_terms(self.gan, size)
        # The deviation is sigma = e^s, so its log-variance is 2 s.
        terms["kld"] = Term(lambda made: kld(made.mean, 2.0 * made.log_deviation, reduction), ("painted",))
        views = {f"judged_{size}": judged(n, size) for n, size in enumerate(self.sizes_px)}
        views["picture"] = lambda nets, x: x["painted"].pictures[-1]
        return Phase(
            name="gen",
            learns=("gen",),
            views=views,
            terms={**terms, **self._absent("gen")},
            pair=("picture", "batch.image"),
        )

    def _absent(self, phase: str) -> dict[str, Term]:
        """Terms of the outputs that another data.size or another choice would have; see `absent_terms`."""
        missing = [size for size in self.declared_px if size not in self.sizes_px]
        found = {name: at for size in missing for name, at in absent_terms(size, self.sizes_px).items()}
        return {name: term for name, (owner, term) in found.items() if owner == phase}

    def sample(self, nets: Any, batch: Mapping[str, Tensor] | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return pictures of the batch's sentences by size, {"64": (B, C, 64, 64), …}, in [-1, 1], the largest last.

        Of several sentences the first is taken, as in the published scores.
        """
        if batch is None:
            raise ValueError("hdgan paints sentences: it needs a batch with an embedding")
        sentence = batch["embedding"] if self.captions == 1 else batch["embedding"][:, 0]
        pictures = nets.gen(sentence, noise["z"], noise["eps"])[0]
        return {str(size): picture for size, picture in zip(self.sizes_px, pictures, strict=True)}
