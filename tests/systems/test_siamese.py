"""The siamese systems: each term moves what it should and nothing else, in closed form where there is one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gansweep.config.settings import PhaseTiming
from gansweep.engine.freeze import keep_statistics, learnt_parameters
from gansweep.engine.handle import evaluation
from gansweep.engine.look import Looker, StepContext, detached
from gansweep.engine.reach import unreached
from gansweep.engine.schedule import Entry
from gansweep.engine.step import EagerEngine
from gansweep.system import System
from gansweep.systems.siamese import Siamese
from gansweep.systems.siamese_codes import SiameseCodes
from gansweep.systems.siamese_parts import contour_weight, contrastive, diversity, one_hot, pixel_terms
from small import engine, pictures, timetable

PART: dict[str, Any] = {"norm": "batch", "act": "elu", "slope": 0.2, "conv_bias": True}
DIS = {**PART, "act": None}
SHARED: dict[str, Any] = {
    "channels": 3,
    "poses": 9,
    "lights": 20,
    "decoder": {**PART, "upsample": "transpose", "output": "tanh"},
    "init": "dcgan",
    "init_dense": "default",
    "gan_loss": "bce",
}
SCALES: dict[str, float | None] = {
    "d_real": 1.0,
    "d_fake": 1.5,
    "r1": None,
    "gp": None,
    "contra_id": 0.5,
    "contra_pose": 2.0,
    "contra_light": 0.7,
    "class_pose": 1.0,
    "class_light": 0.3,
    "l1": 5.0,
    "mse": 0.2,
    "adv": 0.1,
}
CODES_SCALES: dict[str, float | None] = {
    "d_real": 2.0,
    "d_fake": 2.0,
    "d_id": 1.0,
    "d_pose": 0.5,
    "d_light": 0.7,
    "l1": 3.0,
    "mse": 0.1,
    "adv": 1.0,
    "class_id": 1.5,
    "class_pose": 0.4,
    "class_light": 0.6,
}


def siamese(size_px: int = 16, trunk: str = "plain", kind: str = "linear", **changes: Any) -> Siamese:
    """A thin one: a tenth of the published widths."""
    encoder, judge = {**PART, "trunk": trunk}, {**DIS, "kind": kind}
    given = {"size_px": size_px, "identity_channels": 240, "attribute_channels": 80, "width_factor": 0.1}
    parts = {"encoder": encoder, "discriminator": judge, "contour": "none"}
    return Siamese(**{**SHARED, **given, **parts, **changes})


def codes(size_px: int = 16, **changes: Any) -> SiameseCodes:
    given = {"size_px": size_px, "latent": 5, "prior": "uniform", "identities": 12, "width_factor": 0.1}
    parts = {"encoder": PART, "discriminator": DIS, "class_labels": "real"}
    return SiameseCodes(**{**SHARED, **given, **parts, **changes})


def batch(system: System, count: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """What a data set would give: pairs of which a half share the person, others the pose or the light."""
    found: dict[str, Tensor] = {}
    classes = {"identity": 12, "pose": 9, "light": 20}
    for n, (name, spec) in enumerate(system.inputs.items()):
        if spec.kind == "image":
            found[name] = pictures(count, spec.shape[-1], seed=100 * seed + n, dtype=dtype)
        elif spec.kind == "vector":
            found[name] = 1 + 4 * (pictures(count, spec.shape[-1], seed=seed, dtype=dtype)[:, :1] > 0.6).to(dtype)
        else:
            own = torch.arange(count) + n + seed
            found[name] = own % classes[name.split(".")[-1]]
    for place, name in enumerate(("pair.identity", "pair.pose", "pair.light")):
        if name in found:
            alike = torch.arange(count) % 3 == place
            own = found[name.removeprefix("pair.")]
            found[name] = torch.where(alike, own, (own + 1) % classes[name.split(".")[-1]])
    return found


# What a term's gradient reaches, whoever learns: parts of networks, and the pictures it goes back to.
REACHES = {
    "contra_id": {"gen.enc", "image", "pair.image"},
    "contra_pose": {"gen.enc", "gen.head", "image", "pair.image"},
    "contra_light": {"gen.enc", "gen.head", "image", "pair.image"},
    "class_pose": {"gen.enc", "gen.head", "image"},
    "class_light": {"gen.enc", "gen.head", "image"},
    "l1": {"gen.enc", "gen.dec", "image", "target.image"},
    "mse": {"gen.enc", "gen.dec", "image", "target.image"},
    "adv": {"gen.enc", "gen.dec", "dis.trunk", "dis.head", "image"},
    "d_real": {"dis.trunk", "dis.head", "real.image"},
    "d_fake": {"dis.trunk", "dis.head"},
    "r1": {"dis.trunk", "dis.head", "real.image"},
    "gp": {"dis.trunk", "dis.head", "real.image"},
}
PAINTED = {"gen.enc", "gen.join", "gen.dec", "image"}
CODES_REACHES = {
    "l1": {*PAINTED, "target.image"},
    "mse": {*PAINTED, "target.image"},
    "adv": {*PAINTED, "dis.trunk", "dis.real"},
    "class_id": {*PAINTED, "dis.trunk", "dis.identity"},
    "class_pose": {*PAINTED, "dis.trunk", "dis.pose"},
    "class_light": {*PAINTED, "dis.trunk", "dis.light"},
    "d_real": {"dis.trunk", "dis.real", "real.image"},
    "d_fake": {"dis.trunk", "dis.real"},
    "d_id": {"dis.trunk", "dis.identity", "real.image"},
    "d_pose": {"dis.trunk", "dis.pose", "real.image"},
    "d_light": {"dis.trunk", "dis.light", "real.image"},
}


def reached(ours: EagerEngine) -> dict[str, set[str]]:
    """Return of each charged term the parts of networks and the pictures that its gradient reaches."""
    system = ours.system
    given = {name: x.requires_grad_(name.endswith("image")) for name, x in batch(system).items()}
    places: dict[str, list[Tensor]] = {name: [x] for name, x in given.items() if x.requires_grad}
    for net, module in system.nets.items():
        for name, part in module.named_children():
            if list(part.parameters()):
                places[f"{net}.{name}"] = list(part.parameters())
    found: dict[str, set[str]] = {}
    for phase in system.phases:
        context = StepContext([(Entry(phase.name, 0, 0),)], system.shared, ours.updates)
        noise = ours.noise.draw(system.noise, 6, 0)
        look = Looker(ours.nets, phase, context, 0, 0, given, noise, ours.knobs.group("knobs"), system.memory)
        for term, value in ours.terms(phase, look).items():
            found[term] = {name for name, tensors in places.items() if _hit(value, tensors)}
    return found


def _hit(value: Tensor, tensors: list[Tensor]) -> bool:
    if not value.requires_grad:
        return False
    gradients = torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True)
    return any(g is not None and bool(g.count_nonzero()) for g in gradients)


Make = Callable[..., Any]
BOTH: list[tuple[Make, dict[str, set[str]]]] = [(siamese, REACHES), (codes, CODES_REACHES)]


@pytest.mark.parametrize(
    ("make", "changes", "expected"),
    [
        *((siamese, {"kind": kind}, REACHES) for kind in ("linear", "conv")),
        *((siamese, {"gan_loss": loss}, REACHES) for loss in ("hinge", "lsgan", "wgan")),
        *((siamese, {"contour": contour}, REACHES) for contour in ("error", "pictures")),
        (siamese, {"trunk": "residual"}, REACHES),
        *((codes, {"class_labels": labels}, CODES_REACHES) for labels in ("real", "input")),
        *((codes, {"gan_loss": loss}, CODES_REACHES) for loss in ("hinge", "lsgan", "wgan")),
    ],
)
def test_each_term_reaches_exactly_its_parts_and_pictures(make: Make, changes: Any, expected: Any) -> None:
    ours = engine(make(**changes), dict.fromkeys(expected, 1.0))
    assert reached(ours) == expected


@pytest.mark.parametrize(("kind", "more"), [("sr", "dis.reduce"), ("conv_elu", "dis.bound")])
def test_a_discriminator_of_more_parts_is_reached_whole(kind: str, more: str) -> None:
    expected = {name: (parts | {more} if "dis.head" in parts else parts) for name, parts in REACHES.items()}
    assert reached(engine(siamese(kind=kind), dict.fromkeys(expected, 1.0))) == expected


def _views(make: Make) -> list[tuple[str, str]]:
    system = make()
    own = [(phase.name, view) for phase in system.phases for view in phase.views]
    return [*own, *(("shared", name) for name in system.shared)]


@pytest.mark.parametrize(
    ("make", "expected", "phase", "view"),
    [(make, expected, *place) for make, expected in BOTH for place in _views(make)],
)
def test_detaching_any_one_view_is_found(make: Make, expected: Any, phase: str, view: str) -> None:
    system = make()
    if phase == "shared":
        owner, table = system.shared[view], None
        object.__setattr__(owner, "fn", _cut_off(owner.fn))
    else:
        owner = next(p for p in system.phases if p.name == phase)
        table = {**owner.views, view: _cut_off(owner.views[view])}
        object.__setattr__(owner, "views", table)
    found = reached(engine(system, dict.fromkeys(expected, 1.0)))
    assert found != expected
    lost = {name for name in expected if found[name] < expected[name]}
    assert lost and all(found[name] == expected[name] for name in expected.keys() - lost)


def _cut_off(view: Callable[..., Any]) -> Callable[..., Any]:
    """The same view without its gradient: of a function, without that of what it returns."""

    def cut(nets: Any, x: Any) -> Any:
        value = view(nets, x)
        return (lambda images: value(images).detach()) if callable(value) else detached(value)

    return cut


@pytest.mark.parametrize(("make", "expected"), BOTH)
@pytest.mark.parametrize("phase", ["dis", "gen"])
def test_a_phase_changes_the_weights_of_exactly_what_it_learns(make: Make, expected: Any, phase: str) -> None:
    ours = engine(make(), dict.fromkeys(expected, 1.0))
    before = {net: [p.clone() for p in module.parameters()] for net, module in ours.system.nets.items()}
    ours.step(0, [(Entry(phase, 0, 0),)], [batch(ours.system)])
    changed = {
        net
        for net, module in ours.system.nets.items()
        if any(not torch.equal(a, b) for a, b in zip(module.parameters(), before[net], strict=True))
    }
    assert changed == {phase}


@pytest.mark.parametrize(("make", "expected"), BOTH)
def test_no_charged_term_is_idle(make: Make, expected: Any) -> None:
    system = make()
    ours = engine(system, dict.fromkeys(expected, 1.0))
    plan = timetable(system, {"dis": PhaseTiming(every=[[0, 2], [4, 3]], watch=True)})
    assert unreached(ours, batch(system), plan.shapes(10)) == []


# Losses


def test_the_contrastive_term_in_closed_form() -> None:
    first = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [5.0, 0.0]], dtype=torch.float64, requires_grad=True)
    second = torch.tensor([[3.0, 4.0], [1.0, 1.0], [0.6, 0.8], [0.0, 0.0]], dtype=torch.float64)
    same = torch.tensor([True, True, False, False])
    # d = 5, 0, 1, 5: alike 25 and 0; unlike (2 - 1)² and nothing beyond the margin.
    value = contrastive(first, second, same, torch.tensor(2.0, dtype=torch.float64))
    assert value.item() == pytest.approx((25 + 0 + 1 + 0) / 4)
    (gradient,) = torch.autograd.grad(value, first)
    expected = torch.tensor([[-6.0, -8.0], [0.0, 0.0], [1.2, 1.6], [0.0, 0.0]], dtype=torch.float64) / 4
    torch.testing.assert_close(gradient, expected)
    # Another margin; and two equal codes of two people, which have no direction to be pushed in, but a finite one.
    assert contrastive(first, second, same, 1.5).item() == pytest.approx((25 + 0.25) / 4)
    equal = contrastive(first, first.detach(), torch.zeros(4, dtype=torch.bool), 2.0)
    assert equal.item() == pytest.approx(4.0, rel=1e-5)
    assert torch.autograd.grad(equal, first)[0].isfinite().all()


def test_each_contrastive_term_compares_its_own_part_by_its_own_label() -> None:
    system = siamese()
    ours = engine(system, {**dict.fromkeys(SCALES, 1.0), "gp": None, "r1": None})
    given = batch(system)
    with torch.no_grad(), evaluation(system.nets) as nets:
        identity, pose, light = nets.gen(given["image"], decode=False)
        others = nets.gen(given["pair.image"], decode=False)
    for net in system.nets.values():
        net.eval()
    metrics = ours.step(0, [(Entry("gen", 0, 0, watch=True),)], [given])
    for own, other, name, term in zip(
        (identity, pose, light), others, ("identity", "pose", "light"), ("id", "pose", "light"), strict=True
    ):
        same = given[name] == given[f"pair.{name}"]
        assert same.any() and not same.all()
        distance = (own - other).norm(dim=1)
        by_hand = torch.where(same, distance**2, (2 - distance).clamp(min=0) ** 2).mean()
        assert metrics[f"gen/contra_{term}"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    for name, logits in (("pose", pose), ("light", light)):
        picked = logits.log_softmax(1)[torch.arange(6), given[name]]
        assert metrics[f"gen/class_{name}"].item() == pytest.approx(-picked.mean().item())
        right = (logits.argmax(1) == given[name]).double().mean()
        assert metrics[f"gen/acc_{name}"].item() == right.item()


def test_classes_start_at_chance() -> None:
    logits = torch.zeros(4, 9), torch.zeros(4, 20)
    from gansweep.systems.siamese_parts import class_error

    chance = [class_error(part, torch.arange(4)).item() for part in logits]
    assert chance == pytest.approx([math.log(9), math.log(20)]) and [round(c, 2) for c in chance] == [2.2, 3.0]


def test_the_contour_weighs_five_under_l1_and_its_square_under_l2_as_the_journal_had_it() -> None:
    torch.manual_seed(0)
    output, target = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    mask, strength = torch.ones(2, 1, 4, 4), torch.tensor(1.0)
    mask[:, :, 0] = 5
    weight = mask.expand(2, 3, 4, 4)
    assert torch.equal(contour_weight(mask, strength), mask)
    assert torch.equal(contour_weight(mask, 0.0), torch.ones_like(mask))
    assert contour_weight(mask, 2.0).unique().tolist() == [1, 9]
    apart = output - target
    for contour, of_l1, of_mse in (
        ("none", torch.ones_like(weight), torch.ones_like(weight)),
        ("error", weight, weight),
        ("pictures", weight, weight**2),  # 25 on the contour
    ):
        terms = pixel_terms(contour, "rec")
        given = (output, target) if contour == "none" else (output, target, mask, strength)
        torch.testing.assert_close(terms["l1"].fn(*given), (of_l1 * apart.abs()).mean())
        torch.testing.assert_close(terms["mse"].fn(*given), (of_mse * apart**2).mean())
        assert terms["l1"].reads[:2] == ("rec", "batch.target.image")


def test_the_error_on_and_off_the_contour_is_reported_unweighted() -> None:
    system = siamese(contour="error")
    assert system.inputs["mask"].shape == (1, 16, 16)
    given = batch(system)
    metrics = engine(system, SCALES).step(0, timetable(system).at(0), [given])
    share = (given["mask"] == 5).double().mean()
    both = share * metrics["gen/l1_contour"] + (1 - share) * metrics["gen/l1_inside"]
    weighted = share * 5 * metrics["gen/l1_contour"] + (1 - share) * metrics["gen/l1_inside"]
    assert 0 < share < 1 and both.item() < weighted.item()
    assert metrics["gen/l1"].item() == pytest.approx(weighted.item())


def test_diversity_is_one_for_the_targets_themselves_and_nothing_after_a_collapse() -> None:
    target = pictures(8)
    assert diversity(target, target).item() == pytest.approx(1)
    assert diversity(0.5 * target, target).item() == pytest.approx(0.5)
    assert diversity(target[:1].expand(8, -1, -1, -1), target).item() == pytest.approx(0, abs=1e-6)
    assert math.isfinite(diversity(target, target[:1].expand(8, -1, -1, -1)).item())


def test_one_hot_rows() -> None:
    found = one_hot(torch.tensor([2, 0]), 3, torch.float64)
    assert torch.equal(found, torch.tensor([[0, 0, 1], [1, 0, 0]], dtype=torch.float64))


# Who looks at what


@pytest.mark.parametrize(("make", "scales"), [(siamese, SCALES), (codes, CODES_SCALES)])
def test_d_is_shown_the_real_picture_and_judges_what_the_generator_then_learns_from(make: Make, scales: Any) -> None:
    ours = engine(make(), scales)
    seen: dict[str, list[Tensor]] = {"gen": [], "dis": []}
    for name, net in ours.system.nets.items():
        net.register_forward_hook(lambda m, given, out, n=name: seen[n].append(given[0].detach().clone()))
    given = batch(ours.system)
    ours.step(0, timetable(ours.system).at(0), [given])
    wanted = ["image", "pair.image"] if make is siamese else ["image"]
    assert len(seen["gen"]) == len(wanted)
    assert all(torch.equal(x, given[name]) for x, name in zip(seen["gen"], wanted, strict=True))
    real, fake, again = seen["dis"]
    assert torch.equal(real, given["real.image"]) and torch.equal(fake, again)


@pytest.mark.parametrize(("make", "scales"), [(siamese, SCALES), (codes, CODES_SCALES)])
def test_d_learns_one_step_in_k_and_is_watched_between(make: Make, scales: Any) -> None:
    ours = engine(make(), scales)
    plan = timetable(ours.system, {"dis": PhaseTiming(every=[[0, 3], [6, 2]], watch=True)})
    turns = []
    for step in range(10):
        before = [p.clone() for p in ours.system.nets["dis"].parameters()]
        moved = {k: v.clone() for k, v in ours.system.nets["dis"].state_dict().items() if "running_mean" in k}
        metrics = ours.step(step, plan.at(step), [batch(ours.system)])
        learnt = any(not torch.equal(a, b) for a, b in zip(before, ours.system.nets["dis"].parameters(), strict=True))
        assert learnt == ("grad_norm/dis" in metrics) and {"dis/d_real", "dis/acc_fake"} <= metrics.keys()
        now = ours.system.nets["dis"].state_dict()
        assert all(not torch.equal(now[k], v) for k, v in moved.items())  # as in the journal: BN moves when watched too
        turns += [step] if learnt else []
    assert turns == [0, 3, 6, 8] and ours.updates == {"gen": 10, "dis": 4}


def test_27_july_teaches_d_the_labels_of_what_it_is_shown_or_as_run_those_of_the_input() -> None:
    for labels, wanted in (("real", "real."), ("input", "")):
        system = codes(class_labels=labels)
        ours = engine(system, CODES_SCALES)
        given = batch(system)
        assert {f"{wanted}{name}" for name in ("identity", "pose", "light")} <= given.keys()
        logits: list[Any] = []
        system.nets["dis"].register_forward_hook(lambda m, x, out, to=logits: to.append(out))
        metrics = ours.step(0, [(Entry("dis", 0, 0),)], [given])
        for part, name, term in zip(logits[0], ("identity", "pose", "light"), ("id", "pose", "light"), strict=False):
            by_hand = nn.functional.cross_entropy(part, given[wanted + name])
            assert metrics[f"dis/d_{term}"].item() == by_hand.item()
    assert "real.light" not in codes(class_labels="input").inputs


def test_27_july_paints_in_the_targets_pose_and_light_with_noise_between_minus_one_and_one() -> None:
    system = codes()
    ours = engine(system, CODES_SCALES)
    calls: list[Any] = []
    system.nets["gen"].register_forward_hook(lambda m, x, out: calls.append(x))
    given = batch(system, 64)
    noise = ours.noise.draw(system.noise, 64, 0)
    with evaluation(system.nets) as nets:
        drawn = system.sample(nets, given, noise)["image"]
    _, noise_in, pose, light = calls[0]
    assert torch.equal(pose.argmax(1), given["target.pose"]) and torch.equal(pose.sum(1), torch.ones_like(pose[:, 0]))
    assert torch.equal(light.argmax(1), given["target.light"]) and light.shape == (64, 20)
    assert -1 <= noise_in.min() < -0.9 and 0.9 < noise_in.max() < 1
    assert drawn.shape == (64, 3, 16, 16) and drawn.abs().max() <= 1


@pytest.mark.parametrize(("make", "scales"), [(siamese, SCALES), (codes, CODES_SCALES)])
def test_sampling_is_frontalising_the_batch(make: Make, scales: Any) -> None:
    system = make()
    ours = engine(system, scales)
    given = batch(system)
    noise = ours.noise.draw(system.noise, 6, 0)
    with evaluation(system.nets) as nets:
        drawn, rebuilt = system.sample(nets, given, noise), system.reconstruct(nets, given, noise)
        assert drawn.keys() == rebuilt.keys() == {"image"} and torch.equal(drawn["image"], rebuilt["image"])
        assert drawn["image"].shape == given["image"].shape
        with pytest.raises(ValueError, match="needs a picture to begin with"):
            system.sample(nets, None, noise)


def test_the_inputs_are_what_the_configuration_reads() -> None:
    pictures_of = {"image", "pair.image", "target.image", "real.image"}
    labels = {f"{whose}{name}" for whose in ("", "pair.") for name in ("identity", "pose", "light")}
    assert siamese().inputs.keys() == pictures_of | labels
    assert siamese(contour="pictures").inputs.keys() == pictures_of | labels | {"mask"}
    shown = {"image", "target.image", "real.image", "identity", "target.pose", "target.light"}
    assert codes().inputs.keys() == shown | {"real.identity", "real.pose", "real.light"}
    assert codes(class_labels="input").inputs.keys() == shown | {"pose", "light"}


# Freezing


@pytest.mark.parametrize(("part", "rest"), [("enc", "dec"), ("dec", "enc")])
@pytest.mark.parametrize("stats", [False, True])
def test_freezing_weights_and_freezing_statistics_are_two_switches(part: str, rest: str, stats: bool) -> None:
    system = siamese()
    scales = {**dict.fromkeys(SCALES), "d_real": 1.0, "d_fake": 1.0, "l1": 1.0, "adv": 0.1}
    ours = engine(system, scales)
    patterns = [f"gen.{part}.*", *(["gen.head.*"] if part == "enc" else [])]
    learnt = learnt_parameters(system.nets, system.phases, patterns)
    ours = EagerEngine(system, ours.charged, ours.knobs, ours.rates, learnt, ours.noise)
    if stats:
        keep_statistics(system.nets, [f"gen.{part}"])
    gen: Any = system.nets["gen"]
    before = {name: value.clone() for name, value in gen.state_dict().items()}
    plan = timetable(system)
    assert unreached(ours, batch(system), [plan.at(0)]) == []
    ours.step(0, plan.at(0), [batch(system)])
    changed = {name for name, value in gen.state_dict().items() if not torch.equal(value, before[name])}
    frozen = {name for name in before if name.startswith(f"{part}.")}
    statistics = {name for name in frozen if "running" in name or "batches" in name}
    assert changed & frozen == (set() if stats else statistics)
    assert any(name.startswith(f"{rest}.") and name.endswith("conv.weight") for name in changed)


def test_a_frozen_discriminator_is_one_without_turns_and_may_be_watched() -> None:
    ours = engine(siamese(), SCALES)
    plan = timetable(ours.system, {"dis": PhaseTiming(until=0, watch=True)})
    before = [p.clone() for p in ours.system.nets["dis"].parameters()]
    metrics = ours.step(0, plan.at(0), [batch(ours.system)])
    assert all(torch.equal(a, b) for a, b in zip(before, ours.system.nets["dis"].parameters(), strict=True))
    assert "dis/d_fake" in metrics and ours.updates == {"gen": 1, "dis": 0}


# Learning


@pytest.mark.parametrize(
    ("make", "scales"),
    [
        (siamese, {**SCALES, "l1": 20.0, "mse": None}),
        (lambda **given: siamese(trunk="residual", **given), {**SCALES, "l1": 20.0, "mse": None}),
        (codes, {**CODES_SCALES, "l1": 100.0, "mse": None}),
    ],
    ids=["plain", "residual", "27 July"],
)
def test_overfitting_a_handful_of_people(make: Make, scales: Any) -> None:
    torch.manual_seed(0)
    system = make(init="default")
    ours = engine(system, scales, dtype=torch.float32, lr=2e-3, optimizer={"betas": [0.5, 0.999]})
    plan = timetable(system, {"dis": PhaseTiming(every=4, watch=True)})
    given = batch(system, 4, dtype=torch.float32)
    # Smooth targets: what a handful of people look like from the front.
    given["target.image"] = nn.functional.interpolate(
        pictures(4, 4, dtype=torch.float32), size=(16, 16), mode="bilinear", align_corners=False
    )
    given["real.image"] = given["target.image"]
    losses = [ours.step(step, plan.at(step), [given])["gen/l1"].item() for step in range(50)]
    assert losses[-1] < 0.5 * losses[0], (losses[0], losses[-1])
