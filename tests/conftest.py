"""Shared fixtures, and the distribution of tests over processes."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

MAX_WORKERS = 4  # each takes about 700 MB


def pytest_xdist_auto_num_workers(config):
    """Test folders with one process per core, and single files in this process."""
    if not any(Path(argument).is_dir() for argument in config.args):
        return 0
    return min(os.cpu_count() or 1, MAX_WORKERS)


def pytest_configure(config):
    """Let workers and their subprocesses use one thread, and all processes share the kernels that g++ builds."""
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    if "PARTAE_SHIM_FOLDER" not in os.environ:
        os.environ["PARTAE_SHIM_FOLDER"] = folder = tempfile.mkdtemp(prefix="partae-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable():
    """Escape invalid text in the reports of workers, which are sent as UTF-8."""
    return _escaped((yield))


def _escaped(report):
    if isinstance(report, str):
        return report.encode("utf-8", "backslashreplace").decode()
    if isinstance(report, dict):
        return {key: _escaped(value) for key, value in report.items()}
    if isinstance(report, (list, tuple)):
        return [_escaped(value) for value in report]
    return report


def without_xdist() -> dict[str, str]:
    """Return the environment of a process that is not a worker: pytest-benchmark measures nothing in a worker."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}


@pytest.fixture
def python():
    """Return python(*arguments, **environment), which runs Python.

    It runs in the root folder with one thread.

    For example, python("-m", "module", TRITON_INTERPRET="1") returns the completed process.
    """

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {**without_xdist(), "OMP_NUM_THREADS": "1", **environment}
        root = Path(__file__).resolve().parents[1]
        return subprocess.run([sys.executable, *arguments], cwd=root, env=variables, capture_output=True, text=True)

    return run


@pytest.fixture(scope="session")
def shared_data():
    """Return shared_data(name), which returns the path of a field recording.

    The test is skipped if the recording is missing.
    """
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"

    def find(name: str) -> Path:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"the recording {name} is not on this machine")
        return path

    return find


@pytest.fixture(autouse=True)
def products_in_float32(request):
    """Forbid TF32 in Triton and on a GPU, where PyTorch allows it in convolutions unless told otherwise."""
    if "gpu" not in request.keywords and os.environ.get("TRITON_INTERPRET") != "1":
        yield
        return
    from partae_fast.kernels.tf32 import tf32

    with tf32(False):
        yield


def pytest_collection_modifyitems(items):
    """Run slow tests first, and skip `gpu` tests without a GPU.

    So no worker is left with a slow test at the end.
    """
    items.sort(key=lambda item: "slow" not in item.keywords)
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="PyTorch sees no CUDA device"))
