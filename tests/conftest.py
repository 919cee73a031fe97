"""What tests of several folders share, and how the suite is shared out to processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKERS = 4  # at most: each takes about 700 MB


def pytest_xdist_auto_num_workers(config):
    """Folders are tested by a process to each core, each with one thread, and files that are named by this one."""
    if not any(Path(given).is_dir() for given in config.args):
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # which workers, and what they start, take from here
    return min(os.cpu_count() or 1, WORKERS)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable():
    """Names of files that are no text are escaped in what a worker reports, which goes as UTF-8."""
    return _escaped((yield))


def _escaped(report):
    if isinstance(report, str):
        return report.encode("utf-8", "backslashreplace").decode()
    if isinstance(report, dict):
        return {key: _escaped(value) for key, value in report.items()}
    if isinstance(report, (list, tuple)):
        return [_escaped(value) for value in report]
    return report


@pytest.fixture
def python():
    """python("-m", "module", TRITON_INTERPRET="1") -> what became of such a process in the root, with one thread."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        root = Path(__file__).resolve().parents[1]
        return subprocess.run([sys.executable, *arguments], cwd=root, env=given, capture_output=True, text=True)

    return run


@pytest.fixture(scope="session")
def shared_data():
    """shared_data("field/spinetail.flac"): the path of a real recording; the test is skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"

    def find(name: str) -> Path:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"the recording {name} is not on this machine")
        return path

    return find


def pytest_collection_modifyitems(items):
    """What is slow comes first, so that no worker is left with it at the end; `gpu` is skipped where there is none."""
    items.sort(key=lambda item: "slow" not in item.keywords)
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="PyTorch sees no CUDA device"))
