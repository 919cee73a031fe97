"""Bars in terminals and notebooks, and lines elsewhere."""

import logging
import sys
from types import SimpleNamespace

import pytest

from partae_fast import progress
from partae_fast.denoising.batch.jobs import Job
from partae_fast.denoising.batch.progress import progress_of
from partae_fast.progress import Lines, duration, is_shown
from partae_fast.training.loop import progress_bar


@pytest.fixture
def clock(monkeypatch):
    """Return a clock of `time.monotonic`, with the attribute `now`."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(Lines, "last", None)
    return clock


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "partae_fast")
    return lambda: [record.getMessage() for record in caplog.records]


def notebook(monkeypatch, config):
    shell = SimpleNamespace(config=config)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_a_bar_is_shown_in_a_terminal_and_in_a_notebook(monkeypatch):
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: False))
    assert not is_shown(None) and is_shown(True)
    notebook(monkeypatch, {})  # IPython in a terminal
    assert not is_shown(None)
    notebook(monkeypatch, {"IPKernelApp": {}})
    assert is_shown(None) and not is_shown(False)
    used = []
    monkeypatch.setitem(sys.modules, "tqdm.auto", SimpleNamespace(tqdm=lambda **settings: used.append(settings)))
    progress_bar("train", 0, 10, None)
    assert used == [{"initial": 0, "total": 10, "unit": "step", "desc": "train"}]


def test_training_logs_a_line_every_30_s_without_a_terminal(clock, log):
    with progress_bar("train", 100, 1100, None) as bar:
        for _ in range(10):
            clock.now += 8
            bar.set_postfix(loss="0.5", refresh=False)
            bar.update(50)
    assert bar.n == 600
    assert log() == [f"train: {step} of 1100, loss 0.5, about 2 min left" for step in (300, 500)]


def test_a_line_is_logged_every_30_s_in_work_of_many_short_parts(clock, log):
    """The default system trains three models in turn."""
    for _ in range(4):
        with progress_bar("train", 0, 2, None) as bar:
            clock.now += 20
            bar.update(1)
    assert log() == ["train: 1 of 2, about 20 s left"] * 2


def test_a_folder_logs_a_line_every_30_s_without_a_terminal(clock, log, tmp_path):
    jobs = [Job(tmp_path / f"{i}.wav", tmp_path / f"{i}.out", 100, 0) for i in range(4)]
    with progress_of(jobs, None) as shown:
        shown.update(jobs[0], 0.5)
        clock.now += 31
        shown.update(jobs[1], 0.5)
        shown.update(jobs[1], 0.6)
    assert log() == ["0/4 files, about 3 min left"]


def test_the_remaining_time_leaves_out_the_start(clock, log):
    lines = Lines(None)
    clock.now += 29  # kernels are compiled
    lines.show(lambda: "step 1", 0.01)
    clock.now += 2
    lines.show(lambda: "step 11", 0.11)
    assert log() == ["step 11, about 18 s left"]


@pytest.mark.parametrize("progress_setting", [False, True])
def test_a_caller_that_asks_for_nothing_or_for_a_bar_gets_no_lines(clock, log, progress_setting):
    lines = Lines(progress_setting)
    clock.now += 1000
    lines.show(lambda: "text", 0.5)
    assert not log()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (100, "2 min"), (5000, "83 min"), (9000, "2.5 h")]
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text
