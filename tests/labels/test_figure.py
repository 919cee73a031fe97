"""The figure of the states of recordings over time."""

import re

import numpy as np
import pytest

from partae_fast.errors import UserError
from partae_fast.labels import Rules
from partae_fast.labels.figure import COLOURS, plot_timelines
from partae_fast.labels.summary import LabelSummary, RecordingSummary, summarise
from partae_fast.labels.timeline import Timeline


def pixels_by_state(path):
    """Return which pixels of an image have each state's colour, (rows, columns)."""
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    image = imread(path)[..., :3]
    return {state: np.abs(image - to_rgb(colour)).max(axis=2) < 0.02 for state, colour in COLOURS.items()}


def test_widths_in_the_figure_are_proportional_to_seconds(recordings, table, tmp_path):
    summary = summarise([table("b.wav,2,4,x,", "b.wav,6,7,y,")], recordings[1:2], Rules(0.0, signal_labels=["x"]))
    plot_timelines(tmp_path / "p.png", summary)
    pixels = pixels_by_state(tmp_path / "p.png")
    row = int(np.argmax(pixels["noise-only"].sum(axis=1)))
    noise, signal = pixels["noise-only"][row], pixels["signal"][row]
    # 7 s of noise and 2 s of signal; signal starts at a fifth of the axis.
    assert noise.sum() / signal.sum() == pytest.approx(3.5, rel=0.03)
    first, last = np.flatnonzero(noise)[[0, -1]]
    assert (np.flatnonzero(signal)[0] - first) / (last - first) == pytest.approx(0.2, abs=0.01)


def test_a_figure_of_many_recordings_shows_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr("partae_fast.labels.figure.ROWS", 3)
    timelines = [Timeline(7200.0 * 3, ((0.0, 600.0 * i),)) for i in range(1, 6)]
    recordings = [
        RecordingSummary(f"{'long' * 20}/{i}.wav", None, True, [], timeline) for i, timeline in enumerate(timelines)
    ]
    plot_timelines(tmp_path / "p.svg", LabelSummary(recordings))
    text = (tmp_path / "p.svg").read_text()
    assert re.findall(r"<!-- \.\.\.\w+/(\d).wav -->", text) == ["0", "1", "2"]
    assert "<!-- the first 3 of 5 recordings -->" in text and "<!-- time (h) -->" in text


def test_an_empty_summary_is_plotted(tmp_path):
    plot_timelines(tmp_path / "p.pdf", LabelSummary())
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(UserError, match="exists"):
        plot_timelines(tmp_path / "p.pdf", LabelSummary(), overwrite=False)
