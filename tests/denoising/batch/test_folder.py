"""Denoising of folders: skipped, continued and repeated runs."""

import collections
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import partae_fast as pf
from partae_fast import atomic
from partae_fast.audio import files
from partae_fast.denoising.batch import executors, folder
from partae_fast.denoising.batch.folder import devices
from partae_fast.denoising.batch.journal import NAME
from partae_fast.denoising.files import denoise_file
from partae_fast.errors import UserError

from .common import RATE, RESULTS, lines, model_file, recording, results, run, targets

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}


def test_a_folder_is_denoised_like_its_files_and_keeps_its_structure(here):
    Path("june/notes.txt").write_text("rain from four")
    Path("june/.DS_Store").write_bytes(b"")
    recording("june/.Trashes/e.wav")
    os.utime("june/a.wav", ns=(10**18, 10**18))
    summary = run(part="noise", reduction=20)
    assert targets(summary.done) == RESULTS == results()
    assert (summary.skipped, summary.failed, summary.ignored) == ([], [], 1)
    assert summary.audio_seconds == pytest.approx(4 * 2000 / RATE)
    for name in RESULTS:
        denoise_file(pf.load("m"), Path("june") / name, "one.wav", "noise", 20, overwrite=True)
        np.testing.assert_allclose(files.read(Path("clean") / name)[0], files.read("one.wav")[0], rtol=0, atol=2**-15)
    assert Path("clean/a.wav").stat().st_mtime_ns == 10**18
    done = [line for line in lines() if line["event"] == "done"]
    assert len(done) == 4 and done[0]["input"] == str(here / "june/a.wav")
    assert done[0]["settings"] == {"part": "noise", "reduction": 20, "clipping": "clip"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"part": "both"}, "part is 'both'"),
        ({"reduction": -1}, "reduction is -1"),
        ({"clipping": "wrap"}, "clipping is 'wrap'"),
        ({"jobs": 0}, "jobs is 0"),
        ({"jobs": 2, "scheduler": "tcp://x:1"}, "leave out jobs"),
        ({"device": "cuda:7"}, "PyTorch sees"),
        ({"model": "june/a.wav"}, "not a safetensors file"),
    ],
)
def test_invalid_settings_are_refused_before_anything_is_written(here, settings, message):
    with pytest.raises(UserError, match=message):
        run(**settings)
    assert not Path("clean").exists()


def test_finished_recordings_are_skipped_and_new_and_changed_ones_are_denoised(here):
    assert len(run().done) == 4
    assert targets(run().skipped) == RESULTS
    recording("june/e.wav")
    os.utime("june/a.wav", ns=(10**18, 10**18))
    recording("june/b.flac", length=3000)
    Path("clean/night/c.wav").unlink()
    summary = run()
    assert targets(summary.done) == ["a.wav", "b.flac", "e.wav", "night/c.wav"]
    assert targets(summary.skipped) == ["night/late/d.wav"] and not summary.failed
    assert files.info("clean/b.flac").frames == 3000


@pytest.mark.parametrize("change", [{"reduction": 10.0}, {"part": "noise"}, {"clipping": "scale"}, {"model": "other"}])
def test_all_recordings_are_denoised_again_with_other_settings(here, change):
    model_file("other", seed=1)
    assert len(run().done) == 4
    assert len(run(**change).done) == 4
    assert len(run(**change).skipped) == 4
    assert len(run().done) == 4


def test_a_missing_figure_is_plotted(here, monkeypatch):
    monkeypatch.setattr("partae_fast.denoising.files._plot", lambda *a: Path(a[2]).with_suffix(".png").touch())
    assert len(run("june/a.wav").done) == 1
    assert len(run("june/a.wav", figure=True).done) == 1 and results() == ["a.png", "a.wav"]
    assert len(run("june/a.wav", figure=True).skipped) == len(run("june/a.wav").skipped) == 1


def stop_at(monkeypatch, count, failure=KeyboardInterrupt):
    """Raise in the middle of the count-th recording, as a signal does."""
    run_job, jobs_run = folder.run_job, []

    def stopping(model, job, settings, progress_callback):
        jobs_run.append(job)
        if len(jobs_run) < count:
            return run_job(model, job, settings, progress_callback)

        def stop(share):
            raise failure

        return run_job(model, job, settings, stop)

    monkeypatch.setattr(folder, "run_job", stopping)


