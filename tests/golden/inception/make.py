"""Make expected.json: what torch-fidelity says of the seeded network, the seeded pictures and a seeded logits table.

Run it in the environment that `make peer-check` makes, never in the project's own: torch-fidelity imports torchvision,
and with it installed but torchvision absent torchmetrics can no longer be imported.

    PYTHONPATH=src:tests/metrics:tests/peer/stub .venv-peer/bin/python tests/golden/inception/make.py

With --mean-feature it first makes mean_feature.npy anew (the head then changes, and with it every number).
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch
from seeded_inception import GOLDEN, MEAN_FEATURE_FILE, logits_table, pictures, seeded_state

COMMAND = "PYTHONPATH=src:tests/metrics:tests/peer/stub .venv-peer/bin/python tests/golden/inception/make.py"
SPLITS = 4
SETS = {"64px": (24, 64), "320px": (6, 320)}


def extractor(features: list[str], mean_feature: np.ndarray | None) -> torch.nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seeded.pth"
        torch.save(seeded_state(mean_feature), path)
        return FeatureExtractorInceptionV3("seeded", features, feature_extractor_weights_path=str(path))


def run(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([network(chunk)[0] for chunk in images.split(8)])


def main() -> None:
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.version import __version__ as version

    parser = argparse.ArgumentParser()
    parser.add_argument("--mean-feature", action="store_true")
    if parser.parse_args().mean_feature:
        features = run(extractor(["2048"], None), pictures(60))
        np.save(MEAN_FEATURE_FILE, features.mean(dim=0).numpy().astype(np.float16))
    network = extractor(["logits_unbiased"], np.load(MEAN_FEATURE_FILE))
    expected: dict[str, object] = {
        "command": COMMAND,
        "torch_fidelity": version,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "splits": SPLITS,
    }
    for name, (count, size_px) in SETS.items():
        logits = run(network, pictures(count, size_px))
        score = isc_features_to_metric(logits, splits=SPLITS if count >= 24 else 2)
        expected[name] = {
            "images": count,
            "size_px": size_px,
            "mean": score["inception_score_mean"],
            "std": score["inception_score_std"],
            "logits": [[round(float(value), 6) for value in row[:12]] for row in logits[:6]],
            "logits_std_between_images": float(logits.std(dim=0).mean()),
        }
    score = isc_features_to_metric(torch.from_numpy(logits_table()), splits=10)
    expected["formula"] = {"mean": score["inception_score_mean"], "std": score["inception_score_std"]}
    (GOLDEN / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
