"""The judge `inception`: the FID Inception v3 on TF1-resized images, the only one that may write `inception_score`.

Under its own name it takes the public weights file alone (by SHA-256). With `judge.name=mine` it takes any file of the
same layout and writes `is_mine`: another classifier is another metric.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.metrics.fid_network import CLASSES, SIZE_PX, FidInception, wanted_entries
from gansweep.metrics.judges import INCEPTION_KEY, Reading, check_images, score_key
from gansweep.metrics.precision import Precision, at_precision, in_words
from gansweep.metrics.weights import cache_folder, check_state_dict, find_weights, read_state_dict

NAME = "inception"
SHA256_PREFIX = "6726825d"
FILE_NAMES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
SOURCE = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE_NAMES[0]}"


class InceptionJudge:
    """FID Inception logits (N, 1008), without bias, and features (N, 2048)."""

    def __init__(
        self, name: str = NAME, weights: str | None = None, device: torch.device | str = "cpu", **unknown: object
    ) -> None:
        if unknown:
            raise UserError(
                f"judge.{next(iter(unknown))} is not a setting of the judge '{name}'; choices: name, weights"
            )
        public = name == NAME
        self.name = name
        self.precision: Precision = "exact"
        self.key = INCEPTION_KEY if public else score_key(name)
        self.weights = find_weights(weights, FILE_NAMES, SHA256_PREFIX if public else None, how_to_get())
        state = read_state_dict(self.weights)
        check_state_dict(state, wanted_entries(), self.weights.path)
        self.device = torch.device(device)
        self.network = FidInception()
        self.network.load(state)
        self.network.to(self.device)

    def identity(self) -> dict[str, str]:
        """Return the parts of the definition that must agree for two scores to be comparable."""
        return {
            "judge": self.name,
            "network": "FID Inception v3 2015-12-05",
            "weights_sha256": self.weights.sha256,
            "classes": str(CLASSES),
            "bias": "no",
            "resize": f"TF1 bilinear to {SIZE_PX} px",
            "scaling": "(x - 128) / 128",
            "precision": in_words(self.precision),
        }

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (N, 1008) float32 for uint8 images (N, 1 or 3, H, W)."""
        return self.read(images).logits

    def read(self, images: Tensor) -> Reading:
        """Return logits (N, 1008) and pooled features (N, 2048), float32, for uint8 images (N, 1 or 3, H, W)."""
        with at_precision(self.precision, self.device):
            features = self.network.features(check_images(images).to(self.device, torch.float32))
            return Reading(self.network.head(features).float(), features.float())


def how_to_get() -> str:
    """Return the one line that says which file the judge wants, and both ways to get it."""
    return (
        f"judge 'inception' needs the FID Inception weights (96 MB): gansweep weights get downloads them, "
        f"gansweep weights add FILE takes {FILE_NAMES[0]} from you, both into {cache_folder()}; "
        f"or pass judge.weights=FILE; judge=lite0 needs no download and gives another score"
    )
