"""A damaged cache of compiled kernels: the kernel is compiled again, with a warning in the log."""

import errno
import itertools
import os
from pathlib import Path

import pytest

from partae_fast.kernels._cpu import jit


def doubled(x):
    return 2.0 * x


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Return the files of a cache with the kernel of `doubled`, by file name."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "cache_folder", lambda: str(folder))
        assert jit.kernel(doubled)(1.5) == 3.0
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.nb?")}
    assert sorted(Path(name).suffix for name in files) == [".nbc", ".nbi"]
    return files


@pytest.fixture
def called(filled, tmp_path, monkeypatch):
    """Return called(), which calls the kernel as a new process does.

    It returns the dispatcher.
    """
    for name, content in filled.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(jit, "cache_folder", lambda: str(tmp_path))

    def call():
        kernel = jit.kernel(doubled)
        assert kernel(1.5) == 3.0
        return kernel

    return call


def cache_file(folder: Path, suffix: str) -> Path:
    (path,) = folder.rglob(f"*{suffix}")
    return path


DAMAGE = {
    "empty": lambda content: b"",
    "cut in the first pickle": lambda content: content[:5],
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut by a byte": lambda content: content[:-1],
    "text": lambda content: b"this was a compiled kernel\n",
    "zeros, as after a power cut": lambda content: bytes(len(content)),
    "a bit flipped near the end": lambda content: content[:-100] + bytes([content[-100] ^ 4]) + content[-99:],
    "another file's content": lambda content: content + content,
}


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_file_is_compiled_again(called, tmp_path, caplog, filled, suffix, damage):
    path = cache_file(tmp_path, suffix)
    path.write_bytes(damage(path.read_bytes()))
    kernel = called()
    assert not kernel.stats.cache_hits and sum(kernel.stats.cache_misses.values()) == 1
    assert f"{path}: damaged; the kernel is compiled again" in caplog.text
    caplog.clear()
    assert sum(called().stats.cache_hits.values()) == 1  # the kernel that was compiled again is cached
    assert not caplog.text


def test_any_flipped_bit_is_detected(tmp_path, filled, caplog):
    """These bytes include the machine code."""
    for name, content in filled.items():
        path = tmp_path / Path(name).name
        for place in itertools.chain(range(0, len(content), 97), range(len(content) - 40, len(content))):
            path.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
            assert not jit._intact(str(path))
        path.write_bytes(content)
        assert jit._intact(str(path))


def test_intact_cache_is_used(called, caplog):
    assert sum(called().stats.cache_hits.values()) == 1
    assert not caplog.text


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_missing_file_is_compiled_again(called, tmp_path, suffix):
    cache_file(tmp_path, suffix).unlink()
    assert not called().stats.cache_hits
    assert sum(called().stats.cache_hits.values()) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_unwritable_cache_is_logged(called, tmp_path, monkeypatch, caplog, number):
    def refuse(source, target):
        raise OSError(number, os.strerror(number))

    cache_file(tmp_path, ".nbi").unlink()
    monkeypatch.setattr(os, "replace", refuse)
    assert not called().stats.cache_hits
    assert f"the compiled kernel is not cached: {os.strerror(number)}" in caplog.text
    assert not [path for path in tmp_path.rglob("*") if ".tmp." in path.name]
