"""A sample of the journals that `python -m tests.fuzz journal` tests."""

from hypothesis import HealthCheck, given, settings

from tests.fuzz import journal

JOURNALS, check = journal.target()


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(raw=JOURNALS)
def test_a_run_continues_with_every_journal(tmp_path_factory, raw):
    check(raw, tmp_path_factory.mktemp("journal"))


def test_lines_without_damage_are_obeyed(tmp_path):
    lines = [line for line in journal.lines() if '"done"' in line and '"a.wav"' in line]
    assert check("\n".join(lines).encode() + b"\n", tmp_path) == "finished, refused"
