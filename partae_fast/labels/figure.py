"""The picture of labels: a row for each recording, with its time in three colours."""

from typing import Any

from ..atomic import atomic_path
from ..audio.files import PathLike
from .summary import Part, Summary

# Colours that people with any colour vision tell apart, and a printer without colours too: Okabe and Ito's blue and
# yellow, and white with lines.
COLOURS = {"signal": "#0072B2", "noise-only": "#F0E442", "unknown": "#FFFFFF"}
ROWS = 100  # recordings that a page holds
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def figure(path: PathLike, summary: Summary, overwrite: bool = True) -> None:
    """Draw what `summarise` returns to `path`, .png, .pdf or .svg: of the first 100 recordings, where there are more.

    A dark line in a row marks the events themselves, without their guards.

    Raises UserError where `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from ..plot_style import DPI

    parts = summary.parts[:ROWS]
    longest = max((part.timeline.seconds for part in parts), default=1.0)
    unit = next(name for name in ("h", "min", "s") if longest >= 2 * _UNITS[name] or name == "s")
    page = Figure(figsize=(7.2, 1.3 + 0.24 * max(len(parts), 2)), layout="constrained")
    FigureCanvasAgg(page)
    axes: Any = page.add_subplot()
    for row, part in enumerate(parts):
        _draw(axes, row, part, _UNITS[unit])
    axes.set_ylim(max(len(parts), 1) - 0.5, -0.5)
    axes.set_xlim(0, longest / _UNITS[unit])
    axes.set_yticks(range(len(parts)), [_short(part.title) for part in parts], fontsize=7, parse_math=False)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel(f"time ({unit})", fontsize=8)
    patches: list[Any] = [
        Patch(label=state, facecolor=colour, edgecolor="#555555", hatch="////" if state == "unknown" else None)
        for state, colour in COLOURS.items()
    ]
    patches.append(Patch(label="events", facecolor="black"))
    page.legend(handles=patches, loc="outside upper center", ncols=len(patches), fontsize=7, frameon=False)
    if len(summary.parts) > ROWS:
        axes.set_title(f"the first {ROWS} of {len(summary.parts)} recordings", fontsize=8)
    with atomic_path(path, overwrite) as temporary:
        page.savefig(temporary, dpi=DPI)


def _draw(axes: Any, row: int, part: Part, unit: float) -> None:
    for state, stretches in part.stretches().items():
        spans = [(start / unit, (end - start) / unit) for start, end in stretches]
        lines = {"hatch": "////", "edgecolor": "#555555"} if state == "unknown" else {}
        axes.broken_barh(spans, (row - 0.38, 0.76), facecolors=COLOURS[state], linewidth=0, **lines)
    events = [(event.start / unit, (event.end - event.start) / unit) for event in part.events]
    axes.broken_barh(events, (row + 0.2, 0.12), facecolors="black", linewidth=0)


def _short(title: str) -> str:
    """As much of a name's end as fits beside its row."""
    return title if len(title) <= 40 else "..." + title[-37:]
