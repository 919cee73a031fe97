"""What tests of several folders share."""

from pathlib import Path

import pytest
import torch


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
