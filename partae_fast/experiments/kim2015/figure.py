"""The paper's figure 3: SDR, SIR and SAR over epochs of adaptation, a panel for each ratio and number of frames."""

import textwrap
from collections.abc import Sequence
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from ...models.adaptive_dae import HELD, THROUGH
from .curves import INPUT, MEASURES, Panel, Row, curve, mean, nmf_named

_COLOURS = dict(zip(MEASURES, ("tab:blue", "tab:green", "tab:red"), strict=True))
_LEVELS = {
    INPUT: ("black", ":"),
    nmf_named("semi-supervised", "kl"): ("tab:purple", "-."),
    nmf_named("semi-supervised", "euclidean"): ("tab:brown", "-."),
}


def figure(path: PathLike, rows: Sequence[Row], panels: Sequence[Panel], caption: str) -> None:
    """Draw the figure to `path`, in the format of its suffix.

    Lines are means over tests, thin dashed ones with U held fixed; level lines are the SDR of what does not adapt.

    Args:
        rows: of all panels, see `curves`. caption: what the run was, in a line.

    Raises UserError where `path` cannot be written.

    Kim & Smaragdis 2015, figure 3.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = -(-len(panels) // 2)
    page = Figure(figsize=(10.0, 3.6 * lines + 0.8), layout="constrained")
    FigureCanvasAgg(page)
    grid = page.subplots(lines, 2, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw(axes, rows, panel)
    for axes in grid[len(panels) :]:
        axes.axis("off")
    handles, labels = grid[0].get_legend_handles_labels()
    page.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    page.suptitle(textwrap.fill(caption, 120), fontsize=9)
    with atomic_path(path) as temporary:
        page.savefig(temporary, dpi=130)


def _draw(axes: Any, rows: Sequence[Row], panel: Panel) -> None:
    for measure, colour in _COLOURS.items():
        through, held = (curve(rows, panel, measure, gradient) for gradient in (THROUGH, HELD))
        axes.plot(through.keys(), through.values(), "o-", color=colour, markersize=3, label=measure.upper())
        axes.plot(held.keys(), held.values(), "--", color=colour, linewidth=0.9, label=f"{measure.upper()}, U held")
    for method, (colour, style) in _LEVELS.items():
        level = mean(rows, "sdr", panel=panel.letter, method=method)
        axes.axhline(level, color=colour, linestyle=style, linewidth=1, label=f"SDR, {method}")
    axes.set(title=str(panel), xlabel="epochs of adaptation", ylabel="dB")
    axes.grid(alpha=0.3)
