"""The judge `inception`: the FID Inception v3 on TF1-resized images, the only one that may write `inception_score`.

Under its own name it takes the public weights file alone (by SHA-256). With `judge.name=mine` it takes any file of the
same layout and writes `is_mine`: another classifier is another metric.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.metrics.fid_network import CLASSES, SIZE_PX, FidInception, wanted_entries
from gansweep.metrics.judges import INCEPTION_KEY, check_images, full_fp32, score_key
from gansweep.metrics.weights import cache_folder, check_state_dict, find_weights, read_state_dict

NAME = "inception"
SHA256_PREFIX = "6726825d"
FILE_NAMES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
SOURCE = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE_NAMES[0]}"


class InceptionJudge:
    """FID Inception logits (N, 1008), without bias, fp32 with TF32 off."""

    def __init__(
        self, name: str = NAME, weights: str | None = None, device: torch.device | str = "cpu", **unknown: object
    ) -> None:
        if unknown:
            raise UserError(
                f"judge.{next(iter(unknown))} is not a setting of the judge '{name}'; choices: name, weights"
            )
        public = name == NAME
        self.name = name
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
            "precision": "fp32, TF32 off",
        }

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (N, 1008) float32 for uint8 images (N, 1 or 3, H, W)."""
        with full_fp32():
            return self.network(check_images(images).to(self.device, torch.float32))


def how_to_get() -> str:
    """Return the one line that says which file the judge wants and where to put it."""
    return (
        f"judge 'inception' needs the FID Inception weights (96 MB): download {SOURCE} "
        f"into {cache_folder()} or pass judge.weights=FILE; judge=lite0 needs no download and gives another score"
    )
