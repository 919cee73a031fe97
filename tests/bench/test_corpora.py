"""The scripts of corpora: packages, licences, manifests, MIDI in stems, and the layouts for `partae reproduce`."""

import csv
import hashlib
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from partae_fast.bench.corpora import blanket, common, freedoom, klettres, layouts, midi
from partae_fast.bench.corpora.__main__ import CORPORA
from partae_fast.bench.corpora.common import Corpus, Recording
from partae_fast.errors import UserError
from partae_fast.experiments import grais2017, hetherly2018, kim2015, stowell2015

RATE = 16000
PERSONS = ("en_US_f_Ann", "es_MX_f_Ann", "fr_FR_m_Bob", "it_IT_m_Cy", "ru_RU_f_Di")
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020, Ann
Comment: not the licence:
 License: none
License: GPL-3+

Files:
 data/rain.ogg
 data/wind.ogg
Copyright:
 Bob
License: CC0-1.0
Comment: https://example.org

License: CC0-1.0
 The text of the licence.
"""


def tone(seconds=0.5, frequency=440.0, rate=RATE):
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)


@pytest.fixture
def root(tmp_path):
    """Return the folder of an unpacked package with a copyright file."""
    document = tmp_path / "unpacked" / "usr/share/doc/sounds/copyright"
    document.parent.mkdir(parents=True)
    document.write_text(COPYRIGHT)
    return tmp_path / "unpacked"


def test_licences_are_read_by_pattern(root):
    assert common.licences(root) == {"*": "GPL-3+", "data/rain.ogg": "CC0-1.0", "data/wind.ogg": "CC0-1.0"}


def test_a_changed_licence_is_noticed(root):
    assert common.licence_with(root, "The text of the licence.", "free") == "free"
    with pytest.raises(UserError, match="lacks 'to deal in the Software'; read the licence"):
        common.licence_with(root, "to deal in the Software", "MIT")


def deb(root, folder, name="klettres-data"):
    """Pack a folder as a Debian package, as if it had been downloaded."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("no dpkg-deb")
    (root / "DEBIAN").mkdir()
    control = (
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: Ann <ann@example.org>\nDescription: sounds\n"
    )
    (root / "DEBIAN" / "control").write_text(control)
    folder.mkdir(parents=True)
    subprocess.run(["dpkg-deb", "-b", str(root), str(folder / f"{name}_1_all.deb")], check=True, capture_output=True)


def test_a_corpus_is_made_from_its_package(root, tmp_path, capsys):
    sounds = root / "usr/share/klettres"
    write(sounds / "de/alpha/a.ogg", np.stack([tone(rate=44100), tone(rate=44100)], 1), 44100)
    write(sounds / "de/syllab/ab.ogg", tone(0.25, rate=8000), 8000)
    write(sounds / "fr/alpha/a.ogg", np.zeros(8000))
    deb(root, tmp_path / "corpora" / "packages")
    assert common.make(klettres.CORPUS, tmp_path / "corpora")
    assert "klettres: 2 files, 1 sources, 0.0 min, made in" in capsys.readouterr().out
    made = tmp_path / "corpora" / "klettres"
    with open(made / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["source"], row["licence"], row["corpus"], row["rate"]) for row in rows] == [
        ("de/alpha-a.flac", "de", "GPL-3+", "klettres", "16000"),
        ("de/syllab-ab.flac", "de", "GPL-3+", "klettres", "8000"),
    ]
    assert [float(row["seconds"]) for row in rows] == pytest.approx([0.5, 0.25], abs=0.01)
    for row in rows:
        assert row["sha256"] == hashlib.sha256((made / row["file"]).read_bytes()).hexdigest()
    samples, _ = soundfile.read(made / rows[0]["file"])
    assert samples.ndim == 1 and np.abs(np.fft.rfft(samples)).argmax() == 220
    assert (made / "copyright-klettres-data.txt").read_text() == COPYRIGHT
    assert not list((tmp_path / "corpora").glob(".klettres*"))
    assert common.make(klettres.CORPUS, tmp_path / "corpora")
    assert "klettres: is there already: 2 files" in capsys.readouterr().out


