"""Rules and timelines: which stretches, samples and frames are signal, noise-only or unknown."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partae_fast.audio import Spectrogram
from partae_fast.errors import UserError
from partae_fast.labels import Event, Rules, Timeline, band, cut, read_audacity, require_channels, warn_of_overrun


def test_a_recording_without_events_is_noise_only():
    timeline = Timeline.from_events([], 10.0)
    assert timeline.noise == ((0.0, 10.0),)
    assert timeline.noise_samples(100, 10).all()
    assert timeline.noise_frames(100, Spectrogram()).all()
    assert not timeline.signal_frames(100, Spectrogram()).any()


def test_events_have_guards_that_end_with_the_recording():
    timeline = Timeline.from_events(
        [Event(6, 10), Event(0.05, 1), Event(3, 4), Event(3.5, 3.6)], 10.0, Rules(guard=0.5)
    )
    assert timeline.signal == ((0.0, 1.5), (2.5, 4.5), (5.5, 10.0))
    assert timeline.noise == ((1.5, 2.5), (4.5, 5.5))


def test_events_with_adjacent_guards_are_merged():
    assert Timeline.from_events([Event(1, 2), Event(3, 4)], 9.0, Rules(guard=0.5)).signal == ((0.5, 4.5),)
    assert len(Timeline.from_events([Event(1, 2), Event(3, 4)], 9.0, Rules(guard=0.499)).signal) == 2


def test_an_event_without_duration_has_a_guard():
    assert Timeline.from_events([Event(5, 5)], 9.0, Rules(guard=0.25)).signal == ((4.75, 5.25),)


@given(
    spans=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 3)), max_size=8),
    guard=st.floats(0, 1),
    rate=st.integers(1, 100),
)
def test_noise_and_signal_together_are_the_recording(spans, guard, rate):
    events = [Event(start, min(start + length, 10.0)) for start, length in spans]
    timeline = Timeline.from_events(events, 10.0, Rules(guard))
    stretches = sorted([*timeline.signal, *timeline.noise])
    for (_, end), (start, _) in itertools.pairwise(stretches):
        assert end == start
    # The same, computed for each sample.
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
    # Frame n is centred on 0.05 n s with 0.05 s on either side, so frames 19 .. 41 overlap 1 .. 2 s.
    assert np.flatnonzero(~timeline.noise_frames(81, spectrogram)).tolist() == list(range(19, 42))


def test_noise_frames_contain_no_part_of_an_event():
    spectrogram = Spectrogram(rate=22050, n_fft=128, hop=64, low=0.0, high=None)
    audio = np.zeros(22050, np.float32)
    audio[5000:7000] = 1.0
    timeline = Timeline.from_events([Event(5000 / 22050, 7000 / 22050)], 1.0, Rules(guard=0.0))
    frames = spectrogram.magnitude(audio)
    noise, rest = cut(frames, timeline.noise_frames(len(frames), spectrogram))
    assert not noise.any()
    assert len(noise) + len(rest) == len(frames)


def test_events_beyond_the_end_of_the_recording_are_refused():
    assert Timeline.from_events([Event(8, 10.05)], 10.0).signal == ((7.9, 10.0),)
    with pytest.raises(UserError, match=r"^x.txt: a label ends at 12.000 s and the recording at 10.000 s"):
        Timeline.from_events([Event(1, 2), Event(11, 12)], 10.0, name="x.txt")


def test_a_label_that_passes_the_end_a_little_is_cut_or_refused():
    events = [Event(8, 10.15), Event(10.12, 10.2)]
    assert Timeline.from_events(events, 10.0).signal == ((7.9, 10.0),)
    assert Timeline.from_events([Event(8, 12)], 10.0, Rules(overrun=2.0)).signal == ((7.9, 10.0),)
    for overrun in (0.0, 0.14):
        with pytest.raises(
            UserError, match=r"a label ends at 10\.150 s and the recording at 10\.000 s; pass .* overrun"
        ):
            Timeline.from_events(events[:1], 10.0, Rules(overrun=overrun))
    with pytest.raises(UserError, match="overrun is -1"):
        Rules(overrun=-1.0)


def test_a_label_that_is_cut_at_the_end_gives_a_warning(caplog):
    warn_of_overrun([Event(1, 2), Event(8, 10.09)], 10.0, Rules(), "x.wav")
    assert not caplog.records
    warn_of_overrun([Event(1, 2), Event(8, 10.15), Event(9, 10.3)], 10.0, Rules(), "x.wav")
    assert "x.wav: labels pass its end at 10.000 s and are cut there: 2 of 3, the last ends at 10.300 s" in caplog.text
    caplog.clear()
    warn_of_overrun([Event(8, 12)], 10.0, Rules(), "x.wav")  # is refused
    assert not caplog.records


@pytest.mark.parametrize("guard", [-0.1, float("nan"), float("inf")])
def test_an_invalid_guard_is_refused(guard):
    with pytest.raises(UserError, match="guard is"):
        Rules(guard)


def test_cut_keeps_the_order_and_requires_one_flag_per_sample():
    samples = np.arange(6)
    noise, rest = cut(samples, np.array([1, 0, 0, 1, 1, 0], bool))
    assert (noise.tolist(), rest.tolist()) == ([0, 3, 4], [1, 2, 5])
    with pytest.raises(UserError, match="6 samples or frames and 5 flags"):
        cut(samples, np.ones(5, bool))


def test_the_band_contains_all_events():
    assert band([Event(0, 1), Event(1, 2, "", 2000, 5000), Event(2, 3, "", 3000, None)]) == (2000, 5000)
    assert band([Event(0, 1)]) is None
    assert band([Event(0, 1, "", 2000, None)]) is None


EVENTS = [Event(1, 2, "wren"), Event(4, 5, "rain"), Event(7, 8, "robin")]


def test_labels_outside_signal_labels_are_unknown_and_noise_labels_are_noise():
    both = Timeline.from_events(EVENTS, 10.0, Rules(0.5, signal_labels=["wren"], noise_labels=["rain"]))
    assert both.signal == ((0.5, 2.5),)
    assert both.unknown == ((6.5, 8.5),)
    assert both.noise == ((0.0, 0.5), (2.5, 6.5), (8.5, 10.0))
    only_noise = Timeline.from_events(EVENTS, 10.0, Rules(0.5, noise_labels=["rain", "robin"]))
    assert (only_noise.signal, only_noise.unknown) == (((0.5, 2.5),), ())
    assert Timeline.from_events(EVENTS, 10.0, Rules(0, noise_labels=["rain", "robin", "wren"])).noise == ((0.0, 10.0),)


def test_signal_has_priority_over_unknown_and_unknown_over_noise():
    events = [Event(1, 5, "other"), Event(2, 3, "wren"), Event(4, 8, "rain"), Event(2.9, 3.5, "wren")]
    timeline = Timeline.from_events(events, 10.0, Rules(0, signal_labels=["wren"], noise_labels=["rain"]))
    assert timeline.signal == ((2, 3.5),)
    assert timeline.unknown == ((1, 2), (3.5, 5))
    assert timeline.noise == ((0.0, 1), (5, 10.0))


def test_short_noise_only_stretches_are_unknown():
    events = [Event(1, 2), Event(2.5, 4), Event(5, 10)]
    timeline = Timeline.from_events(events, 10.0, Rules(0, min_noise=1.0))
    assert timeline.noise == ((0.0, 1), (4, 5))
    assert timeline.unknown == ((2, 2.5),)
    assert Timeline.from_events(events, 10.0, Rules(0, min_noise=1.5)).noise == ()


def test_the_time_of_an_event_in_another_channel_is_unknown():
    events = [Event(1, 2, channel=1), Event(4, 5, channel=2), Event(7, 8)]
    for channel, signal, unknown in ((1, (1, 2), (4, 5)), (2, (4, 5), (1, 2))):
        timeline = Timeline.from_events(events, 10.0, Rules(0), channel=channel)
        assert timeline.signal == tuple(sorted([signal, (7, 8)]))
        assert timeline.unknown == (unknown,)
    assert Timeline.from_events(events, 10.0, Rules(0)).signal == ((1, 2), (4, 5), (7, 8))
    require_channels(events, 2, "a.wav")
    with pytest.raises(UserError, match=r"^a\.wav: a label is in channel 2, but the last channel .* is 1"):
        require_channels(events, 1, "a.wav")


@settings(max_examples=60)
@given(
    spans=st.lists(
        st.tuples(st.floats(0, 10), st.floats(0, 3), st.sampled_from("abc"), st.sampled_from([None, 1, 2])), max_size=6
    ),
    guard=st.sampled_from([0.0, 0.3]),
    min_noise=st.sampled_from([0.0, 0.7]),
)
def test_the_three_states_together_are_the_recording(spans, guard, min_noise):
    events = [Event(start, min(start + length, 10.0), label, channel=c) for start, length, label, c in spans]
    rules = Rules(guard, signal_labels=["a"], noise_labels=["c"], min_noise=min_noise)
    timeline = Timeline.from_events(events, 10.0, rules, channel=1)
    stretches = sorted([*timeline.signal, *timeline.unknown, *timeline.noise])
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(stretches))
    assert math.fsum(end - start for start, end in stretches) == pytest.approx(10.0)
    for start, end in timeline.noise:
        assert end - start >= min_noise
        for event in events:
            assert event.label == "c" or event.end + guard <= start or event.start - guard >= end
    # A frame has at most one state, and every frame has one if nothing is unknown.
    spectrogram = Spectrogram(rate=1000, n_fft=100, hop=50, low=0.0, high=None)
    noise, signal = timeline.noise_frames(201, spectrogram), timeline.signal_frames(201, spectrogram)
    assert not (noise & signal).any()
    if not timeline.unknown:
        assert (noise | signal).all()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"min_noise": -1.0}, "min_noise is -1.0 s"),
        ({"min_noise": math.nan}, "min_noise is nan s"),
        ({"signal_labels": "SP"}, "signal_labels is 'SP'; it must be a list of labels"),
        ({"signal_labels": ["a", "b"], "noise_labels": ["b"]}, "label 'b' is in signal_labels and in noise_labels"),
    ],
)
def test_invalid_rules_are_refused(rules, message):
    with pytest.raises(UserError, match=message):
        Rules(**rules)


def test_the_error_of_an_unknown_label_lists_the_existing_ones():
    Rules(signal_labels=["wren"], noise_labels=["rain"]).require_labels_exist(EVENTS)
    with pytest.raises(UserError, match="no event has the label 'wern'; the labels are 'rain', 'robin', 'wren'"):
        Rules(signal_labels=["wern"]).require_labels_exist(EVENTS)
    with pytest.raises(UserError, match="no event has the label 'x'; there are no labels"):
        Rules(noise_labels=["x"]).require_labels_exist([])


def test_the_timeline_of_a_field_recording(shared_data):
    events = read_audacity(shared_data("field/spinetail.audacity.txt"))
    assert len(events) == 18
    low, high = band(events)
    assert 2000 < low < 2200
    assert 13_900 < high < 14_000
    timeline = Timeline.from_events(events, 861_799 / 44100)
    # The gaps between calls are short; the default guard must leave enough noise-only time for training.
    assert 5.0 < sum(end - start for start, end in timeline.noise) < 5.5
