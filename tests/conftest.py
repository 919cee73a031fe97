"""What tests of several folders share."""

from pathlib import Path

import pytest


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
