"""The paper's figure 6: SNR over the share of regularised latents, in matched and in unmatched noise."""

from collections.abc import Sequence
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from .claims import CONDITIONS, curve, level
from .members import PARTITIONED, SHARES
from .scores import REFERENCES, SIGNAL, Row

_COLOURS = dict(zip(REFERENCES, ("tab:gray", "tab:orange", "tab:blue"), strict=True))


def figure(path: PathLike, rows: Sequence[Row], caption: str) -> None:
    """Draw the figure to `path`, in the format of its suffix.

    A panel for each condition. Lines are the partitioned model's signal, dashed ones the DAE's, means over the noises;
    dots are single models.

    Args:
        rows: of all models, see `scores`.
        caption: what the run was, in a line.

    Raises UserError where `path` cannot be written.

    Stowell & Turner 2015, figure 6.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(10.5, 4.8), layout="constrained")
    FigureCanvasAgg(page)
    panels = page.subplots(1, 2, sharey=True)
    for axes, condition in zip(panels, CONDITIONS, strict=True):
        _panel(axes, rows, condition)
    panels[0].set_ylabel("SNR of the reconstruction (dB)")
    handles, labels = panels[0].get_legend_handles_labels()
    page.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    page.suptitle(caption, fontsize=9)
    with atomic_path(path) as temporary:
        page.savefig(temporary, dpi=150)


def _panel(axes: Any, rows: Sequence[Row], condition: str) -> None:
    for reference, colour in _COLOURS.items():
        single = [
            (row["share"], row["snr_db"])
            for row in rows
            if (row["method"], row["condition"], row["part"], row["reference"])
            == (PARTITIONED, condition, SIGNAL, reference)
        ]
        axes.plot(*zip(*single, strict=True), ".", color=colour, alpha=0.4, markersize=4)
        found = curve(rows, condition, SIGNAL, reference)
        axes.plot(found.keys(), found.values(), "o-", color=colour, markersize=4, label=f"partitioned, {reference}")
        axes.axhline(level(rows, condition, reference), color=colour, linestyle="--", label=f"DAE, {reference}")
    axes.set_xticks(SHARES, [f"{share:g}" for share in SHARES], fontsize=8)
    axes.set(xlabel="latents regularised (%)", title=f"{condition} noise")
    axes.axhline(0, color="black", linewidth=0.6)  # what silence scores
    axes.grid(alpha=0.3)
