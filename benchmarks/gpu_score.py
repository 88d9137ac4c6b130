"""Part `score` of the GPU list: 50,000 samples drawn, judged by the FID Inception and summed, by arithmetic and batch.

Untrained weights of the VAE-GAN at 64 px draw, seeded weights of the public file's layout judge. The pass is eval-is's
own, from the samples' numbers to the score.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clocks import Deadline, host_waits, peak_memory, wait, why
from rungs import Size
from sides import settings_of

from gansweep.build import build_system
from gansweep.drawing import Drawer
from gansweep.engine.distributed import World
from gansweep.engine.handle import evaluation_nets
from gansweep.metrics.inception import InceptionJudge
from gansweep.metrics.panel import Measures
from gansweep.metrics.precision import LARGEST_SHIFT, PRECISIONS, Precision, check_precision
from gansweep.scoring.judging import Pass, judge_samples

# Dense peaks of the H100 and H200 SXM by the data sheet, FLOP/s; exact is fp32 without tensor cores.
PEAK_FLOPS: dict[Precision, float] = {"exact": 66.9e12, "tf32": 494.7e12, "bf16": 989.4e12}
PEAK_OF = ("H100", "H200")
# Most and aimed-at seconds for 50,000 samples on an H100, warm.
GOALS: dict[Precision, tuple[float | None, float]] = {"exact": (20.0, 14.0), "tf32": (8.0, 5.0), "bf16": (None, 2.5)}
PROTOCOL = (
    "A pass: noise, generator in full fp32, rounding to 8 bits, the judge's resize and forward, float64 sums, one"
    " reading at the end; wall time around it with the device idle before and after (CPU time on the CPU), after a"
    " warm-up of a few batches. The ladder is over the judge's batch size; samples are drawn as many at a time."
)


@dataclass(frozen=True)
class Amount:
    """How much is judged: the real thing, or a rehearsal that only shows that everything runs."""

    whole: int
    ladder: int
    batches: tuple[int, ...]
    compared: int
    repeats: int


FULL = Amount(50_000, 10_240, (64, 128, 256, 512), 500, 3)
QUICK = Amount(10, 4, (2, 4), 4, 1)


class Bench:
    """One generator and one judge on the device, and the pass over so many samples."""

    def __init__(self, size: Size, device: torch.device, weights: Path) -> None:
        chosen = {"data.size": size.size_px, "model.width_factor": size.width, "runtime.device": device}
        settings = settings_of("vaegan", chosen)
        torch.manual_seed(0)
        system = build_system(settings)
        for net in system.nets.values():
            net.to(device, memory_format=torch.channels_last)
        for weight in system.nets["dec"].parameters():
            weight.data *= 4.0  # an untrained decoder draws one grey picture: nothing to score
        nets = evaluation_nets(system.nets)
        self.drawer = Drawer(system, settings, nets, device, torch.float32, "the generator")
        self.judge = InceptionJudge(name="seeded", weights=str(weights), device=device)
        self.device = device

    def score(self, images: int, batch: int) -> float:
        """Draw and judge that many samples; return the score's mean."""
        panels = judge_samples(self._pass(images, batch))
        return list(panels.values())[-1].score.compute().mean

    def _pass(self, images: int, batch: int) -> Pass:
        output = list(self.drawer.samples(range(2), 0))[-1]
        return Pass(
            lambda rows: {output: self.drawer.samples(rows, 0)[output]},
            self.judge,
            Measures(images, splits=min(10, images)),
            {output: None},
            self.device,
            World(),
            batch,
            batch,
            progress=False,
        )

    def draw_alone(self, images: int, batch: int) -> None:
        for start in range(0, images, batch):
            self.drawer.samples(range(start, min(start + batch, images)), 0)

    def judge_alone(self, images: int, batch: int) -> None:
        pictures = list(self.drawer.samples(range(batch), 0).values())[-1]
        for start in range(0, images, batch):
            self.judge.logits(pictures[: images - start])

    def seconds(self, run: Callable[[], Any]) -> float:
        """Return wall seconds of `run` on a GPU, CPU seconds on the CPU."""
        clock = time.perf_counter if self.device.type == "cuda" else time.process_time
        wait(self.device)
        begun = clock()
        run()
        wait(self.device)
        return clock() - begun


