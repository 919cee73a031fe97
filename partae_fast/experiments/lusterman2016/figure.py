"""The thesis's figures 5 to 22: loss and mean squared error over steps, by system and by signal-to-noise ratio.

Figures 5 to 12 are of one system each, its loss and then its MSE, a line for each SNR; figures 13 to 22 of one SNR
each, loss and then MSE, a line for each system. The numbers follow that order.
"""

from collections.abc import Sequence
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from .curves import LOSS_EVERY, MSE_EVERY, Curves, band, of
from .members import SNRS, SYSTEMS

FIRST, LAST = 5, 22
_MEASURES = {"loss": "loss", "mse": "MSE of the denoised example"}
_KINDS = [(system, None, what) for system in SYSTEMS for what in _MEASURES]
_KINDS += [(None, snr, what) for snr in SNRS for what in _MEASURES]
NUMBERED = dict(zip(range(FIRST, LAST + 1), _KINDS, strict=True))


def needed(number: int) -> list[tuple[str, float]]:
    """The systems and SNRs that a figure shows."""
    system, snr, _ = NUMBERED[number]
    return [(s, r) for s in SYSTEMS for r in SNRS if system in (None, s) and snr in (None, r)]


def draw(path: PathLike, curves: Sequence[Curves], number: int) -> None:
    """Draw figure `number` of all curves to `path`, in the format of its suffix; with several seeds a band around each.

    Raises UserError where `path` cannot be written. Lusterman 2016.
    """
    page = _page(6.0, 3.8)
    _panel(page.subplots(), curves, number)
    _save(page, path)


def overview(path: PathLike, curves: Sequence[Curves]) -> None:
    """All figures on a page, two for each system and each SNR."""
    page = _page(13.0, 22.0)
    panels = page.subplots(len(NUMBERED) // 2, 2)
    for number, axes in zip(NUMBERED, panels.flat, strict=True):
        _panel(axes, curves, number)
    _save(page, path)


def _page(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(page)
    return page


def _save(page: Any, path: PathLike) -> None:
    with atomic_path(path) as temporary:
        page.savefig(temporary, dpi=80)


def _panel(axes: Any, curves: Sequence[Curves], number: int) -> None:
    system, snr, what = NUMBERED[number]
    lines = [(s, of(curves, s, snr)) for s in SYSTEMS] if system is None else []
    lines += [(f"{r:+g} dB", of(curves, system, r)) for r in SNRS] if system else []
    for label, found in lines:
        if found:
            middle, least, largest = band(found, what)
            steps = _steps(what, len(middle))
            (line,) = axes.plot(steps, middle, label=label, linewidth=1.2)
            axes.fill_between(steps, least, largest, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel="step", ylabel=_MEASURES[what], yscale="log")
    axes.set_title(f"Figure {number}: {system or f'{snr:+g} dB'}, {'loss' if what == 'loss' else 'MSE'}", fontsize=10)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)


def _steps(what: str, points: int) -> list[int]:
    """The step that each point of a curve stands at: of a loss the last that it is the mean of."""
    return [LOSS_EVERY * (i + 1) if what == "loss" else MSE_EVERY * i for i in range(points)]
