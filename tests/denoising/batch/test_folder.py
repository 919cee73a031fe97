"""Folders through the denoiser: what is done stays done, nothing of the user's is lost, one bad file stops no other."""

import json
import multiprocessing
import os
import shutil
from dataclasses import replace
from pathlib import Path
from time import sleep

import numpy as np
import pytest
import soundfile

import partae_fast as pf
from partae_fast import atomic
from partae_fast.audio import Spectrogram, files
from partae_fast.denoising.batch import executors, folder, jobs
from partae_fast.denoising.batch.folder import denoise_folder, devices
from partae_fast.denoising.batch.jobs import Job, Outcome
from partae_fast.denoising.batch.journal import NAME, Journal
from partae_fast.denoising.batch.listing import list_jobs, lone_target
from partae_fast.denoising.batch.progress import Progress
from partae_fast.denoising.files import denoise_file
from partae_fast.errors import UserError

RATE = 22050


def recording(path, seed=0, length=2000, **settings):
    """A short recording, with the folders above it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, length).astype(np.float32)
    soundfile.write(path, samples, RATE, **settings)
    return path


def model_file(path, seed=0):
    model = pf.ConvPartitionedAutoencoder(bins=32, latents=4, taps=3, pool=4, seed=seed)
    model.spectrogram, model.mask = Spectrogram(bins=32), pf.Mask()
    pf.save(model, path)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with a model, m, and four recordings below june/."""
    monkeypatch.chdir(tmp_path)
    model_file("m")
    for seed, name in enumerate(("a.wav", "b.flac", "night/c.wav", "night/late/d.wav")):
        recording(Path("june") / name, seed)
    return tmp_path


RESULTS = ["a.wav", "b.flac", "night/c.wav", "night/late/d.wav"]


def run(*inputs, out="clean", model="m", **settings):
    return denoise_folder(model, inputs or ("june",), out, **settings)


def targets(outcomes, out="clean"):
    return [str((o if isinstance(o, Job) else o.job).target.relative_to(out)) for o in outcomes]


def lines(out="clean"):
    return [json.loads(line) for line in (Path(out) / NAME).read_text().splitlines()]


def results(out="clean"):
    """All files below `out`, hidden ones too, but for the journal."""
    found = [str(path.relative_to(out)) for path in Path(out).rglob("*") if path.is_file()]
    return sorted(set(found) - {NAME})


# What is done, and where it goes


def test_a_folder_is_denoised_as_its_files_are_and_keeps_its_shape(here):
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


def test_files_and_folders_may_be_mixed_and_results_may_lie_among_the_recordings(here):
    recording("x.wav")
    recording("y.mp3.dat", format="WAV", subtype="PCM_16")  # named, so whatever it is called
    summary = run("x.wav", "june", "y.mp3.dat", out="june/clean")
    assert targets(summary.done, "june/clean") == ["x.wav", *RESULTS, "y.mp3.wav"]
    again = run("june", out="june/clean")
    assert targets(again.skipped, "june/clean") == RESULTS and not again.done


def test_links_are_followed_but_not_in_circles(here):
    Path("june/night/up").symlink_to("..")
    Path("july").mkdir()
    recording("elsewhere/e.wav")
    Path("july/far").symlink_to(here / "elsewhere")
    Path("july/gone.wav").symlink_to("nowhere.wav")
    assert targets(run().done) == RESULTS
    summary = run("july", out="second")
    assert targets(summary.done, "second") == ["far/e.wav"]
    assert [o.reason for o in summary.failed] == [
        "july/gone.wav: cannot be read: No such file or directory; check where it is"
    ]


def test_two_of_a_folder_that_would_become_one(here):
    recording("june/a.ogg", subtype="VORBIS", format="OGG")
    summary = run()
    assert targets(summary.failed) == ["a.wav"] and len(summary.done) == 4
    assert summary.failed[0].reason == (
        "june/a.wav: would become clean/a.wav, as june/a.ogg does; rename one, or denoise it on its own"
    )


