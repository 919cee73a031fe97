"""A sample of the damaged audio files that `python -m tests.fuzz audio` tests."""

from hypothesis import HealthCheck, given, settings

from tests.fuzz import audio

FILES, check = audio.target()


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(raw=FILES)
def test_every_file_is_read_or_refused_in_one_line(tmp_path_factory, raw):
    check(raw, tmp_path_factory.getbasetemp())


def test_files_without_damage_are_read(tmp_path):
    assert [check(b"\0" + content, tmp_path) for content in audio.seeds()[:3]] == ["WAV"] * 3
