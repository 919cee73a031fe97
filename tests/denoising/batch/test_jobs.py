"""Jobs: errors, warnings and unusual names."""

import os
import shutil
from pathlib import Path

import pytest

from partae_fast.denoising.batch import jobs

from .common import lines, recording, run


def test_an_internal_error_fails_one_recording(here, monkeypatch):
    real = jobs.denoise_file

    def faulty(model, source, *rest, **settings):
        if source.name == "b.flac":
            raise ZeroDivisionError("division by zero")
        return real(model, source, *rest, **settings)

    monkeypatch.setattr(jobs, "denoise_file", faulty)
    summary = run()
    assert len(summary.done) == 3
    reason = "june/b.flac: internal error: ZeroDivisionError: division by zero; please report it"
    assert summary.failed[0].reason == reason


def test_warnings_are_notes_in_the_journal(here):
    content = recording("june/a.wav").read_bytes()
    Path("june/a.wav").write_bytes(content[: len(content) // 2])
    summary = run("june/a.wav")
    (note,) = summary.done[0].notes
    assert note.startswith("june/a.wav: ") and lines()[-1]["notes"] == [note]


def test_names_that_are_not_valid_text(here):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        shutil.copy("june/a.wav", Path("june", name))
    except OSError:
        pytest.skip("this file system accepts valid text only")
    assert len(run().done) == 5
    assert len(run().skipped) == 5 and Path("clean", name).exists()
