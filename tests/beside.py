"""Long checks in processes of their own, begun when the session begins, on the core that it leaves idle.

A test is marked with what Python is told, and what is set in its environment, and waits for the end of it:

    @pytest.mark.beside("-m", "tests.long", "--thorough", TRITON_INTERPRET="1")
    def test_long(beside):
        assert beside().returncode == 0
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest


class Processes:
    """Runs the processes of marks one after another, each once, in the order in which they were asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._executor = ThreadPoolExecutor(1)
        self._found: dict[tuple, Future[subprocess.CompletedProcess[str]]] = {}
        self._lock, self._running, self._stopped = threading.Lock(), None, False

    def begin(self, marks: Iterable[pytest.Mark]) -> None:
        for mark in marks:
            self._future(mark)

    def result(self, mark: pytest.Mark) -> subprocess.CompletedProcess[str]:
        return self._future(mark).result()

    def stop(self) -> None:
        """End what runs and forget the rest."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                self._running.kill()
        self._executor.shutdown(cancel_futures=True)

    def _future(self, mark: pytest.Mark) -> Future[subprocess.CompletedProcess[str]]:
        key = mark.args, tuple(mark.kwargs.items())
        if key not in self._found:
            self._found[key] = self._executor.submit(self._run, mark.args, mark.kwargs)
        return self._found[key]

    def _run(self, arguments: tuple[str, ...], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        given = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        pipe = subprocess.PIPE
        with self._lock:
            if self._stopped:
                raise RuntimeError("the session is over")
            process = subprocess.Popen(command, cwd=self._folder, env=given, stdout=pipe, stderr=pipe, text=True)
            self._running = process
        out, err = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, out, err)
