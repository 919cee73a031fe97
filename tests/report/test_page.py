"""The page as HTML: its contents, accessibility, safety and errors."""

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


class ParsedPage(HTMLParser):
    """Tags of a page with their attributes, in order, and its visible text."""

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
    """Return a function that runs `partae report` and returns the exit code, the parsed page or None, and stderr."""

    def run(*arguments, out="a.html"):
        code = cli.main(["report", "m.safetensors", *map(str, arguments), "--out", out])
        html = (here / out).read_text(encoding="utf-8") if code == 0 else None
        return code, html and ParsedPage(html), capsys.readouterr().err

    return run


def test_a_page_has_a_picture_and_three_players_for_each_input_and_the_settings(report):
    files.write("other.flac", np.stack([sound(2), sound(2)], axis=1), RATE)
    code, page, _ = report("song.wav", "other.flac", "--title", "June & July", "--reduction", "20")
    assert code == 0
    assert len(page.all("img")) == 2 and len(page.all("audio")) == 6
    for text in (
        "June & July",
        "3 s at 22.05 kHz; shown completely.",
        "2 s at 22.05 kHz, the first of 2 channels; shown completely.",
        "Nothing is attenuated by more than 20 dB.",
        "conv_partitioned",
        "spectrogram: high 7200",
        "louder than the file.",
    ):
        assert text in page.text, text
    assert page.all("title") and f"SHA-256 {pf.models.storage.describe('m.safetensors')['sha256']}" in page.text


def test_a_page_loads_nothing(report):
    _, page, _ = report("song.wav")
    links = [value for _, tags in page.tags for name, value in tags.items() if name in ("src", "href", "srcset")]
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert not page.all("link") and not page.all("iframe")
    policy = next(tag["content"] for tag in page.all("meta") if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_a_page_is_accessible(report):
    files.write("other.wav", sound(1), RATE)
    _, page, _ = report("song.wav", "other.wav")
    assert page.all("html")[0]["lang"] == "en"
    assert any(tag.get("name") == "viewport" for tag in page.all("meta"))
    assert [tag for tag, _ in page.tags if re.fullmatch(r"h\d", tag)] == ["h1", "h2", "h2", "h2"]
    for image in page.all("img"):
        assert "Spectrograms" in image["alt"] and "dB" in image["alt"]
    assert all("controls" in player and player["aria-label"] for player in page.all("audio"))
    anchors = {tag["href"] for tag in page.all("a")}
    assert anchors == {f"#{tag['id']}" for tag in page.all("section") if "id" in tag}


def test_file_names_are_escaped(report):
    os.rename("song.wav", HOSTILE)
    code, page, _ = report(HOSTILE)
    assert code == 0 and HOSTILE in page.text
    assert len(page.all("script")) == 1 and not any("onerror" in tag for _, tag in page.tags)


def test_file_names_that_are_not_utf_8_have_replacement_characters(report):
    name = os.fsdecode(b"d\xe9j\xe0.wav")
    try:
        os.rename("song.wav", name)
    except OSError:
        pytest.skip("this file system accepts UTF-8 names only")
    code, page, _ = report(name)
    assert code == 0 and "d\N{REPLACEMENT CHARACTER}j\N{REPLACEMENT CHARACTER}.wav" in page.text


def test_a_page_names_the_excerpt_of_a_long_recording(report):
    _, page, err = report("song.wav", "--seconds", "1.5")
    assert "1.5 s from 1 s are shown, where the signal is loudest." in page.text and "where the signal" in err
    _, page, _ = report("song.wav", "--start", "1.25", "--slower", "4", out="b.html")
    assert "1.75 s from 1.25 s are shown, chosen by the author." in page.text and "and 4 times slower" in page.text


def test_labels_give_the_attenuation_of_noise(report):
    Path("song.txt").write_text("1.0\t2.0\tsong\n")
    _, page, _ = report("song.wav", "--labels", "song.txt")
    assert "Marked in cyan: 1 labelled event" in page.text
    assert "1.8 s of it are at least 0.1 s away from every label" in page.text
    scores = re.search(
        r"noise-only audio is attenuated by ([\d.]+) dB audio that may contain signal keeps (\S+) dB of its energy",
        page.text,
    )
    assert float(scores[1]) > 6 and float(scores[2]) > -10
    _, page, _ = report("song.wav", "--labels", "song.txt", "--start", "1.2", "--seconds", "0.5", out="b.html")
    assert "noise-only" not in page.text and "1 labelled event" in page.text  # there is no noise-only time


@pytest.mark.parametrize(
    ("arguments", "out", "message"),
    [
        (["song.wav"], "a.txt", "the name of a page must end in .html"),
        (["song.wav"], "no/a.html", "does not exist"),
        (["song.wav"], "there.html", "exists already"),
        (["gone.wav"], "a.html", "no such file"),
        (["song.wav", "bad.wav"], "a.html", "bad.wav: not usable as audio"),
        (["song.wav", "--start", "9"], "a.html", "song.wav: start is 9 s, but the recording lasts 3.0 s"),
        (["song.wav", "--start", "nan"], "a.html", "start is nan; it must be 0 or more"),
        (["song.wav", "--seconds", "0"], "a.html", "seconds is 0; it must be above 0"),
        (["song.wav", "--slower", "-1"], "a.html", "slower is -1; it must be above 0"),
        (["song.wav", "--reduction", "-1"], "a.html", "reduction is -1"),
        (["song.wav", "--labels", "m.safetensors"], "a.html", "m.safetensors"),
    ],
)
def test_an_error_is_one_line_and_leaves_no_page(report, here, arguments, out, message):
    (here / "there.html").write_text("mine")
    (here / "bad.wav").write_text("no audio")
    before = sorted(here.iterdir())
    code, _, err = report(*arguments, "--quiet", out=out)
    assert code == 2 and message in err and err.count("\n") == 1 and err.startswith("partae report: ")
    assert sorted(here.iterdir()) == before and (here / "there.html").read_text() == "mine"


def test_an_existing_page_is_replaced_with_overwrite(report, here):
    (here / "a.html").write_text("old")
    assert report("song.wav", "--overwrite")[0] == 0


def test_a_page_too_large_for_mail_logs_a_warning(report, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 1e5)
    _, _, err = report("song.wav", "--quiet")
    assert "a.html: is" in err and "too large for most mail servers" in err


def test_folders_of_recordings_are_accepted(report, here):
    (here / "june" / "night").mkdir(parents=True)
    (here / "june" / "a.wav").write_bytes((here / "song.wav").read_bytes())
    (here / "june" / "night" / "b.wav").write_bytes((here / "song.wav").read_bytes())
    (here / "june" / "notes.txt").write_text("rain from four")
    code, page, _ = report("june", "song.wav", "--seconds", "0.5")
    assert code == 0 and all(name in page.text for name in ("a.wav", "b.wav", "song.wav"))
