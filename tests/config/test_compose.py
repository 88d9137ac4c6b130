"""Requests composed from the real conf/: what is wrong is one line, what is right is jobs with names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gansweep.config import conf_dir
from gansweep.config.compose import Job, Session, quoted, session, shadowed, user_dirs
from gansweep.errors import UserError


@pytest.fixture(scope="module")
def hydra() -> Iterator[Session]:
    with session() as opened:
        yield opened


def line_of(hydra: Session, overrides: Sequence[str], multirun: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        hydra.jobs(overrides, multirun)
    line = str(caught.value)
    assert "\n" not in line
    return line


WRONG = [
    (["scales.l11=1"], "scales.l11: no such key; did you mean 'l1'?"),
    (["modle=vae"], "modle: no such key; did you mean 'model'?"),
    (["model=vaegam"], "model=vaegam: no such choice; did you mean 'vaegan'?"),
    (["optimizer.dis.lrr=1"], "optimizer.dis.lrr: no such key; did you mean 'lr'?"),
    (["model=vae", "optimizer.dis.lr=1"], "optimizer.dis: no such key"),
    (["foo=1"], "foo: no such key; choices: "),
    (["+foo=1"], "foo: no such key; choices: "),
    (["foo"], "'foo': expected KEY=VALUE, as in scales.l1=600"),
    (["=3"], "'=3': expected KEY=VALUE, as in scales.l1=600"),
    (["scales.l1 = 5"], "'scales.l1 = 5': 'scales.l1 ' cannot be a key"),
    (["name='a"], "'name='a': the value cannot be read; close its brackets and quotes"),
    (["scales.l1={"], "'scales.l1={': the value cannot be read"),
    (["seed="], "seed='': must be a whole number"),
    (["data.size=-3"], "data.size=-3: must be at least 4"),
    (["scales.l1=[1,2]"], "scales.l1=[1, 2]: must be a number"),
    (["scales.l1=1,2"], "scales.l1=1,2: several values; add -m to sweep over them"),
    (["scales.l1=${scales.l2}"], "${scales.l2}: no such key to refer to"),
    (["optimizer.lr=???"], "optimizer.lr: needs a value"),
    (["model.gan_loss.x=2"], "model.gan_loss.x: model.gan_loss is one value and has no keys"),
    (["+model=vae"], "+model: this group already has a choice; leave out the +"),
    (["+scales.l1=2"], "+scales.l1: this key is already there; leave out the +"),
    (["~scales.l9"], "scales.l9: no such key"),
    (["~scales.l1"], "~scales.l1: other keys refer to it; write scales.l1=null"),
    (["hydra/launcher=pol"], "hydra/launcher=pol: no such choice; did you mean 'pool'?"),
    (["hydra.launcher.njobs=2"], "hydra.launcher.njobs: no such key; did you mean 'n_jobs'?"),
    (
        ["hydra/sweeper=search", "hydra.sweeper.prunner=asha"],
        "hydra.sweeper.prunner: no such key; did you mean 'pruner'?",
    ),
    (["hydra.lancher.n_jobs=2"], "hydra.lancher: no such key; did you mean 'launcher'?"),
    (["model=null"], "model=null: a group needs a choice; choices: "),
    (["steps=3", "scales=null"], "scales=null: a group needs a choice; choices: "),
    (["data=folder", "data.path=~/a,~/b"], "'data.path=~/a,~/b': ~ is the shell's word for your home; write the whole"),
    (["experiment=nothing_like_it"], "experiment=nothing_like_it: no such choice"),
    (["~model"], "~model: every run has one; choose with model=…; choices: dcgan, hdgan, "),
    (["~optimizer=adam"], "~optimizer: every run has one; choose with optimizer=…; choices: adam, "),
    (["name="], "name='': must be text that is not blank"),
    (["name=' '"], "name=' ': must be text that is not blank"),
]


@pytest.mark.parametrize(("overrides", "start"), WRONG, ids=[" ".join(case[0]) for case in WRONG])
def test_a_wrong_request_is_one_line(hydra: Session, overrides: list[str], start: str) -> None:
    assert line_of(hydra, overrides).startswith(start)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["seed=1,zz"], "job 1 (seed=zz): seed=zz: must be a whole number"),
        (["model=vae,vaegam"], "job 1 (model=vaegam): model=vaegam: no such choice; did you mean 'vaegan'?"),
        (
            ["steps=3", "model=vae", "seed=1,2", "batch_size=8,0"],
            "job 1 (seed=1 batch_size=0): batch_size=0: must be at",
        ),
        (["seed=1,2,1"], "jobs 0 and 2 are the same run (seed=1); give each value once"),
        (["scales.l1=1,1.0"], "jobs 0 and 1 are the same run (scales.l1=1.0); give each value once"),
        (
            ["seed=interval(1,2)"],
            "'seed=interval(1,2)': an interval has no end of values; list some, as in key=1,2,3, or",
        ),
        (["seed=range(6,1)"], "'seed=range(6,1)': holds no value; a range goes from its lower end up"),
    ],
)
def test_every_job_of_a_sweep_is_checked_first(hydra: Session, overrides: list[str], line: str) -> None:
    assert line_of(hydra, overrides, multirun=True).startswith(line)


def names(jobs: Sequence[Job]) -> list[str]:
    return [job.name for job in jobs]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "vaegan"),
        (["model=vaegan", "scales.l1=600", "seed=1"], "vaegan l1=600 seed=1"),
        (["seed=0", "tracker=none", "eval.n=100", "log_every=3", "note=hi", "runtime.device=cpu"], "vaegan"),
        (["model=vae", "scales.l1=null"], "vae l1=null"),
        (["optimizer=sgd", "optimizer.dis.lr=1e-4"], "vaegan optimizer=sgd dis.lr=0.0001"),
        (["data.size=32", "model.latent=64"], "vaegan size=32 latent=64"),
        (["scale_down=cpu"], "vaegan scale_down=cpu"),
        (["experiment=demo", "seed=3"], "demo seed=3"),
        (["name=mine", "seed=3"], "mine"),
        (["data.path=/tmp/pictures"], "vaegan path=pictures"),
        (["+schedule.curves.optimizer.lr={kind:decay,by:0.5}"], "vaegan curves.optimizer.lr=decay+0.5"),
        (["optimizer.enc.lr=1", "schedule.phases.enc.every=2"], "vaegan enc.lr=1 enc.every=2"),
        (["scales={l1:3}"], "vaegan l1=3"),
        (["model=vae", "scales={l1:3,mse:2,kld:1.0}", "seed=1"], "vae l1=3 mse=2 seed=1"),
        (["model.encoder={act:relu,kernel:5}"], "vaegan encoder.act=relu"),
        (["optimizer={lr:1e-3,dis:{lr:1e-4}}"], "vaegan lr=0.001 dis.lr=0.0001"),
        (["schedule.curves={scales:{kld:{kind:warmup,steps:5}}}"], "vaegan curves=warmup+5"),
        (["optimizer=sgd", "optimizer={momentum:0.5}"], "vaegan optimizer=sgd momentum=0.5"),
    ],
)
def test_a_run_is_named_by_what_differs(hydra: Session, overrides: list[str], name: str) -> None:
    job = hydra.jobs(overrides, multirun=False)[0]
    assert job.name == name
    assert job.settings.name == name


def test_a_sweep_is_numbered_as_hydra_numbers_it(hydra: Session) -> None:
    jobs = hydra.jobs(["scales.l1=1,2", "seed=1,2", "hydra/launcher=pool"], multirun=True)
    assert [(job.number, job.overrides) for job in jobs] == [
        (0, ("scales.l1=1", "seed=1")),
        (1, ("scales.l1=1", "seed=2")),
        (2, ("scales.l1=2", "seed=1")),
        (3, ("scales.l1=2", "seed=2")),
    ]
    assert names(jobs)[3] == "vaegan l1=2 seed=2"
    assert [job.settings.scales["l1_dec"] for job in jobs] == [1, 1, 2, 2]


def test_tables_that_a_sweep_varies_stand_in_the_names(hydra: Session) -> None:
    jobs = hydra.jobs(["scales={l1:100,kld:1},{l1:100,kld:2}"], multirun=True)
    assert names(jobs) == ["vaegan l1=100 kld=1", "vaegan l1=100 kld=2"]


def test_a_note_is_free_text_and_an_existing_path_is_one_word(hydra: Session, tmp_path: Path) -> None:
    folder = tmp_path / "a=b, c (d)"
    folder.mkdir()
    settings = hydra.jobs(["note=tried again, lower lr: it's better", f"data.path={folder}"], multirun=False)[
        0
    ].settings
    assert settings.note == "tried again, lower lr: it's better"
    assert settings.data.path == str(folder)
    assert quoted("scales.l1=1,2") == "scales.l1=1,2"


def test_a_path_from_home_needs_no_quotes(hydra: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("~/nope", "'~/nope'"):
        settings = hydra.jobs(["data=folder", f"data.path={given}"], multirun=False)[0].settings
        assert settings.data.path == str(tmp_path / "nope")


def test_paths_are_recorded_whole_and_run_ids_as_they_are(
    hydra: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = hydra.jobs(["data.path=pictures", "model.warm_start.from=abc123"], multirun=False)[0].settings
    assert settings.data.path == str(tmp_path / "pictures")
    assert settings.model.warm_start.source == "abc123"


def test_scale_down_keeps_the_structure(hydra: Session) -> None:
    full = hydra.jobs([], multirun=False)[0].settings
    small = hydra.jobs(["+scale_down=cpu"], multirun=False)[0].settings
    assert small.schedule == full.schedule
    assert small.scales == full.scales
    assert small.steps < full.steps and small.model.width_factor < full.model.width_factor


def user_conf(folder: Path) -> Path:
    model = "# @package _global_\ndefaults:\n  - vae\nmodel:\n  latent: 16\n"
    for group, text in (("model", model), ("scales", "l1: 3.0\nkld: 1.0\n"), ("schedule", "defaults:\n  - vae\n")):
        (folder / group).mkdir(parents=True)
        (folder / group / "mine.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("where", ["conf", "elsewhere"])
def test_a_users_own_groups_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder = user_conf(tmp_path / where)
    with session(user_dirs(None if where == "conf" else str(folder))) as hydra:
        job = hydra.jobs(["model=mine"], multirun=False)[0]
        assert job.settings.model.model_dump()["latent"] == 16
        assert job.settings.scales == {"l1": 3.0, "kld": 1.0}
        assert job.name == "mine"
        assert hydra.jobs(["model=vae"], multirun=False)[0].settings.scales["mse"] is None
        (folder / "schedule" / "mine.yaml").unlink()
        line = line_of(hydra, ["model=mine"])
        assert line.startswith(
            "schedule=mine: not found, and schedule follows the model: write conf/schedule/mine.yaml"
        )


def test_a_users_file_of_a_shipped_name_is_told_not_to_be_read(tmp_path: Path) -> None:
    folder = user_conf(tmp_path / "conf")
    assert shadowed([folder]) == []
    (folder / "scales" / "vae.yaml").write_text("l1: 3.0\n")
    assert shadowed([folder]) == [folder / "scales" / "vae.yaml"]


def test_the_shipped_conf_is_not_its_own_addition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(conf_dir().parent)
    assert user_dirs() == []
    with pytest.raises(UserError, match="--config-dir nowhere: no such folder"):
        user_dirs("nowhere")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("l1: [1\n", "scales/broken.yaml, line 2: not YAML: "),
        (
            "# @package _global_\ndefaults:\n  - override /data: nothing\n",
            "In 'scales/broken': Could not override 'data'",
        ),
    ],
)
def test_a_broken_file_of_the_users_is_named(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "scales").mkdir()
    (tmp_path / "scales" / "broken.yaml").write_text(text)
    with session([tmp_path]) as hydra:
        assert line in line_of(hydra, ["scales=broken"])