def test_what_cannot_be_had_is_skipped_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    for corpus in CORPORA.values():
        assert not common.make(corpus, tmp_path / "corpora")
    lines = capsys.readouterr().out.splitlines()
    assert "blanket: skipped: needs gresource; apt-get install libglib2.0-bin" in lines
    assert "klettres: skipped: needs apt-get and dpkg-deb, of Debian or Ubuntu" in lines
    assert {line.partition(":")[0] for line in lines} == set(CORPORA)


def fake_apt(folder, body):
    script = folder / "apt-get"
    script.write_text(f"#!{sys.executable}\nimport sys, pathlib\narguments = sys.argv[1:]\n{body}")
    script.chmod(0o755)
    (folder / "dpkg-deb").symlink_to("/bin/false")


def test_a_package_of_another_release_is_fetched_with_lists_of_its_own(tmp_path, monkeypatch):
    log = tmp_path / "log"
    fake_apt(
        tmp_path,
        f"""
with open({str(log)!r}, "a") as file: print(*arguments, file=file)
if "indextargets" in arguments: print("http://mirror.example/debian/")
if "download" in arguments and "-o" in arguments: pathlib.Path("blanket_1_all.deb").touch()
""",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(common, "_KEYRING", tmp_path / "log")
    log.touch()
    packages = tmp_path / "packages"
    packages.mkdir()
    assert common.fetch("blanket", packages) == packages / "blanket_1_all.deb"
    calls = log.read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["blanket", "Debian", "update", "blanket"]
    lists = packages / "apt-stable"
    assert f"Dir::State::lists={lists}/lists" in calls[-1] and f"Dir::Etc::sourcelist={lists}/sources.list" in calls[-1]
    assert "http://mirror.example/debian/ stable main" in (lists / "sources.list").read_text()
    log.write_text("")
    common.fetch("blanket", packages)
    assert log.read_text() == ""  # it is there


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    fake_apt(tmp_path, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(common.Unavailable, match="no package klettres-data; run apt-get update"):
        common.fetch("klettres-data", tmp_path)


def test_files_without_a_header_are_decoded(tmp_path):
    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg")
    sources = [tmp_path / f"{number:02d}.g722" for number in range(common._BATCH + 1)]
    write(tmp_path / "tone.wav", tone())
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "tone.wav", sources[0]], check=True)
    for path in sources[1:]:
        shutil.copy(sources[0], path)
    sources[1].write_bytes(b"")
    decoded = {}
    for source, wave in common.decode(sources, "g722", tmp_path):
        decoded[source] = soundfile.read(wave)
    assert list(decoded) == [sources[0], *sources[2:]]
    for samples, rate in decoded.values():
        assert rate == RATE and np.abs(np.fft.rfft(samples[:8000])).argmax() == 220


def variable(number):
    return bytes([number >> 7 | 0x80, number & 0x7F]) if number > 127 else bytes([number])


def track(*events):
    content = b"".join(variable(delta) + bytes(message) for delta, message in events) + b"\x00\xff\x2f\x00"
    return b"MTrk" + struct.pack(">I", len(content)) + content


def song():
    """Return a MIDI file: drums, a bass, single high notes, chords, and the times of the notes."""
    tempo = track((0, [0xFF, 0x51, 3, 7, 161, 32]), (0, [0xF0, 2, 1, 0xF7]))
    drums = track((0, [0x99, 36, 100]), (96, [36, 0]), (200, [38, 90]), (96, [0x89, 38, 0]))  # with running status
    low = track((0, [0xC1, 33]), (0, [0x91, 40, 80]), (480, [0x81, 40, 0]))
    high = track((0, [0xC2, 73]), (0, [0x92, 72, 80]), (480, [0x82, 72, 0]), (0, [0x92, 74, 80]), (480, [0x82, 74, 0]))
    chords = [(0, [0xB3, 7, 100]), (0, [0x93, 60, 80]), (0, [64, 80]), (480, [60, 0]), (0, [64, 0])]
    return b"MThd" + struct.pack(">IHHH", 6, 1, 5, 480) + tempo + drums + low + high + track(*chords)


