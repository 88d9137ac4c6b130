"""Hold the score and its companions against torch-fidelity 0.4.0 and torchmetrics, live; exit 1 when a gate fails.

    make peer-check

torch-fidelity runs in an environment and a process of its own (theirs.py); pictures, weights and tables are made here
from seeds and handed over in a temporary folder. Weights: the seeded ones of tests/metrics/seeded_inception.py, in the
public file's layout. torchmetrics' InceptionScore judges the same logits in this process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
sys.path.insert(0, str(TESTS / "metrics"))

from seeded_inception import GOLDEN, MEAN_FEATURE_FILE, logits_table, pictures, seeded_state  # noqa: E402

from gansweep.metrics.frechet import frechet_distance, gaussian  # noqa: E402
from gansweep.metrics.inception import InceptionJudge  # noqa: E402
from gansweep.metrics.kernel import kernel_distance  # noqa: E402
from gansweep.metrics.manifold import manifold  # noqa: E402
from gansweep.metrics.moments import FeatureMoments  # noqa: E402
from gansweep.metrics.protocols import IMPROVED_GAN, TORCH_FIDELITY, TORCHMETRICS, Protocol  # noqa: E402
from gansweep.metrics.score import InceptionScore, Score  # noqa: E402

PEER = TESTS.parent / ".venv-peer" / "bin" / "python"
BATCH = 8
ASKED: dict[str, Any] = {
    "splits": {"fake": 4, "real": 4, "large": 2},
    "table_splits": 10,
    "kid_subsets": 50,
    "kid_subset_size": 20,
    "nearest": 3,
}
LOGITS, SCORE, FORMULA = 1e-4, 1e-5, 1e-12
# Its KID of float32 features is summed in float32; its precision and recall are float32 means: far less than a picture.
KID_FLOAT32, KID, SHARES = 1e-5, 1e-6, 1e-6
SECONDS = 280


@dataclass(frozen=True)
class Row:
    """One line of the table: a quantity on both sides, how far apart, and how far apart it may be."""

    quantity: str
    theirs: str
    ours: str
    difference: float
    gate: float
    kind: str

    @property
    def ok(self) -> bool:
        """Say whether the gate is kept; nan keeps none."""
        return self.difference <= self.gate


def relative(quantity: str, theirs: float, ours: float, gate: float) -> Row:
    return Row(quantity, f"{theirs:.12g}", f"{ours:.12g}", abs(ours - theirs) / abs(theirs), gate, "relative")


def absolute(quantity: str, theirs: float, ours: float, gate: float) -> Row:
    return Row(quantity, f"{theirs:.12g}", f"{ours:.12g}", abs(ours - theirs), gate, "absolute")


def arrays(quantity: str, theirs: np.ndarray, ours: np.ndarray, gate: float) -> Row:
    """Compare two tables: the largest difference over the largest value."""
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    return Row(quantity, f"std {theirs.std():.4g}", f"std {ours.std():.4g}", difference, gate, "of the largest")


def seeded_features() -> list[np.ndarray]:
    """Return two tables of more rows than columns, whose covariances are far from singular: float64 (N, 64)."""
    draw = np.random.RandomState(5)
    return [draw.standard_normal((300, 64)) * 1.1 + 0.1, draw.standard_normal((260, 64))]


def hand_over(folder: Path) -> dict[str, torch.Tensor]:
    """Write weights, pictures and tables; return the pictures by name."""
    torch.save(seeded_state(np.load(MEAN_FEATURE_FILE)), folder / "seeded.pth")
    many = pictures(48, 64)
    images = {"fake": many[:24], "real": many[24:], "large": pictures(6, 320)}
    for name, set_of in images.items():
        np.save(folder / f"{name}.npy", set_of.numpy())
    np.save(folder / "logits_table.npy", logits_table())
    for side, table in zip(("fake", "real"), seeded_features(), strict=True):
        np.save(folder / f"features_{side}.npy", table)
    (folder / "asked.json").write_text(json.dumps(ASKED))
    return images


def run_theirs(peer: Path, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Run torch-fidelity in its environment; return its numbers and its tables."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
    environment["PYTHONPATH"] = str(HERE / "stub")
    command = [str(peer), str(HERE / "theirs.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        sys.exit(f"peer-check: torch-fidelity's side failed: {done.stderr.strip().splitlines()[-1]}")
    with np.load(folder / "theirs.npz") as tables:
        return json.loads((folder / "theirs.json").read_text()), dict(tables)


def score(logits: torch.Tensor, splits: int, protocol: Protocol = TORCH_FIDELITY) -> Score:
    found = InceptionScore(len(logits), splits, protocol)
    for part in logits.split(BATCH):
        found.update(part)
    return found.compute()


def fid(first: torch.Tensor, second: torch.Tensor) -> float:
    sides = []
    for features in (first, second):
        moments = FeatureMoments()
        for part in features.split(BATCH):
            moments.update(part)
        sides.append(gaussian(moments))
    return frechet_distance(*sides)


def distance_rows(
    what: str, theirs: dict[str, float], fake: torch.Tensor, real: torch.Tensor, gates: tuple[float, float, float]
) -> Iterator[Row]:
    """Compare FID (relative), KID's mean and std (absolute), precision and recall (absolute)."""
    yield relative(f"FID, {what}", theirs["frechet_inception_distance"], fid(fake, real), gates[0])
    kernel = kernel_distance(fake, real, ASKED["kid_subsets"], ASKED["kid_subset_size"])
    yield absolute(f"KID mean, {what}", theirs["kernel_inception_distance_mean"], kernel.mean, gates[1])
    yield absolute(f"KID std, {what}", theirs["kernel_inception_distance_std"], kernel.std, gates[1])
    shares = manifold(fake, real, ASKED["nearest"])
    yield absolute(f"precision, {what}", theirs["precision"], shares.precision, gates[2])
    yield absolute(f"recall, {what}", theirs["recall"], shares.recall, gates[2])


