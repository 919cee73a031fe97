"""Tests of what all verbs share: help, logging and --debug."""

import pytest

import partae_fast as pf
from partae_fast import cli


@pytest.mark.parametrize("verb", ["demo", "train", "sweep", "denoise", "verify", "bench", "info"])
def test_each_verb_has_an_example(partae, verb):
    code, out, _ = partae(verb, "--help")
    assert code == 0 and f"\n  partae {verb}" in out


def test_debug_raises_the_error(here):
    with pytest.raises(pf.UserError, match=r"nothere\.wav"):
        cli.main(["info", "nothere.wav", "--debug"])
