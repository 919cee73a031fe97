"""Signals: SIGTERM and a terminal that closes leave what Ctrl-C leaves, and say so by the exit code shells expect."""

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
def test_a_signal_stops_a_verb_by_way_of_its_clean_up(monkeypatch, capsys, number, code):
    cleaned = []

    def run(args):
        try:
            os.kill(os.getpid(), number)
            pytest.fail("the signal was not served")
        finally:
            cleaned.append(True)

    monkeypatch.setattr(info, "run", run)
    before = signal.getsignal(number)
    assert cli.main(["info"]) == code
    assert cleaned and capsys.readouterr().err == "partae info: stopped\n"
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_what_puts_ctrl_c_off_puts_sigterm_off(monkeypatch, capsys, number, code):
    done = []

    def run(args):
        with deferred_interrupt() as interrupted:
            os.kill(os.getpid(), number)
            done.append("the update that was under way")
            assert len(interrupted) == 1
        raise KeyboardInterrupt("stopped; go on with --resume")

    monkeypatch.setattr(info, "run", run)
    assert cli.main(["info"]) == code
    assert done and capsys.readouterr().err == "partae info: stopped; go on with --resume\n"


@pytest.mark.parametrize("put_off", [contextlib.nullcontext, uninterrupted], ids=["at once", "put off"])
def test_a_job_that_ignores_ctrl_c_is_stopped_by_sigterm_all_the_same(monkeypatch, capsys, put_off):
    done = []

    def run(args):
        with put_off():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("what was under way")
        pytest.fail("the signal was not served")

    monkeypatch.setattr(info, "run", run)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert cli.main(["info"]) == 143
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "partae info: stopped\n" and len(done) == (put_off is uninterrupted)


def test_a_second_ctrl_c_is_not_put_off(monkeypatch, capsys):
    def run(args):
        with deferred_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            with deferred_interrupt() as inner:  # changes nothing
                os.kill(os.getpid(), signal.SIGINT)
            pytest.fail(f"the signal was not served: {inner}")

    monkeypatch.setattr(info, "run", run)
    assert cli.main(["info"]) == 130 and capsys.readouterr().err == "partae info: stopped\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_others_stay(monkeypatch):
    """Of nohup, and of a program that calls `main` as a function."""
    seen = []
    monkeypatch.setattr(info, "run", lambda args: seen.append(signal.getsignal(signal.SIGHUP)) or 0)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert cli.main(["info"]) == 0
        assert seen == [signal.SIG_IGN] and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
