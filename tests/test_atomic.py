"""A file written through `atomic_path` is the old one or the new one, never half of one."""

import errno
import os
import stat

import pytest

from partae_fast.atomic import atomic_path
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
