"""Tests of `atomic_path` and `remove_abandoned`.

A target has its old or its complete new contents at all times.
"""

import errno
import os
import signal
import stat
import threading
import time

import pytest

from partae_fast import atomic
from partae_fast.atomic import atomic_path, remove_abandoned
from partae_fast.errors import UserError


def test_success_replaces_the_file_and_leaves_no_other(tmp_path):
    target = tmp_path / "a.wav"
    target.write_bytes(b"old")
    with atomic_path(target) as path:
        assert path.parent == tmp_path
        assert path.suffix == ".wav"
        path.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_failure_keeps_the_old_file(tmp_path, failure):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(failure), atomic_path(target) as path:
        path.write_bytes(b"half")
        raise failure
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a") as path:
            path.write_bytes(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_symbolic_link_is_kept(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with atomic_path(tmp_path / "link") as path:
        path.write_bytes(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_full_disk_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="cannot be written: No space left"), atomic_path(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_vanishes_is_a_user_error(tmp_path, monkeypatch):
    (tmp_path / "card").mkdir()

    def vanish(folder):
        if folder.name == "card":
            folder.rmdir()

    monkeypatch.setattr(atomic, "_remove_abandoned_once", vanish)
    with pytest.raises(UserError, match="cannot be written: No such file"), atomic_path(tmp_path / "card" / "a"):
        pass
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        raise FileNotFoundError(errno.ENOENT, "of the block itself")


def test_unwritable_target_is_refused(tmp_path):
    (tmp_path / "here").write_bytes(b"old")
    for target, overwrite, message in [
        (tmp_path / "missing" / "a", True, "does not exist"),
        (tmp_path, True, "not a plain file"),
        ("/dev/null", True, "not a plain file"),
        (tmp_path / "here", False, "exists already"),
    ]:
        with pytest.raises(UserError, match=message), atomic_path(target, overwrite):
            pytest.fail("the block must not start")
    assert (tmp_path / "here").read_bytes() == b"old"


def test_long_and_unusual_names(tmp_path):
    for name in (
        "ü" * 120 + ".wav",
        "鳥" * 80 + ".wav",
        "\U0001f426" * 60 + ".wav",
        os.fsdecode(b"\xff\xfe.wav"),
        "a\nb.wav",
    ):
        with atomic_path(tmp_path / name) as path:
            path.write_bytes(b"new")
        assert (tmp_path / name).read_bytes() == b"new"


def test_folder_removed_during_the_block_is_refused(tmp_path):
    folder = tmp_path / "usb"
    folder.mkdir()
    with pytest.raises(UserError, match="usb does not exist"), atomic_path(folder / "a") as path:
        path.unlink()
        folder.rmdir()


@pytest.fixture
def killed():
    """Return killed(folder), which kills a process while it writes there.

    It returns the temporary file that the process left.
    """

    def leave(folder):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            with atomic_path(folder / "a.wav") as path:
                path.write_bytes(b"half")
                os.write(writing, os.fsencode(path))
                time.sleep(60)
        try:
            path = os.fsdecode(os.read(reading, 4096))
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reading)
            os.close(writing)
        return type(folder)(path)

    return leave


def test_only_the_files_of_killed_writers_are_removed(tmp_path, killed):
    with atomic_path(tmp_path / "a.wav") as in_use:
        left = killed(tmp_path)
        others = [".hidden", ".a.partial.wav", "b.00000000-00000000.partial", left.name[1:], left.name + ".bak"]
        for name in others:
            (tmp_path / name).write_bytes(b"the user's")
        folder = tmp_path / left.name.replace(".a.", ".folder.")
        folder.mkdir()
        counts = []
        # In a thread of the process that also writes: its own file must be kept.
        thread = threading.Thread(target=lambda: counts.append(remove_abandoned(tmp_path)))
        thread.start()
        thread.join()
        assert counts == [1]
        assert not left.exists() and in_use.exists()
        in_use.write_bytes(b"whole")
    assert (tmp_path / "a.wav").read_bytes() == b"whole"
    assert remove_abandoned(tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {*others, "a.wav", folder.name}


def test_first_write_into_a_folder_removes_abandoned_files(tmp_path, killed):
    left = killed(tmp_path)
    with atomic_path(tmp_path / "b.txt") as path:
        assert not left.exists()
        path.write_text("whole")
    assert os.listdir(tmp_path) == ["b.txt"]


@pytest.mark.parametrize("fault", ["another machine", "no locks"])
def test_file_without_a_testable_lock_is_kept_for_a_day(tmp_path, killed, monkeypatch, fault):
    left = killed(tmp_path)
    if fault == "another machine":
        monkeypatch.setattr(atomic, "this_machine", lambda: "0" * 8)
    else:
        monkeypatch.setattr(atomic, "is_locked", lambda handle: None)
    assert remove_abandoned(tmp_path) == 0
    os.utime(left, (time.time() - 86000,) * 2)
    assert remove_abandoned(tmp_path) == 0
    os.utime(left, (time.time() - 87000,) * 2)
    assert remove_abandoned(tmp_path) == 1
    assert not left.exists()


def test_file_locked_by_another_machine_is_kept_at_any_age(tmp_path, monkeypatch):
    with atomic_path(tmp_path / "a") as in_use:
        monkeypatch.setattr(atomic, "this_machine", lambda: "0" * 8)
        os.utime(in_use, (0, 0))
        assert remove_abandoned(tmp_path) == 0
        assert in_use.exists()


def test_file_removed_before_itis_locked_is_created_again(tmp_path, monkeypatch):
    flock, removed = atomic.fcntl.flock, []

    def remove_first(handle, operation):
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        flock(handle, operation)

    monkeypatch.setattr(atomic.fcntl, "flock", remove_first)
    with atomic_path(tmp_path / "a") as path:
        assert path != removed[0]
        path.write_bytes(b"new")
    assert os.listdir(tmp_path) == ["a"]


def test_system_without_fcntl_still_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "fcntl", None)
    with atomic_path(tmp_path / "a") as path:
        path.write_bytes(b"new")
        assert remove_abandoned(tmp_path) == 0
    assert os.listdir(tmp_path) == ["a"]
