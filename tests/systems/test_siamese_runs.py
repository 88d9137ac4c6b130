"""The siamese presets from conf/ to checkpoints: counts at the published size, small runs, freezing, lineage."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gansweep.assemble import check
from gansweep.config.compose import session
from gansweep.config.settings import Settings
from gansweep.errors import UserError
from gansweep.runs import checkpoint
from gansweep.train import train

PEOPLE, POSES, LIGHTS = 5, 3, 2
# Loading state and watching; the sets' classes are fewer than the models'.
SMALL = [
    "data=folder",
    "data._target_=systems.test_siamese_runs.Heads",
    "data.size=16",
    "data.val_fraction=0.2",
    "tracker=none",
    "runtime.threads=1",
    "runtime.device=cpu",
    "batch_size=4",
    "model.width_factor=0.1",
    "steps=3",
    "log_every=1",
    "sample_every=3",
    "val_every=3",
]
MODELS = ("siamese", "siamese_wgan", "siamese_codes")


class Heads:
    """Discs on grey: a person's colour, a pose's place, a light's strength; the target is pose 1 in light 0."""

    def __init__(self) -> None:
        self.rows = [(who, pose, light) for who in range(PEOPLE) for pose in range(POSES) for light in range(LIGHTS)]
        target = [self.rows.index((who, 1, 0)) for who, _, _ in self.rows]
        self.relations = {"target": target, "real": target}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        who, pose, light = self.rows[number]
        rows, columns = np.mgrid[:16, :16]
        away = (rows - 8) ** 2 + (columns - 4 - 4 * pose) ** 2
        colour = np.array([40 * who, 200 - 30 * who, 90]) * (1 + light) / 2
        image = np.where(away[None] < 16, colour[:, None, None], 127).astype(np.uint8)
        mask = 1 + 4 * (np.abs(away - 16) < 6).astype(np.float32)[None]
        return {"image": image, "identity": who, "pose": pose, "light": light, "mask": mask}


def settings(*overrides: str) -> Settings:
    with session() as hydra:
        return hydra.job(0, [*SMALL, *overrides]).settings


@pytest.mark.parametrize(
    ("overrides", "gen", "dis"),
    [
        (["model=siamese"], 5_695_520, 2_864_385),
        (["model=siamese", "model.encoder.trunk=residual"], 6_342_624, 2_864_385),
        (["model=siamese", "model.discriminator.kind=conv_elu"], 5_695_520, 2_875_587),
        (["model=siamese_wgan"], 5_695_520, 14_654_145),
        (["model=siamese_codes"], 10_924_134, 2_939_567),
    ],
)
def test_presets_have_the_published_layers(overrides: list[str], gen: int, dis: int) -> None:
    system = check(settings(*overrides, "data.size=96", "model.width_factor=1"))
    assert {name: sum(p.numel() for p in net.parameters()) for name, net in system.nets.items()} == {
        "gen": gen,
        "dis": dis,
    }


@pytest.mark.parametrize("model", MODELS)
def test_a_preset_trains_shrunk_and_draws_people_beside_their_pictures(model: str, tmp_path: Path) -> None:
    outcome = train(settings(f"model={model}"), tmp_path / "run", [])
    assert (outcome.status, outcome.step) == ("FINISHED", 3)
    assert outcome.last_losses and all(map(math.isfinite, outcome.last_losses.values()))
    assert {path.name for path in (tmp_path / "run" / "grids").iterdir()} == {"samples", "reconstructions"}


def test_the_journals_june_model_with_its_mask_trains(tmp_path: Path) -> None:
    own = ["model=siamese", "model.encoder.trunk=residual", "model.decoder.upsample=bilinear", "model.contour=pictures"]
    outcome = train(
        settings(*own, "schedule.phases.dis={until:0,watch:false}", "scales.adv=null"), tmp_path / "run", []
    )
    assert outcome.status == "FINISHED" and "gen/l1_contour" in outcome.last_losses
    assert not any(name.startswith("dis/") for name in outcome.last_losses)


