"""The list of jobs: structure of the output, conflicts and errors."""

import sys
from pathlib import Path

import pytest

from partae_fast.denoising.batch import listing as listing_module
from partae_fast.denoising.batch.listing import list_jobs, lone_target
from partae_fast.errors import UserError

from .common import RESULTS, recording, run, targets


def test_files_and_folders_are_mixed_and_the_output_is_in_an_input_folder(here):
    recording("x.wav")
    recording("y.mp3.dat", format="WAV", subtype="PCM_16")  # a named file may have any suffix
    summary = run("x.wav", "june", "y.mp3.dat", out="june/clean")
    assert targets(summary.done, "june/clean") == ["x.wav", *RESULTS, "y.mp3.wav"]
    second = run("june", out="june/clean")
    assert targets(second.skipped, "june/clean") == RESULTS and not second.done


def test_links_are_followed_except_to_ancestors(here):
    Path("june/night/up").symlink_to("..")
    Path("july").mkdir()
    recording("elsewhere/e.wav")
    Path("july/far").symlink_to(here / "elsewhere")
    Path("july/gone.wav").symlink_to("nowhere.wav")
    assert targets(run().done) == RESULTS
    summary = run("july", out="second")
    assert targets(summary.done, "second") == ["far/e.wav"]
    assert [o.reason for o in summary.failed] == [
        "july/gone.wav: cannot be read: No such file or directory; check the path"
    ]


def test_a_recording_with_the_output_of_another_fails(here):
    recording("june/a.ogg", subtype="VORBIS", format="OGG")
    summary = run()
    assert targets(summary.failed) == ["a.wav"] and len(summary.done) == 4
    assert summary.failed[0].reason == (
        "june/a.ogg: would become clean/a.wav, as june/a.wav does; rename one, or denoise it on its own"
    )


def test_inputs_with_the_same_output_are_refused_before_the_run(here):
    recording("july/night/c.wav")
    with pytest.raises(UserError, match=r"c\.wav and july/night/c\.wav would both become clean/night/c\.wav"):
        run("june", "july")
    assert not Path("clean").exists()
    assert len(run("june", "june/a.wav", "june").done) == 4  # a repeated recording is not a conflict


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        (["june"], "june", "is a folder of recordings, which would be overwritten"),
        (["june/a.wav", "june/b.flac"], "x.wav", "names one file, but there are 2 inputs"),
        (["june"], "x.flac", "names one file, but june is a folder"),
        (["june"], "m", "is a file, but several outputs need a folder"),
        (["june"], "m/x", "cannot be created"),
        (["june", "gone"], "x", "gone: no such file or folder"),
        (["empty"], "x", "empty: no recordings there, only 1 other files"),
    ],
)
def test_invalid_inputs_and_outputs_are_refused(here, inputs, out, message):
    Path("empty").mkdir()
    Path("empty/notes.txt").touch()
    before = sorted(here.rglob("*"))
    with pytest.raises(UserError, match=message):
        run(*inputs, out=out)
    assert sorted(here.rglob("*")) == before


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
def test_lone_target_is_a_file_or_none(here, inputs, out, target):
    assert lone_target(inputs, out) == (None if target is None else Path(target))


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [([], "x.wav", "no input"), (["june/a.wav"], "x.txt", "cannot write .txt"), (["june/a.wav"], "m.d/x.wav", "m.d")],
)
def test_an_invalid_lone_target_is_refused(here, inputs, out, message):
    with pytest.raises(UserError, match=message):
        lone_target(inputs, out)


def test_jobs_are_in_the_order_of_their_names(here):
    listing = list_jobs(["june"], "clean")
    assert [str(job.source) for job in listing.jobs] == [f"june/{name}" for name in RESULTS]


@pytest.mark.parametrize(
    "names", [("A.wav", "a.WAV"), ("caf\u00e9.wav", "cafe\u0301.wav"), ("\u00e9/a.wav", "\u00c9/a.wav")]
)
def test_outputs_that_a_disk_takes_for_one_file_do_not_replace_each_other(tmp_path, monkeypatch, names):
    for number, name in enumerate(names):
        recording(tmp_path / "in" / name, number)
    if len(list((tmp_path / "in").rglob("*.[wW]*"))) < 2:
        pytest.skip("the disk takes the names for one")
    listing = list_jobs([tmp_path / "in"], tmp_path / "out")
    assert len(listing.jobs) == 2 and not listing.unusable and not any((tmp_path / "out").iterdir())
    monkeypatch.setattr(listing_module, "_distinguishes_names", lambda folder: False)
    listing = list_jobs([tmp_path / "in"], tmp_path / "out")
    (job,), (refused,) = listing.jobs, listing.unusable
    assert job.target != refused.job.target
    assert refused.reason.startswith(f"{refused.job.source}: the disk of {tmp_path / 'out'} takes ")


@pytest.mark.parametrize("pair", [("x", "X"), ("\u00e9", "e\u0301")])
def test_whether_a_disk_distinguishes_names_is_tried(tmp_path, pair):
    (tmp_path / pair[0]).touch()
    if (tmp_path / pair[1]).exists():
        assert not listing_module._distinguishes_names(tmp_path)
    assert listing_module._distinguishes_names(tmp_path) or sys.platform != "linux"
    assert [path.name for path in tmp_path.iterdir()] == [pair[0]]


def test_the_recording_with_the_name_of_the_output_has_priority(tmp_path):
    for name in ("a.mp3", "a.ogg", "a.wav", "b.flac", "b.mp3"):
        recording(tmp_path / "in" / name)
    listing = list_jobs([tmp_path / "in"], tmp_path / "out")
    assert [(job.source.name, job.target.name) for job in listing.jobs] == [
        ("a.wav", "a.wav"),
        ("b.flac", "b.flac"),
        ("b.mp3", "b.wav"),
    ]
    assert [outcome.job.source.name for outcome in listing.unusable] == ["a.ogg", "a.mp3"]
    assert all("as " + str(tmp_path / "in") + "/a." in (outcome.reason or "") for outcome in listing.unusable)
