"""The page as a file: it holds all that it shows, says what was done, and is readable without pictures or scripts."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import partae_fast as pf
from partae_fast import cli
from partae_fast.audio import files
from partae_fast.report import page as module

from .conftest import RATE, sound

HOSTILE = """<script>window.injected=1<script>" onerror='x' &amp; $m$.wav"""


class Read(HTMLParser):
    """Tags with their attributes, in order, and all text that is shown."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self._hidden = [], "", False
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._hidden = False
        self.text += " " if tag in ("th", "td") else ""

    def handle_data(self, data):
        self.text += "" if self._hidden else data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def report(here, capsys):
    """report(...) -> exit code, the page that was read or None, stderr."""

    def run(*arguments, out="a.html"):
        code = cli.main(["report", "m.safetensors", *map(str, arguments), "--out", out])
        html = (here / out).read_text(encoding="utf-8") if code == 0 else None
        return code, html and Read(html), capsys.readouterr().err

    return run


def test_it_has_a_picture_and_three_players_for_each_input_and_the_models_settings(report):
    files.write("other.flac", np.stack([sound(2), sound(2)], axis=1), RATE)
    code, found, _ = report("song.wav", "other.flac", "--title", "June & July", "--reduction", "20")
    assert code == 0
    assert len(found.all("img")) == 2 and len(found.all("audio")) == 6
    for text in (
        "June & July",
        "3 s at 22.05 kHz; all of it is shown.",
        "2 s at 22.05 kHz, the first of 2 channels; all of it is shown.",
        "Nothing is attenuated by more than 20 dB.",
        "conv_partitioned",
        "spectrogram: high 7200",
        "louder than the file.",
    ):
        assert text in found.text, text
    assert found.all("title") and f"SHA-256 {pf.models.storage.describe('m.safetensors')['sha256']}" in found.text


def test_it_loads_nothing_from_anywhere(report):
    _, found, _ = report("song.wav")
    places = [value for _, tags in found.tags for name, value in tags.items() if name in ("src", "href", "srcset")]
    assert places and all(place.startswith(("data:", "#")) for place in places)
    assert not found.all("link") and not found.all("iframe")
    policy = next(tag["content"] for tag in found.all("meta") if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_it_is_readable_without_eyes_or_scripts_and_on_a_phone(report):
    files.write("other.wav", sound(1), RATE)
    _, found, _ = report("song.wav", "other.wav")
    assert found.all("html")[0]["lang"] == "en"
    assert any(tag.get("name") == "viewport" for tag in found.all("meta"))
    assert [tag for tag, _ in found.tags if re.fullmatch(r"h\d", tag)] == ["h1", "h2", "h2", "h2"]
    for image in found.all("img"):
        assert "spectrograms" in image["alt"] and "dB" in image["alt"]
    assert all("controls" in player and player["aria-label"] for player in found.all("audio"))
    anchors = {tag["href"] for tag in found.all("a")}
    assert anchors == {f"#{tag['id']}" for tag in found.all("section") if "id" in tag}


def test_names_of_files_are_text_and_never_markup(report):
    os.rename("song.wav", HOSTILE)
    code, found, _ = report(HOSTILE)
    assert code == 0 and HOSTILE in found.text
    assert len(found.all("script")) == 1 and not any("onerror" in tag for _, tag in found.tags)


def test_a_name_that_is_no_text_is_shown_as_far_as_it_is(report):
    name = os.fsdecode(b"d\xe9j\xe0.wav")
    try:
        os.rename("song.wav", name)
    except OSError:
        pytest.skip("this file system has names of UTF-8 alone")
    code, found, _ = report(name)
    assert code == 0 and "d\N{REPLACEMENT CHARACTER}j\N{REPLACEMENT CHARACTER}.wav" in found.text


def test_of_a_long_recording_it_says_what_is_shown(report):
    _, found, err = report("song.wav", "--seconds", "1.5")
    assert "1.5 s from 1 s on are shown, where the signal is loudest." in found.text and "where the signal" in err
    _, found, _ = report("song.wav", "--start", "1.25", "--slower", "4", out="b.html")
    assert "1.75 s from 1.25 s on are shown, chosen by hand." in found.text and "and 4 times slower" in found.text


def test_labels_tell_how_much_noise_is_taken_away(report):
    Path("song.txt").write_text("1.0\t2.0\tsong\n")
    _, found, _ = report("song.wav", "--labels", "song.txt")
    assert "Marked in cyan: 1 labelled event" in found.text
    assert "1.8 s of it lie outside every label, by 0.1 s at least" in found.text
    told = re.search(
        r"noise-only audio is attenuated by ([\d.]+) dB audio that may contain signal keeps (\S+) dB of its energy",
        found.text,
    )
    assert float(told[1]) > 6 and float(told[2]) > -10
    _, found, _ = report("song.wav", "--labels", "song.txt", "--start", "1.2", "--seconds", "0.5", out="b.html")
    assert "labels say" not in found.text and "1 labelled event" in found.text  # there is no noise-only time


@pytest.mark.parametrize(
    ("arguments", "out", "told"),
    [
        (["song.wav"], "a.txt", "must end in .html"),
        (["song.wav"], "no/a.html", "does not exist"),
        (["song.wav"], "there.html", "exists already"),
        (["gone.wav"], "a.html", "no such file"),
        (["song.wav", "bad.wav"], "a.html", "bad.wav: not usable as audio"),
        (["song.wav", "--start", "9"], "a.html", "song.wav: lasts 3.0 s and has no 9 s"),
        (["song.wav", "--start", "nan"], "a.html", "start is nan; it must be 0 or more"),
        (["song.wav", "--seconds", "0"], "a.html", "seconds is 0; it must be above 0"),
        (["song.wav", "--slower", "-1"], "a.html", "slower is -1; it must be above 0"),
        (["song.wav", "--reduction", "-1"], "a.html", "reduction is -1"),
        (["song.wav", "--labels", "m.safetensors"], "a.html", "m.safetensors"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_no_page_is_left(report, here, arguments, out, told):
    (here / "there.html").write_text("mine")
    (here / "bad.wav").write_text("no audio")
    before = sorted(here.iterdir())
    code, _, err = report(*arguments, "--quiet", out=out)
    assert code == 2 and told in err and err.count("\n") == 1 and err.startswith("partae report: ")
    assert sorted(here.iterdir()) == before and (here / "there.html").read_text() == "mine"


def test_a_page_that_exists_is_replaced_on_request(report, here):
    (here / "a.html").write_text("old")
    assert report("song.wav", "--overwrite")[0] == 0


def test_a_page_too_large_for_mail_is_warned_of(report, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 1e5)
    _, _, err = report("song.wav", "--quiet")
    assert "a.html: is" in err and "more than most mail takes" in err
