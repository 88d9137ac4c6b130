"""A picture of each claim where one would look: frames, faces, samples, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from finding_curves import CURVES, entropy
from finding_pixels import clips_of, samples_of
from finding_runs import Arms, Seen
from PIL import Image
from torch import Tensor

from gansweep.data import to_uint8
from gansweep.grids import make_grid
from gansweep.scoring.figure import pixels, plain_style

_DPI = 80
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_COLOURS_KEPT = 64


def _write(figure: Any, path: Path) -> None:
    """Write a figure with few colours: reports are kept in the repository."""
    Image.fromarray(pixels(figure)).quantize(_COLOURS_KEPT, dither=Image.Dither.NONE).save(path, optimize=True)


def _strips(path: Path, rows: Mapping[str, Tensor], width_in: float = 8.0) -> None:
    """Draw rows of pictures, each (N, C, S, S) in 0 to 1, one below the other with their names."""
    from matplotlib.figure import Figure

    with plain_style():
        grids = {
            name: make_grid((row * 255).round().byte(), columns=len(row), padding_px=1) for name, row in rows.items()
        }
        shape = next(iter(grids.values())).shape
        height_in = width_in * 0.88 * shape[0] / shape[1] * len(rows) + 0.2
        figure = Figure(figsize=(width_in, height_in), dpi=_DPI, layout="constrained")
        axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for axis, (name, grid) in zip(axes, grids.items(), strict=True):
            axis.imshow(grid, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            axis.spines[:].set_visible(False)
            axis.set_ylabel(name.replace(", ", ",\n"), rotation=0, ha="right", va="center", fontsize=8)
        _write(figure, path)


def _curves(
    path: Path,
    panels: Mapping[str, Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]],
    lines: Mapping[str, float] | None = None,
    scale: str = "linear",
) -> None:
    """Draw panels of curves: panel's title -> name -> one (steps, values) a seed; `lines` are levels with a name."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    with plain_style():
        figure = Figure(figsize=(4.6 * len(panels), 2.9), dpi=_DPI, layout="constrained")
        for axis, (title, named) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            for colour, (name, seeds) in zip(_COLOURS, named.items(), strict=False):
                for n, (steps, values) in enumerate(seeds):
                    axis.plot(steps, values, color=colour, lw=1.0, alpha=0.8, label=name if n == 0 else None)
            for n, (name, level) in enumerate((lines or {}).items()):
                axis.axhline(level, color="#444444", lw=0.9, ls=("--", ":")[n % 2], label=name)
            ends = [abs(float(values[at])) for seeds in named.values() for _, values in seeds for at in (0, -1)]
            own = "linear" if scale == "symlog" and max(ends) < 10 else scale
            axis.set_yscale(own)
            if own != "linear":  # the style reads no mathematics, which a logarithmic axis would write
                plain = FuncFormatter(lambda value, place: f"{value:g}")
                lowest, highest = axis.get_ylim()
                axis.yaxis.set_major_formatter(plain)
                axis.yaxis.set_minor_formatter(plain if 0 < highest < 10 * lowest else NullFormatter())
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("step", fontsize=8)
            axis.tick_params(labelsize=7)
            axis.legend(fontsize=7)
        _write(figure, path)


def _of(runs: Sequence[Seen], key: str, divide_by: float = 1.0) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(steps, values / divide_by) for steps, values in (seen.curve(key) for seen in runs)]


def _named(arm: str, seen: Seen) -> str:
    return f"{arm}, seed {seen.setting('seed')}"


def clips_picture(arms: Arms, path: Path, clips: int = 3) -> None:
    """Frames of the same held-out clips side by side: real, then each arm's seeds, one below the other."""
    real = clips_of(arms[arms.names()[0]][0])[1]
    # Those that move most in reality: of others nothing can be seen.
    chosen = real.std(1, correction=0).mean((1, 2)).argsort(descending=True)[:clips]
    made = {_named(arm, seen): clips_of(seen)[0] for arm in arms.names() for seen in arms[arm]}
    rows = {"real": real, **made}
    _strips(path, {name: row[chosen].flatten(0, 1)[:, None] for name, row in rows.items()})


