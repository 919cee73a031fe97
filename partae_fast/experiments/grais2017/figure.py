"""The paper's figure: box plots of SDR, SIR and SAR, source by source, of both networks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...atomic import atomic_path
from .claims import CONVOLUTIONAL, FEED_FORWARD
from .scores import RATIOS, Row, normalised

_COLOURS = {FEED_FORWARD: "tab:orange", CONVOLUTIONAL: "tab:blue"}
_TITLES = {"sdr": "SDR above the mixture's", "sir": "SIR above the mixture's", "sar": "SAR"}


def figure(path: Path, rows: Sequence[Row], caption: str) -> None:
    """Draw three panels to `path`, in the format of its suffix; UserError where it cannot be written.

    Boxes are of songs: quartiles with the median, whiskers over all within 1.5 times the box, points beyond.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    page = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(page)
    sources = list(dict.fromkeys(row["source"] for row in rows))
    for axes, ratio in zip(page.subplots(1, 3), RATIOS, strict=True):
        _panel(axes, rows, ratio, sources)
    handles: list[Any] = [Patch(facecolor=colour, label=name.upper()) for name, colour in _COLOURS.items()]
    page.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8)
    page.suptitle(caption, fontsize=9)
    with atomic_path(path) as temporary:
        page.savefig(temporary, dpi=150)


def _panel(axes: Any, rows: Sequence[Row], ratio: str, sources: Sequence[str]) -> None:
    for shift, (method, colour) in zip((-0.2, 0.2), _COLOURS.items(), strict=True):
        boxes = axes.boxplot(
            [list(normalised(rows, method, source, ratio).values()) for source in sources],
            positions=[place + shift for place in range(len(sources))],
            widths=0.32,
            patch_artist=True,
            medianprops={"color": "black"},
            flierprops={"marker": ".", "markersize": 4},
        )
        for box in boxes["boxes"]:
            box.set_facecolor(colour)
    axes.set_xticks(range(len(sources)), sources)
    axes.set(title=_TITLES[ratio], ylabel="dB")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.grid(axis="y", alpha=0.3)
