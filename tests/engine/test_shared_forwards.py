"""Shared forwards: computed once, live where that is right, refused where it would be silently wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gansweep.config.settings import PhaseTiming
from gansweep.engine.look import StaleUse
from gansweep.system import Shared
from small import VAEGAN_SCALES, engine, pictures, timetable, vaegan


def _calls(system: torch.nn.Module, counts: dict[str, int]) -> None:
    for name, net in system.nets.items():  # type: ignore[union-attr]
        net.register_forward_hook(lambda m, i, o, n=name: counts.__setitem__(n, counts.get(n, 0) + 1))


def test_a_step_runs_each_network_no_more_often_than_the_hand_loop() -> None:
    ours = engine(vaegan(), VAEGAN_SCALES)
    counts: dict[str, int] = {}
    _calls(ours.system, counts)  # type: ignore[arg-type]
    ours.step(0, timetable(ours.system).at(0), [{"image": pictures(4)}])
    assert counts == {"enc": 1, "dec": 3, "dis": 3}


def test_one_forward_saves_a_decoder_pass() -> None:
    ours = engine(vaegan(single_forward=True), VAEGAN_SCALES)
    counts: dict[str, int] = {}
    _calls(ours.system, counts)  # type: ignore[arg-type]
    ours.step(0, timetable(ours.system, groups=[["enc", "dec"], ["dis"]]).at(0), [{"image": pictures(4)}])
    assert counts == {"enc": 1, "dec": 2, "dis": 3}


def test_views_that_no_charged_term_needs_are_not_computed() -> None:
    scales = {**VAEGAN_SCALES, "adv_rec": None, "d_rec": None}
    ours = engine(vaegan(), scales)
    counts: dict[str, int] = {}
    _calls(ours.system, counts)  # type: ignore[arg-type]
    metrics = ours.step(0, timetable(ours.system).at(0), [{"image": pictures(4)}])
    assert counts["dis"] == 2 and "dis/p_rec" not in metrics and "dis/p_prior" in metrics


def test_live_use_after_an_update_is_refused() -> None:
    ours = engine(vaegan(single_forward=True), VAEGAN_SCALES)
    with pytest.raises(StaleUse, match="uses shared forward 'raw' live, but 'enc' was updated"):
        ours.step(0, timetable(ours.system).at(0), [{"image": pictures(4)}])


def test_undeclared_stale_use_is_refused() -> None:
    system = vaegan()
    system.shared["fake"] = replace(system.shared["fake"], stale=())
    ours = engine(system, VAEGAN_SCALES)
    with pytest.raises(StaleUse, match="phase 'dis' uses shared forward 'prior_logit' after 'dec' was updated"):
        ours.step(0, timetable(system).at(0), [{"image": pictures(4)}])


def test_a_phase_alone_computes_what_it_needs_without_a_graph() -> None:
    ours = engine(vaegan(), VAEGAN_SCALES)
    plan = timetable(ours.system, {"dis": PhaseTiming(repeat=3)})
    metrics = ours.step(0, plan.at(0), [{"image": pictures(4, seed=n)} for n in range(3)])
    assert torch.isfinite(metrics["dis/d_rec"])
    assert ours.updates == {"enc": 1, "dec": 1, "dis": 3}


def test_a_shared_forward_seen_by_an_earlier_detached_phase_is_still_live_for_a_later_one() -> None:
    torch.manual_seed(0)
    system = vaegan()
    # The discriminator first, as most GAN loops have it: it looks at fakes that the decoder then learns from.
    enc, dec, dis = system.phases
    system.phases = (enc, dis, dec)
    system.shared = {
        **system.shared,
        "rebuilt": replace(system.shared["rebuilt"], stale=()),
        "code": Shared(system.shared["code"].fn, live=("enc",), stale=("dec", "dis")),
        "raw": Shared(system.shared["raw"].fn, live=("dec",)),
        "fake": Shared(system.shared["fake"].fn, live=("dec",)),
    }
    ours = engine(system, VAEGAN_SCALES)
    counts: dict[str, int] = {}
    _calls(system, counts)  # type: ignore[arg-type]
    before = system.nets["dec"].up[0].conv.weight.clone()  # type: ignore[index, union-attr]
    ours.step(0, timetable(system).at(0), [{"image": pictures(4)}])
    assert counts["dec"] == 3 and counts["dis"] == 5, "D was updated in between, so what it says is asked anew"
    assert not torch.equal(before, system.nets["dec"].up[0].conv.weight)  # type: ignore[index, union-attr]


def _gradients(groups: list[list[str]], **options: object) -> dict[str, float]:
    torch.manual_seed(0)
    ours = engine(vaegan(**options), VAEGAN_SCALES)  # type: ignore[arg-type]
    metrics = ours.step(0, timetable(ours.system, groups=groups).at(0), [{"image": pictures(4)}])
    return {net: metrics[f"grad_norm/{net}"].item() for net in ("enc", "dec", "dis")}


def test_the_order_of_phases_does_not_cut_a_graph_that_a_later_phase_needs() -> None:
    # D first: it looks at reconstructions that encoder and decoder learn from afterwards, through the code.
    first = _gradients([["dis"], ["enc", "dec"]], single_forward=True)
    last = _gradients([["enc", "dec"], ["dis"]], single_forward=True)
    assert first["enc"] == pytest.approx(last["enc"], rel=1e-9)
    two = _gradients([["dis"], ["enc"], ["dec"]])
    assert two["enc"] == pytest.approx(last["enc"], rel=1e-9)


def test_a_watched_phase_in_front_does_not_take_the_graph_away() -> None:
    ours = engine(vaegan(), VAEGAN_SCALES)
    plan = timetable(ours.system, {"dis": PhaseTiming(every=2, watch=True)}, groups=[["enc"], ["dis"], ["dec"]])
    for step in range(3):
        metrics = ours.step(step, plan.at(step), [{"image": pictures(4)}])
        assert metrics["grad_norm/dec"] > 0 and "dis/d_real" in metrics


def test_an_inner_forward_that_was_there_already_counts_for_the_outer_one() -> None:
    torch.manual_seed(0)
    system = vaegan(single_forward=True)
    enc, dec, dis = system.phases
    # `early` runs the encoder's forward first, so that the reconstruction finds its code already made; then enc learns.
    early = replace(enc, name="early", views={"code_now": lambda nets, x: x["code"]}, terms={"kld": enc.terms["kld"]})
    late = replace(enc, name="late", terms={"l1": enc.terms["l1"]})
    system.phases = (early, late, dec, dis)
    system.shared["code"] = replace(system.shared["code"], live=("early", "late"))
    system.shared["raw"] = replace(system.shared["raw"], live=("late", "dec"))
    scales = {k: v for k, v in VAEGAN_SCALES.items() if k not in ("mse", "bce", "huber", "feature")}
    ours = engine(system, scales)
    with pytest.raises(StaleUse, match="'late' uses shared forward 'code' live"):
        ours.step(0, timetable(system).at(0), [{"image": pictures(4)}])


def test_what_d_says_once_teaches_decoder_and_d() -> None:
    """One forward of D in both turns gives the gradients that two give."""

    def norms(renewed_apart: bool) -> dict[str, float]:
        torch.manual_seed(0)
        system = vaegan()
        if renewed_apart:  # each turn asks D itself, as a loop written by hand does
            for name in ("rec_logit", "prior_logit"):
                del system.shared[name]
            asked = {
                "rec_logit": lambda nets, x: nets.dis(x["rebuilt"]),
                "prior_logit": lambda nets, x: nets.dis(x["fake"]),
            }
            enc, dec, dis = system.phases
            system.phases = (enc, *(replace(phase, views={**phase.views, **asked}) for phase in (dec, dis)))
        ours = engine(system, VAEGAN_SCALES)
        metrics = ours.step(0, timetable(system).at(0), [{"image": pictures(4)}])
        return {name: value.item() for name, value in metrics.items()}

    once, apart = norms(False), norms(True)
    assert list(once) == list(apart)
    for name, value in once.items():
        assert value == pytest.approx(apart[name], rel=1e-12), name


def test_a_batch_in_parts_holds_no_graph_from_turn_to_turn() -> None:
    ours = engine(vaegan(), VAEGAN_SCALES, micro_batches=2)
    counts: dict[str, int] = {}
    _calls(ours.system, counts)  # type: ignore[arg-type]
    ours.step(0, timetable(ours.system).at(0), [{"image": pictures(8)}])
    assert counts == {"enc": 2, "dec": 6, "dis": 10}
