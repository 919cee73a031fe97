"""Tests of what all verbs share: help, logging and --debug."""

import shutil

import pytest

import partae_fast as pf
from partae_fast import checked_safetensors, cli


@pytest.mark.parametrize("verb", ["demo", "train", "sweep", "denoise", "verify", "bench", "info"])
def test_each_verb_has_an_example(partae, verb):
    code, out, _ = partae(verb, "--help")
    assert code == 0 and f"\n  partae {verb}" in out


def test_debug_raises_the_error(here):
    with pytest.raises(pf.UserError, match=r"nothere\.wav"):
        cli.main(["info", "nothere.wav", "--debug"])


ESCAPES = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e\r"
HOSTILE = f"song{ESCAPES}\n.wav"


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", HOSTILE),
        ("info", "hostile.safetensors"),
        ("denoise", "m.safetensors", HOSTILE, "--out", f"out{ESCAPES}.wav"),
        ("denoise", "m.safetensors", "in", "--out", f"out{ESCAPES}"),
        ("denoise", "m.safetensors", "gone" + ESCAPES, "--out", "out.wav"),
        ("denoise", "hostile.safetensors", HOSTILE, "--out", "out.wav"),
        ("labels", "a.csv", "--recordings", HOSTILE),
        ("train", HOSTILE, HOSTILE, "--noise", "noise.wav", "--out", f"m{ESCAPES}.safetensors", "--steps", "0"),
        ("report", "m.safetensors", HOSTILE, "--out", f"r{ESCAPES}.html"),
        ("separate", "m.safetensors", HOSTILE, "--out", "out"),
        ("info", "song.wav", f"--{ESCAPES}"),
    ],
    ids=lambda arguments: " ".join(arguments)[:24].encode("unicode_escape").decode(),
)
def test_no_control_character_of_a_name_or_a_model_file_reaches_the_terminal(partae, here, arguments):
    shutil.copy("song.wav", HOSTILE)
    (here / "in").mkdir()
    shutil.copy("song.wav", here / "in" / HOSTILE)
    (here / "in" / f"bad{ESCAPES}.wav").write_text("no audio")
    (here / "a.csv").write_text("file,start,end\n,0.5,1\n")
    file = checked_safetensors.read("m.safetensors")
    settings = {**file.settings, "program": ESCAPES}
    checked_safetensors.write("hostile.safetensors", file.format, file.version, settings, file.tensors)
    code, out, err = partae(*arguments)
    printed = (out + err).replace("\n", "").replace("\t", "")
    assert code in (0, 1, 2) and printed
    assert not [c for c in printed if not c.isprintable()]