def test_notes_of_a_midi_file_are_read():
    notes = [(note.start, note.end, note.instrument, note.pitch) for note in midi.notes_of(song())]
    assert sorted(notes) == [
        (0, 96, (9, 0), 36),
        (0, 480, (1, 33), 40),
        (0, 480, (2, 73), 72),
        (0, 480, (3, 0), 60),
        (0, 480, (3, 0), 64),
        (296, 392, (9, 0), 38),
        (480, 960, (2, 73), 74),
    ]
    with pytest.raises(UserError, match="not a MIDI file"):
        midi.notes_of(b"RIFF")


def test_stems_share_out_the_notes():
    content = song()
    notes = midi.notes_of(content)
    stems = midi.stems_of(notes)
    pitches = {stem: sorted(note.pitch for note in own) for stem, own in stems.items()}
    assert pitches == {"drums": [36, 38], "bass": [40], "vocals": [72, 74], "other": [60, 64]}
    silent = midi.muted(content, stems["drums"] + stems["bass"])
    assert len(silent) == len(content)
    assert sorted(note.pitch for note in midi.notes_of(silent)) == [60, 64, 72, 74]


FLUIDSYNTH = """
import sys, wave
name, song = sys.argv[sys.argv.index("-F") + 1], open(sys.argv[-1], "rb").read()
# A tone, longer for drums, if a note is not muted: its pitch and velocity are 36 and 100, and so on.
loud = sum(song.count(bytes([pitch, 100])) for pitch in (36, 40, 72, 60))
samples = [int(12000 * (-1) ** (n // 20)) for n in range(4000 + 10 * song.count(bytes([36, 100])))]
with wave.open(name, "wb") as file:
    file.setnchannels(1); file.setsampwidth(2); file.setframerate(44100)
    file.writeframes(b"".join((n if loud else 0).to_bytes(2, "little", signed=True) for n in samples))
"""


