"""Weak labels: what is read, what is refused, and which samples and frames are noise-only."""

import itertools
import logging
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partae_fast.audio import Spectrogram
from partae_fast.errors import UserError
from partae_fast.labels import Event, Rules, Timeline, band, cut, listed, read_audacity


def track(tmp_path, text, name="a.txt"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


PLAIN = "0.5\t1.25\tsong\n2\t3\t\n4.0\t4.0\tpoint\tin time\n"


@pytest.mark.parametrize(
    "change", [str, lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t, lambda t: t.strip()]
)
def test_a_plain_track(tmp_path, change):
    assert read_audacity(track(tmp_path, change(PLAIN))) == [
        Event(0.5, 1.25, "song"),
        Event(2.0, 3.0, ""),
        Event(4.0, 4.0, "point\tin time"),
    ]


def test_times_may_have_a_decimal_comma(tmp_path):
    assert read_audacity(track(tmp_path, "0,5\t1,25\ta\n")) == [Event(0.5, 1.25, "a")]


def test_an_extended_track_may_have_frequencies_for_some(tmp_path):
    text = "1\t2\ta\r\n\\\t2000.5\t4000\r\n3\t4\tb\r\n5\t6\r\n\\\t-1\t900\r\n\r\n"
    assert read_audacity(track(tmp_path, text)) == [
        Event(1, 2, "a", 2000.5, 4000.0),
        Event(3, 4, "b"),
        Event(5, 6, "", None, 900.0),
    ]


def test_labels_keep_any_character(tmp_path):
    assert read_audacity(track(tmp_path, "1\t2\tStrofa\u2028è \x0b鳥\n")) == [Event(1, 2, "Strofa\u2028è \x0b鳥")]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("1\t2\ta\n1.5\n", 2, "start<TAB>end<TAB>label"),
        ("start\tend\tlabel\n", 1, "'start end'"),
        ("0.5.1\t1\ta\n", 1, "'0.5.1 1'"),
        ("1 2 a\n", 1, "start<TAB>end<TAB>label"),
        ("\n2\t1\ta\n", 2, "from 2 to 1 s"),
        ("-1\t1\ta\n", 1, "from -1 to 1 s"),
        ("nan\t1\ta\n", 1, "finite"),
        ("1\tinf\ta\n", 1, "finite"),
        ("\\\t1\t2\n", 1, "must follow a time line"),
        ("1\t2\ta\n\\\t1\t2\n\\\t1\t2\n", 3, "must follow a time line"),
        ("1\t2\ta\n\\\t5000\t2000\n", 2, "must come first"),
        ("1\t2\ta\n\\\t5000\n", 2, "<TAB>low<TAB>high"),
        ("1\t2\ta\n\\\t1\t2\t3\n", 2, "<TAB>low<TAB>high"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, text, line, message):
    path = track(tmp_path, text)
    with pytest.raises(UserError) as refusal:
        read_audacity(path)
    assert str(refusal.value).startswith(f"{path}, line {line}: ")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (os.mkfifo, "not a plain file"),
        (lambda path: path.write_bytes(b"fLaC\x00\xff\xfe\x80"), "is not text"),
    ],
)
def test_a_file_that_is_no_track_is_refused(tmp_path, make, message):
    make(tmp_path / "a.txt")
    with pytest.raises(UserError, match=message):
        read_audacity(tmp_path / "a.txt")


def test_a_track_without_events_is_noise_only_throughout(tmp_path):
    for text in ("", "\n\n"):
        events = read_audacity(track(tmp_path, text))
        timeline = Timeline.from_events(events, 10.0)
        assert timeline.noise == ((0.0, 10.0),)
        assert timeline.noise_samples(100, 10).all()
        assert timeline.noise_frames(100, Spectrogram()).all()


def test_the_guard_lies_around_each_event_and_within_the_recording():
    timeline = Timeline.from_events(
        [Event(6, 10), Event(0.05, 1), Event(3, 4), Event(3.5, 3.6)], 10.0, Rules(guard=0.5)
    )
    assert timeline.signal == ((0.0, 1.5), (2.5, 4.5), (5.5, 10.0))
    assert timeline.noise == ((1.5, 2.5), (4.5, 5.5))


def test_events_whose_guards_meet_are_one():
    assert Timeline.from_events([Event(1, 2), Event(3, 4)], 9.0, Rules(guard=0.5)).signal == ((0.5, 4.5),)
    assert len(Timeline.from_events([Event(1, 2), Event(3, 4)], 9.0, Rules(guard=0.499)).signal) == 2


def test_a_point_label_has_its_guard():
    assert Timeline.from_events([Event(5, 5)], 9.0, Rules(guard=0.25)).signal == ((4.75, 5.25),)


