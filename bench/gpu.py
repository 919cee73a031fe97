"""Run every GPU check and measurement, each in its own process with a time limit.

  python -m partae_fast.bench.gpu FOLDER --call 1      then --call 2 and --call 3; or --tasks REGEX

When a task ends, its exit code is written to FOLDER/tasks.jsonl and its measurements to FOLDER/rows.jsonl. A task that
succeeded is not run again, so the same call continues an interrupted one. FOLDER/results.tar.gz is an archive of the
folder, updated after every task.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ARCHIVE = "results.tar.gz"
CEILINGS = "ceilings.json"
ROW = "row: "  # prefix of a line of a task's output that has a row, in JSON
CALL_SECONDS = 540.0  # a call may take 600
PATIENCE = 1000  # milliseconds; a step takes less than one
KILL_SECONDS = 5.0  # after SIGTERM, before SIGKILL

PAPER = "16,512,32,32,9,16"  # B,N,H,K,M,P
LARGE = "4096,512,32,32,9,16"
OTHERS = ("16,320,64,32,9,4", "16,512,128,128,9,16")
KINDS = ("float32", "tf32")
APART = ("train_step", "population", "denoise", "startup", "snmf", "systems")  # with other tasks, or CPU only
# Plans of the persistent kernel that are compiled and checked first, by the fields that they set.
PLANS = ("precision=ffma", "precision=ffma,lanes=2", "precision=ffma,split=2", "precision=3xtf32", "precision=tf32")
# Folders and files with GPU tests, the most important first. None of them needs soundfile.
TESTS = (
    "tests/conformance/test_train_steps.py tests/kernels",
    "tests/conformance",
    "tests/functional tests/sampling tests/training tests/denoising/test_denoise.py",
)


@dataclass(frozen=True)
class Task:
    """A command with its time limit in seconds.

    Consecutive tasks of the same group run in parallel, so they must not measure times. A task without a group runs
    alone.
    """

    name: str
    command: tuple[str, ...]
    seconds: float
    group: str = ""
    patience: int = 0  # milliseconds until a grid barrier that is never complete ends the kernel; 0 is for ever


def _probe(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "partae_fast.bench.gpu_probe", *arguments)


def _partae(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "partae_fast", *arguments)


def _step(version: str, shape: str, kind: str, out: Path) -> Task:
    return Task(f"step {version} {shape} {kind}", _probe("step", version, shape, kind, str(out / CEILINGS)), 60)


def call_1(out: Path) -> Iterator[Task]:
    """Yield tasks for versions, compilation, barriers, the first steps of each plan, and the sanitizer."""
    yield Task("versions", _probe("versions"), 60)
    yield Task("ceilings", _probe("ceilings", str(out / CEILINGS)), 90)
    for backend in ("cuda", "triton"):
        for shape in (PAPER, LARGE, *OTHERS):
            yield Task(f"compile {backend} {shape}", _probe("compile", backend, shape), 180, "compile")
    for plan in PLANS:
        yield Task(f"compile {plan}", _probe("compile", "cuda", PAPER, plan), 180, "compile", PATIENCE)
    for cluster in (1, 2, 4, 8):
        yield Task(f"barrier {cluster}", _probe("barrier", str(cluster)), 30)
    for plan in PLANS:
        yield Task(f"check {plan}", _probe("check", PAPER, plan), 60, patience=PATIENCE)
    yield Task("check population", _probe("check", PAPER, "models=4"), 60, patience=PATIENCE)
    for plan in PLANS[:3]:
        sanitizer = ("compute-sanitizer", "--error-exitcode", "9", *_probe("check", "3,41,8,8,3,4", plan))
        yield Task(f"sanitizer {plan}", sanitizer, 90, "sanitizer", 10 * PATIENCE)
    for version in ("partae cuda", "partae triton", "PyTorch eager"):
        yield _step(version, PAPER, "float32", out)


def call_2(out: Path) -> Iterator[Task]:
    """Yield the GPU tests, and training steps with the paper's shape and with a large batch."""
    for paths in TESTS:
        plain = ("-q", "-o", "addopts=", "-m", "gpu", "-n", "12", "--dist", "worksteal", "--timeout", "120")
        yield Task(f"test {paths}", (sys.executable, "-m", "pytest", *plain, *paths.split()), 200, "", 10 * PATIENCE)
    graph = "CUDA graph of "
    versions = ("partae cuda", "partae triton", "PyTorch eager", "torch.compile", graph + "PyTorch eager")
    for shape in (PAPER, LARGE):
        for kind in KINDS:
            for version in (*versions, graph + "torch.compile"):
                yield _step(version, shape, kind, out)


def call_3(out: Path) -> Iterator[Task]:
    """Yield tasks for the other shapes, a population, ops and curves; what is least urgent is last."""
    from .run import names

    def op_task(op: str, *options: str, seconds: float = 120) -> Task:
        command = _partae("bench", op, "--device", "cuda", *options)
        results = "_".join((op, *(option.lstrip("-") for option in options))) + ".json"
        return Task(" ".join(("op", op, *options)), (*command, "--json", str(out / results)), seconds)

    for shape in OTHERS:
        for version in ("partae cuda", "partae triton", "PyTorch eager", "CUDA graph of torch.compile"):
            yield _step(version, shape, "float32", out)
    yield Task("population", _probe("population", "60", "15"), 90)
    first = ("encode", "decode", "partitioned_loss")
    for kind in KINDS:
        yield from (op_task(op, "--type", kind) for op in first)
    for op in names():
        if op.replace("-", "_") not in (*first, *APART):
            yield op_task(op, "--quick", seconds=60)
    yield from (op_task(op, "--type", "bfloat16") for op in first)
    curves = (sys.executable, "-m", "partae_fast.bench.curves", str(out / "curves"), "--device", "cuda", "--quick")
    yield Task("curves", curves, 300)