def samples_picture(arms: Arms, path: Path, count: int = 12) -> None:
    """Real pictures of held-out captions, and each arm's samples of them, one seed below the other."""
    rows: dict[str, Tensor] = {}
    for arm in arms.names():
        for seen in arms[arm]:
            made, real = samples_of(seen, None)
            rows["real"] = real[:count]
            rows[_named(arm, seen)] = made[0, :count]
    _strips(path, rows)


def faces_picture(arms: Arms, path: Path, count: int = 12) -> None:
    """What went in, what each arm's first seed makes of it, and the target under the fixed light; held-out people."""
    rows: dict[str, Tensor] = {}
    for arm in arms.names():
        drawer = arms[arm][0].networks().drawer
        total = len(drawer.held_out[1])
        chosen = np.linspace(0, total - 1, count).astype(int).tolist()
        if not rows:
            rows["input"] = to_uint8(drawer.pictures(chosen)["image"], "tanh").double() / 255
        target, made = drawer.reconstructions(chosen, 0)
        rows[arm] = made.double() / 255
        if arm == "fixed":
            rows["target, fixed"] = target.double() / 255
    _strips(path, rows)


def floors_picture(arms: Arms, path: Path) -> None:
    """Held-out errors a value, with both floors."""
    from finding_pixels import measure_floors

    found = measure_floors(arms)
    some = arms[arms.names()[0]][0]
    count = int(some.setting("data.channels")) * int(some.setting("data.size")) ** 2
    named = {arm: _of(arms[arm], "val/squared_error", count) for arm in arms.names()}
    lines = {f"floor of {kind}": float(np.mean(found[f"floor_{kind}"])) for kind in ("sigmoid", "tanh")}
    _curves(path, {"held-out squared error a value": named}, lines)


def runaway_picture(arms: Arms, path: Path) -> None:
    """Cross-entropy a pixel over the steps, for both ranges of the targets."""
    side = int(arms[arms.names()[0]][0].setting("data.size"))
    panels = {f"cross-entropy a value, {arm}": {arm: _of(arms[arm], "fit/bce", side**2)} for arm in arms.names()}
    _curves(path, panels, {"zero": 0.0}, scale="symlog")


def decay_picture(arms: Arms, path: Path) -> None:
    """Rate and held-out distance over the steps."""
    both = {arm: arms[arm] for arm in arms.names()}
    _curves(
        path,
        {
            "rate of gen": {arm: _of(runs, "lr/gen") for arm, runs in both.items()},
            "held-out l1": {arm: _of(runs, "val/gen/l1") for arm, runs in both.items()},
        },
        scale="log",
    )


def smoothing_picture(arms: Arms, path: Path) -> None:
    """The discriminator's loss over the steps, with the floor."""

    def total(runs: Sequence[Seen]) -> list[tuple[np.ndarray, np.ndarray]]:
        halves = [(seen.curve("id/d_id_real"), seen.curve("id/d_id_fake")) for seen in runs]
        return [(real[0], (real[1] + fake[1]) / 2) for real, fake in halves]

    floor = (entropy(0.9) + entropy(0.2)) / 2
    named = {arm: total(arms[arm]) for arm in arms.names()}
    _curves(path, {"loss of the identity discriminator": named}, {f"{floor:.4f}": floor})


def factor_picture(arms: Arms, path: Path) -> None:
    """Two of the curves with and without the factor, every seed."""
    shown = {"1x": arms["1x"], "5x": arms["5x"]}
    panels = {f"{key}, all seeds": {arm: _of(runs, key) for arm, runs in shown.items()} for key in CURVES[:2]}
    _curves(path, panels)
