"""The figure of a trained model: its loss, the activity of its latents, and its filters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..atomic import atomic_path, check_writable
from ..audio.files import PathLike
from ..errors import UserError
from ..plot_style import DPI, STYLE
from .spectrograms import Spectrograms

FORMATS = (".png", ".pdf", ".svg")
# By partition, in every panel.
_COLOURS = {"foreground": "tab:blue", "background": "tab:orange"}
_POINTS = 100  # points of the loss curve, each the mean of as many steps
_COLUMNS = 32  # filters side by side
_CHUNK = 4096  # frames that are encoded at a time, with zeros around them
_CHUNKS = 32  # chunks of either kind that are encoded, evenly spaced
_FLOOR = -60.0  # dB: the lowest activity in the panel


def check_path(path: PathLike, overwrite: bool = False) -> None:
    """Raise UserError if `draw` cannot write to `path`."""
    if Path(path).suffix.lower() not in FORMATS:
        raise UserError(f"{path}: not a format for figures; the name must end in {' or '.join(FORMATS)}")
    check_writable(path, overwrite)


def draw(
    path: PathLike,
    model: Any,
    spectrograms: Spectrograms,
    system: str = "",
    stages: Sequence[int] = (),
    overwrite: bool = True,
) -> None:
    """Draw the result of a training to `path`.

    Three panels: the loss over steps; each latent's activity in noise-only audio against that in the rest (if the
    partition works, foreground latents lie above the diagonal); the decoder's filters by frequency.

    Args:
        path: the figure, .png, .pdf or .svg.
        model: a convolutional model as `pf.fit` returns it, with its `history`.
        spectrograms: the spectrograms that it was trained on.
        system: name of the system, for the title.
        stages: number of steps of each model that was trained; empty for one model.
        overwrite: whether to replace an existing figure.

    Raises UserError if `path` has another format or cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check_path(path, overwrite)
    groups = _partition(model)
    rows = sum(-(-len(latents) // _COLUMNS) for latents in groups.values())
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(7.2, 4.0 + 1.3 * rows), layout="constrained")
        FigureCanvasAgg(page)
        stages = stages or [len(model.history.loss)]
        page.suptitle(_title(model, spectrograms, system, stages), fontsize=8)
        halves: Any = page.subfigures(2, 1, height_ratios=(3.2, 0.3 + 1.3 * rows))
        upper, lower = halves
        left, right = upper.subplots(1, 2, width_ratios=(1.25, 1))
        _losses(left, list(model.history.loss), stages)
        _activities(right, activity(model, spectrograms.noise), activity(model, spectrograms.signal), groups)
        _filters(lower, model, groups, rows)
        with atomic_path(path, overwrite) as temporary:
            page.savefig(temporary, dpi=DPI)


def activity(model: Any, recordings: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the mean of each latent's pooled values times the norm of its decoder filter, (K,).

    Of `recordings`, (frames, bins) each, at most `_CHUNKS` evenly spaced stretches are used.
    """
    starts = [(m, start) for m in recordings for start in range(0, len(m), _CHUNK)]
    total, windows = np.zeros(model.latents_count), 0
    for index in np.unique(np.linspace(0, len(starts) - 1, min(_CHUNKS, len(starts))).round().astype(int)):
        magnitudes, start = starts[index]
        with torch.no_grad():
            x = torch.from_numpy(np.ascontiguousarray(magnitudes[None, start : start + _CHUNK]))
            values = model.latents(x.to(model.w_enc.device))[0][0]
        total += values.double().sum(dim=0).cpu().numpy()
        windows += len(values)
    norms = model.w_dec.detach().double().square().sum(dim=(0, 2)).sqrt().cpu().numpy()
    return total / max(windows, 1) * norms


def _partition(model: Any) -> dict[str, NDArray[np.intp]]:
    """Return the latents of the foreground and the background, if any, in order of their decoder filters' frequency.

    A filter's frequency is the mean of its bins, weighted by their energy: a sweep has no peak.
    """
    energy = model.w_dec.detach().double().square().sum(dim=0).cpu().numpy()  # (K, H)
    centroids = energy @ np.arange(model.bins) / np.maximum(energy.sum(axis=1), 1e-300)
    order = np.argsort(centroids, kind="stable")
    in_foreground = model.foreground.detach().cpu().numpy() > 0
    groups = {"foreground": order[in_foreground[order]], "background": order[~in_foreground[order]]}
    return {name: latents for name, latents in groups.items() if len(latents)}


def _title(model: Any, spectrograms: Spectrograms, system: str, stages: Sequence[int]) -> str:
    spectrogram, steps = spectrograms.spectrogram, len(model.history.loss)
    name = f", {system}" if system else ""
    partitioned = "background" in _partition(model)
    kind = "partitioned autoencoder" if partitioned else "denoising autoencoder"
    teacher = "" if partitioned or len(stages) == 1 else ", trained on a partitioned one's estimates"
    seconds = [sum(map(len, part)) / spectrogram.frame_rate for part in (spectrograms.signal, spectrograms.noise)]
    milliseconds = 1000 * model.taps / spectrogram.frame_rate
    return (
        f"{kind}{teacher}{name}: {model.latents_count} latents of {model.taps} frames ({milliseconds:.3g} ms), "
        f"pool {model.pool}, {steps} steps\n"
        f"{_duration(seconds[0])} that may have signal and {_duration(seconds[1])} of noise, "
        f"{spectrogram.low / 1000:.3g} to {spectrogram.high / 1000:.3g} kHz, {spectrogram.bins} bins"
    )


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _losses(axes: Any, losses: list[float], split: Sequence[int]) -> None:
    """Draw the losses of each model; `split` has their numbers of steps."""
    begins = np.cumsum([0, *split])
    names = ("partitioned autoencoder", *(f"denoising autoencoder {n}" for n in range(1, len(split))))
    for begin in begins[1:-1]:
        axes.axvline(begin, color="0.6", linewidth=0.7, linestyle=":")
    for name, begin, count, colour in zip(names, begins, split, ("black", "tab:green", "tab:purple"), strict=False):
        part = losses[begin : begin + count]
        if not part:
            continue
        size = -(-len(part) // _POINTS)
        starts = range(0, len(part), size)
        steps = [begin + min(at + size, len(part)) for at in starts]
        axes.plot(range(begin + 1, begin + len(part) + 1), part, color=colour, alpha=0.25, linewidth=0.5)
        axes.plot(steps, [float(np.mean(part[at : at + size])) for at in starts], color=colour, label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.set_title("loss of each batch, and means", loc="left")
    if losses and len(split) > 1:
        axes.legend(fontsize=7, frameon=False)
    axes.grid(alpha=0.3)


def _activities(
    axes: Any, quiet: NDArray[np.float64], rest: NDArray[np.float64], groups: dict[str, NDArray[np.intp]]
) -> None:
    """Draw a dot for each latent, in dB below the most active: noise-only audio across, the rest upwards."""
    top = max(quiet.max(initial=0.0), rest.max(initial=0.0)) or 1.0
    across, up = (np.maximum(20 * np.log10(np.maximum(a, 1e-30) / top), _FLOOR) for a in (quiet, rest))
    axes.plot((_FLOOR, 0), (_FLOOR, 0), color="0.6", linewidth=0.7, linestyle="--", zorder=0)
    axes.annotate("as active in both", (_FLOOR, _FLOOR), (14, 6), textcoords="offset points", fontsize=6, color="0.4")
    for name, latents in groups.items():
        label = f"{name}, {len(latents)}" if len(groups) > 1 else f"{len(latents)} latents, no background"
        style: Any = {"color": _COLOURS[name], "alpha": 0.7, "linewidths": 0}
        axes.scatter(across[latents], up[latents], s=14, label=label, clip_on=False, **style)
    axes.set_xlim(_FLOOR, 2)
    axes.set_ylim(_FLOOR, 2)
    axes.set_aspect("equal")
    axes.set(xlabel="in noise-only audio (dB)", ylabel="in what may have signal (dB)")
    axes.set_title("mean activity of latents", loc="left")
    axes.legend(fontsize=7, loc="lower right", frameon=False, handletextpad=0.2)
    axes.grid(alpha=0.3)


def _filters(page: Any, model: Any, groups: dict[str, NDArray[np.intp]], rows: int) -> None:
    """Draw decoder filters side by side in rows; in each, frequency is upwards and time to the right."""
    from matplotlib import colormaps

    colours = colormaps["RdBu_r"].with_extremes(bad="0.8")
    w_dec, spectrogram = model.w_dec.detach().float().cpu().numpy(), model.spectrogram
    half = spectrogram.rate / spectrogram.n_fft / 2
    edges = spectrogram.frequencies[[0, -1]] + (-half, half)
    longest = min(_COLUMNS, max(map(len, groups.values())))
    panels = iter(page.subplots(rows, 1, sharex=True, sharey=True, squeeze=False)[:, 0])
    for name, latents in groups.items():
        for start in range(0, len(latents), _COLUMNS):
            axes = next(panels)
            row = latents[start : start + _COLUMNS]
            extent = (0, len(row), *(edges / 1000))
            axes.imshow(
                _side_by_side(w_dec[:, row]),
                origin="lower",
                aspect="auto",
                interpolation="nearest",
                cmap=colours,
                vmin=-1,
                vmax=1,
                extent=extent,
            )
            axes.spines[:].set_visible(False)
            axes.set_xlim(0, longest)
            axes.set_xticks([])
            if not start:
                title, colour = (f"{name} filters", _COLOURS[name]) if len(groups) > 1 else ("filters", "black")
                axes.set_title(f"{title} of the decoder, by mean frequency", loc="left", color=colour)
    page.supylabel("frequency (kHz)", fontsize=8)
    width = 1000 * model.taps / spectrogram.frame_rate
    page.supxlabel(
        f"each filter is {width:.3g} ms wide and scaled to its largest weight: red positive, blue negative", fontsize=7
    )


def _side_by_side(filters: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return filters (M, K, H) as (H, K * (M + 1)), each scaled to its largest weight and with a blank column."""
    taps, count, bins = filters.shape
    largest = np.abs(filters).max(axis=(0, 2), keepdims=True)
    tiles = np.full((bins, count, taps + 1), np.nan, np.float32)
    tiles[:, :, :taps] = (filters / np.where(largest > 0, largest, 1)).transpose(2, 1, 0)
    return tiles.reshape(bins, count * (taps + 1))
