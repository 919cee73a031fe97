"""The command `partae bench`, which runs pytest on the benchmarks, here or in another commit."""

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from partae_fast.errors import UserError
from partae_fast.kernels import OPS

FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """Return the names of the benchmarks: of files, and of the functions of a file with several."""
    return sorted(_targets())


def _targets() -> dict[str, str]:
    """Return what pytest runs, relative to FOLDER, for each name."""
    targets = {}
    for path in FOLDER.glob("bench_*.py"):
        targets[_name(path.stem)] = path.name
        functions = re.findall(r"^def (bench_\w+)", path.read_text(), re.MULTILINE)
        if len(functions) > 1:
            targets |= {_name(function): f"{path.name}::{function}" for function in functions}
    return targets


def _name(function: str) -> str:
    return function.removeprefix("bench_").replace("_", "-")


def main(op: str | None, options: Sequence[str], json_file: str | None = None, compare: str | None = None) -> int:
    """Run the benchmarks of `op`, or all, print a table, and return the exit code.

    Args:
        op: one of `names()`, with underscores or hyphens; None for all.
        options: options of `pytest bench`, such as --quick.
        json_file: file for pytest-benchmark's JSON.
        compare: a commit, which is measured first with the benchmarks of this tree, or a file written as `json_file`.

    Raises UserError if `op` or `compare` is not known or pytest-benchmark is not installed.
    """
    missing = [name for name in ("pytest", "pytest_benchmark") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)} not installed; pip install 'partae-fast[test]'")
    if op is not None and op.replace("_", "-") not in names():
        raise UserError(f"benchmark {op!r} is not known; choose one of {', '.join(names())}")
    options = [*options, *([f"--candidate-op={_op(op)}"] if op and _op(op) in OPS else [])]
    with tempfile.TemporaryDirectory() as folder:
        if compare and not Path(compare).is_file():
            compare = _measure_commit(compare, op, options, Path(folder))
        arguments = [*_arguments(FOLDER, op), *options]
        arguments += [f"--benchmark-json={json_file}"] if json_file else []
        if compare:  # pytest-benchmark shows the name of the file relative to its storage
            arguments += [f"--benchmark-compare={compare}", f"--benchmark-storage={Path(compare).absolute().parent}"]
        else:
            arguments += ["--benchmark-quiet"]
        import pytest

        return _exit_code(int(pytest.main(arguments)))


def _op(op: str) -> str:
    """Return the op of a benchmark: train_steps for train-step."""
    name = op.replace("-", "_")
    return name if name in OPS else name + "s"


def _arguments(folder: Path, op: str | None) -> list[str]:
    """Return pytest's arguments; they need no configuration file, because an installed package has none."""
    target = folder / _targets()[op.replace("_", "-")] if op else folder
    settings = ("python_files=bench_*.py", "python_functions=bench_*")
    fixed = ["-q", "--no-header", "--disable-warnings", "-p", "no:cacheprovider", "-c", os.devnull]
    return [str(target), *fixed, f"--rootdir={folder.parent}", *(word for s in settings for word in ("-o", s))]


def _exit_code(code: int) -> int:
    """Return pytest's 0 or 1, and 2 for its other exit codes; pytest has printed the error."""
    if code == 2:
        raise KeyboardInterrupt
    return code if code < 2 else 2


def _measure_commit(commit: str, op: str | None, options: Sequence[str], folder: Path) -> str:
    """Measure a commit with the benchmarks of this tree; return the path of its results."""
    results = folder / (commit.replace("/", "_") + ".json")
    with _checked_out(commit, folder / "tree") as tree:
        print(f"Commit {commit}:", flush=True)
        command = [sys.executable, "-m", "pytest", *_arguments(tree / "bench", op), *options]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tree), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        }
        done = subprocess.run([*command, f"--benchmark-json={results}", "--benchmark-quiet"], env=environment)
    if not results.is_file():
        raise UserError(f"--compare {commit}: the benchmarks did not run (exit code {done.returncode}); see above")
    print("This tree:", flush=True)
    return str(results)


@contextlib.contextmanager
def _checked_out(commit: str, tree: Path) -> Iterator[Path]:
    """Check out a commit into a folder, and replace its benchmarks by those of this tree."""
    git = ["git", "-C", str(FOLDER)]
    added = subprocess.run([*git, "worktree", "add", "--detach", str(tree), commit], capture_output=True, text=True)
    if added.returncode:
        reason = (added.stderr.strip() or "git failed").splitlines()[-1]
        raise UserError(f"--compare {commit!r} is neither a file nor a commit of a checkout: {reason}")
    try:
        for path in (tree / "bench").rglob("*.py"):
            path.unlink()
        for path in FOLDER.rglob("*.py"):
            copy = tree / "bench" / path.relative_to(FOLDER)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
        yield tree
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(tree)], capture_output=True)
