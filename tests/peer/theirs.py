"""torch-fidelity's side of the peer check: reads pictures, tables and weights from a folder, writes its numbers there.

Runs in the peer's environment (.venv-peer) with tests/peer/stub on its path; knows nothing of gansweep.

    python tests/peer/theirs.py FOLDER
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torch_fidelity.version import __version__

BATCH = 8


class Pictures(Dataset):
    """uint8 pictures (N, 3, H, W) as calculate_metrics takes them."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def distances(first: torch.Tensor, second: torch.Tensor, asked: dict[str, Any]) -> dict[str, float]:
    """Return FID, KID, precision and recall of features `first` (generated) against `second` (real)."""
    statistics = [fid_features_to_statistics(features) for features in (first, second)]
    kid = {name: asked[name] for name in ("kid_subsets", "kid_subset_size")}
    return {
        **fid_statistics_to_metric(*statistics, verbose=False),
        **kid_features_to_metric(first, second, verbose=False, **kid),
        **prc_features_to_metric(first, second, verbose=False, prc_neighborhood=asked["nearest"]),
    }


def main() -> None:
    folder = Path(sys.argv[1])
    asked = json.loads((folder / "asked.json").read_text())
    weights = str(folder / "seeded.pth")
    network = FeatureExtractorInceptionV3("seeded", ["2048", "logits_unbiased"], feature_extractor_weights_path=weights)
    found: dict[str, Any] = {
        "torch_fidelity": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    images = {name: torch.from_numpy(np.load(folder / f"{name}.npy")) for name in asked["splits"]}
    arrays: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        for name, pictures in images.items():
            parts = [network(chunk) for chunk in pictures.split(BATCH)]
            features, logits = (torch.cat(part) for part in zip(*parts, strict=True))
            arrays |= {f"{name}_features": features.numpy(), f"{name}_logits": logits.numpy()}
            splits = asked["splits"][name]
            found[f"{name}_score"] = isc_features_to_metric(logits, splits=splits)
            found[f"{name}_unshuffled"] = isc_features_to_metric(logits, splits=splits, shuffle=False)
    table = torch.from_numpy(np.load(folder / "logits_table.npy"))
    found["table_score"] = isc_features_to_metric(table, splits=asked["table_splits"])
    tables = (torch.from_numpy(np.load(folder / f"features_{side}.npy")) for side in ("fake", "real"))
    found["table_distances"] = distances(*tables, asked)
    doubled = (torch.from_numpy(arrays[f"{side}_features"]).double() for side in ("fake", "real"))
    found["doubled_distances"] = distances(*doubled, asked)
    found["whole"] = calculate_metrics(
        input1=Pictures(images["fake"]),
        input2=Pictures(images["real"]),
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=weights,
        isc_splits=asked["splits"]["fake"],
        kid_subsets=asked["kid_subsets"],
        kid_subset_size=asked["kid_subset_size"],
        prc_neighborhood=asked["nearest"],
        batch_size=BATCH,
        cuda=False,
        cache=False,
        verbose=False,
    )
    np.savez(folder / "theirs.npz", **arrays)
    (folder / "theirs.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