def test_stems_are_rendered_at_equal_lengths_and_below_full_scale(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "fluidsynth"
    program.write_text(f"#!{sys.executable}\n{FLUIDSYNTH}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    parts = []
    for channel, program_number, pitch in ((9, 0, 36), (1, 33, 40), (2, 73, 72), (3, 0, 60)):
        events = [(0, [0xC0 | channel, program_number])]
        for _ in range(25):
            # The third instrument plays single notes; the fourth plays chords.
            events += [(0, [0x90 | channel, pitch, 100])] + [(0, [pitch + 4, 100])] * (channel == 3)
            events += [(100, [pitch, 0])] + [(0, [pitch + 4, 0])] * (channel == 3)
        parts.append(track(*events))
    content = b"MThd" + struct.pack(">IHHH", 6, 1, len(parts), 480) + b"".join(parts)
    assert midi.render(content, tmp_path, tmp_path / "song")
    stems = {stem: soundfile.read(tmp_path / "song" / f"{stem}.flac") for stem in midi.STEMS}
    assert {(len(samples), rate) for samples, rate in stems.values()} == {(4250, 44100)}
    assert np.abs(sum(samples for samples, _ in stems.values())).max() == pytest.approx(0.9, abs=0.001)
    assert np.abs(stems["bass"][0][4000:]).max() == 0 < np.abs(stems["drums"][0][4000:]).max()


def test_a_song_without_bass_is_left_out(tmp_path):
    assert not midi.render(song(), tmp_path, tmp_path / "song") and not (tmp_path / "song").exists()


def test_music_is_found_in_an_archive():
    lumps = [(b"THINGS", b"abc"), (b"D_E1M1", b"MThd1"), (b"D_RUNNIN", b"MThd22")]
    content, directory = b"", b""
    for name, lump in lumps:
        directory += struct.pack("<ii8s", 12 + len(content), len(lump), name)
        content += lump
    archive = b"IWAD" + struct.pack("<ii", len(lumps), 12 + len(content)) + content + directory
    assert list(freedoom._music(archive)) == [("e1m1", b"MThd1"), ("runnin", b"MThd22")]


def corpus(folder, name, sources, seconds, rate=RATE):
    """Write a corpus with two files of noise for each source."""

    def build(packages, made):
        for number, path in enumerate(sources):
            noise = np.random.default_rng(number).normal(0, 0.1, round(seconds * rate))
            write(made / f"{path}.flac", noise, rate)
            source = Path(path).stem if name in ("freedoom", "openmsx") else Path(path).parent.name
            yield Recording(f"{path}.flac", source, "CC0")

    target = folder / name
    common._write_manifest(Corpus(name, "", (), build), target, build({}, target))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return a folder of small corpora and their layouts."""
    folder = tmp_path_factory.mktemp("corpora")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "_LEAST", 0.5)
        patch.setattr(layouts, "_LEAST_NOISE", 5.0)
        patch.setattr(layouts, "_SECONDS", {"kim2015": 1.0, "hetherly2018": 2.0})
        corpus(folder, "asterisk", [f"{name}/{file}" for name in PERSONS for file in "pqrs"], 0.5)
        corpus(folder, "klettres", [f"{name}/{file}" for name in ("da", "sr@latin") for file in "pq"], 0.5)
        corpus(folder, "ktuberling", [f"{name}/a" for name in ("da", "sr")], 0.5)
        corpus(folder, "blanket", [f"{name}/{name}" for name in ("birds", "fireplace", "rain", "wind")], 8.0, 22050)
        for name in ("freedoom", "openmsx"):
            stems = ("drums", "bass", "vocals", "other")
            corpus(folder, name, [f"{song}/{stem}" for song in "xyz" for stem in stems], 0.2, 44100)
        counts = layouts.make(folder)
    return folder, counts


def test_layouts_are_relative_links_to_the_corpora(prepared):
    folder, counts = prepared
    assert set(counts) == {"kim2015", "hetherly2018", "stowell2015", "lusterman2016", "grais2017"}
    links = [path for name in counts for path in (folder / name).rglob("*.flac")]
    assert len(links) == sum(counts.values())
    assert all(path.is_symlink() and not path.readlink().is_absolute() and path.is_file() for path in links)
    speakers = {path.name: len(list(path.iterdir())) for path in (folder / "kim2015" / "clean").iterdir()}
    # Files for about 1 s of each: of the eight of Ann every fourth. Both corpora have one source for a language.
    assert speakers == {"Ann": 2, "Bob": 2, "Cy": 2, "Di": 2, "language_da": 2, "language_sr": 2}
    assert layouts.make(folder).keys() <= set(counts)  # made again in place


def test_experiments_read_the_layouts(prepared):
    folder, _ = prepared
    speech = kim2015.data.load(folder / "kim2015")
    assert list(speech.noises) == ["fireplace", "rain"] and speech.test_kinds == ["wind"]
    assert {pair.voice_name for pair in speech.test_pairs} == {"language_da", "language_sr"}
    voices = hetherly2018.data.load(folder / "hetherly2018", 10000, 1000)
    assert list(voices.out_of_set[0]) == ["Di"] and list(voices.noises) == ["fireplace", "rain", "wind"]
    songs = stowell2015.data.load(folder / "stowell2015")
    assert [noise.name for noise in songs.noises] == ["fireplace", "rain"]
    (stems,) = grais2017.data.load(folder / "grais2017")
    assert stems.sources == ("bass", "drums", "other", "vocals")
    assert [piece.name for piece in stems.test] == ["test/freedoom-y", "test/openmsx-x", "test/openmsx-z"]


def test_every_corpus_has_a_script_and_a_line_in_the_readme():
    folder = Path(common.__file__).resolve().parent
    text = (folder / "README.md").read_text()
    for name in CORPORA:
        assert (folder / f"{name}.py").is_file() and f"| `{name}` |" in text
    assert blanket.CORPUS.programs == (("gresource", "libglib2.0-bin"),)
