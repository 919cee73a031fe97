"""What labels make of a recording's time: signal, noise alone, or unknown."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from .event import Event

# Seconds around each event that count as signal too. People place the edges of a call by eye to some 50 ms,
# and reverberation outlasts the call; wider margins would swallow the gaps between calls, often only 0.3 s
# long.
GUARD = 0.1
# Seconds by which a label may pass the end of its recording: editors round, and selections snap to pixels.
TOLERANCE = 0.1

Stretches = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Rules:
    """Which labels count as what.

    guard: seconds around each event that count as the event does.
    signal_labels: labels of signal; time with another label alone is then unknown. None for all that are not noise.
    noise_labels: labels that do not count as signal, such as of wind or of a species that is to be taken away.
    min_noise: seconds; a noise-only stretch that is shorter is unknown.
    label_format: one of `partae_fast.labels.FORMATS`; None takes what each file's content shows.

    Raises UserError where a number is below 0 or a label is both.
    """

    guard: float = GUARD
    signal_labels: Collection[str] | None = None
    noise_labels: Collection[str] = ()
    min_noise: float = 0.0
    label_format: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("guard", self.guard), ("the least noise-only stretch", self.min_noise)):
            if not (value >= 0 and math.isfinite(value)):
                raise UserError(f"{name} is {value} s; it must be 0 or more")
        for name, labels in (("signal_labels", self.signal_labels), ("noise_labels", self.noise_labels)):
            if isinstance(labels, str):
                raise UserError(f"{name} is {labels!r}; it must be a list of labels")
        both = sorted({*(self.signal_labels or ())} & {*self.noise_labels})
        if both:
            raise UserError(f"label {both[0]!r} cannot be of signal and of noise; name it once")

    def state(self, event: Event) -> str:
        """What the time of an event is: "signal", "noise" or "unknown"."""
        if event.label in self.noise_labels:
            return "noise"
        return "signal" if self.signal_labels is None or event.label in self.signal_labels else "unknown"

    def require_found(self, events: Iterable[Event]) -> None:
        """Raise UserError where no event has a label that is spoken of: it may be misspelt."""
        found = {event.label for event in events}
        for name in (*(self.signal_labels or ()), *self.noise_labels):
            if name not in found:
                told = ", ".join(repr(label) for label in sorted(found)[:8]) or "none at all"
                more = f" and {len(found) - 8} more" if len(found) > 8 else ""
                raise UserError(f"no event has the label {name!r}; the labels are {told}{more}")


@dataclass(frozen=True)
class Timeline:
    """The signal and the unknown stretches of a recording that was labelled; the rest of it is noise-only.

    `signal` and `unknown` are tuples of (start, end) in seconds, in order, apart, guard margins included, within 0 ..
    seconds; neither has time of the other.
    """

    seconds: float
    signal: Stretches
    unknown: Stretches = ()

    @classmethod
    def from_events(
        cls,
        events: Sequence[Event],
        seconds: float,
        rules: Rules | None = None,
        name: str = "labels",
        channel: int | None = None,
    ) -> "Timeline":
        """The timeline of a recording `seconds` long, or of one of its channels, counted from 1.

        An event of another channel makes its time unknown: the sound may be in both. A guard is cut at the recording's
        ends. Where states meet, signal goes before unknown, and unknown before noise.

        Raises UserError, beginning with `name`, where an event passes the end of the recording.

        >>> Timeline.from_events([Event(1.0, 2.0), Event(2.1, 3.0)], seconds=10.0).signal
        ((0.9, 3.1),)
        """
        rules = rules or Rules()
        late = max((event.end for event in events), default=0.0)
        if late > seconds + TOLERANCE:
            raise UserError(
                f"{name}: a label ends at {late:.3f} s and the recording at {seconds:.3f} s; "
                "give the labels that belong to this recording"
            )
        spans: dict[str, list[tuple[float, float]]] = {"signal": [], "unknown": [], "noise": []}
        for event in events:
            state = rules.state(event)
            if state == "signal" and None not in (channel, event.channel) and event.channel != channel:
                state = "unknown"
            spans[state].append((max(0.0, event.start - rules.guard), min(seconds, event.end + rules.guard)))
        signal, unknown = _merged(spans["signal"]), _merged(spans["unknown"])
        short = [
            stretch
            for stretch in _between(_merged([*signal, *unknown]), seconds)
            if stretch[1] - stretch[0] < rules.min_noise
        ]
        return cls(seconds, signal, _without(_merged([*unknown, *short]), signal))

    @property
    def noise(self) -> Stretches:
        """The noise-only stretches, as (start, end) in seconds."""
        return _between(self._known_or_not(), self.seconds)

    def noise_samples(self, length: int, rate: float) -> NDArray[np.bool_]:
        """Which of `length` samples at `rate` Hz are noise-only, (length,)."""
        return ~_within(self._known_or_not(), np.arange(length) / rate)

    def noise_frames(self, frames: int, spectrogram: Spectrogram) -> NDArray[np.bool_]:
        """Which of a spectrogram's `frames` are noise-only, (frames,): those whose whole window is."""
        return ~_within(self._known_or_not(), *_windows(frames, spectrogram))

    def signal_frames(self, frames: int, spectrogram: Spectrogram) -> NDArray[np.bool_]:
        """Which of a spectrogram's `frames` have signal somewhere in their window, (frames,)."""
        return _within(self.signal, *_windows(frames, spectrogram))

    def _known_or_not(self) -> Stretches:
        """All that is not noise-only."""
        return _merged([*self.signal, *self.unknown]) if self.unknown else self.signal


