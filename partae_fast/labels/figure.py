"""Plot the states of recordings over time, one row per recording."""

from typing import Any

from ..atomic import atomic_path
from ..audio.files import PathLike
from .summary import LabelSummary, RecordingSummary

# Okabe and Ito's blue and yellow, and hatched white: distinct with any colour vision and in grey.
COLOURS = {"signal": "#0072B2", "noise-only": "#F0E442", "unknown": "#FFFFFF"}
ROWS = 100  # recordings in a figure
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def plot_timelines(path: PathLike, summary: LabelSummary, overwrite: bool = True) -> None:
    """Plot the states of the first 100 recordings of a summary to `path`: .png, .pdf or .svg.

    A dark bar in a row marks the events themselves, without guards.

    Raises UserError if `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from ..plot_style import DPI

    recordings = summary.recordings[:ROWS]
    longest = max((recording.timeline.seconds for recording in recordings), default=1.0)
    unit = next(name for name in ("h", "min", "s") if longest >= 2 * _UNITS[name] or name == "s")
    figure = Figure(figsize=(7.2, 1.3 + 0.24 * max(len(recordings), 2)), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    for row, recording in enumerate(recordings):
        _draw_row(axes, row, recording, _UNITS[unit])
    axes.set_ylim(max(len(recordings), 1) - 0.5, -0.5)
    axes.set_xlim(0, longest / _UNITS[unit])
    titles = [_shortened(recording.title) for recording in recordings]
    axes.set_yticks(range(len(recordings)), titles, fontsize=7, parse_math=False)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel(f"time ({unit})", fontsize=8)
    patches: list[Any] = [
        Patch(label=state, facecolor=colour, edgecolor="#555555", hatch="////" if state == "unknown" else None)
        for state, colour in COLOURS.items()
    ]
    patches.append(Patch(label="events", facecolor="black"))
    figure.legend(handles=patches, loc="outside upper center", ncols=len(patches), fontsize=7, frameon=False)
    if len(summary.recordings) > ROWS:
        axes.set_title(f"the first {ROWS} of {len(summary.recordings)} recordings", fontsize=8)
    with atomic_path(path, overwrite) as temporary:
        figure.savefig(temporary, dpi=DPI)


def _draw_row(axes: Any, row: int, recording: RecordingSummary, unit: float) -> None:
    for state, stretches in recording.stretches().items():
        spans = [(start / unit, (end - start) / unit) for start, end in stretches]
        lines = {"hatch": "////", "edgecolor": "#555555"} if state == "unknown" else {}
        axes.broken_barh(spans, (row - 0.38, 0.76), facecolors=COLOURS[state], linewidth=0, **lines)
    events = [(event.start / unit, (event.end - event.start) / unit) for event in recording.events]
    axes.broken_barh(events, (row + 0.2, 0.12), facecolors="black", linewidth=0)


def _shortened(title: str) -> str:
    """Return the end of a title that fits beside its row."""
    return title if len(title) <= 40 else "..." + title[-37:]
