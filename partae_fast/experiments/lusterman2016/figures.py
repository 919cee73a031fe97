"""Figures 5 to 22 of the thesis: loss and mean squared error over steps.

Figures 5 to 12 show the loss and then the MSE of one system, a line for each SNR. Figures 13 to 22 show the loss and
then the MSE at one SNR, a line for each system. Dashed lines in figures of the MSE are the noisy example itself.
"""

from collections.abc import Sequence
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from .models import SNRS, SYSTEMS
from .scores import LOSS_EVERY, MSE_EVERY, Curves, band, input_mse, select

FIRST, LAST = 5, 22
_MEASURES = {"loss": "loss", "mse": "MSE of the denoised example"}
_PANELS = [(system, None, measure) for system in SYSTEMS for measure in _MEASURES]
_PANELS += [(None, snr, measure) for snr in SNRS for measure in _MEASURES]
NUMBERED = dict(zip(range(FIRST, LAST + 1), _PANELS, strict=True))


def systems_in(number: int) -> list[tuple[str, float]]:
    """Return the systems and SNRs that a figure shows."""
    system, snr, _ = NUMBERED[number]
    return [(s, r) for s in SYSTEMS for r in SNRS if system in (None, s) and snr in (None, r)]


def draw_figure(path: PathLike, curves: Sequence[Curves], number: int) -> None:
    """Draw a figure to a file, in the format of its suffix; with several seeds, lines have bands.

    Args:
        path: of the file.
        curves: of all models.
        number: of the figure, 5 to 22.

    Raises UserError if `path` cannot be written.
    """
    figure = _figure(6.0, 3.8)
    _draw_panel(figure.subplots(), curves, number)
    _save(figure, path)


def draw_overview(path: PathLike, curves: Sequence[Curves]) -> None:
    """Draw all figures on one page, loss and MSE side by side."""
    figure = _figure(13.0, 22.0)
    panels = figure.subplots(len(NUMBERED) // 2, 2)
    for number, axes in zip(NUMBERED, panels.flat, strict=True):
        _draw_panel(axes, curves, number)
    _save(figure, path)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: PathLike) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=80)


def _draw_panel(axes: Any, curves: Sequence[Curves], number: int) -> None:
    system, snr, measure = NUMBERED[number]
    lines = [(s, select(curves, s, snr)) for s in SYSTEMS] if system is None else []
    lines += [(f"{r:+g} dB", select(curves, system, r)) for r in SNRS] if system else []
    for label, selected in lines:
        if selected:
            middle, lowest, highest = band(selected, measure)
            steps = _steps(measure, len(middle))
            (line,) = axes.plot(steps, middle, label=label, linewidth=1.2)
            axes.fill_between(steps, lowest, highest, color=line.get_color(), alpha=0.2, linewidth=0)
            noisy = input_mse(selected) if measure == "mse" else None
            if noisy is not None and system:
                axes.axhline(noisy, color=line.get_color(), linestyle="--", linewidth=0.8)
    noisy = input_mse(c for _, selected in lines for c in selected) if measure == "mse" else None
    if noisy is not None and system is None:
        axes.axhline(noisy, color="black", linestyle="--", linewidth=0.8, label="noisy input")
    elif noisy is not None:
        axes.plot([], [], color="black", linestyle="--", linewidth=0.8, label="noisy inputs")
    axes.set(xlabel="step", ylabel=_MEASURES[measure], yscale="log")
    title = f"Figure {number}: {system or f'{snr:+g} dB'}, {'loss' if measure == 'loss' else 'MSE'}"
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)


def _steps(measure: str, points: int) -> list[int]:
    """Return the step of each point; for the loss, the last step that the point averages."""
    return [LOSS_EVERY * (i + 1) if measure == "loss" else MSE_EVERY * i for i in range(points)]
