"""Tests of the program that runs GPU checks and measurements, with tasks that need no GPU."""

import json
import re
import subprocess
import sys
import tarfile
import time

import pytest

from partae_fast.bench import gpu
from partae_fast.bench.gpu import Task, run_tasks


def python(name: str, code: str, seconds: float = 60, group: str = "") -> Task:
    return Task(name, (sys.executable, "-c", code), seconds, group)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_and_exit_codes_are_written_and_archived(tmp_path):
    row = {"version": "a", "seconds": 0.5}
    tasks = [
        python("good", f"print('some text'); print({gpu.ROW + json.dumps(row)!r})"),
        python("bad", "import sys; print('what went wrong'); sys.exit(3)"),
        Task("absent", ("no-such-program",), 5),
    ]
    entries = run_tasks(tasks, tmp_path)
    assert [entry["exit_code"] for entry in entries] == [0, 3, 127]
    assert entries[1]["reason"] == "what went wrong" and "no-such-program" in entries[2]["reason"]
    assert lines(tmp_path / "tasks.jsonl") == entries
    assert lines(tmp_path / "rows.jsonl") == [{"task": "good", **row}]
    with tarfile.open(tmp_path / gpu.ARCHIVE) as archive:
        assert {"tasks.jsonl", "rows.jsonl", "logs/good.log", "logs/bad.log"} <= set(archive.getnames())


def test_a_task_that_hangs_is_stopped_with_its_children(tmp_path):
    beats = tmp_path / "beats"
    child = f"import time\nwhile True:\n    open({str(beats)!r}, 'a').write('.')\n    time.sleep(0.05)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    (entry,) = run_tasks([python("hung", code, seconds=3)], tmp_path)
    assert entry["exit_code"] != 0 and entry["reason"] == "stopped after 3 s"
    size = beats.stat().st_size
    time.sleep(0.5)
    assert beats.stat().st_size == size > 0


def test_a_task_that_succeeded_is_not_run_again(tmp_path):
    marker = tmp_path / "marker"
    fails_once = (
        f"import pathlib, sys; p = pathlib.Path({str(marker)!r}); e = p.exists(); p.touch(); sys.exit(0 if e else 1)"
    )
    tasks = [python("good", "pass"), python("flaky", fails_once)]
    assert [entry["task"] for entry in run_tasks(tasks, tmp_path)] == ["good", "flaky"]
    assert [(entry["task"], entry["exit_code"]) for entry in run_tasks(tasks, tmp_path)] == [("flaky", 0)]
    assert run_tasks(tasks, tmp_path) == []


def test_first_runs_have_patience_and_timed_ones_none(tmp_path):
    patient = {task.name.split()[0] for task in gpu.tasks_of("123", tmp_path) if task.patience}
    assert patient == {"compile", "check", "sanitizer", "test"}
    command = (sys.executable, "-c", "import os; raise SystemExit(os.environ['PARTAE_PATIENCE'])")
    entries = run_tasks([Task("check", command, 5, patience=1500), Task("step", command, 5)], tmp_path)
    assert [entry["reason"] for entry in entries] == ["1500", "0"]


def test_an_incomplete_line_is_ignored(tmp_path):
    (tmp_path / "tasks.jsonl").write_text('{"task": "whole", "exit_code": 0}\n{"task": "cut", "exit_c')
    assert gpu.ended_well(tmp_path) == {"whole"}


def test_nothing_starts_when_the_time_is_up(tmp_path):
    (entry,) = run_tasks([python("late", "pass")], tmp_path, seconds=0.5)
    assert (entry["task"], entry["exit_code"], entry["reason"]) == ("late", None, "not started")
    assert gpu.ended_well(tmp_path) == set()


def test_tasks_of_a_group_run_in_parallel(tmp_path):
    wait_for_other = (
        "import pathlib, time; folder = pathlib.Path({folder!r}); (folder / {name!r}).touch()\n"
        "while len(list(folder.glob('task*'))) < 2: time.sleep(0.05)"
    )
    names = ("task1", "task2")
    tasks = [python(name, wait_for_other.format(folder=str(tmp_path), name=name), 30, "group") for name in names]
    assert [entry["exit_code"] for entry in run_tasks(tasks, tmp_path)] == [0, 0]


def test_the_calls_have_every_kind_of_task(tmp_path, capsys):
    assert gpu.main([str(tmp_path), "--list"]) == 0
    names = capsys.readouterr().out
    for part in (
        "versions",
        "barrier 8",
        "check precision=3xtf32",
        "sanitizer",
        "tests/conformance",
        "op encode --type tf32",
    ):
        assert part in names
    assert all(task.seconds < gpu.CALL_SECONDS for task in gpu.tasks_of("123", tmp_path))


@pytest.mark.parametrize("call", gpu.CALLS)
def test_every_command_names_a_module_and_files_that_exist(call, tmp_path):
    for task in gpu.tasks_of(call, tmp_path):
        module = task.command[task.command.index("-m") + 1]
        assert (
            module in ("pytest", "partae_fast") or (gpu.ROOT / "bench" / (module.rpartition(".")[2] + ".py")).exists()
        )
        assert all((gpu.ROOT / word).exists() for word in task.command if re.match(r"tests/", word))


def test_the_script_passes_on_its_arguments():
    script = gpu.ROOT / "bench" / "gpu.sh"
    done = subprocess.run(
        ["bash", str(script), "--help"], capture_output=True, text=True, env={"PYTHON": sys.executable}
    )
    assert done.returncode == 0 and "--call" in done.stdout, done.stderr


BLOCK = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("soundfile", "soxr", "crowsetta", "noisereduce", "fast_bss_eval", "dask"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import pytest
sys.exit(pytest.main(["-o", "addopts=", "-q", "--assert=plain", "--collect-only", "-m", "gpu", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_gpu_tests_collect_without_optional_packages(python):
    paths = sorted({path for paths in gpu.TESTS for path in paths.split()})
    done = python("-c", BLOCK, *paths)
    assert done.returncode == 0, done.stdout
    collected = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    sources = {str(p.relative_to(gpu.ROOT)): p.read_text() for p in (gpu.ROOT / "tests").rglob("test_*.py")}
    files = {name for name, text in sources.items() if "pytest.mark.gpu\n" in text}
    assert files <= collected and len(collected) > len(files)
