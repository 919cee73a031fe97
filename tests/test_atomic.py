"""A file written through `atomic_path` is the old one or the new one, never half of one."""

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


def test_success_replaces_and_leaves_nothing_else(tmp_path):
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


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with atomic_path(tmp_path / "link") as path:
        path.write_bytes(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_full_disk_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="cannot be written: No space left"), atomic_path(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == []


def test_places_where_no_file_can_be_written(tmp_path):
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


def test_names_that_leave_little_room_for_more(tmp_path):
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


def test_a_folder_that_goes_away_meanwhile(tmp_path):
    folder = tmp_path / "usb"
    folder.mkdir()
    with pytest.raises(UserError, match="usb does not exist"), atomic_path(folder / "a") as path:
        path.unlink()
        folder.rmdir()


@pytest.fixture
def killed():
    """killed(folder) -> the temporary file that a process left there when it was killed while it wrote."""

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


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path, killed):
    with atomic_path(tmp_path / "a.wav") as living:
        left = killed(tmp_path)
        others = [".hidden", ".a.partial.wav", "b.00000000-00000000.partial", left.name[1:], left.name + ".bak"]
        for name in others:
            (tmp_path / name).write_bytes(b"the user's")
        folder = tmp_path / left.name.replace(".a.", ".folder.")
        folder.mkdir()
        found = []
        thread = threading.Thread(
            target=lambda: found.append(remove_abandoned(tmp_path))
        )  # a writer is safe from its own process
        thread.start()
        thread.join()
        assert found == [1]
        assert not left.exists() and living.exists()
        living.write_bytes(b"whole")
    assert (tmp_path / "a.wav").read_bytes() == b"whole"
    assert remove_abandoned(tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {*others, "a.wav", folder.name}


def test_the_first_write_into_a_folder_sweeps_it(tmp_path, killed):
    left = killed(tmp_path)
    with atomic_path(tmp_path / "b.txt") as path:
        assert not left.exists()
        path.write_text("whole")
    assert os.listdir(tmp_path) == ["b.txt"]


@pytest.mark.parametrize("fault", ["another machine", "no locks"])
def test_where_locks_do_not_tell_a_file_stays_for_a_day(tmp_path, killed, monkeypatch, fault):
    left = killed(tmp_path)
    if fault == "another machine":
        monkeypatch.setattr(atomic, "_this_machine", lambda: "0" * 8)
    else:
        monkeypatch.setattr(atomic, "_is_locked", lambda handle: None)
    assert remove_abandoned(tmp_path) == 0
    os.utime(left, (time.time() - 86000,) * 2)
    assert remove_abandoned(tmp_path) == 0
    os.utime(left, (time.time() - 87000,) * 2)
    assert remove_abandoned(tmp_path) == 1
    assert not left.exists()


def test_a_file_that_another_machine_holds_stays_however_old(tmp_path, monkeypatch):
    with atomic_path(tmp_path / "a") as living:
        monkeypatch.setattr(atomic, "_this_machine", lambda: "0" * 8)
        os.utime(living, (0, 0))
        assert remove_abandoned(tmp_path) == 0
        assert living.exists()


def test_a_file_that_is_swept_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    real, made = atomic.fcntl.flock, []

    def swept_first(handle, how):
        if not made:
            made.extend(tmp_path.iterdir())
            made[0].unlink()
        real(handle, how)

    monkeypatch.setattr(atomic.fcntl, "flock", swept_first)
    with atomic_path(tmp_path / "a") as path:
        assert path != made[0]
        path.write_bytes(b"new")
    assert os.listdir(tmp_path) == ["a"]


def test_a_system_without_locks_writes_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "fcntl", None)
    with atomic_path(tmp_path / "a") as path:
        path.write_bytes(b"new")
        assert remove_abandoned(tmp_path) == 0
    assert os.listdir(tmp_path) == ["a"]
