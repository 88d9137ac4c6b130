"""Points composed the fast way are those that Hydra composes, and each choice of groups is composed once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import setup_globals
from omegaconf import OmegaConf

from gansweep.config import conf_dir
from gansweep.config.compose import CONFIG_NAME, Job, Session, session, user_dirs
from gansweep.config.settings import Settings
from gansweep.errors import UserError
from gansweep.system import System

HEADS = [
    *(["model=" + path.stem] for path in sorted((conf_dir() / "model").glob("*.yaml"))),
    ["experiment=demo"],
    ["experiment=hdgan/multistage"],
    ["experiment=siamese/07-19"],
    ["experiment=vaegan/test3", "scale_down=cpu"],
    ["model=vae", "optimizer=rmsprop", "data=fashion_mnist", "tracker=none", "+scale_down=cpu"],
]
# Each can follow any head; where one means nothing there, Hydra's error is what both ways must end in.
KEYS = [
    ["seed=3"],
    ["steps=1e3", "batch_size=8"],
    ["note='tried again: lower, [better]'"],
    ['name="two words"'],
    ["name=null"],
    ["scales.l1=600"],
    ["scales.l1=null", "scales.mse=2"],
    ["scales.d_pair_64=0.5"],
    ["scales={l1:3,kld:0.5}"],
    ["scales.l1=${seed}", "seed=7"],
    ["scales.l1=1", "scales.l1=2"],
    ["optimizer.lr=1e-3"],
    ["optimizer.dis.lr=1e-4"],
    ["optimizer.enc.betas=[0.5,0.9]"],
    ["optimizer={lr:1e-3,dis:{lr:1e-4}}"],
    ["optimizer.lr=???"],
    ["++schedule.curves.scales.kld={kind:warmup,steps:50}"],
    ["++schedule.curves={optimizer.lr:{kind:decay,multiply_by:0.5,every_steps:10}}"],
    ["++schedule.curves.optimizer.lr.kind=cosine", "++schedule.curves.optimizer.lr.steps=5"],
    ["schedule.phases.dis.every=[[0,2],[50,4]]"],
    ["schedule.phases.dis={repeat:3,new_batch:false}"],
    ["+terms.gen.mine=os.path.join", "+scales.mine=2"],
    ["++scales.l1=5"],
    ["+scales.l1=5"],
    ["~scales.kld"],
    ["~scales.kld=1.0"],
    ["~schedule.curves"],
    ["~experiment"],
    ["data.size=32", "model.width_factor=0.25"],
    ["data.tags=[a,b]"],
    ["model.freeze=['dis.*']"],
    ["model.knobs.real_label=0.9"],
    ["runtime.precision=bf16", "runtime.ema_decay=null"],
    ["eval.metrics=[is,fid]", "objective=[fid]"],
    ["nothing=1"],
    ["scales=null"],
    ["hydra.job.name=mine"],
]


def hydras_own(overrides: Sequence[str]) -> Any:
    """Return what untouched Hydra makes of overrides as plain values; None for an error."""
    try:
        cfg = compose(CONFIG_NAME, list(overrides))
        return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except Exception:
        return None


def cases() -> list[list[str]]:
    """Return every head with one of the overrides, each override with one head, and many at once, drawn."""
    draw = random.Random(0)
    found = [[*draw.choice(HEADS), *keys] for keys in KEYS]
    found += [[*head, *draw.choice(KEYS)] for head in HEADS]
    for _ in range(12):
        found.append([*draw.choice(HEADS), *itertools.chain.from_iterable(draw.sample(KEYS, 4))])
    return found


@pytest.fixture(scope="module")
def expected() -> list[Any]:
    """Return what untouched Hydra, each file read anew, gives in every case."""
    GlobalHydra.instance().clear()
    setup_globals()
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir()), job_name="gansweep"):
        return [hydras_own(overrides) for overrides in cases()]


@pytest.fixture
def hydra(expected: list[Any]) -> Iterator[Session]:
    with session() as opened:
        yield opened


def test_points_are_those_that_hydra_composes(expected: list[Any], hydra: Session) -> None:
    told = 0
    for overrides, values in zip(cases(), expected, strict=True):
        if values is None:
            with pytest.raises(UserError):
                hydra._composed(overrides)
        else:
            assert hydra._composed(overrides)[0] == values, overrides
            told += 1
    assert 0.4 * len(expected) < told < len(expected)  # both kinds were looked at


def outcome(hydra: Session, overrides: Sequence[str]) -> object:
    try:
        job = hydra.job(0, overrides, {"seed"})
    except UserError as error:
        return str(error)
    return job.name, job.settings


def test_settings_names_and_messages_are_those_of_the_slow_way(hydra: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    some = cases()[::2]
    fast = [outcome(hydra, overrides) for overrides in some]
    monkeypatch.setattr(hydra.many, "point", lambda overrides: None)
    assert [outcome(hydra, overrides) for overrides in some] == fast


def count(hydra: Session, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return a list that grows by the overrides of every composition by Hydra."""
    composed: list[list[str]] = []
    load = hydra.loader.load_configuration

    def counting(config_name: str, overrides: list[str], *more: Any, **named: Any) -> Any:
        composed.append(overrides)
        return load(config_name, overrides, *more, **named)

    monkeypatch.setattr(hydra.loader, "load_configuration", counting)
    return composed


