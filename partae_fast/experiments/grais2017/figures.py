"""The figures of the paper in one: box plots of SDR, SIR and SAR for each source, of both networks."""

from collections.abc import Sequence
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from .claims import CONVOLUTIONAL, FEED_FORWARD
from .scores import RATIOS, Row, improvement

_COLOURS = {FEED_FORWARD: "tab:orange", CONVOLUTIONAL: "tab:blue"}
_TITLES = {"sdr": "SDR minus the mixture's", "sir": "SIR minus the mixture's", "sar": "SAR"}


def draw_figure(path: PathLike, rows: Sequence[Row], caption: str) -> None:
    """Draw a panel for each ratio to a file, in the format of its suffix.

    Boxes are over songs: quartiles and median, whiskers to the last song within 1.5 times the box, points beyond.

    Raises UserError if `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    sources = list(dict.fromkeys(row["source"] for row in rows))
    for axes, ratio in zip(figure.subplots(1, 3), RATIOS, strict=True):
        _draw_panel(axes, rows, ratio, sources)
    handles: list[Any] = [Patch(facecolor=colour, label=name.upper()) for name, colour in _COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8)
    figure.suptitle(caption, fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _draw_panel(axes: Any, rows: Sequence[Row], ratio: str, sources: Sequence[str]) -> None:
    for shift, (method, colour) in zip((-0.2, 0.2), _COLOURS.items(), strict=True):
        boxes = axes.boxplot(
            [list(improvement(rows, method, source, ratio).values()) for source in sources],
            positions=[index + shift for index in range(len(sources))],
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
