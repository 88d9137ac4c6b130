"""The eager engine: does a step's groups by plain PyTorch calls.

For each turn: views, terms, total, gradients of exactly what the phase learns; then, group by group, clip, update,
hooks, memory, running means. Nothing here reads a device value: metrics come out as device tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gansweep.engine.ema import Ema
from gansweep.engine.handle import Nets
from gansweep.engine.knobs import Knobs
from gansweep.engine.look import Looker, StepContext, cut
from gansweep.engine.noise import Noise
from gansweep.engine.optimizers import Rates, build_optimizer, restore
from gansweep.engine.schedule import Group
from gansweep.system import Phase, System, Term

Metrics = dict[str, Tensor]


class EagerEngine:
    """Runs the phases of one system.

    `charged` is each phase's terms after the scales have removed some and a user has added some. `learnt` lists each
    network's learnt parameters, `rates` its optimizer settings. `micro_batches` cuts batch and noise; gradients are the
    mean over the parts. `low_precision` is bf16's dtype or None; `fp32_nets` are kept out of it. `average` replaces a
    turn's gradients by their means over the processes that share a batch.
    """

    def __init__(
        self,
        system: System,
        charged: Mapping[str, Mapping[str, Term]],
        knobs: Knobs,
        rates: Mapping[str, Rates],
        learnt: Mapping[str, list[nn.Parameter]],
        noise: Noise,
        ema_decay: float | None = None,
        micro_batches: int = 1,
        low_precision: torch.dtype | None = None,
        fp32_nets: tuple[str, ...] = (),
        average: Callable[[list[Tensor]], None] | None = None,
    ):
        self.average = average
        self.system, self.charged, self.knobs, self.noise = system, charged, knobs, noise
        self.phases: dict[str, Phase] = {phase.name: phase for phase in system.phases}
        self.nets = Nets(system.nets, low_precision, fp32_nets)
        self.learnt, self.rates, self.micro_batches = learnt, rates, micro_batches
        updated = {net for phase in system.phases for net in phase.learns if learnt[net]}
        self.optimizers = {
            net: build_optimizer(learnt[net], rates[net], knobs.tensors[f"optimizer.{net}.lr"])
            for net in sorted(updated)
        }
        self.ema = Ema({net: system.nets[net] for net in sorted(updated)}, ema_decay) if ema_decay else None
        self.updates = dict.fromkeys(system.nets, 0)
        self._scales, self._own_knobs = knobs.group("scales"), knobs.group("knobs")

    # One step

    def step(self, step: int, groups: Sequence[Group], batches: Sequence[Mapping[str, Tensor]]) -> Metrics:
        """Do the step's groups in order and return its metrics by name: device tensors (1,), the axis of runs.

        Names: `phase/term` (unscaled), `phase/term_weighted`, `phase/total`, `phase/report`, `grad_norm/net`.
        A phase with several turns reports their mean.
        """
        self.knobs.advance(step)
        return self.run(groups, batches, self.draw(step, groups, len(next(iter(batches[0].values())))))

    def draw(self, step: int, groups: Sequence[Group], batch_size: int) -> dict[int, dict[str, Tensor]]:
        """Return the noise of each draw that the groups ask for."""
        draws = dict.fromkeys(entry.draw for group in groups for entry in group)
        return {draw: self.noise.draw(self.system.noise, batch_size, step, draw) for draw in draws}

    def run(
        self,
        groups: Sequence[Group],
        batches: Sequence[Mapping[str, Tensor]],
        noises: Mapping[int, Mapping[str, Tensor]],
    ) -> Metrics:
        """Do the groups on these batches with this noise: device work alone, so that a step can be recorded."""
        entries = [entry for group in groups for entry in group]
        context = StepContext(groups, self.system.shared, self.updates, frugal=self.micro_batches > 1)
        gathered: dict[str, list[Tensor]] = {}
        learnt: set[str] = set()
        position = 0
        for group in groups:
            gradients: dict[int, list[Tensor | None]] = {}
            lookers: dict[int, Looker] = {}
            for entry in group:
                gradients[position], lookers[position] = self._turn(
                    context, position, batches[entry.batch], noises[entry.draw], gathered
                )
                position += 1
            for at, gradient in gradients.items():
                if not entries[at].watch:
                    phase = self.phases[entries[at].phase]
                    self._update(phase, gradient, lookers[at], gathered)
                    learnt.update(phase.learns)
        if self.ema is not None:
            self.ema.update(net for net in learnt if net in self.ema.nets)
        return {name: _mean(values).reshape(1) for name, values in gathered.items()}

    def _turn(
        self,
        context: StepContext,
        position: int,
        batch: Mapping[str, Tensor],
        noise: Mapping[str, Tensor],
        gathered: dict[str, list[Tensor]],
    ) -> tuple[list[Tensor | None], Looker]:
        """Look, charge, and take the gradients of what the phase learns: the mean over the micro-batches."""
        entry = context.entries[position]
        phase = self.phases[entry.phase]
        parameters = self.parameters_of(phase)
        sums: list[Tensor | None] = [None] * len(parameters)
        inputs = cut(
            batch,
            lambda name: self.system.inputs[name].batched if name in self.system.inputs else True,
            self.micro_batches,
        )
        noises = cut(noise, lambda name: self.system.noise[name].batched, self.micro_batches)
        found: list[Metrics] = []
        for micro in range(self.micro_batches):
            look = Looker(
                self.nets,
                phase,
                context,
                position,
                micro,
                inputs[micro],
                noises[micro],
                self._own_knobs,
                self.system.memory,
            )
            with torch.set_grad_enabled(not entry.watch):
                total, metrics = self._charge(phase, look)
            found.append(metrics)
            if not entry.watch:
                parts = torch.autograd.grad(total, parameters, retain_graph=look.retain, allow_unused=True)
                sums = [_add(before, part) for before, part in zip(sums, parts, strict=True)]
        for name in found[0]:
            values = [metrics[name] for metrics in found]
            gathered.setdefault(name, []).append(_mean(values))
        present = [g for g in sums if g is not None]
        if self.micro_batches > 1 and present:  # a watched phase has no gradients
            torch._foreach_div_(present, self.micro_batches)
        if self.average is not None and present:
            self.average(present)
        return sums, look

    def _charge(self, phase: Phase, look: Looker) -> tuple[Tensor, Metrics]:
        """Return the phase's total and its metrics: every charged term, unscaled and weighted, and its reports."""
        terms = self.terms(phase, look)
        metrics: Metrics = {}
        total: Tensor | None = None
        for name, value in terms.items():
            weighted = self._scales[name] * value
            total = weighted if total is None else total + weighted
            metrics[f"{phase.name}/{name}"] = value.detach()
            metrics[f"{phase.name}/{name}_weighted"] = weighted.detach()
        assert total is not None, "a phase without a charged term has no turn"
        metrics[f"{phase.name}/total"] = total.detach()
        with torch.no_grad():
            for name, report in phase.reports.items():
                if look.seen(report.reads):
                    metrics[f"{phase.name}/{name}"] = report.fn(*(look[read] for read in report.reads))
        return total, metrics

    def terms(self, phase: Phase, look: Looker) -> dict[str, Tensor]:
        """Return the phase's charged terms, unscaled; views are computed in the order they are declared."""
        charged = self.charged[phase.name]
        needed = {read for term in charged.values() for read in term.reads}
        for view in phase.views:
            if view in needed:
                look[view]
        return {name: term.fn(*(look[read] for read in term.reads)) for name, term in charged.items()}

    def parameters_of(self, phase: Phase) -> list[nn.Parameter]:
        """Return what the phase learns: the learnt parameters of its networks, in order."""
        return [p for net in phase.learns for p in self.learnt[net]]

    @torch.no_grad()
    def _update(
        self, phase: Phase, gradient: list[Tensor | None], look: Looker, gathered: dict[str, list[Tensor]]
    ) -> None:
        """Clip, step, hooks, memory: for the networks the phase learns."""
        at = 0
        for net in phase.learns:
            parameters = self.learnt[net]
            own = gradient[at : at + len(parameters)]
            at += len(parameters)
            present = [g for g in own if g is not None]
            if not present:
                continue
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(present)))
            gathered.setdefault(f"grad_norm/{net}", []).append(norm)
            limit = self.rates[net].clip_norm
            if limit is not None:
                torch._foreach_mul_(present, (limit / (norm + 1e-6)).clamp(max=1.0))
            for parameter, g in zip(parameters, own, strict=True):
                parameter.grad = _laid_out_as(parameter, g)
            self.optimizers[net].step()
            for parameter in parameters:
                parameter.grad = None
            self.updates[net] += 1
            for hook in phase.after:
                hook(parameters, look)
        for name, keep in phase.keeps.items():
            self.system.memory[name].copy_(keep(self.nets, look))

    # State

    def evaluation_modules(self, ema: bool = True) -> dict[str, nn.Module]:
        """Return the networks to look at: the running means where there are any (and `ema`), else the live ones."""
        means: Mapping[str, nn.Module] = self.ema.nets if self.ema is not None and ema else {}
        return {name: means.get(name, net) for name, net in self.system.nets.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that a step may change, by name; an optimizer's are there from its first step on."""
        found: dict[str, Tensor] = {}
        for name, net in self.system.nets.items():
            found |= {f"nets.{name}.{key}": value for key, value in net.state_dict(keep_vars=True).items()}
        for name, net in (self.ema.nets if self.ema is not None else {}).items():
            found |= {f"ema.{name}.{key}": value for key, value in net.state_dict(keep_vars=True).items()}
        for name, optimizer in self.optimizers.items():
            for n, parameter in enumerate(self.learnt[name]):
                state = optimizer.state.get(parameter, {})
                found |= {f"optimizers.{name}.{n}.{k}": v for k, v in state.items() if isinstance(v, Tensor)}
        return found | {f"memory.{name}": value for name, value in self.system.memory.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a later step depends on, as tensors and plain containers."""
        return {
            "nets": {name: net.state_dict() for name, net in self.system.nets.items()},
            "ema": None if self.ema is None else {name: net.state_dict() for name, net in self.ema.nets.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "memory": dict(self.system.memory),
            "updates": dict(self.updates),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state of the same plan."""
        for name, net in self.system.nets.items():
            net.load_state_dict(state["nets"][name])
        if self.ema is not None and state["ema"] is not None:
            for name, mean in self.ema.nets.items():
                mean.load_state_dict(state["ema"][name])
        for name, optimizer in self.optimizers.items():
            restore(optimizer, state["optimizers"][name], self.knobs.tensors[f"optimizer.{name}.lr"])
        for name, tensor in self.system.memory.items():
            tensor.copy_(state["memory"][name])
        self.updates.update(state["updates"])


def _mean(values: list[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(values).mean()


def _add(before: Tensor | None, part: Tensor | None) -> Tensor | None:
    if before is None or part is None:
        return part if before is None else before
    return before + part


def _laid_out_as(parameter: Tensor, gradient: Tensor | None) -> Tensor | None:
    """Return the gradient in the parameter's memory layout: fused optimizers walk both by their bare addresses."""
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