def test_each_choice_of_groups_is_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with session() as hydra:
        composed = count(hydra, monkeypatch)
        jobs = hydra.jobs(["model=vae,vaegan", "optimizer=adam,sgd", "scales.l1=1,2,3", "seed=range(5)"], True)
    assert len(jobs) == 60
    assert [line for line in composed if line] == [
        ["model=vae", "optimizer=adam"],
        ["model=vae", "optimizer=sgd"],
        ["model=vaegan", "optimizer=adam"],
        ["model=vaegan", "optimizer=sgd"],
    ]
    assert len(composed) == 5  # and once without any: a file may name what a sweep varies


def test_points_share_nothing(hydra: Session) -> None:
    first, second = hydra.jobs(["model=vae", "scales.l1=1,2"], True)
    first.settings.scales["l1"] = 7.0
    first.settings.data.args["x"] = 1
    again = hydra.job(1, second.overrides, {"scales.l1"})
    assert (second.settings, second.name) == (again.settings, again.name)


def test_what_files_say_is_read_anew_for_each_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "conf" / "optimizer" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("defaults: [adam]\nlr: 0.5\n")
    with session(user_dirs()) as hydra:
        assert {job.settings.optimizer.lr for job in hydra.jobs(["optimizer=mine", "seed=1,2"], True)} == {0.5}
        file.write_text("defaults: [adam]\nlr: 0.25\n")
        assert {job.settings.optimizer.lr for job in hydra.jobs(["optimizer=mine", "seed=1,2"], True)} == {0.25}


def test_networks_are_built_once_a_model_and_every_point_is_held_against_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from gansweep import assemble
    from gansweep.sweep.start import _check

    built = []
    real = assemble.build_system

    def counting(settings: Settings) -> System:
        built.append(settings)
        return real(settings)

    monkeypatch.setattr(assemble, "build_system", counting)
    sweep = ["model=vae", "model.width_factor=0.125", "tracker=none"]
    with session() as hydra:
        jobs = hydra.jobs([*sweep, "model.latent=4,8", "scales.l1=range(1,11)", "seed=1,2"], True)
        wrong = hydra.jobs([*sweep, "scales.l1=1,2,null"], True)
    _check(jobs, True, [])
    assert [settings.model.model_dump()["latent"] for settings in built] == [4, 8]
    with pytest.raises(UserError, match=r"job 2 \(scales.l1=null\): "):
        _check([*wrong[:2], _without(wrong[2], "kld")], True, [])


def _without(job: Job, term: str) -> Job:
    settings = job.settings.model_copy(update={"scales": {**job.settings.scales, "nothing_like_it": 1.0, term: None}})
    return replace(job, settings=settings)
