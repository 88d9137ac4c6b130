"""The talking face: every term moves what it should and nothing else, both kinds of step, faults by name, learning."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from gansweep.engine.handle import evaluation
from gansweep.engine.look import Looker, StepContext, detached
from gansweep.engine.reach import unreached
from gansweep.engine.schedule import Entry
from gansweep.engine.step import EagerEngine
from gansweep.nets.blocks import ConfigError
from gansweep.system import Phase, System
from gansweep.systems.talkingface import TalkingFace
from small import engine, timetable

FRAMES, SAMPLES, SIZE_PX, LATENT = 3, 12, 16, 5
PLAIN = {"act": "lrelu", "slope": 0.2}
SPEECH = {
    **PLAIN,
    "conv": [
        {"channels": 4, "kernel": 5, "stride": 2, "padding": 0, "norm": "instance"},
        {"channels": 4, "kernel": 3, "stride": 1, "padding": 1, "norm": "none"},
    ],
    "dense": [8],
}
GEN: dict[str, Any] = {
    **PLAIN,
    "widths": [4, 6, 8],
    "skip": "crop",
    "padding": "auto",
    "enlarge": "nearest",
    "output": "tanh",
    "context": 1,
    "speech": SPEECH,
    "noise": [6],
}
ID = {**PLAIN, "kind": "patch", "base_width": 4, "levels": 2, "widths": [4, 6, 1], "norm": "none"}
SYNC: dict[str, Any] = {
    "act": "relu",
    "slope": 0.2,
    "kind": "joint",
    "frames": 2,
    "context": 1,
    "crop": "lower_half",
    "video": {**PLAIN, "conv": [4, 6], "dense": [8], "norm": "none"},
    "speech": SPEECH,
    "joint": [8, 4],
}
SEQ = {
    **PLAIN,
    "kind": "conv3d",
    "widths": [4, 6, 1],
    "kernel_frames": 3,
    "stride_frames": 1,
    "norm": "none",
    "hidden": 6,
    "head": "linear",
    "earlier": "made",
}
BY_FRAME = {"step": "frame", "run": 2}
ONE_FRAME = {"sync": {**SYNC, "frames": 1}}
GRU = {"seq": {**SEQ, "kind": "gru"}}
JUDGES = ("id", "sync", "seq")
SCALES: dict[str, float | None] = {
    **{"d_id_real": 0.5, "d_id_fake": 0.7, "d_id_leak": None},
    **{"d_sync_real": 0.3, "d_sync_fake": 0.4, "d_sync_wrong": 0.2, "d_sync_leak": None},
    **{"d_seq_real": 0.5, "d_seq_fake": 0.6, "d_seq_leak": None},
    **{"id": 1.0, "sync": 0.8, "seq": 0.6, "l1": 20.0},
}
EVERY_TERM = dict.fromkeys(SCALES, 1.0)
# What a term's gradient reaches, whoever learns.
REACHES = {
    **{name: {name.split("_")[1]} for name in SCALES if name.startswith("d_")},
    **{name: {"gen", name} for name in JUDGES},
    "l1": {"gen"},
}
CASES: dict[str, dict[str, Any]] = {
    "clip": {},
    "clip, remade": {"remake": True},
    "clip, one noise, lower half": {"noise_per": "clip", "region": "lower_half"},
    "clip, cosine, one frame, upper half": {"sync": {**SYNC, "kind": "cosine", "frames": 1, "crop": "upper_half"}},
    "clip, valid, resized, blocks": {
        "size_px": 24,
        "gen": {**GEN, "widths": [4, 6], "padding": "valid", "skip": "resize", "enlarge": "bilinear"},
        "id": {**ID, "kind": "blocks", "norm": "batch", "act": "relu"},
    },
    "frame": {**BY_FRAME, **ONE_FRAME},
    "frame, gru as coded": {**BY_FRAME, **ONE_FRAME, "seq": {**SEQ, "kind": "gru", "earlier": "as_coded"}},
    "frame, window of two": {**BY_FRAME, **GRU, "remake": True},
}


def talkingface(**changes: Any) -> TalkingFace:
    given: dict[str, Any] = {
        **{"size_px": SIZE_PX, "channels": 1, "frames": FRAMES, "samples": SAMPLES, "latent": LATENT},
        **{"step": "clip", "run": 2, "noise_per": "frame", "region": "full", "remake": False, "detached": []},
        **{"gen": GEN, "id": ID, "sync": SYNC, "seq": SEQ},
        **{"init": "he_normal", "init_slope": 0.2, "gan_loss": "bce"},
    }
    return TalkingFace(**{**given, **changes})


def clips(
    count: int,
    seed: int = 0,
    size_px: int = SIZE_PX,
    frames: int = FRAMES,
    dtype: torch.dtype = torch.float64,
    samples: int = SAMPLES,
) -> dict[str, torch.Tensor]:
    """Faces of two greys whose mouth, a bar in the lower half, is as bright as their speech is loud."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=dtype)  # noqa: E731
    loud, other = draw(count, frames + 1), draw(count, frames)
    grey = (draw(count, 2) * 0.8 - 0.9)[..., None, None, None, None]
    pictures = grey[:, 0].repeat(1, frames + 1, 1, size_px, size_px)
    pictures[..., : size_px // 2, :] = grey[:, 1]
    top, left = size_px * 5 // 8, size_px // 4
    pictures[..., top : top + size_px // 4, left:-left] = (loud * 1.8 - 0.9)[..., None, None, None]
    wave = torch.sin(torch.arange(samples, dtype=dtype) * 1.3)
    return {
        "still": pictures[:, -1],
        "frames": pictures[:, :-1],
        "audio": loud[:, :-1, None] * wave,
        "wrong.audio": other[..., None] * wave,
    }


def looker(ours: EagerEngine, phase: Phase, batch: Mapping[str, torch.Tensor]) -> Looker:
    context = StepContext([(Entry(phase.name, 0, 0),)], ours.system.shared, ours.updates)
    noise = ours.noise.draw(ours.system.noise, len(batch["still"]), 0)
    return Looker(ours.nets, phase, context, 0, 0, batch, noise, ours.knobs.group("knobs"), ours.system.memory)


def reached(ours: EagerEngine, size_px: int = SIZE_PX) -> dict[str, set[str]]:
    """Return term -> the networks on which it has a gradient that is not zero."""
    found: dict[str, set[str]] = {}
    for phase in ours.system.phases:
        for term, value in ours.terms(phase, looker(ours, phase, clips(2, size_px=size_px))).items():
            found[term] = set()
            for name, net in ours.system.nets.items():
                if value.requires_grad:
                    grads = torch.autograd.grad(value, list(net.parameters()), retain_graph=True, allow_unused=True)
                    if any(g is not None and bool(g.count_nonzero()) for g in grads):
                        found[term].add(name)
    return found


@pytest.mark.parametrize("case", CASES)
def test_each_term_reaches_exactly_its_networks(case: str) -> None:
    changes = CASES[case]
    ours = engine(talkingface(**changes), EVERY_TERM)
    assert reached(ours, changes.get("size_px", SIZE_PX)) == REACHES


@pytest.mark.parametrize("case", ["clip", "frame", "clip, remade"])
@pytest.mark.parametrize("term", SCALES)
def test_each_term_moves_exactly_what_its_phase_learns(term: str, case: str) -> None:
    ours = engine(talkingface(**CASES[case]), {**dict.fromkeys(SCALES, 0.0), term: 1.0})
    before = copy.deepcopy(ours.system.nets)
    ours.step(0, timetable(ours.system).at(0), [clips(2)])
    changed = {
        name
        for name, net in ours.system.nets.items()
        if any(not torch.equal(a, b) for a, b in zip(net.parameters(), before[name].parameters(), strict=True))
    }
    assert changed == {next(phase.name for phase in ours.system.phases if term in phase.terms)}


def _views() -> list[tuple[str, str, str]]:
    return [
        (case, phase.name, view)
        for case in ("clip", "frame", "clip, remade")
        for phase in talkingface(**CASES[case]).phases
        for view in phase.views
    ] + [("clip", "shared", "made"), ("frame", "shared", "made")]


@pytest.mark.parametrize(("case", "owner", "view"), _views())
def test_detaching_any_one_view_is_found(case: str, owner: str, view: str) -> None:
    """The original code trained for weeks on terms that reached nothing; here each such cut fails the test above."""
    ours = engine(talkingface(**CASES[case]), EVERY_TERM)
    system = ours.system
    if owner == "shared":
        made = system.shared[view]
        system.shared[view] = replace(made, fn=lambda nets, x: detached(made.fn(nets, x)))
    else:
        phase = ours.phases[owner]
        inner = phase.views[view]
        views = {**phase.views, view: lambda nets, x: detached(inner(nets, x))}
        system.phases = tuple(replace(p, views=views) if p is phase else p for p in system.phases)
        ours.phases = {p.name: p for p in system.phases}
    assert reached(ours) != REACHES
    assert unreached(ours, clips(2), [timetable(system).at(0)])


@pytest.mark.parametrize("names", [["seq"], ["sync", "seq"]])
def test_detached_clips_are_the_fault_by_name_and_the_reach_check_tells_of_it(names: list[str]) -> None:
    ours = engine(talkingface(detached=names), SCALES)
    assert sorted(unreached(ours, clips(2), [timetable(ours.system).at(0)])) == sorted(f"gen/{n}" for n in names)
    metrics = ours.step(0, timetable(ours.system).at(0), [clips(2)])
    assert all(torch.isfinite(value) for value in metrics.values()) and metrics["gen/seq"] > 0


def test_as_published_every_charged_term_reaches_what_it_should() -> None:
    ours = engine(talkingface(), SCALES)
    assert unreached(ours, clips(2), [timetable(ours.system).at(0)]) == []


def test_a_leak_adds_the_generators_gradient_to_the_discriminators() -> None:
    """What stood in D's gradient when it stepped: its own, and the generator's weight times that of D(fake) -> real."""
    gradients = {}
    for scale in (None, 2.0):
        torch.manual_seed(0)
        ours = engine(talkingface(), {**SCALES, "d_id_leak": scale})
        phase = ours.phases["id"]
        total, metrics = ours._charge(phase, looker(ours, phase, clips(2)))
        gradients[scale] = torch.autograd.grad(total, ours.parameters_of(phase))
    shared = looker(ours, phase, clips(2))
    leak = torch.autograd.grad(
        phase.terms["d_id_leak"].fn(*(shared[r] for r in phase.terms["d_id_leak"].reads)), ours.parameters_of(phase)
    )
    for without, with_leak, own in zip(gradients[None], gradients[2.0], leak, strict=True):
        torch.testing.assert_close(with_leak, without + 2 * own)
    assert metrics["id/d_id_leak"] > 0


def test_a_frame_step_makes_the_run_that_ends_at_the_drawn_frame_and_judges_that_frame() -> None:
    ours = engine(talkingface(**BY_FRAME, **ONE_FRAME), SCALES)
    batch, phase = clips(8), ours.phases["gen"]
    look = looker(ours, phase, batch)
    place = look["place"]
    frame = (look.noise["at"] * FRAMES).long()
    assert len(set(frame.tolist())) > 1
    assert torch.equal(place.start + place.at, frame) and torch.equal(place.start, (frame - 1).clamp(min=0))
    rows = torch.arange(8)
    assert torch.equal(look["shown"], batch["frames"][rows, frame])
    assert torch.equal(look["real"], torch.stack([batch["frames"][n, s : s + 2] for n, s in enumerate(place.start)]))
    made = look["made"]
    assert made.shape == (8, 2, 1, SIZE_PX, SIZE_PX) and torch.equal(look["face"], made[rows, place.at])
    # The made run is the same two frames of the whole clip, made in one go.
    with evaluation(ours.system.nets) as nets:
        whole = ours.system.clips(nets, batch, look.noise)["made"]
    torch.testing.assert_close(made, torch.stack([whole[n, s : s + 2] for n, s in enumerate(place.start)]))


def test_speech_beyond_the_clip_is_silence_and_each_frame_hears_its_neighbours() -> None:
    system = talkingface()
    given: list[torch.Tensor] = []
    system.nets["gen"].register_forward_pre_hook(lambda m, args: given.append(args[1]))
    ours = engine(system, SCALES)
    batch = clips(2)
    looker(ours, ours.phases["gen"], batch)["made"]
    speech = batch["audio"]
    silence = torch.zeros(2, SAMPLES, dtype=torch.float64)
    assert given[0].shape == (2, FRAMES, 3 * SAMPLES)
    assert torch.equal(given[0][:, 0], torch.cat([silence, speech[:, 0], speech[:, 1]], 1))
    assert torch.equal(given[0][:, 2], torch.cat([speech[:, 1], speech[:, 2], silence], 1))


@pytest.mark.parametrize(
    ("crop", "rows"), [("lower_half", slice(8, 16)), ("upper_half", slice(0, 8)), ("full", slice(0, 16))]
)
def test_sync_sees_windows_of_the_crop_and_hears_them_with_context(crop: str, rows: slice) -> None:
    system = talkingface(sync={**SYNC, "crop": crop})
    given: list[tuple[torch.Tensor, ...]] = []
    system.nets["sync"].register_forward_pre_hook(lambda m, args: given.append(args))
    ours = engine(system, SCALES)
    batch, phase = clips(2), ours.phases["sync"]
    look = looker(ours, phase, batch)
    for view in ("sync_real", "sync_wrong"):
        assert look[view].shape == (2, 4)
    real, wrong = given
    assert torch.equal(real[0], batch["frames"][:, :2, :, rows]) and torch.equal(wrong[0], real[0])
    silence = torch.zeros(2, 1, SAMPLES, dtype=torch.float64)
    assert torch.equal(real[1], torch.cat([silence, batch["audio"]], 1).flatten(1))
    assert torch.equal(wrong[1], torch.cat([silence, batch["wrong.audio"]], 1).flatten(1))


def test_windows_follow_one_another_through_a_longer_clip() -> None:
    ours = engine(talkingface(frames=5), SCALES)
    batch, phase = clips(2, frames=5), ours.phases["sync"]
    given: list[tuple[torch.Tensor, ...]] = []
    ours.system.nets["sync"].register_forward_pre_hook(lambda m, args: given.append(args))
    assert looker(ours, phase, batch)["sync_real"].shape == (4, 4)  # five frames hold two windows of two
    lips, speech = given[0]
    assert torch.equal(lips.unflatten(0, (2, 2))[:, 1], batch["frames"][:, 2:4, :, 8:])
    assert torch.equal(speech.unflatten(0, (2, 2))[:, 1], batch["audio"][:, 1:5].flatten(1))


def test_pairs_as_coded_begin_with_a_real_frame_for_d_and_a_detached_one_for_g() -> None:
    system = talkingface(**BY_FRAME, **ONE_FRAME, seq={**SEQ, "kind": "gru", "head": "state", "earlier": "as_coded"})
    given: list[torch.Tensor] = []
    system.nets["seq"].register_forward_pre_hook(lambda m, args: given.append(args[0]))
    ours = engine(system, SCALES)
    d, g = (looker(ours, ours.phases[name], clips(2)) for name in ("seq", "gen"))
    assert d["seq_fake"].shape == (2, 6) and d["seq_fake"].abs().max() < 1
    assert torch.equal(given[0], torch.stack([d["real"][:, 0], d["made"][:, 1]], 1))
    assert g["seq_logit"].requires_grad
    (gradient,) = torch.autograd.grad(g["seq_logit"].sum(), g["made"])
    assert torch.equal(given[1], g["made"]) and not gradient[:, 0].any() and gradient[:, 1].any()


def test_l1_looks_at_its_region_and_the_halves_and_the_copied_still_stand_beside_it() -> None:
    ours = engine(talkingface(region="lower_half"), SCALES)
    batch = clips(2)
    look = looker(ours, ours.phases["gen"], batch)
    made, real = look["made"].detach(), batch["frames"]
    metrics = ours.step(0, timetable(ours.system).at(0), [batch])
    apart = (made - real).abs()
    assert metrics["gen/l1"].item() == pytest.approx(apart[..., 8:, :].mean().item())
    assert metrics["gen/l1_lower"] == metrics["gen/l1"]
    assert metrics["gen/l1_upper"].item() == pytest.approx(apart[..., :8, :].mean().item())
    copied = (batch["still"][:, None] - real).abs()[..., 8:, :].mean()
    assert metrics["gen/l1_copy"].item() == pytest.approx(copied.item())
    lively = made.std(1, correction=0).mean() / real.std(1, correction=0).mean()
    assert metrics["gen/motion"].item() == pytest.approx(lively.item())
    assert metrics["gen/native_px"] == SIZE_PX


def test_a_perfect_discriminator_of_smoothed_labels_rests_at_0_413() -> None:
    """Real 0.9 and fake 0.2: the lowest cross-entropies are 0.325 and 0.500, so 0.41 is no sign of health."""
    real, fake, _ = talkingface().gan
    labels = torch.tensor(0.9), torch.tensor(0.2)
    best = 0.5 * real(torch.logit(labels[0]), *labels) + 0.5 * fake(torch.logit(labels[1]), *labels)
    assert round(best.item(), 3) == 0.413


def test_samples_are_one_frame_and_films_show_all_of_them() -> None:
    ours = engine(talkingface(**BY_FRAME, **ONE_FRAME), SCALES)
    noise = ours.noise.draw(ours.system.noise, 4, 0)
    with evaluation(ours.system.nets) as nets:
        found, shown = ours.system.sample(nets, clips(4), noise), ours.system.clips(nets, clips(4), noise)
    assert list(found) == ["image"] and found["image"].shape == (4, 1, SIZE_PX, SIZE_PX)
    assert torch.equal(shown["made"][:, FRAMES // 2], found["image"])
    batch = clips(4)
    assert torch.equal(shown["real"], batch["frames"]) and torch.equal(shown["still"], batch["still"])
    assert torch.equal(shown["sound"].view(4, FRAMES, SAMPLES), batch["audio"])
    with evaluation(ours.system.nets) as nets, pytest.raises(ValueError, match="needs a batch"):
        ours.system.sample(nets, None, noise)


def test_micro_batches_give_the_same_gradients() -> None:
    for changes in ({}, {"remake": True}):
        weights = []
        for parts in (1, 2):
            torch.manual_seed(0)
            ours = engine(talkingface(**changes), SCALES, optimizer={"kind": "sgd"}, micro_batches=parts)
            ours.step(0, timetable(ours.system).at(0), [clips(4)])
            weights.append([p.detach().clone() for net in ours.system.nets.values() for p in net.parameters()])
        for whole, cut in zip(*weights, strict=True):
            torch.testing.assert_close(cut, whole, rtol=1e-9, atol=1e-12)


def test_remade_frames_teach_the_same_and_no_graph_of_them_outlives_a_part() -> None:
    weights, calls = [], []
    for remake in (False, True):
        torch.manual_seed(0)
        ours = engine(talkingface(remake=remake), SCALES)
        system: System = ours.system
        seen: list[bool] = []
        system.nets["gen"].register_forward_hook(lambda m, given, out, seen=seen: seen.append(out.requires_grad))
        ours.step(0, timetable(system).at(0), [clips(2)])
        calls.append(seen)
        weights.append([p.detach().clone() for net in system.nets.values() for p in net.parameters()])
    assert calls == [[True], [False, True]]
    for one, two in zip(*weights, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"step": "frame", "run": 4}, "model.run=4: longer than the clip of model.frames=3; at most 3"),
        (
            {**BY_FRAME, "sync": {**SYNC, "frames": 3}},
            "model.sync.frames=3: longer than the 2 frames that a step makes",
        ),
        ({"gen": {**GEN, "padding": "valid"}}, "data.size=16: 3 levels of model.gen.widths with padding=valid leave"),
        ({"samples": 1}, r"model.gen.speech.conv\[0\].kernel=5: longer than the 3 values that reach it from 3 samples"),
        ({"id": {**ID, "norm": "instance", "levels": 5}}, "model.id.norm=instance: its layers reach 1 px"),
        (
            {"sync": {**SYNC, "kind": "cosine", "speech": {**SPEECH, "dense": [7]}}},
            "model.sync.kind=cosine: compares 8",
        ),
        ({"frames": 1, "sync": {**SYNC, "frames": 1}, "seq": {**SEQ, "kernel_frames": 4}}, "model.seq.kernel_frames=4"),
    ],
)
def test_what_the_layers_cannot_make_is_refused_in_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line) as caught:
        talkingface(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("step", ["clip", "frame"])
def test_a_handful_of_clips_is_learnt_and_the_copied_still_beaten(step: str) -> None:
    """l1 falls to less than a tenth, and below 3/4 of what copying the still would give: the mouth is heard."""
    torch.manual_seed(0)
    changes = {} if step == "clip" else {**BY_FRAME, **ONE_FRAME}
    ours = engine(talkingface(**changes), SCALES, dtype=torch.float32, lr=3e-3, optimizer={"betas": [0.5, 0.999]})
    batch, plan = clips(4, dtype=torch.float32), timetable(ours.system)
    course = []
    for at in range(280):
        metrics = ours.step(at, plan.at(at), [batch])
        course.append(metrics["gen/l1"].item())
    copied = (batch["still"][:, None] - batch["frames"]).abs().mean().item()
    last = sum(course[-20:]) / 20
    assert last < course[0] / 10 and last < 0.75 * copied, (course[0], last, copied)


def test_pixels_as_coded_are_moved_and_stretched_for_the_networks_and_back_for_the_eye() -> None:
    """Mean 0.516 and deviation 0.236 of grey: tanh then reaches 0.28 to 0.752 of it, and nothing darker or lighter."""
    changes = {"pixels": {"offset": 0.032, "scale": 0.472}}
    system = talkingface(**changes)
    ours = engine(system, SCALES)
    batch = clips(2)
    look = looker(ours, ours.phases["gen"], batch)
    assert torch.equal(look["real"], (batch["frames"] - 0.032) / 0.472)
    assert torch.equal(look["person"], (batch["still"] - 0.032) / 0.472)
    noise = ours.noise.draw(system.noise, 2, 0)
    with evaluation(system.nets) as nets:
        shown = system.clips(nets, batch, noise)["made"]
    torch.testing.assert_close(shown, look["made"].detach() * 0.472 + 0.032)
    assert system.output_range is not None
    assert [round((value + 1) / 2, 3) for value in system.output_range] == [0.28, 0.752]
    metrics = ours.step(0, timetable(system).at(0), [batch])
    copied = (batch["still"][:, None] - batch["frames"]).abs().mean()
    assert metrics["gen/l1_copy"].item() == pytest.approx(copied.item() / 0.472)
    assert reached(engine(talkingface(**changes), EVERY_TERM)) == REACHES
