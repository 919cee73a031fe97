"""Tests of `partae demo`."""


def test_output_below_a_file_is_refused(refused):
    assert "song.wav" in refused("demo", "--out", "song.wav/folder")
