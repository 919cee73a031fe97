"""Signals: SIGTERM leaves what Ctrl-C leaves, and both say so by the exit code that shells expect."""

import os
import signal

import pytest

from partae_fast import cli
from partae_fast.cli import info


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_verb_by_way_of_its_clean_up(monkeypatch, capsys, number, code):
    cleaned = []

    def run(args):
        try:
            os.kill(os.getpid(), number)
            pytest.fail("the signal was not served")
        finally:
            cleaned.append(True)

    monkeypatch.setattr(info, "run", run)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["info"]) == code
    assert cleaned and capsys.readouterr().err == "partae info: stopped\n"
    assert signal.getsignal(signal.SIGTERM) == before
