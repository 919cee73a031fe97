"""Tests of the recipes in CONTRIBUTING.md, in a copy of the tree."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from partae_fast.audio import files
from tests.conftest import without_xdist

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
IGNORED = shutil.ignore_patterns(".*", "__pycache__", "results", "build", "dist", "*.egg-info")


def section(heading: str) -> str:
    """Return the text below a heading, up to the next one of its level or above."""
    level = heading.partition(" ")[0]
    return re.split(rf"^#{{1,{len(level)}}} ", TEXT.partition(heading + "\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def new_files(recipe: str) -> dict[str, str]:
    """Return the contents of new files by path.

    They are Python blocks after a line with a path in backticks and a colon.
    """
    blocks = re.findall(r"^`([\w/.]+)`:\n\n```python\n(.*?)^```", recipe, re.M | re.DOTALL)
    assert len(blocks) == recipe.count("```python\n")
    return dict(blocks)


def edits(recipe: str) -> list[tuple[str, str, str]]:
    """Return (path, line, lines to add after it) for each row of the table."""
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (an empty line and )?`([^`]+)` \|$", recipe, re.MULTILINE)
    return [(path, line, ("\n" if empty else "") + added) for path, line, empty, added in rows]


def commands(recipe: str) -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", recipe, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def follow(recipe: str, tree: Path) -> None:
    """Write the new files of a recipe into the tree and make its edits."""
    for path, content in new_files(recipe).items():
        assert not (tree / path).exists(), path
        (tree / path).parent.mkdir(exist_ok=True)
        (tree / path).write_text(content)
    for path, line, added in edits(recipe):
        lines = (tree / path).read_text().split("\n")
        assert lines.count(line) == 1, f"{path}: {line}"
        lines.insert(lines.index(line) + 1, added)
        (tree / path).write_text("\n".join(lines))


COMMANDS = """
import json, sys
import pytest
from partae_fast.cli import main

programs = {"partae": main, "pytest": pytest.main}
for program, *words in json.loads(sys.argv[1]):
    print("==", program, *words, flush=True)
    if code := programs[program](words):
        sys.exit(int(code))
"""


def run(tree: Path, lines: list[list[str]]) -> str:
    """Run command lines of partae and pytest, one after another, in one process of the tree's packages."""
    environment = {**without_xdist(), "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COMMANDS, json.dumps(lines)]
    process = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, f"{process.stdout}\n{process.stderr}"
    return process.stdout


@pytest.fixture
def tree(tmp_path):
    copy = tmp_path / "tree"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=IGNORED)
    return copy


EXAMPLE = """
import torch
import partae_fast as pf

def test_example():
    assert pf.magnitude_loss(torch.ones(2, 3), torch.ones(2, 3)).tolist() == 0
"""


@pytest.mark.slow
def test_add_an_op(tree):
    recipe = section("## Add an op")
    assert len(new_files(recipe)) == 8 and len(edits(recipe)) == 6
    follow(recipe, tree)
    verify, bench = [line for line in commands(recipe) if line[0] == "partae"]
    (tree / "tests" / "test_example.py").write_text(EXAMPLE)
    checks = [
        "tests/test_example.py",
        "tests/conformance/test_magnitude_loss.py",
        "tests/conformance/test_tolerances.py::test_every_pass_has_a_longest_sum",
        "tests/test_docs.py::test_api_page_lists_every_public_name",
    ]
    tests = ["pytest", "-n", "0", "-k", "not eager and not float64", *checks]
    output = run(tree, [verify, [*bench, "--rounds", "2"], tests])
    rows = {tuple(line.split()[1:3]) for line in output.splitlines() if line.startswith("magnitude_loss ")}
    types = ("float32", "float64", "bfloat16", "float16")
    assert rows == {("reference", "float64"), ("cpu", "float32"), ("cpu", "float64"), *(("eager", t) for t in types)}
    assert "7 rows, 0 failed" in output
    assert "| magnitude_loss both | cpu | 128 257 | **cpu** |" in output


@pytest.mark.slow
def test_add_a_system(tree):
    recipe = section("## Add a system")
    assert len(new_files(recipe)) == 2 and len(edits(recipe)) == 1
    follow(recipe, tree)
    random = np.random.default_rng(0)
    noise = random.normal(0.0, 0.1, 16000)
    clean = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    for name, samples in (("clean", clean), ("noise", noise), ("noisy", clean + noise)):
        files.write(tree / f"{name}.wav", samples, 16000)
    output = run(tree, commands(recipe))
    assert "toy.safetensors: 20 steps" in output and "clean recordings of the signal (--clean)" in output
    before, after = (files.read(tree / f"{name}.wav")[0][:, 0] for name in ("noisy", "denoised"))
    assert np.std(after - clean) < np.std(before - clean)


def test_paths_of_the_map_exist():
    for name in re.findall(r"^(?:  )?([a-z_]+)/ ", section("## The map"), re.MULTILINE):
        assert (ROOT / name).is_dir() or (ROOT / "partae_fast" / name).is_dir(), name