@given(
    spans=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 3)), max_size=8),
    guard=st.floats(0, 1),
    rate=st.integers(1, 100),
)
def test_noise_and_signal_share_out_the_recording(spans, guard, rate):
    events = [Event(start, min(start + length, 10.0)) for start, length in spans]
    timeline = Timeline.from_events(events, 10.0, Rules(guard))
    stretches = sorted([*timeline.signal, *timeline.noise])
    for (_, end), (start, _) in itertools.pairwise(stretches):
        assert end == start
    # Sample by sample, the plain way.
    times = np.arange(10 * rate) / rate
    noise = np.ones(len(times), bool)
    for start, end in timeline.signal:
        noise &= (times < start) | (times > end)
    np.testing.assert_array_equal(timeline.noise_samples(len(times), rate), noise)
    for event in events:
        assert not timeline.noise_samples(len(times), rate)[(times >= event.start) & (times <= event.end)].any()


def test_a_frame_is_noise_only_if_its_whole_window_is():
    spectrogram = Spectrogram(rate=1000, n_fft=100, hop=50, low=0.0, high=None)
    timeline = Timeline.from_events([Event(1.0, 2.0)], 4.0, Rules(guard=0.0))
    # Frame n is centred on 0.05 n s and reaches 0.05 s either way: 19 .. 41 touch 1 .. 2 s.
    assert np.flatnonzero(~timeline.noise_frames(81, spectrogram)).tolist() == list(range(19, 42))


def test_no_part_of_a_loud_event_is_in_a_noise_frame():
    spectrogram = Spectrogram(rate=22050, n_fft=128, hop=64, low=0.0, high=None)
    audio = np.zeros(22050, np.float32)
    audio[5000:7000] = 1.0
    timeline = Timeline.from_events([Event(5000 / 22050, 7000 / 22050)], 1.0, Rules(guard=0.0))
    frames = spectrogram.magnitude(audio)
    noise, rest = cut(frames, timeline.noise_frames(len(frames), spectrogram))
    assert not noise.any()
    assert len(noise) + len(rest) == len(frames)


def test_labels_past_the_end_are_for_another_recording():
    assert Timeline.from_events([Event(8, 10.05)], 10.0).signal == ((7.9, 10.0),)
    with pytest.raises(UserError, match=r"^x.txt: a label ends at 12.000 s and the recording at 10.000 s"):
        Timeline.from_events([Event(1, 2), Event(11, 12)], 10.0, name="x.txt")


@pytest.mark.parametrize("guard", [-0.1, float("nan"), float("inf")])
def test_a_guard_that_is_no_length_is_refused(guard):
    with pytest.raises(UserError, match="guard is"):
        Timeline.from_events([], 10.0, Rules(guard))


def test_cut_keeps_order_and_needs_a_flag_for_each():
    samples = np.arange(6)
    noise, rest = cut(samples, np.array([1, 0, 0, 1, 1, 0], bool))
    assert (noise.tolist(), rest.tolist()) == ([0, 3, 4], [1, 2, 5])
    with pytest.raises(UserError, match="6 samples or frames and 5 flags"):
        cut(samples, np.ones(5, bool))


def test_the_band_holds_every_call():
    assert band([Event(0, 1), Event(1, 2, "", 2000, 5000), Event(2, 3, "", 3000, None)]) == (2000, 5000)
    assert band([Event(0, 1)]) is None
    assert band([Event(0, 1, "", 2000, None)]) is None


def test_a_track_speaks_for_the_only_recording_whatever_its_name(tmp_path):
    path = track(tmp_path, PLAIN)
    assert {p.name: len(events) for p, events in listed(path, ["far/other.wav"]).items()} == {"other.wav": 3}


def test_of_several_recordings_a_track_speaks_for_its_namesake(tmp_path, caplog):
    path = track(tmp_path, PLAIN, "b.audacity.txt")
    with caplog.at_level(logging.INFO, "partae_fast"):
        assert [p.name for p in listed(path, ["a.wav", "b.wav", "bb.wav"])] == ["b.wav"]
    assert "the other recordings are unknown" in caplog.text
    with pytest.raises(UserError, match="0 of the 2 recordings have its name"):
        listed(path, ["a.wav", "c.wav"])
    with pytest.raises(UserError, match="2 of the 2 recordings have its name"):
        listed(path, ["x/b.wav", "y/b.wav"])


def test_the_labels_of_a_field_recording(shared_data):
    events = read_audacity(shared_data("field/spinetail.audacity.txt"))
    assert len(events) == 18
    low, high = band(events)
    assert 2000 < low < 2200
    assert 13_900 < high < 14_000
    timeline = Timeline.from_events(events, 861_799 / 44100)
    # Its gaps are short: a guard must leave enough of them to learn from.
    assert 5.0 < sum(end - start for start, end in timeline.noise) < 5.5
