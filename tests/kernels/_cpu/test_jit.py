"""The folder of compiled kernels."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from partae_fast.kernels._cpu import jit


def test_cache_folder_follows_the_sources(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jit.cache_folder.cache_clear()
    folder = jit.cache_folder()
    assert folder.startswith(str(tmp_path / "partae_fast"))
    jit.cache_folder.cache_clear()
    assert jit.cache_folder() == folder
    jit.cache_folder.cache_clear()


@pytest.fixture
def cache_in(tmp_path, monkeypatch):
    """Return a function that returns the folder of compiled kernels with XDG_CACHE_HOME at the temporary folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jit.tempfile, "mkdtemp", lambda prefix: str(tmp_path / "temporary"))

    def folder():
        jit.cache_folder.cache_clear()
        return Path(jit.cache_folder())

    yield folder
    jit.cache_folder.cache_clear()


def test_the_cache_can_be_written_by_its_user_alone(tmp_path, cache_in):
    (tmp_path / "partae_fast").mkdir()
    (tmp_path / "partae_fast").chmod(0o777)
    folder = cache_in()
    for part in (folder, folder.parent):
        assert part.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("level", ["partae_fast", "the folder in it"])
def test_the_cache_of_another_user_is_not_loaded(tmp_path, cache_in, monkeypatch, caplog, level):
    folder = cache_in()
    foreign = folder.parent if level == "partae_fast" else folder
    real_lstat = Path.lstat

    def lstat(path):
        state = real_lstat(path)
        return os.stat_result((*state[:4], os.geteuid() + 1, *state[5:10])) if path == foreign else state

    monkeypatch.setattr(Path, "lstat", lstat)
    assert cache_in() == tmp_path / "temporary"
    assert f"{foreign}: belongs to another user" in caplog.text


def test_a_linked_cache_is_not_loaded(tmp_path, cache_in):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "partae_fast").symlink_to(tmp_path / "elsewhere")
    assert cache_in() == tmp_path / "temporary" and not list((tmp_path / "elsewhere").iterdir())


def test_a_cache_file_of_another_user_is_not_loaded(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"code" + jit._digest(b"code"))
    assert jit._intact(str(tmp_path / "f"))
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "f").stat().st_uid + 1)
    assert not jit._intact(str(tmp_path / "f"))


def test_an_edit_in_any_folder_changes_the_digest(tmp_path):
    shutil.copytree(jit.KERNELS, tmp_path / "kernels")
    assert (tmp_path / "kernels" / "registry.py").is_file()
    before = jit.digest_of_sources(tmp_path / "kernels")
    for edited in ("registry.py", "_cpu/simd.py", "encode/cpu.py"):
        with open(tmp_path / "kernels" / edited, "a") as file:
            file.write("# edited\n")
        after = jit.digest_of_sources(tmp_path / "kernels")
        assert after != before
        before = after


def test_kernels_compile_without_a_writable_home(tmp_path):
    (tmp_path / "file").write_text("")
    script = (
        "import torch, partae_fast as pf;"
        "print(pf.encode(torch.ones(1, 4, 1), torch.ones(1, 1, 1), 2, backend='cpu')[0].tolist())"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "file")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[[[1.0], [1.0]]]", done.stderr
