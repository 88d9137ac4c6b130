"""Run by torchrun in two processes: the score as a torchmetrics.Metric, its sums joined over gloo."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from seeded_inception import logits_table

from gansweep.errors import RunFailed
from gansweep.metrics.torchmetric import InceptionScoreMetric


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    table = torch.from_numpy(logits_table()).float()
    metric = InceptionScoreMetric(len(table), table.shape[1])
    told: dict[str, object] = {}
    for name, rows in (("shares", metric.layout.share(rank, world)), ("halves", torch.arange(rank, len(table), world))):
        for chunk in rows.split(9):
            metric(table[chunk], chunk)
        told[name] = metric.compute()
        metric.reset()
    table[200, 3] = float("nan")
    rows = torch.arange(len(table)).chunk(world)[rank]
    metric.update(table[rows], rows)
    try:
        metric.compute()
    except RunFailed as error:
        told["bad"] = str(error)
    (folder / f"{rank}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
