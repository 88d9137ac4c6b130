"""What HDGAN charges and reports at one size of picture: does it fit the sentence, and is it real?

A verdict is what the discriminator of that size says of a batch: the pair's scores (B, 1), and for each image head the
scores of the picture alone (B, 1, h, w). Losses are made for one of losses.GAN_LOSSES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.system import Term

Verdict = tuple[Tensor, tuple[Tensor, ...]]
Gan = tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...]

_LABELS = ("knobs.real_label", "knobs.fake_label")


def discriminator_terms(gan: Gan, size_px: int) -> dict[str, Term]:
    """Return `d_pair_S` and `d_img_S` of a discriminator, on its verdicts `right_S`, `wrong_S` and `fake_S`.

    Zhang et al. 2018, section 3.2 (the matching-aware pair loss is Reed et al. 2016, algorithm 1): the real picture
    with its sentence against half of each of a real picture of another class and a fake, both with that sentence. The
    image loss takes both real pictures, half each, against the fake.
    """
    real, fake, _ = gan

    def pair(right: Verdict, wrong: Verdict, made: Verdict, yes: Tensor, no: Tensor) -> Tensor:
        return real(right[0], yes, no) + 0.5 * (fake(wrong[0], yes, no) + fake(made[0], yes, no))

    def image(right: Verdict, wrong: Verdict, made: Verdict, yes: Tensor, no: Tensor) -> Tensor:
        heads = zip(right[1], wrong[1], made[1], strict=True)
        return _mean([fake(f, yes, no) + 0.5 * (real(r, yes, no) + real(w, yes, no)) for r, w, f in heads])

    reads = (f"right_{size_px}", f"wrong_{size_px}", f"fake_{size_px}", *_LABELS)
    return {f"d_pair_{size_px}": Term(pair, reads), f"d_img_{size_px}": Term(image, reads)}


def generator_terms(gan: Gan, size_px: int) -> dict[str, Term]:
    """Return `pair_S` and `img_S` of the generator: D's verdict on fakes, `judged_S`, should be that on real ones."""
    fools = gan[2]

    def pair(judged: Verdict, yes: Tensor, no: Tensor) -> Tensor:
        return fools(judged[0], yes, no)

    def image(judged: Verdict, yes: Tensor, no: Tensor) -> Tensor:
        return _mean([fools(head, yes, no) for head in judged[1]])

    reads = (f"judged_{size_px}", "knobs.fool_label", "knobs.fake_label")
    return {f"pair_{size_px}": Term(pair, reads), f"img_{size_px}": Term(image, reads)}


def absent_terms(size_px: int, sizes_px: Sequence[int]) -> dict[str, tuple[str, Term]]:
    """Return the terms of an output that is not there, by name with their phase: their scales may be null, no more.

    So one table of scales serves every choice of outputs. A number is told of (UserError) by the trial step.
    """
    there = ", ".join(map(str, sizes_px))

    def refuse(name: str) -> Callable[[], NoReturn]:
        def charge() -> NoReturn:
            raise UserError(f"scales.{name}: no output of {size_px} px, only of {there}; say scales.{name}=null")

        return charge

    names = {f"{kind}_{size_px}": phase for kind, phase in _KINDS.items()}
    return {name: (phase, Term(refuse(name), ())) for name, phase in names.items()}


_KINDS = {"d_pair": "dis", "d_img": "dis", "pair": "gen", "img": "gen"}


def discriminator_reports(size_px: int) -> dict[str, Term]:
    """Return what tells how a discriminator fares at one size.

    `gap_S`: by how much matching pairs score above mismatching ones (0: it does not read the sentence). `sure_S`:
    share of pair scores beyond both labels, where least squares pull back. `right_pair_S`, `right_img_S`: share of its
    verdicts on the right side of the middle of the labels, real and fake alike.
    """
    reads = (f"right_{size_px}", f"wrong_{size_px}", f"fake_{size_px}")
    return {
        f"gap_{size_px}": Term(lambda right, wrong: right[0].mean() - wrong[0].mean(), reads[:2]),
        f"sure_{size_px}": Term(_sure, (*reads, *_LABELS)),
        f"right_pair_{size_px}": Term(_right_pair, (*reads, *_LABELS)),
        f"right_img_{size_px}": Term(_right_image, (*reads, *_LABELS)),
    }


def _sure(right: Verdict, wrong: Verdict, made: Verdict, yes: Tensor, no: Tensor) -> Tensor:
    scores = torch.cat([right[0], wrong[0], made[0]])
    return ((scores > torch.maximum(yes, no)) | (scores < torch.minimum(yes, no))).to(scores.dtype).mean()


def _right_pair(right: Verdict, wrong: Verdict, made: Verdict, yes: Tensor, no: Tensor) -> Tensor:
    return _share_right([right[0]], [wrong[0], made[0]], yes, no)


def _right_image(right: Verdict, wrong: Verdict, made: Verdict, yes: Tensor, no: Tensor) -> Tensor:
    return _share_right([*right[1], *wrong[1]], [*made[1]], yes, no)


def _share_right(real: Sequence[Tensor], fake: Sequence[Tensor], yes: Tensor, no: Tensor) -> Tensor:
    """Return the mean of the shares of real scores above and of fake scores below the middle of the labels."""
    middle = 0.5 * (yes + no)
    above = torch.stack([(scores > middle).to(scores.dtype).mean() for scores in real]).mean()
    below = torch.stack([(scores <= middle).to(scores.dtype).mean() for scores in fake]).mean()
    return 0.5 * (above + below)


def _mean(values: Sequence[Tensor]) -> Tensor:
    total: Any = sum(values[1:], start=values[0])
    return total / len(values) if len(values) > 1 else total
