"""The search for recordings in a folder and its subfolders."""

import os

import numpy as np
import pytest
import soundfile

from partae_fast.audio.folders import Recordings, recordings_in
from partae_fast.errors import UserError


def write(path):
    formats = {".FLAC": "FLAC", ".ogg": "OGG"}
    soundfile.write(path, np.ones(100) / 4, 8000, format=formats.get(path.suffix, "WAV"))


@pytest.fixture
def june(tmp_path):
    """Return a folder with recordings, a hidden one, other files, and a link to itself."""
    folder = tmp_path / "june"
    for name in ("b.FLAC", "a.wav", "night/c.ogg", "night/.d.wav", ".hidden/e.wav", "out/f.wav", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name)
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


def test_links_that_point_to_themselves_are_named(june, caplog):
    (june / "loop").symlink_to("loop")
    (june / "loop.wav").symlink_to("loop.wav")
    recordings = Recordings(june)
    assert names(recordings, june) == ["a.wav", "b.FLAC", "loop.wav", "night/c.ogg", "out/f.wav"]
    message = f"{june}/loop: cannot be read: Too many levels of symbolic links; repair or remove it"
    assert recordings.unreadable == {june / "loop": message}
    assert names(recordings_in(june), june) == ["a.wav", "b.FLAC", "night/c.ogg", "out/f.wav"]
    assert f"left out: {message}" in caplog.messages
    assert f"left out: {june}/loop.wav: cannot be read: Too many levels of symbolic links" in caplog.messages


def test_what_is_no_audio_is_left_out_and_named(june, caplog):
    (june / "empty.wav").touch()
    (june / "text.wav").write_text("notes\n" * 100)
    (june / "gone.wav").symlink_to("nowhere.wav")
    os.mkfifo(june / "pipe.wav")
    (june / "memo.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    (june / "folder.wav").mkdir()
    assert names(recordings_in(june), june) == ["a.wav", "b.FLAC", "night/c.ogg", "out/f.wav"]
    reasons = {message.split(": ")[1].rpartition("/")[2]: message for message in caplog.messages}
    assert list(reasons) == ["empty.wav", "gone.wav", "memo.m4a", "pipe.wav", "text.wav"]
    assert "0 bytes" in reasons["empty.wav"] and "no such file" in reasons["gone.wav"]
    assert "not a regular file" in reasons["pipe.wav"] and "not usable as audio" in reasons["text.wav"]


def test_a_subfolder_that_cannot_be_read_is_left_out_and_named(june, caplog, monkeypatch):
    scan = os.scandir

    def refuse(folder):
        if folder == june / "night":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names(recordings_in(june), june) == ["a.wav", "b.FLAC", "out/f.wav"]
    assert caplog.messages == [
        f"left out: {june}/night: the folder cannot be read: Permission denied; change its mode or leave it out"
    ]
