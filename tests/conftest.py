"""What tests of several folders share."""

from pathlib import Path

import pytest
import torch

from .beside import Processes

_PROCESSES = pytest.StashKey[Processes]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    """Long checks in processes of their own begin before the first test."""
    if not session.config.option.collectonly:
        session.stash[_PROCESSES] = Processes(session.config.rootpath)
        session.stash[_PROCESSES].begin(mark for item in session.items for mark in item.iter_markers("beside"))


def pytest_sessionfinish(session):
    if _PROCESSES in session.stash:
        session.stash[_PROCESSES].stop()


@pytest.fixture
def beside(request):
    """beside() -> what became of the process that the test's mark names; see `tests.beside`."""
    return lambda: request.session.stash[_PROCESSES].result(request.node.get_closest_marker("beside"))


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
    """Without a GPU, what is marked `gpu` is skipped and says so."""
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="PyTorch sees no CUDA device"))
