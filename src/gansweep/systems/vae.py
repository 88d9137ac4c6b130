"""Convolutional VAE (Kingma and Welling 2014), driven by one list of convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from gansweep.nets.blocks import INITIALISERS, OUTPUT_RANGES, OUTPUTS, initialise, scaled
from gansweep.nets.given import LAYER, Check, listed, maybe, one_of, table, whole
from gansweep.nets.vae import ConvDecoder, ConvEncoder
from gansweep.system import Phase, Shared, Spec
from gansweep.systems.parts import REDUCTION, encode, kld_term, reconstruction_terms


class Vae:
    """Networks enc and dec, one phase `fit` that learns both: reconstruction plus KL.

    `conv` is a list of {filters, kernel, stride}; `width_factor` multiplies filters and the dense layer. Pictures are
    (B, channels, size_px, size_px). Raises ConfigError for a size that the total stride does not divide.
    """

    counts = "fit"
    positive_knobs = ("huber_delta",)
    takes: ClassVar[dict[str, Check]] = {
        **LAYER,
        "latent": whole,
        "conv": listed(table(filters=whole, kernel=whole, stride=whole)),
        "dense": whole,
        "output": one_of(OUTPUTS),
        "init": one_of(INITIALISERS),
        "init_dense": maybe(one_of(INITIALISERS)),
        "reduction": REDUCTION,
    }

    def __init__(
        self,
        size_px: int,
        channels: int,
        latent: int,
        conv: Sequence[Mapping[str, int]],
        dense: int,
        norm: str,
        act: str,
        slope: float,
        output: str,
        init: str,
        reduction: Mapping[str, str],
        width_factor: float = 1.0,
        init_dense: str | None = None,
    ):
        conv = [{**entry, "filters": scaled(entry["filters"], width_factor)} for entry in conv]
        part = {"norm": norm, "act": act, "slope": slope}
        self.nets: dict[str, nn.Module] = {
            "enc": ConvEncoder(size_px, channels, conv, scaled(dense, width_factor), latent, part),
            "dec": ConvDecoder(size_px, channels, conv, latent, part),
        }
        for net in self.nets.values():
            initialise(net, init, slope, init_dense)
        self.output = OUTPUTS[output]
        self.output_range = OUTPUT_RANGES.get(output)
        self.inputs = {"image": Spec((channels, size_px, size_px))}
        self.noise = {"eps": Spec((latent,), "normal"), "prior": Spec((latent,), "normal")}
        self.knobs = {"huber_delta": 1.0}
        self.memory: dict[str, Tensor] = {}
        self.shared: dict[str, Shared] = {}
        self.phases = (
            Phase(
                name="fit",
                learns=("enc", "dec"),
                views={
                    "code": encode,
                    "raw": lambda nets, x: nets.dec(x["code"].z),
                    "rec": lambda nets, x: self.output(x["raw"]),
                },
                terms={**reconstruction_terms(reduction["rec"], "raw", "rec"), "kld": kld_term(reduction["kld"])},
                pair=("rec", "batch.image"),
            ),
        )

    def sample(self, nets: Any, batch: Mapping[str, Tensor] | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {"image": pictures decoded from the prior}, (B, C, S, S), in the data's normalised range."""
        return {"image": self.output(nets.dec(noise["prior"]))}

    def reconstruct(self, nets: Any, batch: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {"image": the batch's pictures decoded from the mean of their code}."""
        return {"image": self.output(nets.dec(nets.enc(batch["image"])[0]))}
