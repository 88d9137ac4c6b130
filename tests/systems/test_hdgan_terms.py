"""HDGAN's terms: every one moves exactly the networks it should, through every view that it reads; its known values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hdgan_small import batch, hdgan, looker, scales
from torch import Tensor, nn

from gansweep.engine.look import detached
from gansweep.engine.reach import unreached
from gansweep.engine.schedule import Entry
from gansweep.engine.step import EagerEngine
from gansweep.errors import UserError
from gansweep.systems.hdgan import Hdgan
from small import engine, timetable

SIZES = (16, 32)
Reached = dict[tuple[str, str], set[str]]


def _parts(net: str, module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the parameters of a network by the part that a term may or may not reach."""
    found: dict[str, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        names = name.split(".")
        if net == "dis":  # levels.16.encode.…; the two heads and what stands before them
            part = f"dis.{names[1]}.{names[2]}" if names[0] == "levels" else "dis.trunk"
        else:
            part = f"gen.{names[0]}" if names[0] != "paint" else f"gen.{'.'.join(names[:3])}"
        found.setdefault(part, []).append(parameter)
    return found


def reached(ours: EagerEngine) -> Reached:
    """Return which parts each charged term reaches through each of the values it reads, by (term, value).

    Through one value: the others are detached. What a term reaches at all is the union.
    """
    found: Reached = {}
    parts = {p: ps for net, module in ours.system.nets.items() for p, ps in _parts(net, module).items()}
    for name, phase in ours.phases.items():
        look = looker(ours, name)
        ours.terms(phase, look)
        for term, at in ours.charged[name].items():
            for read in at.reads:
                if "." in read:
                    continue
                values = [look[other] if other == read or "." in other else detached(look[other]) for other in at.reads]
                value = at.fn(*values)
                found[term, read] = set() if not value.requires_grad else _hit(value, parts)
    return found


def _hit(value: Tensor, parts: dict[str, list[nn.Parameter]]) -> set[str]:
    flat = [p for ps in parts.values() for p in ps]
    gradients = torch.autograd.grad(value, flat, retain_graph=True, allow_unused=True)
    moved = {id(p) for p, g in zip(flat, gradients, strict=True) if g is not None and g.count_nonzero()}
    return {name for name, ps in parts.items() if any(id(p) in moved for p in ps)}


def expected() -> Reached:
    """Return what each term is to reach: at one size D's parts of that size, and of G what leads to that picture."""
    found: Reached = {("kld", "painted"): {"gen.condition"}}
    stream: set[str] = {"gen.condition", "gen.start"}
    stream |= {f"gen.paint.scales.{side}" for side in (4, 8, 16)}
    for size in SIZES:
        stream = stream if size == 16 else stream | {"gen.paint.scales.32"}
        code = {f"dis.{size}.encode", f"dis.{size}.shrink"}
        pair = code | {f"dis.{size}.text", f"dis.{size}.join", f"dis.{size}.pair"}
        image = code | {f"dis.{size}.heads"}
        for verdict in ("right", "wrong", "fake"):
            found[f"d_pair_{size}", f"{verdict}_{size}"] = pair
            found[f"d_img_{size}", f"{verdict}_{size}"] = image
        through = stream | {f"gen.paint.heads.{size}"}
        found[f"pair_{size}", f"judged_{size}"] = pair | through
        found[f"img_{size}", f"judged_{size}"] = image | through
    return found


def _engine(**changes: Any) -> EagerEngine:
    torch.manual_seed(0)
    system = hdgan(SIZES, **changes)
    return engine(system, scales(system))


OPTIONS: dict[str, dict[str, Any]] = {
    "as published": {},
    "replay": {"replay": {"capacity": 6, "fraction": 0.5, "policy": "lowest"}},
    "new fakes for G": {"fresh_fakes": True},
    "hinge": {"gan_loss": "hinge"},
    "bce": {"gan_loss": "bce"},
    "wgan": {"gan_loss": "wgan", "clip": 0.1},
    "layer norms": {"gen": {"norm": "layer"}, "dis": {"norm": "layer"}},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_each_term_reaches_exactly_its_parts_through_every_view_it_reads(option: str) -> None:
    assert reached(_engine(**OPTIONS[option])) == expected()


def _mutations() -> list[tuple[str, str]]:
    system = hdgan(SIZES)
    # `shown` is what D sees of the generator: without a graph by design, which the test above holds. The views for a
    # user's own loss are no term's.
    idle = {"shown", "real_score", "fake_score", "picture"}
    views = [(phase.name, view) for phase in system.phases for view in phase.views if view not in idle]
    return [*views, ("", "painted")]


@pytest.mark.parametrize(("phase", "view"), _mutations())
def test_detaching_any_one_view_is_found(phase: str, view: str) -> None:
    ours = _engine()
    system: Any = ours.system
    if phase:
        at = ours.phases[phase]
        ours.phases[phase] = dataclasses.replace(at, views={**at.views, view: _cut(at.views[view])})
    else:
        system.shared[view] = dataclasses.replace(system.shared[view], fn=_cut(system.shared[view].fn))
    wrong, right = reached(ours), expected()
    lost = {key for key in right if wrong[key] != right[key]}
    through = {"painted": {"kld", *(f"{kind}_{size}" for kind in ("pair", "img") for size in SIZES)}}
    size = view.rpartition("_")[2]
    kinds = ("d_pair", "d_img") if phase == "dis" else ("pair", "img")
    assert {term for term, _ in lost} == through.get(view, {f"{kind}_{size}" for kind in kinds})


def _cut(view: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda nets, x: detached(view(nets, x))


@pytest.mark.parametrize("name", [name for name, value in scales(hdgan(SIZES)).items() if value is not None])
def test_each_term_alone_changes_the_weights_of_exactly_what_its_phase_learns(name: str) -> None:
    torch.manual_seed(0)
    system = hdgan(SIZES)
    alone = {term: 1.0 if term == name else None for term in scales(system)}
    ours = engine(system, _with_idle_phase(system, alone))
    owner = next(phase for phase in system.phases if name in phase.terms)
    before = {net: [p.clone() for p in module.parameters()] for net, module in system.nets.items()}
    ours.step(0, [(Entry(owner.name, 0, 0),)], [batch(system)])
    changed = {
        net
        for net, module in system.nets.items()
        if any(not torch.equal(a, b) for a, b in zip(module.parameters(), before[net], strict=True))
    }
    assert changed == set(owner.learns) == {"dis" if name.startswith("d_") else "gen"}


def _with_idle_phase(system: Hdgan, alone: dict[str, float | None]) -> dict[str, float | None]:
    """Give each phase that would charge nothing one term at weight zero: it has no turn in the test."""
    for phase in system.phases:
        if all(alone[term] is None for term in phase.terms):
            alone[next(iter(phase.terms))] = 0.0
    return alone


def test_stages_above_the_first_reach_its_layers_only_by_the_code() -> None:
    found = reached(_engine(gen={"arch": "multistage"}))
    above = {part for part in found["pair_32", "judged_32"] if part.startswith("gen")}
    assert above == {"gen.condition", "gen.paint.stages.32"}
    undone = reached(_engine(gen={"arch": "multistage", "detach": False}))
    assert "gen.paint.base.heads" in undone["pair_32", "judged_32"]


def test_the_reach_check_passes_and_finds_a_generator_that_is_cut_off() -> None:
    ours = _engine(replay={"capacity": 6, "fraction": 0.5, "policy": "lowest"})
    system: Any = ours.system
    shapes = [timetable(system).at(0)]
    assert unreached(ours, batch(system), shapes) == []
    assert system.memory["replay_key"].isinf().all()
    system.shared["painted"] = dataclasses.replace(system.shared["painted"], fn=_cut(system.shared["painted"].fn))
    assert set(unreached(ours, batch(system), shapes)) == {f"gen/{t}" for t in ours.charged["gen"]}


def test_half_everywhere_gives_the_documents_signposts() -> None:
    """All scores at 0.5: each discriminator's two losses are together 1, the generator's 0.5."""
    system = hdgan(SIZES)
    half = torch.full((4, 1), 0.5, dtype=torch.float64), (torch.full((4, 1, 5, 5), 0.5, dtype=torch.float64),)
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    dis, gen = (phase.terms for phase in system.phases)
    for size in SIZES:
        loss = [dis[f"{kind}_{size}"].fn(half, half, half, one, zero).item() for kind in ("d_pair", "d_img")]
        assert loss == [0.5, 0.5]
        assert [gen[f"{kind}_{size}"].fn(half, one, zero).item() for kind in ("pair", "img")] == [0.25, 0.25]
    mean, deviation = torch.full((4, 128), 0.7, dtype=torch.float64), torch.full((4, 128), -0.3, dtype=torch.float64)
    found = gen["kld"].fn(type("Made", (), {"mean": mean, "log_deviation": deviation}))
    torch.testing.assert_close(found, (-deviation + 0.5 * ((2 * deviation).exp() + mean**2 - 1)).mean())


def test_two_image_heads_are_charged_by_their_mean() -> None:
    system = hdgan((16, 128), dis={"image_head": "both"})
    ours = engine(system, scales(system))
    look = looker(ours, "gen")
    losses = ours.terms(ours.phases["gen"], look)
    _, heads = look["judged_128"]
    assert [tuple(head.shape[2:]) for head in heads] == [(1, 1), (4, 4)]
    by_hand = 0.5 * sum((head - 1).square().mean() for head in heads)
    assert losses["img_128"].item() == by_hand.item()


def test_reports_of_a_perfect_and_of_a_blind_discriminator() -> None:
    system = hdgan(SIZES)
    one, zero = torch.ones(()), torch.zeros(())

    def verdict(pair: float, image: float) -> Any:
        return torch.full((4, 1), pair), (torch.full((4, 1, 2, 2), image),)

    reports = system.phases[0].reports
    perfect = {"right": verdict(1.5, 0.9), "wrong": verdict(-0.1, 0.8), "fake": verdict(0.2, 0.1)}
    blind = {"right": verdict(0.9, 0.9), "wrong": verdict(0.9, 0.9), "fake": verdict(0.9, 0.9)}

    def read(name: str, seen: Any) -> float:
        given = {"knobs.real_label": one, "knobs.fake_label": zero} | {f"{k}_16": v for k, v in seen.items()}
        return reports[name].fn(*(given[r] for r in reports[name].reads)).item()

    assert read("gap_16", perfect) == pytest.approx(1.6) and read("gap_16", blind) == 0
    assert read("right_pair_16", perfect) == read("right_img_16", perfect) == 1
    assert read("right_pair_16", blind) == read("right_img_16", blind) == 0.5
    assert read("sure_16", perfect) == pytest.approx(2 / 3) and read("sure_16", blind) == 0


def test_a_number_for_an_output_that_is_not_there_is_told_of() -> None:
    system = hdgan(outputs={"at_32": {"px_16": None, "px_32": 1.0}})
    assert system.sizes_px == [32] and "d_pair_16" in system.phases[0].terms
    ours = engine(system, scales(system, pair_16=1.0))
    with pytest.raises(UserError, match=r"scales\.pair_16: no output of 16 px, only of 32; say scales\.pair_16=null"):
        unreached(ours, batch(system), [timetable(system).at(0)])