def _windows(frames: int, spectrogram: Spectrogram) -> tuple[NDArray[np.floating], float]:
    """The times of frames' centres, and how far their windows reach to either side, in seconds."""
    return np.arange(frames) / spectrogram.frame_rate, spectrogram.n_fft / 2 / spectrogram.rate


def _merged(spans: Iterable[tuple[float, float]]) -> Stretches:
    """Spans in order, those that meet as one."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start <= end:
            merged.append((start, end))
    return tuple(merged)


def _between(stretches: Stretches, seconds: float, first: float = 0.0) -> Stretches:
    """What `stretches` leave of `first` .. `seconds`."""
    edges = [first, *(edge for stretch in stretches for edge in stretch), seconds]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((start, end) for start, end in pairs if start < end)


def _without(stretches: Stretches, others: Stretches) -> Stretches:
    """What is left of `stretches` where there are no `others`."""
    if not others:
        return stretches
    left, first = [], 0
    for start, end in stretches:
        while first < len(others) and others[first][1] < start:
            first += 1
        last = first
        while last < len(others) and others[last][0] < end:
            last += 1
        inside = tuple((max(start, a), min(end, b)) for a, b in others[first:last])
        # A point stays a point, for it is not noise.
        left += _between(inside, end, start) if inside else [(start, end)]
    return tuple(left)


def _within(stretches: Stretches, times: NDArray[np.floating], reach: float = 0.0) -> NDArray[np.bool_]:
    """Which of `times` are within `reach` of a stretch."""
    within = np.zeros(len(times), bool)
    for start, end in stretches:
        first, last = np.searchsorted(times, start - reach), np.searchsorted(times, end + reach, "right")
        within[first:last] = True
    return within


def cut(
    samples: NDArray[np.floating], noise_only: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Samples or frames (T, ...) -> those that are noise-only, joined, and the rest, joined.

    Cut spectrogram frames rather than samples where you can: joined samples click where they meet.
    """
    if len(samples) != len(noise_only):
        raise UserError(f"cut: {len(samples)} samples or frames and {len(noise_only)} flags; give one flag to each")
    return samples[noise_only], samples[~noise_only]


def band(events: Sequence[Event]) -> tuple[float, float] | None:
    """The lowest and the highest frequency of the events in Hz, so that none is cut; None if unknown."""
    lows = [event.low for event in events if event.low is not None]
    highs = [event.high for event in events if event.high is not None]
    return (min(lows), max(highs)) if lows and highs else None


def require_channels(events: Sequence[Event], channels: int, name: str) -> None:
    """Raise UserError, beginning with `name`, where an event is of a channel that the recording does not have."""
    highest = max((event.channel or 1 for event in events), default=1)
    if highest > channels:
        raise UserError(
            f"{name}: a label is of channel {highest} and the recording has {channels}; "
            "give the labels that belong to this recording"
        )
