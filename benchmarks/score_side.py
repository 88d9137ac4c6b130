"""One side of score.py in a process of its own: gansweep or torch-fidelity judging the same pictures, when told to.

    python benchmarks/score_side.py gansweep|torch-fidelity FOLDER

Reads FOLDER/pictures.npy (uint8 (N, 3, H, W)) and FOLDER/seeded.pth, writes FOLDER/<side>.npy (logits), then answers
each line on stdin, a batch size, with one line of JSON: CPU and wall seconds, and the score. Judged is from pictures in
memory to the score; imports, weights and a first batch lie before.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SPLITS = 10
# From pictures and a batch size to logits (N, 1008) and the score's mean.
Judging = Callable[[Tensor, int], tuple[Tensor, float]]


def gansweep(weights: str) -> Judging:
    """The judge and the streaming score, as eval-is uses them, which has glibc keep freed memory."""
    from gansweep.arithmetic import keep_freed_memory
    from gansweep.metrics.inception import InceptionJudge
    from gansweep.metrics.score import InceptionScore

    keep_freed_memory()
    judge = InceptionJudge(name="seeded", weights=weights)

    def run(pictures: Tensor, batch: int) -> tuple[Tensor, float]:
        score, logits = InceptionScore(len(pictures), SPLITS), []
        for part in pictures.split(batch):
            logits.append(judge.logits(part))
            score.update(logits[-1])
        return torch.cat(logits), score.compute().mean

    return run


def torch_fidelity(weights: str) -> Judging:
    """Its extractor and its score, as calculate_metrics uses them, without its loader's processes and its bar."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    network = FeatureExtractorInceptionV3("seeded", ["logits_unbiased"], feature_extractor_weights_path=weights)

    def run(pictures: Tensor, batch: int) -> tuple[Tensor, float]:
        with torch.no_grad():
            logits = torch.cat([network(part)[0] for part in pictures.split(batch)])
        return logits, isc_features_to_metric(logits, splits=SPLITS)[KEY_METRIC_ISC_MEAN]

    return run


SIDES = {"gansweep": gansweep, "torch-fidelity": torch_fidelity}


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    pictures = torch.from_numpy(np.load(folder / "pictures.npy"))
    run = SIDES[name](str(folder / "seeded.pth"))
    logits, _ = run(pictures, 16)
    np.save(folder / f"{name}.npy", logits.numpy())
    print("ready", flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        _, score = run(pictures, int(line))
        seconds = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
        print(json.dumps({**seconds, "score": score}), flush=True)


if __name__ == "__main__":
    main()
