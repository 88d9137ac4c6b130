"""What conf/model/talkingface.yaml makes: the journal's sizes, whole and shrunk; each wrong value told by its key."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from test_talkingface import clips

from gansweep.assemble import check
from gansweep.build import build_system
from gansweep.config.compose import session, to_settings
from gansweep.config.settings import Settings
from gansweep.errors import UserError
from gansweep.system import System
from gansweep.train import train

SPEAKERS = ("data=talking", "data.args.frames=${model.frames}")


def composed(*overrides: str) -> Settings:
    with session() as hydra:
        return to_settings(
            hydra.compose(hydra.normal(["model=talkingface", "data.size=256", "data.channels=1", *overrides]))
        )


def on_meta(*overrides: str) -> System:
    with torch.device("meta"):
        return build_system(composed(*overrides))


def test_the_default_is_the_journals_size() -> None:
    found = {name: sum(p.numel() for p in net.parameters()) for name, net in on_meta().nets.items()}
    assert found == {"gen": 47_372_481, "id": 2_764_609, "sync": 77_797_984, "seq": 58_633_033}


@pytest.mark.parametrize("more", [(), ("model.seq.kind=gru", "model.id.kind=blocks", "model.gen.skip=resize")])
def test_shrunk_is_the_same_structure(more: tuple[str, ...]) -> None:
    full, small = on_meta(*more), on_meta(*more, "data.size=64", "model.width_factor=0.125")
    assert small.native_px == 64 and full.native_px == 68  # type: ignore[attr-defined]
    for name, net in full.nets.items():
        assert list(small.nets[name].state_dict()) == list(net.state_dict())
        assert sum(p.numel() for p in small.nets[name].parameters()) < sum(p.numel() for p in net.parameters()) / 4


def _speech(*conv: tuple[int, int, int, int, str]) -> str:
    keys = ("channels", "kernel", "stride", "padding", "norm")
    return "[" + ",".join("{" + ",".join(f"{k}:{v}" for k, v in zip(keys, e, strict=True)) + "}" for e in conv) + "]"


# What the published code shows of some of the journal's days.
V1 = (
    "model.gen.context=0",
    f"model.gen.speech.conv={_speech((1, 3, 3, 0, 'batch'), (1, 3, 3, 0, 'batch'))}",
    "model.gen.speech.dense=[128]",
    "model.sync.frames=1",
    "model.sync.context=0",
    "model.sync.video.conv=[6,32,64,1]",
    "model.sync.video.dense=[]",
    f"model.sync.speech.conv={_speech((64, 3, 3, 0, 'none'), (128, 3, 3, 0, 'none'), (4, 4, 2, 1, 'none'))}",
    "model.sync.speech.dense=[]",
    "scales.d_sync_real=0.5",
    "scales.d_sync_fake=0.5",
    "scales.d_sync_wrong=null",
)
GRU_PAIRS = ("model.step=frame", "model.seq.kind=gru", "model.seq.head=state", "model.seq.earlier=as_coded")
BLOCKS = ("model.id.kind=blocks", "model.id.norm=batch", "model.id.act=relu")
DEEP_PAIRS = (
    "model.step=frame",
    "model.seq.widths=[8,64,128,256,1]",
    "model.seq.kernel_frames=2",
    "model.seq.stride_frames=2",
    "model.seq.norm=batch",
)
LEAKS = tuple(f"scales.d_{name}_leak=${{scales.{name}}}" for name in ("id", "sync", "seq"))
DAYS = {
    "21 March": ((*V1, *GRU_PAIRS, *BLOCKS), {"id": 59_769, "sync": 167_883, "seq": 19_691_400}),
    "25 March": ((*V1, *DEEP_PAIRS, "model.id.norm=batch"), {"id": 2_764_609}),
    "31 March as coded": (
        (*V1, "model.step=frame", "model.frames=20", "model.run=20", "model.id.norm=none", "model.detached=[seq]"),
        {"id": 2_763_713, "seq": 58_633_033},
    ),
    "3 April as coded": (("model.detached=[sync,seq]", *LEAKS, "runtime.accumulate=4"), {"sync": 77_797_984}),
    "11 April": (
        (
            "model.gen.skip=resize",
            "model.detached=[sync,seq]",
            "schedule.phases.sync.until=0",
            "schedule.phases.seq.until=0",
        ),
        {"gen": 47_372_481},
    ),
    "18 April": (("model.sync.kind=cosine",), {"sync": 77_633_760}),
}


@pytest.mark.parametrize("day", DAYS)
def test_the_journals_days_are_settings(day: str) -> None:
    overrides, counts = DAYS[day]
    system = check(composed(*SPEAKERS, *overrides))
    found = {name: sum(p.numel() for p in net.parameters()) for name, net in system.nets.items()}
    assert {name: found[name] for name in counts} == counts
    assert found["gen"] > 31_034_689


WRONG = [
    ("model.step=video", "model.step=video: no such choice; choices: clip, frame"),
    ("model.detached=[l1]", "model.detached[0]=l1: no such choice; choices: seq, sync"),
    ("model.gen.skip=cropped", "model.gen.skip=cropped: no such choice; did you mean 'crop'?"),
    ("model.gen.context=-1", "model.gen.context=-1: must be a whole number"),
    ("model.gen.context=0.0", "model.gen.context=0.0: must be a whole number"),
    ("model.gen.speech.conv=[{channels:8,kernel:3,stride:1}]", "model.gen.speech.conv[0].padding: missing"),
    ("+model.sync.dropout=0.5", "model.sync.dropout: no such key; choices: "),
    ("model.seq.norm=layer", "model.seq.norm=layer: no such choice; choices: batch, instance, none"),
    ("model.region=mouth", "model.region=mouth: no such choice"),
    ("model.init=he", "model.init=he: no such choice"),
    ("model.run=9 model.step=frame", "model.run=9: longer than the clip of model.frames=5; at most 5"),
    ("model.knobs.real_labels=1", "model.knobs.real_labels: no such key; did you mean 'real_label'?"),
    ("scales.d_id=1", "scales.d_id"),
]


@pytest.mark.parametrize(("overrides", "line"), WRONG, ids=[case[0] for case in WRONG])
def test_a_wrong_value_is_refused_by_its_dotted_key(overrides: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        check(composed(*overrides.split(" ")))
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


class Talk:
    """Clips of five frames as a data set of one's own: a still, frames, speech, and whose speech is the wrong one."""

    def __init__(self, count: int = 12, size_px: int = 64) -> None:
        made = clips(count, size_px=size_px, frames=5, dtype=torch.float32, samples=666)
        self.made = {name: value.clone() for name, value in made.items()}
        self.relations = {"wrong": [(number + 1) % count for number in range(count)]}

    def __len__(self) -> int:
        return len(self.made["still"])

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        still, frames = (
            ((self.made[name][number] + 1) * 127.5).round().to(torch.uint8) for name in ("still", "frames")
        )
        return {"image": still, "still": still, "frames": frames, "audio": self.made["audio"][number]}


@pytest.mark.parametrize("more", [(), ("model.step=frame", "model.sync.frames=1", "model.seq.kind=gru")])
def test_shrunk_it_trains_through_the_one_loop(more: tuple[str, ...], tmp_path: Path) -> None:
    settings = composed(
        *more,
        "+scale_down=cpu",
        "data=folder",
        "data.size=64",
        "data._target_=test_talkingface_conf.Talk",
        "data.val_fraction=0.4",
        "model.width_factor=0.05",
        "steps=3",
        "batch_size=4",
        "tracker=none",
        "runtime.device=cpu",
        f"data.cache_dir={tmp_path / 'cache'}",
    )
    outcome = train(settings, tmp_path / "run", [])
    assert (outcome.status, outcome.step) == ("FINISHED", 3)
    charged = {name for name, scale in settings.scales.items() if scale is not None}
    assert charged <= {key.rpartition("/")[2] for key in outcome.last_losses}
    assert all(map(math.isfinite, outcome.last_losses.values()))
    assert {path.name for path in (tmp_path / "run" / "grids").iterdir()} == {"samples", "clips"}
    assert [path.suffix for path in (tmp_path / "run" / "clips").iterdir()] == [".mp4"] * 2
