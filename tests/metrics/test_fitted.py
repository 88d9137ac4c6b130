"""Fitted judges: their file, its refusals, and what they make of pictures of any size and colour."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gansweep.errors import Missing, RunFailed, UserError
from gansweep.metrics import fitted
from gansweep.metrics.classifier import Recipe, SmallNetwork, fit_head, fit_small, scaled, shifted
from gansweep.metrics.fitted import FittedJudge, file_name, judges_folder, payload_bytes, read_payload
from gansweep.metrics.judges import Reading, check_images, open_judge


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def payload(channels: int = 3, size_px: int = 12, background: bool = False, **changes: Any) -> dict[str, Any]:
    torch.manual_seed(1)
    network = SmallNetwork(size_px, channels, 3 + int(background))
    network.fold()
    whole = {
        "format": fitted.FORMAT,
        "base": "small",
        "base_sha256": "",
        "size_px": size_px,
        "channels": channels,
        "classes": ["disc", "ring", "star"],
        "background": background,
        "data": "shapes",
        "data_fingerprint": "f" * 64,
        "recipe": {"steps": 3},
        "accuracy": 0.875,
        "majority": 0.5,
        "cross_entropy": 0.25,
        "state": {name: value.contiguous() for name, value in network.state_dict().items()},
    }
    return whole | changes


def write(tmp_path: Path, content: dict[str, Any]) -> Path:
    path = tmp_path / "judge.pt"
    path.write_bytes(payload_bytes(content))
    return path


def pixels(count: int, channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


def test_a_judge_from_a_file_says_what_it_is_and_reads_pictures(tmp_path: Path) -> None:
    path = write(tmp_path, payload())
    settings = {
        "_target_": fitted.TARGET,
        "name": "shapes",
        "weights": str(path),
        "batch_size": None,
        "accuracy": 0.875,
    }
    judge = open_judge(settings, "cpu")
    assert isinstance(judge, FittedJudge) and judge.key == "is_shapes" and judge.background is False
    told = judge.identity()
    assert told["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (told["classes"], told["background"], told["accuracy"]) == ("3", "none", "0.8750")
    assert told["precision"] == "fp32, TF32 off" and "12 px, RGB" in told["resize"]
    reading = judge.read(pixels(5, 3, 12, 12))
    assert reading.logits.shape == (5, 3) and reading.features.shape == (5, 32)
    assert reading.logits.dtype == reading.features.dtype == torch.float32
    assert torch.equal(judge.logits(pixels(5, 3, 12, 12)), reading.logits)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(12, 12), (5, 7), (40, 40)])
def test_pictures_of_any_size_and_colour_become_the_networks(
    tmp_path: Path, channels: int, size: tuple[int, int]
) -> None:
    judge = FittedJudge("shapes", str(write(tmp_path, payload(channels))))
    grey = pixels(2, 1, *size)
    logits = judge.logits(grey)
    assert logits.shape == (2, 3)
    assert torch.allclose(logits, judge.logits(grey.expand(-1, 3, -1, -1)), atol=1e-5)
    with pytest.raises(ValueError, match="uint8 images"):
        judge.logits(grey.float())


def test_colours_become_grey_as_data_sets_make_them(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    judge = FittedJudge("shapes", str(write(tmp_path, payload(channels=1))))
    colour = pixels(1, 3, 12, 12)
    grey = np.asarray(Image.fromarray(colour[0].permute(1, 2, 0).numpy()).convert("L"))
    # Pillow rounds to whole levels of grey.
    assert torch.allclose(judge.logits(colour), judge.logits(torch.tensor(grey)[None, None]), atol=0.02)


def test_folding_keeps_the_logits() -> None:
    network = SmallNetwork(20, 3, 4)
    with torch.no_grad():
        for _ in range(5):
            network(torch.randn(16, 3, 20, 20) * 2 + 1)
        network.eval()
        images = torch.randn(4, 3, 20, 20)
        before = network(images)
        network.fold()
        assert torch.allclose(network(images), before, atol=1e-5)
        assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def test_scaling_and_shifting() -> None:
    assert scaled(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == pytest.approx([-1.0, 1.0])
    images = torch.arange(64.0).view(1, 1, 8, 8).expand(200, 1, 8, 8)
    moved = shifted(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    seen = {float(picture[0, 4, 4]) - float(images[0, 0, 4, 4]) for picture in moved}
    assert seen == {float(8 * down + right) for down in (-1, 0, 1) for right in (-1, 0, 1)}


def test_bf16_is_near_and_recorded(tmp_path: Path) -> None:
    judge = FittedJudge("shapes", str(write(tmp_path, payload())))
    exact = judge.logits(pixels(4, 3, 12, 12))
    judge.precision = "bf16"
    low = judge.logits(pixels(4, 3, 12, 12))
    assert low.dtype == torch.float32 and not torch.equal(low, exact) and torch.allclose(low, exact, atol=0.05)
    assert judge.identity()["precision"] == "bf16"


def test_the_cache_is_searched_by_digest(tmp_path: Path) -> None:
    content = payload_bytes(payload(background=True))
    assert content == payload_bytes(payload(background=True)), "the same weights are the same file"
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(Missing, match=r"gansweep judge fit .* name=shapes.*judge\.weights=FILE") as caught:
        FittedJudge("shapes", sha256=digest)
    assert caught.value.exit_code == 3
    judges_folder().mkdir(parents=True)
    (judges_folder() / file_name("shapes", digest)).write_bytes(content)
    judge = FittedJudge("shapes", sha256=digest)
    assert judge.background and judge.logits(pixels(2, 3, 12, 12)).shape == (2, 4)
    assert FittedJudge("mine", sha256=digest).key == "is_mine", "under another name it is the same file"
    with pytest.raises(UserError, match=r"judge\.sha256"):
        FittedJudge("shapes")
    with pytest.raises(Missing, match=r"nothing\.pt is no file"):
        FittedJudge("shapes", str(tmp_path / "nothing.pt"), sha256=digest)


def test_another_files_digest_is_refused_with_both(tmp_path: Path) -> None:
    path = write(tmp_path, payload())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=digest) as caught:
        FittedJudge("shapes", str(path), sha256=digest)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_px": None}, "lacks 'size_px'"),
        ({"extra\n": 1}, r"'extra\\n' is not known"),
        ({"accuracy": "high"}, "'accuracy' is of kind str"),
        ({"format": 2}, "format 2, this gansweep reads 1"),
        ({"base": "lite1"}, "did you mean 'lite0'"),
        ({"channels": 2}, "pictures are 2 x 12 px"),
        ({"classes": ["a", 1, "c"]}, "'classes' holds something else than str"),
        ({"state": {"convs.0.weight": 1}}, "'state' holds something else than Tensor"),
        ({"classes": ["a", "b"]}, r"head\.weight \(3, 32\) instead of \(2, 32\)"),
    ],
)
def test_a_file_of_another_layout_is_refused_by_its_first_difference(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    content = {key: value for key, value in (payload() | change).items() if value is not None}
    torch.save(content, tmp_path / "judge.pt")
    with pytest.raises(UserError, match=message) as caught:
        FittedJudge("shapes", str(tmp_path / "judge.pt"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 torn"])
def test_a_file_that_is_no_judge_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "judge.pt").write_bytes(content)
    with pytest.raises(UserError, match="is no fitted judge"):
        read_payload(tmp_path / "judge.pt")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.mkdir, (tmp_path / "ran",))

    torch.save(payload(recipe={"steps": Payload()}), tmp_path / "judge.pt")
    with pytest.raises(UserError, match="holds more than plain weights; nothing was run") as caught:
        FittedJudge("shapes", str(tmp_path / "judge.pt"))
    assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()


def test_what_is_recorded_beside_the_weights_must_agree(tmp_path: Path) -> None:
    path = str(write(tmp_path, payload()))
    recorded = fitted.told_of(payload()) | {"date": "2030-01-01"}
    assert FittedJudge("shapes", path, **recorded).accuracy == 0.875  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"judge\.accuracy=0\.99: the weights of judge 'shapes' say 0\.875"):
        FittedJudge("shapes", path, accuracy=0.99)
    with pytest.raises(UserError, match=r"judge\.acuracy is not a setting .*'accuracy'"):
        FittedJudge("shapes", path, acuracy=0.875)


class Base:
    """Stands for a built-in judge: features are the mean of each colour in each quarter."""

    sha256 = "b" * 64

    def __init__(self, name: str, device: torch.device) -> None:
        self.precision = "exact"
        self.weights = type("Found", (), {"sha256": self.sha256, "path": "base.pth"})()

    def identity(self) -> dict[str, str]:
        return {"network": "Quarters", "resize": "to 2 px", "scaling": "x / 16"}

    def read(self, images: Tensor) -> Reading:
        with torch.inference_mode():
            features = torch.nn.functional.adaptive_avg_pool2d(check_images(images).float(), 2).flatten(1) / 16
            return Reading(features, features)


def test_a_head_judges_by_its_bases_features_and_refuses_another_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fitted.BASES, "lite0", Base)
    state = {"weight": torch.randn(3, 12), "bias": torch.randn(3)}
    content = payload(base="lite0", base_sha256=Base.sha256, state=state)
    path = str(write(tmp_path, content))
    judge = FittedJudge("shapes", path)
    images = pixels(4, 1, 20, 20)
    reading = judge.read(images)
    assert torch.allclose(reading.logits, reading.features @ state["weight"].T + state["bias"], atol=1e-4)
    assert judge.identity()["network"] == "linear head on Quarters" and judge.identity()["base_sha256"] == Base.sha256
    monkeypatch.setattr(Base, "sha256", "c" * 64)
    with pytest.raises(UserError, match=r"SHA-256 bbbbbbbbbbbb…, those here \(base\.pth\) have cccccccccccc…"):
        FittedJudge("shapes", path)
    misfit = copy.deepcopy(content) | {"state": {"weight": torch.zeros(3, 12)}}
    with pytest.raises(UserError, match=r"missing \(first: bias\)"):
        FittedJudge("shapes", str(write(tmp_path, misfit)))


def test_a_head_is_fitted_on_standardised_features_and_given_for_plain_ones() -> None:
    torch.manual_seed(0)
    classes = torch.arange(60) % 3
    # Far from zero, of unlike spread, one without any: what a head on raw features would learn slowly or not at all.
    signal = torch.nn.functional.one_hot(classes, 3) + 0.1 * torch.randn(60, 3)
    features = torch.cat([signal * torch.tensor([1e-3, 1.0, 1e3]) + 500, torch.full((60, 1), 7.0)], dim=1)
    head = fit_head(features, 3, lambda step: (torch.arange(60), classes), Recipe(150, 60, 0.05, 0), lambda steps: None)
    assert (head(features).argmax(dim=1) == classes).float().mean() > 0.9
    assert torch.isfinite(head.weight).all()


def test_a_loss_that_is_no_number_is_told() -> None:
    def batch(step: int) -> tuple[Tensor, Tensor]:
        return torch.full((4, 1, 8, 8), float("nan")), torch.zeros(4, dtype=torch.int64)

    with pytest.raises(RunFailed, match=r"loss is nan at step 0: try an lr below 0\.1"):
        fit_small(8, 1, 2, batch, Recipe(2, 4, 0.1, 0), torch.device("cpu"), lambda steps: None)