def test_two_inputs_that_would_become_one_are_refused_before_anything_is_done(here):
    recording("july/night/c.wav")
    with pytest.raises(UserError, match=r"c\.wav and july/night/c\.wav would both become clean/night/c\.wav"):
        run("june", "july")
    assert not Path("clean").exists()
    assert len(run("june", "june/a.wav", "june").done) == 4  # a recording named twice is no conflict


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        (["june"], "june", "is a folder of recordings, which would be lost"),
        (["june/a.wav", "june/b.flac"], "x.wav", "names one file, and there are 2 inputs"),
        (["june"], "x.flac", "names one file, and june is a folder"),
        (["june"], "m", "is a file, and a folder is needed"),
        (["june"], "m/x", "cannot be created"),
        (["june", "none"], "x", "none: no such file or folder"),
        (["empty"], "x", "empty: no recordings there, only 1 other files"),
    ],
)
def test_runs_that_cannot_be_are_refused(here, inputs, out, message):
    Path("empty").mkdir()
    Path("empty/notes.txt").touch()
    before = sorted(here.rglob("*"))
    with pytest.raises(UserError, match=message):
        run(*inputs, out=out)
    assert sorted(here.rglob("*")) == before


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
def test_settings_of_no_use_are_refused_before_anything_is_written(here, settings, message):
    with pytest.raises(UserError, match=message):
        run(**settings)
    assert not Path("clean").exists()


@pytest.mark.parametrize(
    ("inputs", "out", "target"),
    [
        (["june/a.wav"], "x.wav", "x.wav"),
        (["june/a.wav"], "x.flac", "x.flac"),
        (["june/a.wav"], "june", None),
        (["june/a.wav"], "new", None),
        (["june/a.wav"], "new.d/", None),
        (["june"], "x.wav", None),
        (["june/a.wav", "june/b.flac"], "2026.01", None),
    ],
)
def test_a_lone_recording_may_become_a_file(here, inputs, out, target):
    found = lone_target(inputs, out)
    assert found == (None if target is None else Path(target))


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [([], "x.wav", "no input"), (["june/a.wav"], "x.txt", "cannot write .txt"), (["june/a.wav"], "m.d/x.wav", "m.d")],
)
def test_a_file_that_cannot_be_is_refused(here, inputs, out, message):
    with pytest.raises(UserError, match=message):
        lone_target(inputs, out)


# Going on


def test_what_is_done_is_skipped_and_what_is_new_or_changed_is_done(here):
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
def test_other_settings_or_another_model_do_all_again(here, change):
    model_file("other", seed=1)
    before = run()
    assert len(run(**change).done) == 4
    assert len(run(**change).skipped) == 4
    assert len(run().done) == len(before.done)


def test_a_figure_that_is_missing_is_drawn(here, monkeypatch):
    monkeypatch.setattr("partae_fast.denoising.files._draw", lambda *a: Path(a[2]).with_suffix(".png").touch())
    assert len(run("june/a.wav").done) == 1
    assert len(run("june/a.wav", figure=True).done) == 1 and results() == ["a.png", "a.wav"]
    assert len(run("june/a.wav", figure=True).skipped) == len(run("june/a.wav").skipped) == 1


def stop_at(monkeypatch, count, failure=KeyboardInterrupt):
    """Stop, as a signal does, in the middle of the count-th recording."""
    real, seen = folder.carry_out, []

    def stopping(model, job, settings, tell):
        seen.append(job)
        if len(seen) < count:
            return real(model, job, settings, tell)

        def stop(share):
            raise failure

        return real(model, job, settings, stop)

    monkeypatch.setattr(folder, "carry_out", stopping)


