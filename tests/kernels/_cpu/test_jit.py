"""The folder of compiled kernels."""

import os
import shutil
import subprocess
import sys

from partae_fast.kernels._cpu import jit


def test_cache_folder_follows_the_sources(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jit.cache_folder.cache_clear()
    folder = jit.cache_folder()
    assert folder.startswith(str(tmp_path / "partae_fast"))
    jit.cache_folder.cache_clear()
    assert jit.cache_folder() == folder
    jit.cache_folder.cache_clear()


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
