"""Tests of temporary folders: they are removed at their end, and by the next process if theirs was killed."""

import contextlib
import gc
import os
import signal
import time
from pathlib import Path

import pytest

from partae_fast import scratch
from partae_fast.scratch import ScratchFolder, remove_abandoned_folders


@pytest.fixture
def held(tmp_path):
    """Return the id of a process that has a scratch folder, and the folder."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        folder = ScratchFolder(".a-", tmp_path)
        Path(folder.name, "data").write_bytes(bytes(1000))
        os.write(writer, folder.name.encode())
        time.sleep(600)
    yield child, Path(os.read(reader, 1000).decode())
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)


def test_a_folder_is_removed_with_its_object(tmp_path):
    folder = ScratchFolder(".a-", tmp_path)
    Path(folder.name, "data").write_bytes(b"x")
    assert Path(folder.name).parent == tmp_path and Path(folder.name).name.startswith(".a-")
    assert remove_abandoned_folders(".a-", tmp_path) == 0 and Path(folder.name, "data").exists()
    del folder
    gc.collect()
    assert os.listdir(tmp_path) == []


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_running_one_kept(tmp_path, held):
    child, folder = held
    assert remove_abandoned_folders(".a-", tmp_path) == 0 and (folder / "data").exists()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert remove_abandoned_folders(".b-", tmp_path) == 0 and folder.exists()
    assert remove_abandoned_folders(".a-", tmp_path) == 1
    assert os.listdir(tmp_path) == []


def left(tmp_path, name):
    """Make a folder as a killed process leaves it."""
    with ScratchFolder(".a-", tmp_path) as made:
        folder = Path(made).with_name(Path(made).name + name)
    folder.mkdir()
    (folder / ".lock").touch()
    return folder


def test_other_folders_are_kept(tmp_path, monkeypatch):
    abandoned = left(tmp_path, "x")
    monkeypatch.setattr(scratch, "this_machine", lambda: "00000000")
    assert remove_abandoned_folders(".a-", tmp_path) == 0  # of another machine
    monkeypatch.undo()
    monkeypatch.setattr(os, "getuid", lambda: abandoned.stat().st_uid + 1)
    assert remove_abandoned_folders(".a-", tmp_path) == 0  # of another user
    monkeypatch.undo()
    monkeypatch.setattr(scratch, "is_locked", lambda handle: None)
    assert remove_abandoned_folders(".a-", tmp_path) == 0  # no locks
    monkeypatch.undo()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".lock").touch()
    abandoned.with_name(abandoned.name + "y").symlink_to(tmp_path / "mine")
    abandoned.with_name(abandoned.name + "z").write_text("a file")
    assert remove_abandoned_folders(".a-", tmp_path) == 1
    assert len(os.listdir(tmp_path)) == 3 and (tmp_path / "mine" / ".lock").exists()
    assert remove_abandoned_folders(".a-", tmp_path / "nowhere") == 0


def test_a_folder_that_vanishes_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock, vanished = scratch.is_locked, []

    def slow(handle):
        if not vanished:
            (folder,) = tmp_path.iterdir()
            vanished.append(folder)
            (folder / ".lock").unlink()
            folder.rmdir()
        return lock(handle)

    monkeypatch.setattr(scratch, "is_locked", slow)
    folder = ScratchFolder(".a-", tmp_path)
    assert Path(folder.name).exists() and Path(folder.name) != vanished[0]
