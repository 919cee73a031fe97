"""Jobs in processes and on a cluster."""

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from time import sleep

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.audio import files
from partae_fast.denoising.batch import executors, folder, jobs
from partae_fast.denoising.files import denoise_file
from partae_fast.errors import UserError

from .common import RESULTS, lines, model_file, results, run, targets


def dying(number, job, settings, in_process=executors._in_process):
    """Kill the process in every job for b.flac."""
    if job.source.name == "b.flac":
        executors._start_reports(number)
        os.kill(os.getpid(), 9)
    return in_process(number, job, settings)


def test_a_killed_process_fails_its_own_recording_only(here, monkeypatch):
    monkeypatch.setattr(executors, "_in_process", dying)
    summary = run(jobs=2)
    assert sorted(targets(summary.done)) == ["a.wav", "night/c.wav", "night/late/d.wav"]
    (lost,) = summary.failed
    assert lost.reason.startswith("june/b.flac: its process died twice, perhaps because memory ran out;")
    assert results() == ["a.wav", "night/c.wav", "night/late/d.wav"]
    assert [line["event"] for line in lines() if line.get("output") == "b.flac"] == ["begun", "failed"]
    for name in ("a.wav", "night/c.wav"):
        denoise_file(pf.load("m"), Path("june") / name, "one.wav", overwrite=True)
        np.testing.assert_allclose(files.read(Path("clean") / name)[0], files.read("one.wav")[0], rtol=0, atol=2**-15)


def dying_at_the_start(*arguments):
    os.kill(os.getpid(), 9)


def test_processes_that_die_when_they_start_end_the_run(here, monkeypatch):
    monkeypatch.setattr(executors, "_initialise", dying_at_the_start)
    monkeypatch.setattr(executors, "_MAX_BROKEN_POOLS", 1)
    with pytest.raises(UserError, match="the processes of --jobs die when they start"):
        run(jobs=2)
    assert results() == []


def dying_once(number, job, settings, in_process=executors._in_process):
    """Kill the process in the first job for b.flac."""
    if job.source.name == "b.flac" and not os.path.exists("died"):
        Path("died").touch()
        executors._start_reports(number)
        os.kill(os.getpid(), 9)
    return in_process(number, job, settings)


def test_a_job_whose_process_died_once_is_tried_again(here, monkeypatch, caplog):
    monkeypatch.setattr(executors, "_in_process", dying_once)
    summary = run(jobs=2)
    assert sorted(targets(summary.done)) == RESULTS == results() and not summary.failed
    assert "june/b.flac: its process died; it is tried once more, alone" in caplog.text
    assert len(run(jobs=2).skipped) == 4


def endless(number, job, settings, in_process=executors._in_process):
    """Sleep in the job for b.flac."""
    if job.source.name == "b.flac":
        executors.run_job = lambda model, job, settings, report: jobs.run_job(
            model, job, settings, lambda _: sleep(600)
        )
    return in_process(number, job, settings)


def test_an_interrupt_ends_the_processes_and_leaves_no_partial_file(here, monkeypatch):
    def stop(outcome):
        raise KeyboardInterrupt

    monkeypatch.setattr(executors, "_in_process", endless)
    with pytest.raises(KeyboardInterrupt):
        run("june/b.flac", "june/a.wav", jobs=2, outcome_callback=stop)
    assert multiprocessing.active_children() == []
    assert results() == ["a.wav"]


def test_processes_refuse_a_model_that_changed(here, monkeypatch):
    model_file("other", seed=1)
    checked = folder._checked_settings
    monkeypatch.setattr(folder, "_checked_settings", lambda *args: replace(checked(*args), model=Path("other")))
    with pytest.raises(UserError, match="other: changed since the run started"):
        run(jobs=2)


def test_a_folder_is_denoised_on_a_cluster(here):
    distributed = pytest.importorskip("distributed")
    Path("june/night/c.wav").write_bytes(b"damaged")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, host="tcp://127.0.0.1"
    ) as cluster:
        summary = run(scheduler=cluster.scheduler_address)
        assert sorted(targets(summary.done)) == ["a.wav", "b.flac", "night/late/d.wav"]
        assert targets(summary.failed) == ["night/c.wav"]
        assert Path("june/a.wav") in [outcome.job.source for outcome in summary.done]  # the name on this machine
        assert len(run(scheduler=cluster.scheduler_address).skipped) == 3


def test_an_unreachable_scheduler_is_refused(here, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("partae_fast.denoising.batch.executors._CONNECT_TIMEOUT", 0.2)
    with pytest.raises(UserError, match=r"--scheduler tcp://127\.0\.0\.1:9: cannot be reached"):
        run(scheduler="tcp://127.0.0.1:9")