def test_a_stopped_run_leaves_no_partial_file_and_is_continued(here, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert results() == ["a.wav", "b.flac"]
    summary = run()
    assert targets(summary.skipped) == ["a.wav", "b.flac"]
    assert targets(summary.done) == ["night/late/d.wav", "night/c.wav"]
    done = [line["output"] for line in lines() if line["event"] == "done"]
    assert sorted(done) == RESULTS


def test_an_interrupted_recording_comes_last(here, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert targets(run().done) == [*RESULTS[1:], "a.wav"]


def test_partial_files_of_a_killed_run_are_removed(here):
    run("june/night")
    text = Path("clean", NAME).read_text().splitlines(keepends=True)
    Path("clean", NAME).write_text("".join(text[:-1]))  # d.wav has begun but not ended
    partial, handle = atomic._create_temporary(Path("clean/late/d.wav").absolute())
    os.close(handle)  # its writer has ended
    recording("june/night/late/d.wav", length=10).write_text("no audio")
    assert targets(run("june/night").failed) == ["late/d.wav"]
    assert not partial.exists() and results() == ["c.wav", "late/d.wav"]


def test_a_bad_recording_is_recorded_and_tried_again_by_the_next_run(here, caplog):
    good = Path("june/b.flac").read_bytes()
    Path("june/b.flac").write_bytes(good[:50])
    Path("clean").mkdir()
    recording("clean/night/late", format="WAV", subtype="PCM_16")  # a file in place of a folder
    summary = run()
    assert targets(summary.done) == ["a.wav", "night/c.wav"]
    assert targets(summary.failed) == ["b.flac", "night/late/d.wav"]
    assert summary.failed[0].reason.startswith("june/b.flac: ")
    assert summary.failed[0].reason in caplog.text
    assert [line["reason"] for line in lines() if line["event"] == "failed"] == [o.reason for o in summary.failed]
    Path("june/b.flac").write_bytes(good)
    assert targets(run().done) == ["b.flac"]


def test_devices_are_all_gpus_by_default(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices(None) == devices("cpu") == ["cpu"]
    for name in ("cuda", "cuda:1", "tpus"):
        with pytest.raises(UserError, match=name):
            devices(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices(None) == devices("cuda") == ["cuda:0", "cuda:1"]
    assert (devices("cuda:1"), devices("cpu")) == (["cuda:1"], ["cpu"])


@pytest.mark.parametrize(
    ("jobs", "available", "expected"),
    [
        (None, ["cpu"], ["cpu"]),
        (3, ["cpu"], ["cpu"] * 3),
        (None, ["cuda:0", "cuda:1"], ["cuda:0", "cuda:1"]),
        (3, ["cuda:0", "cuda:1"], ["cuda:0", "cuda:1", "cuda:0"]),
        (9, ["cpu"], ["cpu"] * 4),
    ],
)
def test_processes_are_distributed_over_the_devices(here, monkeypatch, jobs, available, expected):
    used = []

    def in_processes(begun_jobs, settings, devices, threads, progress_callback):
        used.extend(devices)
        yield from ()

    def in_this_process(begun_jobs, settings, device, bar):
        used.append(device)
        yield from ()

    monkeypatch.setattr(folder, "devices", lambda device: available)
    monkeypatch.setattr(folder, "_in_this_process", in_this_process)
    monkeypatch.setattr(executors, "in_processes", in_processes)
    run(jobs=jobs)
    assert used == expected


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("place", ["b.flac", "night", "b.png"])
def test_nothing_is_written_through_a_link_in_the_output_folder(here, place, overwrite):
    Path("clean").mkdir()
    Path("mine").mkdir() if place == "night" else Path("mine").write_text("mine")
    Path("clean", place).symlink_to(here / "mine")
    summary = run(overwrite=overwrite, figure=place == "b.png")
    assert len(summary.failed) == (2 if place == "night" else 1) and len(summary.done) == 4 - len(summary.failed)
    assert f"clean/{place}: is a symbolic link, and outputs are written to clean alone" in summary.failed[0].reason
    assert not list(Path("mine").iterdir()) if place == "night" else Path("mine").read_text() == "mine"


def test_the_output_folder_itself_may_be_a_link(here):
    Path("disk").mkdir()
    Path("clean").symlink_to("disk")
    assert len(run().done) == 4 and Path("disk/night/c.wav").exists()


def test_what_cannot_be_read_in_a_folder_is_passed_over_and_named(here, monkeypatch):
    monkeypatch.setattr("partae_fast.audio.phones.available", lambda: False)
    Path("june/loop.wav").symlink_to("loop.wav")
    Path("june/loop").symlink_to("loop")
    Path("june/gone.wav").symlink_to("nowhere.wav")
    os.mkfifo("june/pipe.wav")
    Path("june/empty.wav").touch()
    Path("june/memo.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    summary = run()
    assert targets(summary.done) == RESULTS == results()
    reasons = {outcome.job.source.name: outcome.reason for outcome in summary.failed}
    assert reasons == {
        "gone.wav": "june/gone.wav: cannot be read: No such file or directory; check the path",
        "loop.wav": "june/loop.wav: cannot be read: Too many levels of symbolic links; check the path",
        "loop": "june/loop: cannot be read: Too many levels of symbolic links; repair or remove it",
        "empty.wav": "june/empty.wav: is empty, 0 bytes; copy it again from its source",
        "memo.m4a": "june/memo.m4a: .m4a files need PyAV; pip install 'partae-fast[phones]', or convert it to WAV or "
        "FLAC",
        "pipe.wav": "june/pipe.wav: is not a regular file; save its content to a file first",
    }


def test_after_kills_at_random_times_nothing_is_lost_done_twice_or_different(here):
    for number in range(24):
        recording(f"june/{number % 3}/{number:02}.wav", number, 3000)
    subprocess.run([sys.executable, "-m", "tests.denoising.batch.killed_runs", "3", "0"], check=True, env=ENVIRONMENT)
    run(out="undisturbed")
    outputs = results("undisturbed")
    assert len(outputs) == 28 and results() == outputs
    assert all(Path("clean", name).read_bytes() == Path("undisturbed", name).read_bytes() for name in outputs)
    events = collections.Counter((line["event"], line.get("output")) for line in lines())
    assert all(events["done", name] == 1 for name in outputs)
    runs, begun = events["run", None], sum(count for (event, _), count in events.items() if event == "begun")
    assert runs == 4 and 28 <= begun <= 31  # a run was in at most one recording when it was killed
    assert events.keys() <= {("run", None), *((event, name) for event in ("begun", "done") for name in outputs)}
    assert run().done == []
