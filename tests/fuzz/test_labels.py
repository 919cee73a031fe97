"""Label files changed at random, a few of what `python -m tests.fuzz labels` tries."""

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
def test_whatever_the_file_it_is_read_or_refused_in_one_line(folder, raw):
    CHECK(raw, folder)


def test_the_files_that_are_tried_show_every_format(folder):
    seen = set()

    @settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(raw=STRATEGY)
    def look(raw):
        seen.add(fuzz_labels.shown(raw, folder))

    look()
    assert {"refused", "audacity", "csv", "raven", "birdnet"} <= seen


def test_a_fault_is_found_shrunk_and_told(capsys, monkeypatch):
    def broken(raw, folder):
        assert b"\t" not in raw, "a tab"
        return "read"

    monkeypatch.setitem(fuzz.TARGETS, "labels", lambda: (STRATEGY, broken))
    assert fuzz.main(["labels", "--minutes", "0.1"]) == 1
    told = capsys.readouterr().out
    assert "AssertionError: a tab" in told and "raw=b'" in told and "no fault" not in told


def test_without_a_fault_it_says_what_became_of_the_files(capsys, monkeypatch):
    monkeypatch.setattr(fuzz, "ROUND", 10)
    assert fuzz.main(["labels", "--minutes", "0.001"]) == 0
    assert "labels: " in (told := capsys.readouterr().out) and "refused" in told and "no fault" in told