def torchmetrics_rows(logits: torch.Tensor, splits: int) -> Iterator[Row]:
    """Compare torchmetrics' own class, its global generator seeded, with the protocol of that name."""
    from torchmetrics.image.inception import InceptionScore as Theirs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = Theirs(feature=torch.nn.Identity(), splits=splits)
    theirs.update(logits)
    torch.manual_seed(2020)
    mean, std = (float(value) for value in theirs.compute())
    ours = score(logits, splits, TORCHMETRICS)
    yield relative("IS mean, torchmetrics on the same logits (float32)", mean, ours.mean, SCORE)
    yield relative("IS std, torchmetrics on the same logits (float32)", std, ours.std, SCORE)


def compare(peer: Path) -> tuple[dict[str, Any], list[Row]]:
    """Return what the peer says of itself and all rows."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = hand_over(folder)
        found, tables = run_theirs(peer, folder)
        judge = InceptionJudge(name="seeded", weights=str(folder / "seeded.pth"))
        readings = {name: [judge.read(part) for part in of.split(BATCH)] for name, of in images.items()}
    logits = {name: torch.cat([one.logits for one in of]) for name, of in readings.items()}
    features = {name: torch.cat([one.features for one in of]) for name, of in readings.items()}
    for name, words in (("fake", "24 pictures, 64 px"), ("large", "6 pictures, 320 px")):
        splits, theirs = ASKED["splits"][name], found[f"{name}_score"]
        ours = score(logits[name], splits)
        rows += [
            arrays(f"logits, {words}", tables[f"{name}_logits"], logits[name].numpy(), LOGITS),
            arrays(f"features, {words}", tables[f"{name}_features"], features[name].numpy(), LOGITS),
            relative(f"IS mean, {words}, {splits} splits", theirs["inception_score_mean"], ours.mean, SCORE),
            relative(f"IS std, {words}, {splits} splits", theirs["inception_score_std"], ours.std, 1e-3),
        ]
    whole, table = found["whole"], found["table_score"]
    far = whole["inception_score_mean"]
    rows.append(Row("IS mean is far from 1: at least 2", f"{far:.6g}", "", float(far < 2), 0.0, "yes or no"))
    ours = score(logits["fake"], ASKED["splits"]["fake"])
    rows.append(relative("IS mean, calculate_metrics from pictures", far, ours.mean, SCORE))
    of_table = score(torch.from_numpy(logits_table()), ASKED["table_splits"])
    rows.append(relative("IS mean, seeded logits, float64", table["inception_score_mean"], of_table.mean, FORMULA))
    rows.append(relative("IS std, seeded logits, float64", table["inception_score_std"], of_table.std, FORMULA))
    given = score(torch.from_numpy(tables["fake_logits"]), ASKED["splits"]["fake"], IMPROVED_GAN)
    in_order = found["fake_unshuffled"]["inception_score_mean"]
    rows.append(relative("IS mean, improved-gan: no shuffle, its logits", in_order, given.mean, FORMULA))
    pair = (features["fake"], features["real"])
    rows += distance_rows("calculate_metrics, 24 against 24", whole, *pair, (1e-4, KID_FLOAT32, SHARES))
    rows += distance_rows("the same, its features as float64", found["doubled_distances"], *pair, (1e-4, KID, SHARES))
    tables_of_features = [torch.from_numpy(table) for table in seeded_features()]
    gates = (1e-10, FORMULA, SHARES)
    rows += distance_rows("seeded features, float64", found["table_distances"], *tables_of_features, gates)
    rows += torchmetrics_rows(torch.from_numpy(tables["fake_logits"]), ASKED["splits"]["fake"])
    golden = json.loads((GOLDEN / "expected.json").read_text())["64px"]["mean"]
    live = found["fake_score"]["inception_score_mean"]
    rows.append(relative("IS mean, torch-fidelity now and as committed", golden, live, SCORE))
    return found, rows


def main() -> None:
    """Compare, print the table, exit 1 when a gate fails and 3 without the peer's environment."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer", type=Path, default=PEER, help="Python of the environment with torch-fidelity")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    args = parser.parse_args()
    if not args.peer.exists():
        print(f"peer-check: {args.peer} is not there: make peer-check makes it", file=sys.stderr)
        sys.exit(3)
    found, rows = compare(args.peer)
    versions = {name: found[name] for name in ("torch_fidelity", "torch", "numpy", "python")}
    print("theirs: " + ", ".join(f"{name} {value}" for name, value in versions.items()))
    print(f"ours: torch {torch.__version__}, {torch.get_num_threads()} thread(s)\n")
    print("| quantity | theirs | ours | difference | gate | ok |\n|---|---|---|---|---|---|")
    for row in rows:
        cells = [row.quantity, row.theirs, row.ours, f"{row.difference:.2e} {row.kind}", f"{row.gate:g}"]
        print(f"| {' | '.join(cells)} | {'yes' if row.ok else 'NO'} |")
    failed = [row.quantity for row in rows if not row.ok]
    print(f"\n{len(rows) - len(failed)} of {len(rows)} gates kept" + (f"; not: {'; '.join(failed)}" if failed else ""))
    if args.json is not None:
        table = [{**vars(row), "ok": row.ok} for row in rows]
        args.json.write_text(json.dumps({"theirs": versions, "rows": table}, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