def measure(size: Size, device: torch.device, deadline: Deadline, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the part's table: one entry an arithmetic; one that fails or is not there has its reason."""
    amount = QUICK if size.batch is not None else FULL
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(size, device, seeded_weights(Path(folder)))
    flop = flop_per_image(bench)
    say(f"  {flop['judge'] / 1e9:.2f} GFLOP a picture to judge, {flop['draw'] / 1e9:.2f} to draw")
    exact_on_cpu = on_cpu(bench, amount)
    found: list[dict[str, Any]] = []
    for precision in PRECISIONS:
        entry: dict[str, Any] = {"precision": precision}
        try:
            with deadline.within(deadline.left(), f"scoring in {precision}"):
                check_precision(precision, device)
                bench.judge.precision = precision
                entry |= _measured(bench, amount, precision, sum(flop.values()))
                entry["shift_to_cpu"] = on_device(bench, amount) - exact_on_cpu
        except Exception as error:
            entry["failed"] = why(error)
        say(f"  {precision}: {entry.get('failed') or format(entry['seconds'], '.2f') + ' s'}")
        found.append(entry)
    exact = next((entry["score"] for entry in found if entry["precision"] == "exact" and "score" in entry), None)
    for entry in found:
        if exact is not None and "score" in entry:
            entry["shift_to_exact"] = entry["score"] - exact
    amounts = {"images": amount.whole, "ladder_images": amount.ladder, "compared_images": amount.compared}
    return {"protocol": PROTOCOL, **amounts, "flop_per_image": flop, "size_px": size.size_px, "precisions": found}


def _measured(bench: Bench, amount: Amount, precision: Precision, flop: float) -> dict[str, Any]:
    ladder = []
    for batch in amount.batches:
        bench.score(min(amount.ladder, 3 * batch), batch)
        memory: dict[str, Any] = {}
        with peak_memory(memory, bench.device):
            spent = bench.seconds(lambda batch=batch: bench.score(amount.ladder, batch))
        ladder.append({"batch": batch, "images_per_s": amount.ladder / spent, **memory})
    best = max(ladder, key=lambda rung: rung["images_per_s"])["batch"]
    scores: list[float] = []
    times = [bench.seconds(lambda: scores.append(bench.score(amount.whole, best))) for _ in range(amount.repeats)]
    seconds = statistics.median(times)
    batches = min(20, -(-amount.ladder // best))
    waits = host_waits(lambda start, count: bench.score(count * best, best), 0, batches, bench.device)
    return {
        "ladder": ladder,
        "batch": best,
        "seconds": seconds,
        "repeats_s": times,
        "images_per_s": amount.whole / seconds,
        "score": scores[0],
        "same_bits": len(set(scores)) == 1,
        "drawing_alone_s": bench.seconds(lambda: bench.draw_alone(amount.whole, best)),
        "judging_alone_s": bench.seconds(lambda: bench.judge_alone(amount.whole, best)),
        "waits_per_100_batches": waits,
        "roofline": roofline(bench.device, precision, flop * amount.whole / seconds),
    }


def seeded_weights(folder: Path) -> Path:
    """Write the seeded weights of tests/metrics; return the file."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "metrics"))
    from seeded_inception import MEAN_FEATURE_FILE, seeded_state

    path = folder / "seeded.pth"
    torch.save(seeded_state(np.load(MEAN_FEATURE_FILE)), path)
    return path


def flop_per_image(bench: Bench) -> dict[str, float]:
    """Return the floating-point operations of judging and of drawing one picture, by torch's counter."""
    from torch.utils.flop_counter import FlopCounterMode

    pictures = list(bench.drawer.samples(range(2), 0).values())[-1]
    found = {}
    for name, run in (
        ("judge", lambda: bench.judge.logits(pictures)),
        ("draw", lambda: bench.drawer.samples(range(2), 0)),
    ):
        with FlopCounterMode(display=False) as counter:
            run()
        found[name] = counter.get_total_flops() / 2
    return found


def roofline(device: torch.device, precision: Precision, flops: float) -> dict[str, Any] | None:
    """Return the dense peak of that arithmetic and the share of it that `flops` (per second) is; None for others."""
    if device.type != "cuda" or not any(name in torch.cuda.get_device_name(device) for name in PEAK_OF):
        return None
    peak = PEAK_FLOPS[precision]
    return {"peak_tflops": peak / 1e12, "reached_tflops": flops / 1e12, "share": flops / peak}


def on_device(bench: Bench, amount: Amount) -> float:
    """Return the score of the first samples as one split, judged on the device."""
    return _one_split(bench, bench.judge, amount, "cpu" if bench.device.type == "cpu" else "cuda")


def on_cpu(bench: Bench, amount: Amount) -> float:
    """Return the same with the same samples judged exactly on the CPU."""
    network, device = bench.judge.network, bench.judge.device
    bench.judge.precision, bench.judge.device = "exact", torch.device("cpu")
    network.cpu()
    try:
        return _one_split(bench, bench.judge, amount, "cpu")
    finally:
        bench.judge.device = device
        network.to(device)


def _one_split(bench: Bench, judge: InceptionJudge, amount: Amount, device: str) -> float:
    from gansweep.metrics.score import InceptionScore

    score = InceptionScore(amount.compared, splits=1, device=device)
    for start in range(0, amount.compared, 50):
        rows = range(start, min(start + 50, amount.compared))
        pictures = list(bench.drawer.samples(rows, 0).values())[-1].to(device)
        for part in pictures.split(16 if device == "cpu" else 50):
            score.update(judge.logits(part))
    return score.compute().mean


def lines(found: Mapping[str, Any], unit: str) -> list[str]:
    """Return the report's body."""
    table, on_gpu = found["table"], found["figures_of"] == "gpu"
    clock = "s" if on_gpu else "cpu_s"
    flop = {name: value / 1e9 for name, value in table["flop_per_image"].items()}
    told = [
        f"{table['images']} samples of {table['size_px']} px; {flop['judge']:.2f} GFLOP to judge one,"
        f" {flop['draw']:.2f} to draw one.",
        "",
        f"| arithmetic | best batch | {clock} | images a {clock} | drawing alone, {clock} | judging alone, {clock} |"
        " IS against exact | IS against the CPU | syncs in 100 batches |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in table["precisions"]:
        if "failed" in entry:
            told.append(f"| {entry['precision']} | not measured: {entry['failed'].replace('|', '/')} | | | | | | | |")
            continue
        waits = entry["waits_per_100_batches"]
        cells = [entry["precision"], str(entry["batch"]), f"{entry['seconds']:.2f}", f"{entry['images_per_s']:.0f}"]
        cells += [f"{entry['drawing_alone_s']:.2f}", f"{entry['judging_alone_s']:.2f}"]
        cells += [f"{entry['shift_to_exact']:+.5f}" if "shift_to_exact" in entry else "–"]
        cells += [f"{entry['shift_to_cpu']:+.5f}", "not measured" if waits is None else f"{waits:.0f}"]
        told.append(f"| {' | '.join(cells)} |")
    told += ["", f"| arithmetic | judge's batch | images a {clock}, of {table['ladder_images']} | peak MB |"]
    told.append("|---|---|---|---|")
    for entry in table["precisions"]:
        for rung in entry.get("ladder", []):
            peak = "not measured" if rung["peak_mb"] is None else f"{rung['peak_mb']:.0f}"
            told.append(f"| {entry['precision']} | {rung['batch']} | {rung['images_per_s']:.0f} | {peak} |")
    told += ["", f"The CPU judged {table['compared_images']} of the same samples exactly, as one split."]
    return [*told, *(_verdicts(table) if on_gpu and not found["quick"] else []), ""]


def _verdicts(table: Mapping[str, Any]) -> list[str]:
    told = [""]
    for entry in table["precisions"]:
        if "failed" in entry:
            continue
        precision = entry["precision"]
        most, aim = GOALS[precision]
        asked = f"aim {aim:g} s" if most is None else f"at most {most:g} s, aim {aim:g} s"
        kept = entry["seconds"] <= (aim if most is None else most)
        verdict = "reached the aim" if entry["seconds"] <= aim else "kept" if kept else "not kept"
        told.append(
            f"- goal, {precision}, {table['images']} samples on an H100: {asked}: {entry['seconds']:.2f} s, {verdict}"
        )
        shift = max(abs(entry["shift_to_cpu"]), abs(entry.get("shift_to_exact", 0.0)))
        allowed = "kept" if shift <= LARGEST_SHIFT else "not kept"
        told.append(f"- {precision}: the score moves by {shift:.5f}, at most {LARGEST_SHIFT} is allowed: {allowed}")
        told.append(f"- {precision}: the same bits in each of {len(entry['repeats_s'])} passes: {entry['same_bits']}")
        line = entry["roofline"]
        if line:
            told.append(
                f"- {precision}: {line['reached_tflops']:.1f} TFLOP/s of {line['peak_tflops']:.1f} (dense, data sheet):"
                f" {100 * line['share']:.0f} % of the roofline"
            )
    return told
