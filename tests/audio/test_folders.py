"""The search for recordings in a folder and its subfolders."""

import pytest

from partae_fast.audio.folders import Recordings, recordings_in
from partae_fast.errors import UserError


@pytest.fixture
def june(tmp_path):
    """Return a folder with recordings, a hidden one, other files, and a link to itself."""
    folder = tmp_path / "june"
    for name in ("b.FLAC", "a.wav", "night/c.ogg", "night/.d.wav", ".hidden/e.wav", "out/f.wav", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "night" / "up").symlink_to("..")
    return folder


def names(paths, folder):
    return [str(path.relative_to(folder)) for path in paths]


def test_recordings_are_listed_by_name_and_other_files_are_counted(june):
    recordings = Recordings(june, skip=june / "out")
    assert names(recordings, june) == ["a.wav", "b.FLAC", "night/c.ogg"]
    assert (recordings.ignored, recordings.unreadable) == (1, {})
    assert names(recordings_in(june), june) == ["a.wav", "b.FLAC", "night/c.ogg", "out/f.wav"]


def test_a_folder_that_cannot_be_read_is_reported(tmp_path):
    recordings = Recordings(tmp_path / "gone")
    assert list(recordings) == []
    assert list(recordings.unreadable) == [tmp_path / "gone"]
    with pytest.raises(UserError, match="gone: the folder cannot be read: No such file or directory; change its mode"):
        recordings_in(tmp_path / "gone")


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(UserError, match="no recordings there"):
        recordings_in(tmp_path)
