"""Freezing by name: what does not learn, and which norms keep their statistics. Two switches, independent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from gansweep.errors import UserError, nearest
from gansweep.system import Phase


def _keeps_statistics(part: nn.Module) -> bool:
    """Tell whether a training forward moves a layer's statistics: torch's norms, and ours with a flag `still`."""
    return isinstance(part, nn.modules.batchnorm._NormBase) or hasattr(part, "still")


def learnt_parameters(
    nets: Mapping[str, nn.Module], phases: Sequence[Phase], frozen: Sequence[str]
) -> dict[str, list[nn.Parameter]]:
    """Return each network's learnt parameters, leaving out what a pattern over `net.parameter` freezes.

    UserError for a pattern that matches nothing, and for a phase that is left with nothing to learn.
    """
    names = {f"{net}.{name}": p for net, module in nets.items() for name, p in module.named_parameters()}
    for pattern in frozen:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(f"model.freeze={pattern}: matches no parameter{nearest(pattern, names)}")
    learnt: dict[str, list[nn.Parameter]] = {net: [] for net in nets}
    for name, parameter in names.items():
        if not any(fnmatchcase(name, pattern) for pattern in frozen):
            learnt[name.split(".", 1)[0]].append(parameter)
    for phase in phases:
        if not any(learnt[net] for net in phase.learns):
            raise UserError(
                f"model.freeze={list(frozen)}: phase '{phase.name}' is left with nothing to learn; "
                f"to leave it out say schedule.phases.{phase.name}.until=0"
            )
    return learnt


def keep_statistics(nets: Mapping[str, nn.Module], patterns: Sequence[str]) -> None:
    """Put the norms under the patterns (over `net.module`, or a whole net or module) into eval mode, for good."""
    norms = {
        f"{net}.{name}" if name else net: part
        for net, module in nets.items()
        for name, part in module.named_modules()
        if _keeps_statistics(part)
    }
    for pattern in patterns:
        hit = [part for name, part in norms.items() if fnmatchcase(name, pattern) or name.startswith(pattern + ".")]
        if not hit:
            raise UserError(f"model.freeze_stats={pattern}: matches no norm layer{nearest(pattern, norms)}")
        for part in hit:
            part.eval()