def test_a_stop_leaves_no_half_file_and_the_next_start_goes_on(here, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert results() == ["a.wav", "b.flac"]
    summary = run()
    assert targets(summary.skipped) == ["a.wav", "b.flac"] and targets(summary.done) == [
        "night/late/d.wav",
        "night/c.wav",
    ]
    done = [line["output"] for line in lines() if line["event"] == "done"]
    assert sorted(done) == RESULTS


def test_what_a_run_died_at_comes_last(here, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert targets(run().done) == [*RESULTS[1:], "a.wav"]


@pytest.mark.parametrize("cut", ["done", "in done", "in begun"])
def test_a_kill_between_output_and_journal_costs_one_file_done_again(here, cut):
    run("june/a.wav")
    text = Path("clean", NAME).read_text().splitlines(keepends=True)
    assert [json.loads(line)["event"] for line in text] == ["run", "begun", "done"]
    kept = {"done": text[:2], "in done": [*text[:2], text[2][:50]], "in begun": [*text, text[1][:30]]}[cut]
    Path("clean", NAME).write_text("".join(kept))
    first = run("june/a.wav")
    assert len(first.skipped if cut == "in begun" else first.done) == 1 and not first.failed
    assert len(run("june/a.wav").skipped) == 1


def test_what_a_killed_run_left_half_written_is_swept(here):
    run("june/night")
    text = Path("clean", NAME).read_text().splitlines(keepends=True)
    Path("clean", NAME).write_text("".join(text[:-1]))  # d.wav was begun
    place, handle = atomic._create_beside(Path("clean/late/d.wav").absolute())
    os.close(handle)  # its writer is dead
    recording("june/night/late/d.wav", length=10).write_text("no audio")
    assert targets(run("june/night").failed) == ["late/d.wav"]
    assert not place.exists() and results() == ["c.wav", "late/d.wav"]


def test_a_journal_of_a_later_version_is_refused(here):
    Path("clean").mkdir()
    Path("clean", NAME).write_text('{"event": "run", "version": 2}\n')
    with pytest.raises(UserError, match="another version"):
        run()


# Nothing of the user's is lost


def test_a_file_that_no_run_wrote_is_replaced_only_on_request(here):
    Path("clean").mkdir()
    Path("clean/b.flac").write_bytes(b"mine")
    for _ in range(2):  # that it was refused once makes it no more ours
        summary = run()
        assert targets(summary.failed) == ["b.flac"] and "exists already" in summary.failed[0].reason
        assert Path("clean/b.flac").read_bytes() == b"mine"
    assert targets(run(overwrite=True).done) == ["b.flac"]
    assert len(run().skipped) == 4


def test_a_result_that_was_changed_since_is_replaced_only_on_request(here):
    run()
    recording("clean/a.wav", length=50)
    assert len(run().skipped) == 4
    summary = run(reduction=3)
    assert targets(summary.failed) == ["a.wav"] and "was changed since" in summary.failed[0].reason
    assert len(run(reduction=3, overwrite=True).done) == 1


def test_what_another_recording_became_is_replaced_only_on_request(here):
    """Recorders that keep the same hours make files of the same names, lengths and times."""
    run("june")
    shutil.copytree("june", "july")
    summary = run("july")
    assert len(summary.failed) == 4 and not summary.skipped
    assert summary.failed[0].reason == (
        f"clean/a.wav: is what {here}/june/a.wav became, not july/a.wav; move it elsewhere, or have it replaced with "
        "--overwrite"
    )
    assert len(run("july", overwrite=True).done) == 4


def test_a_failure_leaves_what_was_there_before(here):
    run("june/a.wav")
    before = Path("clean/a.wav").read_bytes()
    good = Path("june/a.wav").read_bytes()
    Path("june/a.wav").write_bytes(b"damaged")
    assert len(run("june/a.wav").failed) == 1 and Path("clean/a.wav").read_bytes() == before
    Path("june/a.wav").write_bytes(good)
    assert len(run("june/a.wav").done) == 1  # still known to be ours, so replaced unasked


def test_two_runs_into_the_same_folder(here):
    Path("clean").mkdir()
    with (
        Journal(Path("clean")),
        pytest.raises(UserError, match=f"clean: process {os.getpid()} on .* is denoising into"),
    ):
        run()
    assert len(run().done) == 4


# One bad file stops no other


def test_a_bad_file_is_recorded_and_tried_again_by_the_next_run(here, caplog):
    good = Path("june/b.flac").read_bytes()
    Path("june/b.flac").write_bytes(good[:50])
    Path("clean").mkdir()
    recording("clean/night/late", format="WAV", subtype="PCM_16")  # a file where a folder is wanted
    summary = run()
    assert targets(summary.done) == ["a.wav", "night/c.wav"] and targets(summary.failed) == [
        "b.flac",
        "night/late/d.wav",
    ]
    assert summary.failed[0].reason.startswith("june/b.flac: ")
    assert summary.failed[0].reason in caplog.text
    assert [line["reason"] for line in lines() if line["event"] == "failed"] == [o.reason for o in summary.failed]
    Path("june/b.flac").write_bytes(good)
    assert targets(run().done) == ["b.flac"]


def test_a_fault_of_the_program_stops_no_other_file(here, monkeypatch):
    real = jobs.denoise_file

    def faulty(model, source, *rest, **settings):
        if source.name == "b.flac":
            raise ZeroDivisionError("division by zero")
        return real(model, source, *rest, **settings)

    monkeypatch.setattr(jobs, "denoise_file", faulty)
    summary = run()
    assert len(summary.done) == 3
    assert summary.failed[0].reason == "june/b.flac: a fault of the program: ZeroDivisionError: division by zero"


def test_remarks_are_in_the_journal(here):
    whole = recording("june/a.wav").read_bytes()
    Path("june/a.wav").write_bytes(whole[: len(whole) // 2])
    summary = run("june/a.wav")
    (note,) = summary.done[0].notes
    assert note.startswith("june/a.wav: ") and lines()[-1]["notes"] == [note]


def test_names_that_are_no_valid_text(here):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        shutil.copy("june/a.wav", Path("june", name))
    except OSError:
        pytest.skip("this file system takes valid text only")
    assert len(run().done) == 5
    assert len(run().skipped) == 5 and Path("clean", name).exists()


# Processes and clusters


def dying(number, job, settings, real=executors._in_process):
    """Be killed whenever the job is b.flac."""
    if job.source.name == "b.flac":
        executors._reporting(number)
        os.kill(os.getpid(), 9)
    return real(number, job, settings)


def test_a_process_that_is_killed_loses_its_file_alone(here, monkeypatch):
    monkeypatch.setattr(executors, "_in_process", dying)
    summary = run(jobs=2)
    assert sorted(targets(summary.done)) == ["a.wav", "night/c.wav", "night/late/d.wav"]
    (lost,) = summary.failed
    assert lost.reason.startswith("june/b.flac: the process at it died twice, perhaps for want of memory;")
    assert results() == ["a.wav", "night/c.wav", "night/late/d.wav"]
    assert [line["event"] for line in lines() if line.get("output") == "b.flac"] == ["begun", "failed"]
    for name in ("a.wav", "night/c.wav"):
        denoise_file(pf.load("m"), Path("june") / name, "one.wav", overwrite=True)
        np.testing.assert_allclose(files.read(Path("clean") / name)[0], files.read("one.wav")[0], rtol=0, atol=2**-15)


def dying_at_the_start(*arguments):
    os.kill(os.getpid(), 9)


def test_processes_that_die_as_they_start_end_the_run(here, monkeypatch):
    monkeypatch.setattr(executors, "_initialise", dying_at_the_start)
    monkeypatch.setattr(executors, "_STARTS", 1)
    with pytest.raises(UserError, match="processes for --jobs die as they start"):
        run(jobs=2)
    assert results() == []


def dying_once(number, job, settings, real=executors._in_process):
    """Be killed at b.flac, unless that has happened before."""
    if job.source.name == "b.flac" and not os.path.exists("died"):
        Path("died").touch()
        executors._reporting(number)
        os.kill(os.getpid(), 9)
    return real(number, job, settings)


def test_a_job_that_survives_alone_is_done(here, monkeypatch, caplog):
    monkeypatch.setattr(executors, "_in_process", dying_once)
    summary = run(jobs=2)
    assert sorted(targets(summary.done)) == RESULTS == results() and not summary.failed
    assert "june/b.flac: a process died while this ran; it is tried once more, alone" in caplog.text
    assert len(run(jobs=2).skipped) == 4


def endless(number, job, settings, real=executors._in_process):
    """Never come to the end of b.flac."""
    if job.source.name == "b.flac":
        executors.carry_out = lambda model, job, settings, tell: jobs.carry_out(
            model, job, settings, lambda _: sleep(600)
        )
    return real(number, job, settings)


def test_a_stop_ends_the_processes_and_leaves_no_half_file(here, monkeypatch):
    def stop(outcome):
        raise KeyboardInterrupt

    monkeypatch.setattr(executors, "_in_process", endless)
    with pytest.raises(KeyboardInterrupt):
        run("june/b.flac", "june/a.wav", jobs=2, told=stop)
    assert multiprocessing.active_children() == []
    assert results() == ["a.wav"]


def test_a_model_that_changed_is_refused_by_the_processes(here, monkeypatch):
    model_file("other", seed=1)
    real = folder._settings
    monkeypatch.setattr(folder, "_settings", lambda model, *rest: replace(real(model, *rest), model=Path("other")))
    with pytest.raises(UserError, match="other: changed since the run began"):
        run(jobs=2)


def test_work_on_a_cluster(here):
    distributed = pytest.importorskip("distributed")
    Path("june/night/c.wav").write_bytes(b"damaged")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, host="tcp://127.0.0.1"
    ) as cluster:
        summary = run(scheduler=cluster.scheduler_address)
        assert sorted(targets(summary.done)) == ["a.wav", "b.flac", "night/late/d.wav"]
        assert targets(summary.failed) == ["night/c.wav"]
        assert Path("june/a.wav") in [outcome.job.source for outcome in summary.done]  # as it was named here
        assert len(run(scheduler=cluster.scheduler_address).skipped) == 3


def test_a_scheduler_that_is_not_there(here, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("partae_fast.denoising.batch.executors._SECONDS", 0.2)
    with pytest.raises(UserError, match=r"--scheduler tcp://127\.0\.0\.1:9: cannot be reached"):
        run(scheduler="tcp://127.0.0.1:9")


def test_where_it_computes(monkeypatch):
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
    ("jobs", "gpus", "places"),
    [
        (None, ["cpu"], ["cpu"]),
        (3, ["cpu"], ["cpu"] * 3),
        (None, ["cuda:0", "cuda:1"], ["cuda:0", "cuda:1"]),
        (3, ["cuda:0", "cuda:1"], ["cuda:0", "cuda:1", "cuda:0"]),
        (9, ["cpu"], ["cpu"] * 4),
    ],
)
def test_processes_take_turns_at_the_gpus(here, monkeypatch, jobs, gpus, places):
    seen = []

    def none(begun, settings, devices, threads, tell):
        seen.extend(devices)
        yield from ()

    def alone(begun, settings, device, bar):
        seen.append(device)
        yield from ()

    monkeypatch.setattr(folder, "devices", lambda device: gpus)
    monkeypatch.setattr(folder, "_in_this_process", alone)
    monkeypatch.setattr(executors, "in_processes", none)
    run(jobs=jobs)
    assert seen == places


def test_progress_counts_files_hours_and_bytes():
    given = [Job(Path(f"{i}"), Path(f"{i}.wav"), size, 0) for i, size in enumerate((100, 300))]
    progress = Progress(given)
    progress.tell(given[0], 0.5)
    assert (progress.text(), progress.bytes_done) == ("0/2 files", 50)
    progress.end(Outcome(given[0], seconds=3600.0))
    progress.tell(given[1], 0.5)
    assert (progress.text(), progress.bytes_done) == ("1/2 files, 2.50 of about 4.00 h", 250)


def test_a_listing_is_by_name(here):
    found = list_jobs(["june"], "clean")
    assert [str(job.source) for job in found.jobs] == [f"june/{name}" for name in RESULTS]
