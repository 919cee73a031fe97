"""Tests of the dependencies in pyproject.toml.

Every imported package is declared with a lowest version.
"""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from .lowest_versions import lowest_versions

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
SOURCES = sorted(path for folder in ("partae_fast", "kernels", "reference") for path in (ROOT / folder).rglob("*.py"))
DISTRIBUTIONS = {"yaml": "pyyaml", "sklearn": "scikit-learn", "cupy": "cupy-cuda13x", "fast_bss_eval": "fast-bss-eval"}
# Installed by CUDA builds of PyTorch, which choose its version.
WITH_PYTORCH = {"triton"}


def declared(requirements: list[str]) -> set[str]:
    """Return the names of the required packages, normalised as on PyPI."""
    return {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def imported(path: Path) -> set[str]:
    """Return the third-party packages that a file imports, also inside functions."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            modules.add(node.module.partition(".")[0])
    return {DISTRIBUTIONS.get(name, name) for name in modules - sys.stdlib_module_names - {"partae_fast"}}


def test_every_imported_package_is_declared():
    optional = [requirement for name, extra in EXTRAS.items() if name != "test" for requirement in extra]
    packages = {name for path in SOURCES for name in imported(path)}
    assert {"numpy", "torch", "llvmlite"} <= packages
    assert packages - declared(PROJECT["dependencies"] + optional) == WITH_PYTORCH


@pytest.mark.parametrize("requirement", PROJECT["dependencies"] + [r for extra in EXTRAS.values() for r in extra])
def test_every_requirement_has_a_lowest_version(requirement):
    assert re.match(r"[A-Za-z0-9._-]+>=\d", requirement)


def test_lowest_versions_are_the_bounds_of_pyproject():
    pinned = lowest_versions(PROJECT["dependencies"])
    assert "numpy==1.26" in pinned and not any(version.startswith("torch") for version in pinned)
    assert len(pinned) == len(PROJECT["dependencies"]) - 1
