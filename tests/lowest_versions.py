"""Print the lowest versions that pyproject.toml allows, for pip.

    pip install --no-deps --target lowest $(python tests/lowest_versions.py)
    PYTHONPATH=lowest partae verify encode --backend cpu

PyTorch is left out because its older CPU builds are not on PyPI; the builds there also install CUDA.
"""

import tomllib
from pathlib import Path


def lowest_versions(requirements: list[str]) -> list[str]:
    """Return NAME==VERSION for each requirement NAME>=VERSION except PyTorch."""
    pinned = [requirement.replace(">=", "==") for requirement in requirements]
    return [requirement for requirement in pinned if not requirement.startswith("torch==")]


if __name__ == "__main__":
    project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["project"]
    print(*lowest_versions(project["dependencies"]))
