"""`partae train --figure`: a picture beside the model, and a place for it that is looked at before the work begins."""

import json
from pathlib import Path

from .conftest import FAST

TRAIN = ("train", "song.wav", "--noise", "noise.wav", "--out", "new.safetensors", *FAST)


def test_train_draws_what_it_trained(partae):
    code, out, _ = partae(*TRAIN, "--figure", "new.png", "--json")
    assert code == 0 and json.loads(out)["figure"] == "new.png"
    assert Path("new.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_could_not_be_written_stops_training_before_it_begins(partae, here):
    Path("there.png").write_bytes(b"mine")
    for place, reason in (
        ("there.png", "exists already"),
        ("a.gif", "not a format"),
        ("no/a.png", "exist"),
    ):
        code, out, err = partae(*TRAIN, "--figure", place)
        assert (code, out) == (2, "") and reason in err and err.count("\n") == 1
    assert Path("there.png").read_bytes() == b"mine" and not Path("new.safetensors").exists()
    assert not list(here.glob("*.checkpoint*"))
