"""Tests of `partae bench`."""


def test_bad_arguments_are_refused_before_timing(refused):
    assert "song.wav" in refused("bench", "--json", "song.wav/rows.json")
    assert "nothere" in refused("bench", "nothere")
