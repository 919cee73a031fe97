"""Tests of Ctrl-C, SIGTERM and SIGHUP: cleanup, deferral and exit codes."""

import contextlib
import os
import signal

import pytest

from partae_fast import cli
from partae_fast.cli import info
from partae_fast.interrupts import deferred_interrupt, uninterrupted


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_signal_runs_the_cleanup_of_a_verb(monkeypatch, capsys, number, code):
    cleaned = []

    def run(args):
        try:
            os.kill(os.getpid(), number)
            pytest.fail("the signal was not handled")
        finally:
            cleaned.append(True)

    monkeypatch.setattr(info, "run", run)
    own = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, own)  # a process in the background ignores SIGINT, and one under nohup SIGHUP
    try:
        assert cli.main(["info"]) == code
        assert cleaned and capsys.readouterr().err == "partae info: stopped\n"
        assert signal.getsignal(number) == own
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_deferred_interrupt_defers_sigterm(monkeypatch, capsys, number, code):
    done = []

    def run(args):
        with deferred_interrupt() as interrupted:
            os.kill(os.getpid(), number)
            done.append("update")
            assert len(interrupted) == 1
        raise KeyboardInterrupt("stopped; go on with --resume")

    monkeypatch.setattr(info, "run", run)
    assert cli.main(["info"]) == code
    assert done and capsys.readouterr().err == "partae info: stopped; go on with --resume\n"


@pytest.mark.parametrize("context", [contextlib.nullcontext, uninterrupted], ids=["at once", "deferred"])
def test_sigterm_stops_a_job_that_ignores_ctrl_c(monkeypatch, capsys, context):
    done = []

    def run(args):
        with context():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("block")
        pytest.fail("the signal was not handled")

    monkeypatch.setattr(info, "run", run)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert cli.main(["info"]) == 143
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "partae info: stopped\n" and len(done) == (context is uninterrupted)


def test_second_ctrl_c_is_not_deferred(monkeypatch, capsys):
    def run(args):
        with deferred_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            with deferred_interrupt() as inner:  # changes nothing
                os.kill(os.getpid(), signal.SIGINT)
            pytest.fail(f"the signal was not handled: {inner}")

    monkeypatch.setattr(info, "run", run)
    assert cli.main(["info"]) == 130 and capsys.readouterr().err == "partae info: stopped\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_signal_handlers_are_kept(monkeypatch):
    """As under nohup, or in a program that calls `main`."""
    handlers = []
    monkeypatch.setattr(info, "run", lambda args: handlers.append(signal.getsignal(signal.SIGHUP)) or 0)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert cli.main(["info"]) == 0
        assert handlers == [signal.SIG_IGN] and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
