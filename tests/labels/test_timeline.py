"""Which stretches, samples and frames of a recording are signal, noise-only or unknown."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partae_fast.audio import Spectrogram
from partae_fast.errors import UserError
from partae_fast.labels import Event, Rules, Timeline, band, cut, read_audacity, require_channels


def test_a_recording_without_events_is_noise_only_throughout():
    timeline = Timeline.from_events([], 10.0)
    assert timeline.noise == ((0.0, 10.0),)
    assert timeline.noise_samples(100, 10).all()
    assert timeline.noise_frames(100, Spectrogram()).all()
    assert not timeline.signal_frames(100, Spectrogram()).any()


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
        Rules(guard)


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


EVENTS = [Event(1, 2, "wren"), Event(4, 5, "rain"), Event(7, 8, "robin")]


def test_labels_that_are_not_asked_for_are_unknown_and_those_of_noise_do_not_count():
    chosen = Timeline.from_events(EVENTS, 10.0, Rules(0.5, signal_labels=["wren"], noise_labels=["rain"]))
    assert chosen.signal == ((0.5, 2.5),)
    assert chosen.unknown == ((6.5, 8.5),)
    assert chosen.noise == ((0.0, 0.5), (2.5, 6.5), (8.5, 10.0))
    rest = Timeline.from_events(EVENTS, 10.0, Rules(0.5, noise_labels=["rain", "robin"]))
    assert (rest.signal, rest.unknown) == (((0.5, 2.5),), ())
    assert Timeline.from_events(EVENTS, 10.0, Rules(0, noise_labels=["rain", "robin", "wren"])).noise == ((0.0, 10.0),)


def test_signal_goes_before_unknown_and_unknown_before_noise():
    events = [Event(1, 5, "other"), Event(2, 3, "wren"), Event(4, 8, "rain"), Event(2.9, 3.5, "wren")]
    timeline = Timeline.from_events(events, 10.0, Rules(0, signal_labels=["wren"], noise_labels=["rain"]))
    assert timeline.signal == ((2, 3.5),)
    assert timeline.unknown == ((1, 2), (3.5, 5))
    assert timeline.noise == ((0.0, 1), (5, 10.0))


def test_short_stretches_of_noise_are_unknown():
    events = [Event(1, 2), Event(2.5, 4), Event(5, 10)]
    timeline = Timeline.from_events(events, 10.0, Rules(0, min_noise=1.0))
    assert timeline.noise == ((0.0, 1), (4, 5))
    assert timeline.unknown == ((2, 2.5),)
    assert Timeline.from_events(events, 10.0, Rules(0, min_noise=1.5)).noise == ()


def test_a_label_of_another_channel_makes_its_time_unknown():
    events = [Event(1, 2, channel=1), Event(4, 5, channel=2), Event(7, 8)]
    for channel, signal, unknown in ((1, (1, 2), (4, 5)), (2, (4, 5), (1, 2))):
        timeline = Timeline.from_events(events, 10.0, Rules(0), channel=channel)
        assert timeline.signal == tuple(sorted([signal, (7, 8)]))
        assert timeline.unknown == (unknown,)
    assert Timeline.from_events(events, 10.0, Rules(0)).signal == ((1, 2), (4, 5), (7, 8))
    require_channels(events, 2, "a.wav")
    with pytest.raises(UserError, match=r"^a\.wav: a label is of channel 2 and the recording has 1"):
        require_channels(events, 1, "a.wav")


@settings(max_examples=60)
@given(
    spans=st.lists(
        st.tuples(st.floats(0, 10), st.floats(0, 3), st.sampled_from("abc"), st.sampled_from([None, 1, 2])), max_size=6
    ),
    guard=st.sampled_from([0.0, 0.3]),
    least=st.sampled_from([0.0, 0.7]),
)
def test_three_states_share_out_the_recording(spans, guard, least):
    events = [Event(start, min(start + length, 10.0), label, channel=c) for start, length, label, c in spans]
    rules = Rules(guard, signal_labels=["a"], noise_labels=["c"], min_noise=least)
    timeline = Timeline.from_events(events, 10.0, rules, channel=1)
    stretches = sorted([*timeline.signal, *timeline.unknown, *timeline.noise])
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(stretches))
    assert math.fsum(end - start for start, end in stretches) == pytest.approx(10.0)
    for start, end in timeline.noise:
        assert end - start >= least
        for event in events:
            assert event.label == "c" or event.end + guard <= start or event.start - guard >= end
    # Frames are of one kind at most, and those of none are by something unknown.
    view = Spectrogram(rate=1000, n_fft=100, hop=50, low=0.0, high=None)
    noise, signal = timeline.noise_frames(201, view), timeline.signal_frames(201, view)
    assert not (noise & signal).any()
    if not timeline.unknown:
        assert (noise | signal).all()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"min_noise": -1.0}, "the least noise-only stretch is -1.0 s"),
        ({"min_noise": math.nan}, "the least noise-only stretch is nan s"),
        ({"signal_labels": "SP"}, "signal_labels is 'SP'; it must be a list of labels"),
        ({"signal_labels": ["a", "b"], "noise_labels": ["b"]}, "label 'b' cannot be of signal and of noise"),
    ],
)
def test_rules_that_cannot_be(rules, message):
    with pytest.raises(UserError, match=message):
        Rules(**rules)


def test_a_label_that_is_nowhere_is_told_with_those_that_are():
    Rules(signal_labels=["wren"], noise_labels=["rain"]).require_found(EVENTS)
    with pytest.raises(UserError, match="no event has the label 'wern'; the labels are 'rain', 'robin', 'wren'"):
        Rules(signal_labels=["wern"]).require_found(EVENTS)
    with pytest.raises(UserError, match="no event has the label 'x'; the labels are none at all"):
        Rules(noise_labels=["x"]).require_found([])


def test_the_labels_of_a_field_recording(shared_data):
    events = read_audacity(shared_data("field/spinetail.audacity.txt"))
    assert len(events) == 18
    low, high = band(events)
    assert 2000 < low < 2200
    assert 13_900 < high < 14_000
    timeline = Timeline.from_events(events, 861_799 / 44100)
    # Its gaps are short: a guard must leave enough of them to learn from.
    assert 5.0 < sum(end - start for start, end in timeline.noise) < 5.5