CALLS = {"1": call_1, "2": call_2, "3": call_3}


def tasks_of(calls: Sequence[str], out: Path) -> list[Task]:
    """Return the tasks of these calls, in order."""
    return [task for call in calls for task in CALLS[call](out)]


def ended_well(out: Path) -> set[str]:
    """Return the names of the tasks with results in this folder that ended with exit code 0."""
    file = out / "tasks.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    return {entry["task"] for entry in entries if entry["exit_code"] == 0}


def run_tasks(tasks: Sequence[Task], out: Path, seconds: float = CALL_SECONDS, jobs: int = 12) -> list[dict[str, Any]]:
    """Run the tasks that have not succeeded yet, for at most `seconds`; return how each ended.

    The limit of a task is its own or the remaining time, whichever is shorter. Tasks that were not started when the
    time was up are reported as such; the next call runs them.
    """
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    done = ended_well(out)
    waiting = [task for task in tasks if task.name not in done]
    entries: list[dict[str, Any]] = []
    while waiting:
        group = _first_group(waiting)
        waiting = waiting[len(group) :]
        with ThreadPoolExecutor(jobs if len(group) > 1 else 1) as pool:
            for entry in pool.map(lambda task: _run_task(task, out, end), group):
                entries.append(entry)
        _archive(out)
    return entries


def _first_group(tasks: list[Task]) -> list[Task]:
    """Return the first task, with those after it that run in parallel with it."""
    count = 1
    while tasks[0].group and count < len(tasks) and tasks[count].group == tasks[0].group:
        count += 1
    return tasks[:count]


def _run_task(task: Task, out: Path, end: float) -> dict[str, Any]:
    limit = min(task.seconds, end - time.monotonic())
    if limit < 1:
        print(f"{task.name}: not started, the time is up", flush=True)
        return {"task": task.name, "exit_code": None, "seconds": 0.0, "reason": "not started"}
    log = out / "logs" / (re.sub(r"[^\w.-]+", "_", task.name) + ".log")
    log.parent.mkdir(exist_ok=True)
    path = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PARTAE_PATIENCE": str(task.patience)}
    start = time.monotonic()
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                task.command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            output.write(str(error).encode())
            return _note(task, out, {"exit_code": 127, "seconds": 0.0, "reason": str(error)}, "")
        reason = None
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            reason = f"stopped after {limit:.0f} s"
            _stop(process)
    text = log.read_text(errors="replace")
    if reason is None and process.returncode != 0:
        reason = (text.strip().splitlines() or ["no output"])[-1]
    about = {"exit_code": process.returncode, "seconds": round(time.monotonic() - start, 1), "reason": reason}
    return _note(task, out, about, text)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a task and all processes that it started; a kernel that hangs ends with its process."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(KILL_SECONDS)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _note(task: Task, out: Path, about: dict[str, Any], text: str) -> dict[str, Any]:
    """Append how a task ended, and its rows, to the files, with one system call for each file."""
    entry = {"task": task.name, **about}
    rows = [json.loads(line.removeprefix(ROW)) for line in text.splitlines() if line.startswith(ROW)]
    for name, lines in (("rows.jsonl", [{"task": task.name, **row} for row in rows]), ("tasks.jsonl", [entry])):
        if lines:
            with open(out / name, "ab", buffering=0) as file:
                file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
    ending = "" if about["exit_code"] == 0 else f": FAILED, {about['reason']}"
    print(f"{task.name} ({about['seconds']} s){ending}", flush=True)
    return entry


def _archive(out: Path) -> None:
    """Write an archive of the folder into the folder, in place of the earlier archive."""
    part = out / (ARCHIVE + ".part")
    with tarfile.open(part, "w:gz") as archive:
        for path in sorted(out.rglob("*")):
            if path.is_file() and path.name not in (ARCHIVE, part.name):
                archive.add(path, path.relative_to(out))
    part.replace(out / ARCHIVE)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the results")
    parser.add_argument("--call", choices=CALLS, action="append", help="run the tasks of this call (default: all)")
    parser.add_argument("--tasks", metavar="REGEX", help="run only tasks whose name matches")
    parser.add_argument(
        "--seconds", type=float, default=CALL_SECONDS, help="time limit in seconds (default %(default)g)"
    )
    parser.add_argument("--jobs", type=int, default=12, help="untimed tasks run in parallel (default %(default)s)")
    parser.add_argument("--list", action="store_true", help="print the names of the tasks and exit")
    args = parser.parse_args(arguments)
    tasks = [t for t in tasks_of(args.call or [*CALLS], args.folder) if re.search(args.tasks or "", t.name)]
    if args.list:
        print(*(f"{task.name} (at most {task.seconds:g} s)" for task in tasks), sep="\n")
        return 0
    entries = run_tasks(tasks, args.folder, args.seconds, args.jobs)
    failed = [entry["task"] for entry in entries if entry["exit_code"] != 0]
    print(
        f"{len(tasks) - len(failed)} of {len(tasks)} tasks succeeded"
        + (f"; failed or not started: {', '.join(failed)}" * bool(failed))
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