def test_d_switches_from_one_in_two_to_one_in_three(tmp_path: Path) -> None:
    own = ["model=siamese", "steps=8", "log_every=8", "schedule.phases.dis.every=[[0,2],[4,3]]"]
    outcome = train(settings(*own), tmp_path / "run", [])
    # Steps 0, 2 and 6; it is looked at in all eight.
    assert outcome.last_losses["turns/dis_per_step"] == 3 / 8
    assert "dis/acc_real" in outcome.last_losses


def test_the_gan_stage_begins_at_an_earlier_runs_generator_with_its_decoder_frozen(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    m_2 = [
        "scales={contra_id:null,contra_pose:null,contra_light:null,class_pose:null,class_light:null,adv:null,l1:null}"
    ]
    m_2 += ["scales.mse=1", "model.contour=pictures", "schedule.phases.dis={until:0,watch:false}"]
    assert train(settings("model=siamese", *m_2), first, []).status == "FINISHED"
    kept = first / "checkpoints" / "last.pt"
    gan = ["model.freeze=[gen.dec.*]", f"model.warm_start.from={kept}", "model.warm_start.nets=[gen]"]
    for stats, moved in (([], True), (["model.freeze_stats=[gen.dec]"], False)):
        run = second / str(moved)
        assert train(settings("model=siamese", *gan, *stats), run, []).status == "FINISHED"
        before, after = (checkpoint.load(path)["nets"]["gen"] for path in (kept, run / "checkpoints" / "last.pt"))
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        norms = {name for name in before if name.startswith("dec.") and ("running" in name or "tracked" in name)}
        assert {name for name in changed if name.startswith("dec.")} == (norms if moved else set())
        assert any(name.startswith("enc.") for name in changed)


def test_the_other_trunks_checkpoint_is_refused_with_the_reason(tmp_path: Path) -> None:
    train(settings("model=siamese", "steps=1"), tmp_path / "run", [])
    start = f"model.warm_start.from={tmp_path / 'run' / 'checkpoints' / 'last.pt'}"
    with pytest.raises(UserError, match=r"network 'gen' does not fit: only this model has enc\.0\.first"):
        check(settings("model=siamese", "model.encoder.trunk=residual", start))


def test_a_frozen_encoder_leaves_its_own_terms_with_nothing_to_move(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"give no gradient to what their phase learns: gen/contra_id"):
        train(settings("model=siamese", "model.freeze=[gen.enc.*,gen.head.*]"), tmp_path / "run", [])


WRONG = [
    ("siamese", "model.encoder.trunk=plane", "model.encoder.trunk=plane: no such choice; did you mean 'plain'?"),
    ("siamese", "model.decoder.upsample=nearest", "model.decoder.upsample=nearest: no such choice"),
    ("siamese", "model.discriminator.kind=patch", "model.discriminator.kind=patch: no such choice"),
    ("siamese", "model.discriminator.act=tan", "model.discriminator.act=tan: no such choice"),
    ("siamese", "model.contour=mask", "model.contour=mask: no such choice"),
    ("siamese", "model.identity_channels=0", "model.identity_channels=0: must be a whole number, at least 1"),
    ("siamese", "model.gan_loss=wgam", "model.gan_loss=wgam: no such choice; did you mean 'wgan'?"),
    ("siamese", "model.knobs.margin=0", "model.knobs.margin=0: must be greater than 0"),
    ("siamese", "data.size=40", "data.size=40: not divided by 16, the stride of four halvings; nearest: 32 or 48"),
    ("siamese_wgan", "model.clip=0", "model.clip=0: must be a number greater than 0"),
    ("siamese_codes", "model.class_labels=target", "model.class_labels=target: no such choice"),
    ("siamese_codes", "model.identities=0", "model.identities=0: must be a whole number, at least 1"),
    ("siamese_codes", "+model.encoder.trunk=plain", "model.encoder.trunk: no such key"),
]


@pytest.mark.parametrize(("model", "override", "line"), WRONG, ids=[f"{case[0]} {case[1]}" for case in WRONG])
def test_a_wrong_value_is_refused_by_its_dotted_key(model: str, override: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        check(settings(f"model={model}", override))
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
