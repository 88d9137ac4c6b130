"""The talking face's networks to the layer: the journal's parameter counts and shapes, on the meta device."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from gansweep.nets.blocks import ConfigError
from gansweep.nets.talkingface import Generator, cropped, draw_weights, resized, unet_sides
from gansweep.nets.talkingface_judges import Conv3d, Identity, SequenceConv3d, SequenceGru, Sync

RELU, LEAKY = {"act": "relu", "slope": 0.2}, {"act": "lrelu", "slope": 0.2}


def conv(channels: int, kernel: int, stride: int, padding: int = 0, norm: str = "none") -> dict[str, Any]:
    return {"channels": channels, "kernel": kernel, "stride": stride, "padding": padding, "norm": norm}


MARCH_25 = {**RELU, "conv": [conv(1, 3, 3, norm="batch"), conv(1, 3, 3, norm="batch")], "dense": [128]}
MARCH_31 = {**RELU, "conv": [conv(64, 3, 3), conv(1, 3, 3)], "dense": [128]}
APRIL_11 = {
    **RELU,
    "conv": [conv(64, 330, 30, norm="instance"), conv(128, 3, 1, norm="instance"), conv(256, 4, 2, 1)],
    "dense": [1280],
}
GEN = {**RELU, "widths": [64, 128, 256, 512, 1024], "skip": "crop", "padding": "valid", "enlarge": "nearest"}
SYNC_V1: dict[str, Any] = {
    **RELU,
    "kind": "joint",
    "frames": 1,
    "video": {**LEAKY, "conv": [6, 32, 64, 1], "dense": [], "norm": "none"},
    "speech": {**RELU, "conv": [conv(64, 3, 3), conv(128, 3, 3), conv(4, 4, 2, 1)], "dense": []},
    "joint": [256, 128],
}
SYNC_V6: dict[str, Any] = {
    **RELU,
    "kind": "joint",
    "frames": 5,
    "video": {**LEAKY, "conv": [32, 64, 128, 256], "dense": [2048, 256], "norm": "none"},
    "speech": {
        **RELU,
        "conv": [conv(64, 494, 50), conv(128, 4, 1), conv(256, 4, 2, 1), conv(256, 4, 2)],
        "dense": [1280, 256],
    },
    "joint": [256, 128],
}
SEQ = {**LEAKY, "kernel_frames": 3, "stride_frames": 1, "norm": "none"}
MARCH_24 = {**LEAKY, "kernel_frames": 2, "stride_frames": 2, "norm": "batch", "widths": [8, 64, 128, 256, 1]}
WHOLE = [8, 64, 128, 256, 512, 1024, 512, 1]
PATCH = {**LEAKY, "kind": "patch", "base_width": 64, "levels": 3, "widths": [1, 1], "norm": "batch"}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def empty(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def generator(samples: int, speech: Mapping[str, Any], **changes: Any) -> Generator:
    with torch.device("meta"):
        return Generator(256, 1, samples, 100, {**GEN, "speech": speech, "noise": [128], **changes})


@pytest.mark.parametrize(("samples", "speech"), [(666, MARCH_25), (666, MARCH_31), (3330, APRIL_11)])
@pytest.mark.parametrize("skip", ["crop", "resize"])
def test_the_unet_is_the_journals(samples: int, speech: dict[str, Any], skip: str) -> None:
    gen = generator(samples, speech, skip=skip)
    assert gen.sides.encoder == (252, 122, 57, 24, 8) and gen.sides.decoder == (16, 24, 40, 72)
    assert gen.native_px == 68
    assert count(gen) - count(gen.speech) - count(gen.noise) == 31_034_689
    assert gen.up[0].weight.shape[:2] == (1026, 512)
    shapes: list[tuple[int, ...]] = []
    gen.head.register_forward_hook(lambda m, given, out: shapes.append(tuple(out.shape)))
    gen.down[0].register_forward_hook(lambda m, given, out: shapes.append(tuple(out.shape)))
    frames = gen(empty(2, 1, 256, 256), empty(2, 3, samples), empty(2, 3, 100))
    assert frames.shape == (2, 3, 1, 256, 256)
    assert shapes == [(2, 64, 252, 252), (6, 1, 68, 68)]  # a still's features serve all of its frames


@pytest.mark.parametrize(
    ("samples", "speech", "lengths", "features"),
    [
        (666, MARCH_25, [222, 74], 74),
        (666, MARCH_31, [222, 74], 74),
        (3330, APRIL_11, [101, 99, 49], 12_544),
    ],
)
def test_speech_reaches_the_bottleneck_as_one_map(
    samples: int, speech: dict[str, Any], lengths: list[int], features: int
) -> None:
    ear = generator(samples, speech).speech
    seen: list[int] = []
    for layer in ear.conv:
        if isinstance(layer, nn.Conv1d):
            layer.register_forward_hook(lambda m, given, out: seen.append(out.shape[-1]))
    assert ear(empty(4, samples)).shape == (4, 64) and seen == lengths
    assert ear.dense[0].in_features == features


def test_what_is_skipped_is_the_centre_or_the_whole() -> None:
    x = torch.arange(49.0).reshape(1, 1, 7, 7)
    assert torch.equal(cropped(x, 3), x[..., 2:5, 2:5]) and torch.equal(cropped(x, 4), x[..., 1:5, 1:5])
    assert torch.equal(resized(x, 7), x) and resized(x, 4).shape == (1, 1, 4, 4)
    # A slope from left to right stays one when the whole is made smaller, and becomes flatter when the centre is taken.
    slope = torch.linspace(-1, 1, 252).expand(1, 1, 252, 252)
    assert cropped(slope, 72).amax() < 0.3 and resized(slope, 72).amax() > 0.98


def test_the_sides_of_other_sizes() -> None:
    assert unet_sides(188, 5, "valid") is not None and unet_sides(140, 5, "valid") is None
    assert unet_sides(64, 5, "same").native == 64  # type: ignore[union-attr]
    with torch.device("meta"):
        part = {**GEN, "padding": "auto", "speech": MARCH_31, "noise": []}
        auto = {size_px: Generator(size_px, 1, 666, 9, part) for size_px in (64, 256)}
        odd = Generator(50, 3, 666, 9, {**part, "padding": "same"})
        with pytest.raises(ConfigError, match=r"data.size=128: 5 levels of model.gen.widths with padding=valid leave"):
            Generator(128, 1, 666, 9, {**part, "padding": "valid"})
    assert (auto[64].native_px, auto[256].native_px, odd.native_px) == (64, 68, 48)
    assert odd(empty(1, 3, 50, 50), empty(1, 1, 666), empty(1, 1, 9)).shape == (1, 1, 3, 50, 50)


def test_speech_and_noise_each_move_the_frame_and_a_frame_only_its_own() -> None:
    torch.manual_seed(0)
    part = {
        **GEN,
        "widths": [4, 6, 8],
        "padding": "same",
        "speech": {**MARCH_31, "conv": [conv(3, 3, 3)]},
        "noise": [6],
    }
    gen = Generator(16, 1, 12, 5, part).double()
    draw_weights(gen, "he_normal", 0.2)
    still, speech, noise = (torch.randn(*shape).double() for shape in ((1, 1, 16, 16), (1, 3, 12), (1, 3, 5)))
    before = gen(still, speech, noise)
    for given in (speech, noise):
        given[0, 1] += 1
        after = gen(still, speech, noise)
        assert [bool((after[0, n] - before[0, n]).abs().max() > 1e-9) for n in range(3)] == [False, True, False]
        before = after
    assert gen(still, speech, noise[:, :1]).shape == before.shape  # one noise for all frames


@pytest.mark.parametrize(
    ("part", "parameters", "side"),
    [
        ({**PATCH}, 2_764_609, 30),
        ({**PATCH, "norm": "none"}, 2_763_713, 30),
        ({**PATCH, "norm": "instance"}, 2_764_609, 30),
        ({**RELU, "kind": "blocks", "norm": "batch", "widths": [16, 32, 1]}, 59_769, 4),
        ({**RELU, "kind": "blocks", "norm": "batch", "widths": [16, 32, 32, 1]}, 125_465, 1),
        ({**RELU, "kind": "plain", "norm": "none", "widths": [8, 64, 128, 1]}, 141_769, 16),
    ],
)
def test_identity_discriminators_are_the_journals(part: dict[str, Any], parameters: int, side: int) -> None:
    with torch.device("meta"):
        net = Identity(256, 1, part)
    assert net(empty(3, 1, 256, 256), empty(3, 1, 256, 256)).shape == (3, 1, side, side)
    assert count(net) == parameters
    assert isinstance(net.conv[-1].act, nn.Identity) and not isinstance(net.conv[0].act, nn.Identity)


def test_the_patch_discriminators_logit_sees_70_pixels() -> None:
    torch.manual_seed(0)
    net = Identity(256, 1, {**PATCH, "base_width": 4, "norm": "none"})
    frame = torch.randn(1, 1, 256, 256, requires_grad=True)
    net(frame, frame.detach())[0, 0, 15, 15].backward()
    assert frame.grad is not None
    rows = frame.grad[0, 0].any(1).nonzero()
    assert rows.max() - rows.min() + 1 == 70


@pytest.mark.parametrize(
    ("part", "frames", "parameters", "logits"),
    [
        ({**SEQ, "widths": WHOLE}, 20, 58_633_033, (11, 1, 1)),
        ({**SEQ, "widths": WHOLE}, 5, 58_633_033, (3, 1, 1)),
        # 24 March, on a pair of frames: time is halved too, batch norm, no bias in front of it.
        (
            {**SEQ, "kernel_frames": 2, "stride_frames": 2, "norm": "batch", "widths": [8, 64, 128, 256, 1]},
            2,
            None,
            (2, 8, 8),
        ),
    ],
)
def test_convolutional_sequence_discriminators_are_the_journals(
    part: dict[str, Any], frames: int, parameters: int | None, logits: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        net = SequenceConv3d(256, 1, frames, part)
    assert net(empty(2, frames, 1, 256, 256)).shape == (2, 1, *logits)
    assert parameters is None or count(net) == parameters
    assert all((layer.conv.bias is None) == (part["norm"] == "batch") for layer in net.conv)


@pytest.mark.parametrize(("head", "parameters", "logits"), [("state", 19_691_400, 100), ("linear", 19_691_501, 1)])
def test_the_gru_is_the_journals_and_its_bare_state_is_bounded(head: str, parameters: int, logits: int) -> None:
    with torch.device("meta"):
        assert count(SequenceGru(256, 1, {"hidden": 100, "head": head})) == parameters
    net = SequenceGru(4, 1, {"hidden": 100, "head": head})
    found = net(torch.randn(3, 2, 1, 4, 4) * 1000)
    assert found.shape == (3, logits) and (head == "linear" or found.abs().max() <= 1)


def test_a_state_for_logits_holds_the_cross_entropy_between_0_313_and_1_313() -> None:
    ends = torch.nn.functional.softplus(-torch.tensor([1.0, -1.0]))
    assert [round(end.item(), 3) for end in ends] == [0.313, 1.313]


@pytest.mark.parametrize(("part", "samples", "parameters"), [(SYNC_V1, 666, 167_883), (SYNC_V6, 5994, 77_798_048)])
def test_sync_discriminators_are_the_journals(part: dict[str, Any], samples: int, parameters: int) -> None:
    with torch.device("meta"):
        net = Sync(128, 256, 1, samples, part)
    assert count(net) == parameters
    assert net(empty(2, part["frames"], 1, 128, 256), empty(2, samples)).shape == (2, 128)


def test_frames_stacked_as_channels_are_what_a_kernel_over_all_of_them_does() -> None:
    torch.manual_seed(0)
    deep, flat = nn.Conv3d(1, 8, (5, 4, 4), (1, 2, 2), (0, 1, 1)), nn.Conv2d(5, 8, 4, 2, 1)
    flat.load_state_dict({"weight": deep.weight[:, 0], "bias": deep.bias})
    x = torch.randn(2, 5, 1, 8, 16)
    torch.testing.assert_close(flat(x.flatten(1, 2)), deep(x.transpose(1, 2))[:, :, 0])


def test_a_cosine_is_read_as_the_logit_of_a_probability() -> None:
    torch.manual_seed(0)
    part = copy.deepcopy(SYNC_V1)
    part |= {"kind": "cosine"}
    part["video"] |= {"conv": [3, 4], "dense": [8]}
    part["speech"] |= {"conv": [conv(4, 3, 3)], "dense": [8]}
    net = Sync(8, 16, 1, 30, part).double()
    frames, speech = torch.randn(6, 1, 1, 8, 16).double(), torch.randn(6, 30).double()
    lips, heard = net.lips(net.video(frames.flatten(1, 2)).flatten(1)), net.speech(speech)
    cosine = torch.nn.functional.cosine_similarity(lips, heard)
    assert lips.min() < 0 < lips.max()  # no activation cuts half of the sphere away
    torch.testing.assert_close(torch.sigmoid(net(frames, speech)), (1 + cosine[:, None]) / 2)
    assert torch.isfinite(net(frames.to(torch.bfloat16).double(), speech)).all()


@pytest.mark.parametrize("times", [{}, {"kernel_frames": 2, "stride_frames": 2}])
def test_the_published_lists_take_small_pictures(times: dict[str, int]) -> None:
    """What is 1 px is not halved again."""
    with torch.device("meta"):
        seq = SequenceConv3d(16, 1, 3, {**SEQ, "widths": WHOLE, **times})
        assert seq(empty(2, 3, 1, 16, 16)).shape[-2:] == (1, 1)
        blocks = Identity(32, 1, {**RELU, "kind": "blocks", "norm": "none", "widths": [16, 32, 32, 1]})
        assert blocks(empty(2, 1, 32, 32), empty(2, 1, 32, 32)).shape == (2, 1, 1, 1)
        assert Sync(8, 16, 1, 666, SYNC_V1)(empty(2, 1, 1, 8, 16), empty(2, 666)).shape == (2, 128)


def test_a_network_of_3d_convolutions_takes_the_layout_of_pictures() -> None:
    torch.manual_seed(0)
    net = SequenceConv3d(16, 1, 3, {**SEQ, "widths": [4, 6, 1], "norm": "batch"})
    before, x = {k: v.clone() for k, v in net.state_dict().items()}, torch.randn(2, 3, 1, 16, 16)
    was = copy.deepcopy(net)(x)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(net(x), was)
    assert net.to(torch.float64).last.weight.dtype == torch.float64


@pytest.mark.parametrize("side", [1, 2, 4])
def test_gradients_of_the_last_pixels_are_finite_in_bf16(side: int) -> None:
    """Torch's own are not, on a CPU, where a kernel of 4 px with padding 1 meets 2 px; in float32 both are the same."""
    torch.manual_seed(0)
    layer, own = Conv3d(16, 16, (3, 1), bias=True), nn.Conv3d(16, 16, (3, 4, 4), (1, 2, 2), 1)
    own.load_state_dict(layer.state_dict())
    x = torch.randn(8, 16, 5, side, side, requires_grad=True)
    if side > 1:
        torch.testing.assert_close(layer(x), own(x))
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.shape == (8, 16, 5, max(side // 2, 1), max(side // 2, 1))
    for gradient in torch.autograd.grad(out.float().sum(), [x, *layer.parameters()]):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("kind", "deviation"), [("dcgan", 0.02), ("he_normal", (2 / (9 * 64)) ** 0.5)])
def test_weights_are_drawn_as_named(kind: str, deviation: float) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.Conv3d(4, 8, 3), nn.Conv1d(2, 2, 3))
    bias = net[1].weight.detach().clone()
    draw_weights(net, kind, 0.0)
    assert net[0].weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert not any(layer.bias.any() for layer in net if not isinstance(layer, nn.BatchNorm2d))
    assert torch.equal(net[1].weight, bias) == (kind != "dcgan")


def test_drawn_as_published_the_unet_hears_nothing_at_first() -> None:
    torch.manual_seed(0)
    part = {**GEN, "widths": [16, 24, 32, 48, 64], "padding": "same", "speech": MARCH_31, "noise": []}
    gen = Generator(32, 1, 666, 9, part)
    change = {}
    for kind in ("dcgan", "he_normal"):
        draw_weights(gen, kind, 0.0)
        frames = gen(torch.rand(1, 1, 32, 32), torch.rand(1, 2, 666), torch.zeros(1, 1, 9)).detach()
        change[kind] = (frames[0, 0] - frames[0, 1]).std().item()
    assert change["dcgan"] < 1e-4 * change["he_normal"]
