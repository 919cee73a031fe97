"""A sample of the randomly changed label files that `python -m tests.fuzz labels` tests."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import __main__ as fuzz
from tests.fuzz import labels as fuzz_labels

STRATEGY, CHECK = fuzz_labels.target()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(raw=STRATEGY)
def test_every_file_is_read_or_refused_in_one_line(folder, raw):
    CHECK(raw, folder)


def test_the_random_files_cover_every_format(folder):
    formats = set()

    @settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(raw=STRATEGY)
    def collect(raw):
        formats.add(fuzz_labels.shown(raw, folder))

    collect()
    assert {"refused", "audacity", "csv", "raven", "birdnet"} <= formats


def test_a_fault_is_shrunk_and_printed(capsys, monkeypatch):
    def broken(raw, folder):
        assert b"\t" not in raw, "a tab"
        return "read"

    monkeypatch.setitem(fuzz.TARGETS, "labels", lambda: (STRATEGY, broken))
    assert fuzz.main(["labels", "--minutes", "0.1"]) == 1
    output = capsys.readouterr().out
    assert "AssertionError: a tab" in output and "raw=b'" in output and "no fault" not in output


def test_a_run_without_a_fault_prints_the_counts(capsys, monkeypatch):
    monkeypatch.setattr(fuzz, "ROUND", 10)
    assert fuzz.main(["labels", "--minutes", "0.001"]) == 0
    output = capsys.readouterr().out
    assert "labels: " in output and "refused" in output and "no fault" in output
