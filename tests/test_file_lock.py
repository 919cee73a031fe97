"""Tests of `only_writer`."""

import multiprocessing
import os
import signal

import filelock
import pytest

from partae_fast.errors import UserError
from partae_fast.file_lock import only_writer


def test_second_writer_is_refused_until_the_first_is_done(tmp_path):
    with only_writer(tmp_path / "m"):
        with pytest.raises(UserError, match=r"m: another process is writing it; wait"), only_writer(tmp_path / "m"):
            pytest.fail("two writers")
        with only_writer(tmp_path / "other"):
            pass
    with only_writer(tmp_path / "m"):
        pass
    assert os.listdir(tmp_path) == []


def test_link_and_file_share_a_lock(tmp_path):
    (tmp_path / "m").touch()
    (tmp_path / "link").symlink_to("m")
    with only_writer(tmp_path / "m"), pytest.raises(UserError, match="link: another"), only_writer(tmp_path / "link"):
        pytest.fail("two writers")


def test_exception_releases_the_lock(tmp_path):
    with pytest.raises(RuntimeError), only_writer(tmp_path / "m"):
        raise RuntimeError
    with only_writer(tmp_path / "m"):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_writer_leaves_no_lock(tmp_path):
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:  # holds the lock until it is killed
        with only_writer(tmp_path / "m"):
            sender.send(True)
            signal.pause()
    try:
        assert receiver.poll(30)
        with pytest.raises(UserError, match="another process"), only_writer(tmp_path / "m"):
            pytest.fail("two writers")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert os.listdir(tmp_path) == [".m.lock"]
    with only_writer(tmp_path / "m"):
        pass
    assert os.listdir(tmp_path) == []


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"), only_writer(tmp_path / "none" / "m"):
        pass


def test_caller_can_set_the_message(tmp_path):
    with (
        only_writer(tmp_path / "m"),
        pytest.raises(UserError, match=r"^in use$"),
        only_writer(tmp_path / "m", lambda: "in use"),
    ):
        pytest.fail("two writers")


@pytest.mark.parametrize("error", [OSError(95, "Operation not supported"), NotImplementedError("no flock")])
def test_file_system_without_locks_logs_a_warning(tmp_path, monkeypatch, caplog, error):
    def refuse(self, **settings):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with only_writer(tmp_path / "m"):
        assert os.listdir(tmp_path) == []
    assert "m: cannot be locked" in caplog.text


def test_lock_on_a_removed_file_is_acquired_again(tmp_path, monkeypatch):
    acquire, removed = filelock.FileLock.acquire, []

    def removed_meanwhile(self, **settings):
        taken = acquire(self, **settings)
        if not removed:
            removed.append(os.rename(tmp_path / ".m.lock", tmp_path / "gone"))
        return taken

    monkeypatch.setattr(filelock.FileLock, "acquire", removed_meanwhile)
    with only_writer(tmp_path / "m"):
        assert removed and (tmp_path / ".m.lock").exists()
    assert os.listdir(tmp_path) == ["gone"]
