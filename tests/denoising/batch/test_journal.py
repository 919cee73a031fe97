"""The journal: what is replaced, what is kept, and damage."""

import json
import os
import shutil
from pathlib import Path

import pytest

from partae_fast.denoising.batch.journal import NAME, Journal
from partae_fast.errors import UserError

from .common import recording, run, targets


@pytest.mark.parametrize("cut", ["done", "in done", "in begun"])
def test_a_truncated_journal_costs_at_most_one_recording(here, cut):
    run("june/a.wav")
    text = Path("clean", NAME).read_text().splitlines(keepends=True)
    assert [json.loads(line)["event"] for line in text] == ["run", "begun", "done"]
    kept = {"done": text[:2], "in done": [*text[:2], text[2][:50]], "in begun": [*text, text[1][:30]]}[cut]
    Path("clean", NAME).write_text("".join(kept))
    first = run("june/a.wav")
    assert len(first.skipped if cut == "in begun" else first.done) == 1 and not first.failed
    assert len(run("june/a.wav").skipped) == 1


def test_a_journal_of_another_version_is_refused(here):
    Path("clean").mkdir()
    Path("clean", NAME).write_text('{"event": "run", "version": 2}\n')
    with pytest.raises(UserError, match="another version"):
        run()


def test_a_file_of_the_user_is_replaced_only_with_overwrite(here):
    Path("clean").mkdir()
    Path("clean/b.flac").write_bytes(b"mine")
    for _ in range(2):  # a refusal does not make the file one of partae's
        summary = run()
        assert targets(summary.failed) == ["b.flac"] and "exists already" in summary.failed[0].reason
        assert Path("clean/b.flac").read_bytes() == b"mine"
    assert targets(run(overwrite=True).done) == ["b.flac"]
    assert len(run().skipped) == 4


def test_a_changed_output_is_replaced_only_with_overwrite(here):
    run()
    recording("clean/a.wav", length=50)
    assert len(run().skipped) == 4
    summary = run(reduction=3)
    assert targets(summary.failed) == ["a.wav"] and "was changed since" in summary.failed[0].reason
    assert len(run(reduction=3, overwrite=True).done) == 1


def test_the_output_of_another_recording_is_replaced_only_with_overwrite(here):
    """Recorders with the same schedule write files of the same names, lengths and times."""
    run("june")
    shutil.copytree("june", "july")
    summary = run("july")
    assert len(summary.failed) == 4 and not summary.skipped
    assert summary.failed[0].reason == (
        f"clean/a.wav: was denoised from {here}/june/a.wav, not from july/a.wav; move it to another folder, or replace "
        "it with --overwrite"
    )
    assert len(run("july", overwrite=True).done) == 4


@pytest.mark.parametrize(
    "change",
    [{"replaced": [0]}, {"replaced": 5}, {"replaced": "52"}, {"input": None}, {"output": ["a"]}, {"input": {}}],
)
def test_a_begun_line_with_odd_values_is_ignored(here, caplog, change):
    run("june/a.wav")
    line = {"event": "begun", "output": "a.wav", "input": os.path.abspath("june/a.wav"), "replaced": None}
    with Path("clean", NAME).open("a") as file:
        file.write(json.dumps(line | change) + "\n")
    assert len(run("june/a.wav").skipped) == 1
    assert "1 lines cannot be read and are ignored" in caplog.text


def test_the_message_about_an_output_of_another_recording_is_short(here):
    run("june/a.wav")
    line = json.loads(Path("clean", NAME).read_text().splitlines()[-1])
    with Path("clean", NAME).open("a") as file:
        file.write(json.dumps(line | {"input": "x" * 100_000}) + "\n")
    (failed,) = run("june/a.wav").failed
    assert "clean/a.wav: was denoised from xxx" in failed.reason and len(failed.reason) < 1500


def test_a_failed_job_keeps_the_previous_output(here):
    run("june/a.wav")
    before = Path("clean/a.wav").read_bytes()
    good = Path("june/a.wav").read_bytes()
    Path("june/a.wav").write_bytes(b"damaged")
    assert len(run("june/a.wav").failed) == 1 and Path("clean/a.wav").read_bytes() == before
    Path("june/a.wav").write_bytes(good)
    assert len(run("june/a.wav").done) == 1  # the journal lists the output, so it is replaced without --overwrite


def test_a_second_run_into_the_same_folder_is_refused(here):
    Path("clean").mkdir()
    with (
        Journal(Path("clean")),
        pytest.raises(UserError, match=f"clean: process {os.getpid()} on .* is denoising into"),
    ):
        run()
    assert len(run().done) == 4


@pytest.mark.parametrize("replaced", [None, [4, 5]])
def test_a_forged_begun_line_replaces_no_file_of_the_user(here, replaced):
    """The line says that partae had begun to write the file, so the file counted as one of partae's."""
    Path("clean").mkdir()
    Path("clean/b.flac").write_bytes(b"mine")
    line = {"event": "begun", "output": "b.flac", "input": os.path.abspath("june/b.flac"), "replaced": replaced}
    Path("clean", NAME).write_text(json.dumps(line) + "\n")
    summary = run("june/b.flac")
    assert "the journal does not say that partae wrote it" in summary.failed[0].reason
    assert Path("clean/b.flac").read_bytes() == b"mine"
    assert len(run("june/b.flac", overwrite=True).done) == 1


def test_an_output_that_a_killed_run_had_completed_or_not_touched_is_replaced(here):
    run("june/b.flac")
    lines = [json.loads(line) for line in Path("clean", NAME).read_text().splitlines()]
    assert lines[1]["replaced"] is None
    state = os.stat("clean/b.flac")
    Path("clean", NAME).write_text(json.dumps(lines[1]) + "\n")  # its "done" line is lost
    assert len(run("june/b.flac", reduction=3).done) == 1
    os.utime("clean/b.flac", ns=(0, 0))  # by an earlier version, say
    begun = lines[1] | {"replaced": [os.stat("clean/b.flac").st_size, 0]}
    Path("clean", NAME).write_text(json.dumps(begun) + "\n")  # killed before it wrote
    assert len(run("june/b.flac").done) == 1 and os.stat("clean/b.flac").st_mtime_ns == state.st_mtime_ns


@pytest.mark.parametrize("place", [NAME, f".{NAME}.lock"])
def test_a_journal_that_is_a_link_is_refused(here, place):
    Path("clean").mkdir()
    Path("mine").write_text("mine")
    Path("clean", place).symlink_to(here / "mine")
    with pytest.raises(UserError, match=f"clean/{place}: is a symbolic link; remove it"):
        run()
    assert Path("mine").read_text() == "mine"


def test_a_journal_that_is_a_pipe_is_refused(here):
    Path("clean").mkdir()
    os.mkfifo(f"clean/{NAME}")
    with pytest.raises(UserError, match="is not a regular file"):
        run()
