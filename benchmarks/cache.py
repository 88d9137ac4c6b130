"""Times the packed cache against decoding the same pictures anew every epoch, round by round in one process.

    python benchmarks/cache.py [--count 512] [--source-px 640] [--size 64] [--batch 64] [--rounds 12] [--json FILE]

Both sides give the same batches of normalised floats (asserted first). Decoding is at its best here: a thread per
core, JPEGs decoded at reduced scale. The cache is read once from a memory map and once from memory.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import machine
import numpy as np
import torch
import yaml
from PIL import Image

from gansweep.config import conf_dir
from gansweep.config.settings import DataSettings
from gansweep.data import Batches, normalize, open_data
from gansweep.data.resize import Fit, read_picture

Table = dict[str, dict[str, float]]


def draw_pictures(folder: Path, count: int, side_px: int) -> None:
    """Write JPEGs with shapes at several scales and some grain: about as costly to decode as photographs."""
    rng = np.random.default_rng(0)
    for number in range(count):
        picture = np.zeros((side_px, side_px, 3))
        for cells in (4, 16, 64):
            coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            picture += np.asarray(coarse.resize((side_px, side_px), Image.Resampling.BICUBIC)) / cells
        picture = picture / picture.max() * 235 + rng.normal(0, 6, picture.shape)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05d}.jpg", quality=90)


def settings(folder: Path, size_px: int, ram_limit_mb: int) -> DataSettings:
    """Return what conf/data/folder.yaml says, for these pictures and a cache beside them."""
    values = yaml.safe_load((conf_dir() / "data" / "folder.yaml").read_text(encoding="utf-8"))
    given = {"path": str(folder), "cache_dir": str(folder.parent / "cache"), "size": size_px}
    return DataSettings.model_validate({**values, **given, "ram_limit_mb": ram_limit_mb, "val_fraction": 0.0})


class Decoding:
    """Batches decoded from the files each time, rows as the cached side draws them."""

    def __init__(self, cached: Batches, folder: Path, fit: Fit, threads: int) -> None:
        self.cached, self.folder, self.fit = cached, folder, fit
        self.names = cached.dataset.fields["id"]
        self.pool = ThreadPoolExecutor(threads)

    def batch(self, index: int) -> torch.Tensor:
        paths = [self.folder / self.names[row] for row in self.cached.rows_of(index)]
        pixels = np.stack(list(self.pool.map(lambda path: read_picture(path, self.fit).pixels, paths)))
        return normalize(torch.from_numpy(pixels), "tanh")


def timed(work: Callable[[int], object], index: int) -> float:
    start = time.perf_counter()
    work(index)
    return time.perf_counter() - start


def measure(folder: Path, options: argparse.Namespace) -> tuple[Table, float]:
    """Return seconds per batch of each way (median, p10, p90), and pictures packed per second."""
    start = time.perf_counter()
    mapped_set = open_data(settings(folder, options.size, 0), progress=False)
    packed_per_s = options.count / (time.perf_counter() - start)
    held_set = open_data(settings(folder, options.size, 1024), progress=False)
    rows = mapped_set.split("train")
    mapped, held = (Batches(one, rows, options.batch, seed=0) for one in (mapped_set, held_set))
    decoding = Decoding(mapped, folder, Fit.of(settings(folder, options.size, 0)), options.threads)
    for index in range(2):  # also the warm-up
        same = decoding.batch(index)
        for side in (mapped, held):
            assert torch.equal(side.batch(index)["image"], same), "the cache and the files give different pictures"
    seconds: dict[str, list[float]] = {"decoding": [], "cache, mapped": [], "cache, in memory": []}
    for index in range(options.rounds):
        seconds["decoding"].append(timed(decoding.batch, index))
        # A cached batch takes less than a timer tick of a busy machine: take the mean of a whole epoch of them.
        for name, side in (("cache, mapped", mapped), ("cache, in memory", held)):
            times = [timed(side.batch, index * side.steps_per_epoch + step) for step in range(side.steps_per_epoch)]
            seconds[name].append(sum(times) / len(times))
    return {name: machine.spread(values) for name, values in seconds.items()}, packed_per_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=512, help="pictures")
    parser.add_argument("--source-px", type=int, default=640, help="height and width of the JPEG files")
    parser.add_argument("--size", type=int, default=64, help="data.size")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="that decode")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        folder.mkdir()
        draw_pictures(folder, options.count, options.source_px)
        mb = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
        table, packed_per_s = measure(folder, options)
    ratios = {name: table["decoding"]["median"] / table[name]["median"] for name in table if name != "decoding"}
    print(machine.head())
    files = f"{options.count} JPEGs of {options.source_px} px ({mb:.0f} MB)"
    print(f"- pictures: {files}, to {options.size} px, in batches of {options.batch}")
    print(f"- protocol: {options.threads} threads decode; {options.rounds} rounds, interleaved")
    print(f"- packed: {packed_per_s:,.0f} pictures/s, once\n")
    print(
        "| way | ms a batch, median (p10 to p90) | pictures/s | times as fast as decoding |\n| --- | --- | --- | --- |"
    )
    for name, row in table.items():
        median, p10, p90 = (row[key] * 1e3 for key in ("median", "p10", "p90"))
        ratio = ratios.get(name, 1.0)
        print(
            f"| {name} | {median:.2f} ({p10:.2f} to {p90:.2f}) | {options.batch / row['median']:,.0f} | {ratio:.0f} |"
        )
    print(f"\nratio {min(ratios.values()):.0f}: median of decoding ({table['decoding']['median'] * 1e3:.1f} ms a batch)"
          " over median of the slower way of reading the cache")  # fmt: skip
    if options.json:
        report = {
            **machine.facts(),
            "options": {**vars(options), "json": str(options.json)},
            "seconds_per_batch": table,
        }
        report |= {"packed_per_s": packed_per_s, "ratios": ratios, "ratio": min(ratios.values())}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
