"""The states of a recording's time that follow from labels: signal, noise-only and unknown."""

import logging
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from .event import Event

logger = logging.getLogger("partae_fast")

# Seconds around each event that have the event's state. People mark the edges of a call by eye to about 50 ms, and
# reverberation outlasts the call; wider margins would cover the gaps between calls, which are often only 0.3 s long.
GUARD = 0.1
# Seconds by which a label may pass the end of its recording, because editors round and selections snap to pixels.
TOLERANCE = 0.1
# Seconds by which a label may pass the end and is cut there, with a warning; beyond them it may be another recording's.
OVERRUN = 0.5

Stretches = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Rules:
    """Rules that assign a state to the time of each label.

    guard: seconds around each event that have the event's state.
    signal_labels: labels of signal; the time of other labels is unknown, unless they are noise labels. None for all
        labels that are not noise labels.
    noise_labels: labels of noise, such as wind or a species to remove.
    min_noise: shortest noise-only stretch in seconds; a shorter one is unknown.
    label_format: one of `partae_fast.labels.FORMATS`; None detects it by content.
    overrun: seconds by which a label may pass the end of its recording, where it is cut, with a warning beyond 0.1 s.

    Raises UserError if a number is negative or a label is of both kinds.
    """

    guard: float = GUARD
    signal_labels: Collection[str] | None = None
    noise_labels: Collection[str] = ()
    min_noise: float = 0.0
    label_format: str | None = None
    overrun: float = OVERRUN

    def __post_init__(self) -> None:
        for name in ("guard", "min_noise", "overrun"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise UserError(f"{name} is {value} s; it must be 0 or more")
        for name, labels in (("signal_labels", self.signal_labels), ("noise_labels", self.noise_labels)):
            if isinstance(labels, str):
                raise UserError(f"{name} is {labels!r}; it must be a list of labels")
        overlap = sorted({*(self.signal_labels or ())} & {*self.noise_labels})
        if overlap:
            raise UserError(f"label {overlap[0]!r} is in signal_labels and in noise_labels; it must be in one of them")

    def state(self, event: Event) -> str:
        """Return the state of an event's time: "signal", "noise" or "unknown"."""
        if event.label in self.noise_labels:
            return "noise"
        return "signal" if self.signal_labels is None or event.label in self.signal_labels else "unknown"

    def require_labels_exist(self, events: Iterable[Event]) -> None:
        """Raise UserError if no event has one of the signal or noise labels, which may be misspelt."""
        existing = sorted({event.label for event in events})
        for name in (*(self.signal_labels or ()), *self.noise_labels):
            if name not in existing:
                if not existing:
                    raise UserError(f"no event has the label {name!r}; there are no labels")
                more = f" and {len(existing) - 8} more" if len(existing) > 8 else ""
                raise UserError(
                    f"no event has the label {name!r}; the labels are {', '.join(map(repr, existing[:8]))}{more}"
                )


@dataclass(frozen=True)
class Timeline:
    """Signal and unknown stretches of a labelled recording; the rest of it is noise-only.

    `signal` and `unknown` are tuples of (start, end) in seconds, sorted, disjoint, with guards, within 0 .. seconds.
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
        """Return the timeline of a recording of `seconds` seconds, or of one of its channels, counted from 1.

        The time of an event of another channel is unknown, because the sound may be in both channels. Guards are cut at
        the ends of the recording. Where states overlap, signal has priority over unknown, and unknown over noise.

        Raises UserError, whose message begins with `name`, if an event passes the end of the recording by more than
        the rules allow.

        >>> Timeline.from_events([Event(1.0, 2.0), Event(2.1, 3.0)], seconds=10.0).signal
        ((0.9, 3.1),)
        """
        rules = rules or Rules()
        last_end = max((event.end for event in events), default=0.0)
        if last_end > seconds + max(TOLERANCE, rules.overrun):
            raise UserError(
                f"{name}: a label ends at {last_end:.3f} s and the recording at {seconds:.3f} s; "
                "pass the labels of this recording, or a larger overrun (--overrun)"
            )
        spans: dict[str, list[tuple[float, float]]] = {"signal": [], "unknown": [], "noise": []}
        states: dict[str, str] = {}  # by label: a table may have millions of events
        for event in events:
            state = states.get(event.label) or states.setdefault(event.label, rules.state(event))
            if state == "signal" and None not in (channel, event.channel) and event.channel != channel:
                state = "unknown"
            start = min(max(0.0, event.start - rules.guard), seconds)
            spans[state].append((start, min(seconds, event.end + rules.guard)))
        signal, unknown = _merged(spans["signal"]), _merged(spans["unknown"])
        short = [
            stretch
            for stretch in _between(_merged([*signal, *unknown]), seconds)
            if stretch[1] - stretch[0] < rules.min_noise
        ]
        return cls(seconds, signal, _without(_merged([*unknown, *short]), signal))

    @property
    def noise(self) -> Stretches:
        """Noise-only stretches as (start, end) in seconds."""
        return _between(self._not_noise(), self.seconds)

    def noise_samples(self, length: int, rate: float) -> NDArray[np.bool_]:
        """Return which of `length` samples at `rate` Hz are noise-only, (length,)."""
        return ~_within(self._not_noise(), np.arange(length) / rate)

    def noise_frames(self, frames: int, spectrogram: Spectrogram) -> NDArray[np.bool_]:
        """Return which frames of a spectrogram are noise-only throughout their window, (frames,)."""
        return ~_within(self._not_noise(), *_windows(frames, spectrogram))

    def signal_frames(self, frames: int, spectrogram: Spectrogram) -> NDArray[np.bool_]:
        """Return which frames of a spectrogram have signal somewhere in their window, (frames,)."""
        return _within(self.signal, *_windows(frames, spectrogram))

    def _not_noise(self) -> Stretches:
        """Return the stretches of signal and unknown, merged."""
        return _merged([*self.signal, *self.unknown]) if self.unknown else self.signal


def _windows(frames: int, spectrogram: Spectrogram) -> tuple[NDArray[np.floating], float]:
    """Return the times of the frames' centres, and half the length of a window, in seconds."""
    return np.arange(frames) / spectrogram.frame_rate, spectrogram.n_fft / 2 / spectrogram.rate


def _merged(spans: Iterable[tuple[float, float]]) -> Stretches:
    """Return the spans sorted, with overlapping and adjacent ones merged."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start <= end:
            merged.append((start, end))
    return tuple(merged)


def _between(stretches: Stretches, seconds: float, first: float = 0.0) -> Stretches:
    """Return the gaps between `stretches` within `first` .. `seconds`."""
    edges = [first, *(edge for stretch in stretches for edge in stretch), seconds]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((start, end) for start, end in pairs if start < end)


def _without(stretches: Stretches, others: Stretches) -> Stretches:
    """Return `stretches` without the time of `others`."""
    if not others:
        return stretches
    remaining, first = [], 0
    for start, end in stretches:
        while first < len(others) and others[first][1] < start:
            first += 1
        last = first
        while last < len(others) and others[last][0] < end:
            last += 1
        inside = tuple((max(start, a), min(end, b)) for a, b in others[first:last])
        # Keeps a stretch of length 0, because it is not noise.
        remaining += _between(inside, end, start) if inside else [(start, end)]
    return tuple(remaining)


def _within(stretches: Stretches, times: NDArray[np.floating], reach: float = 0.0) -> NDArray[np.bool_]:
    """Return which of `times` are within `reach` seconds of a stretch."""
    within = np.zeros(len(times), bool)
    for start, end in stretches:
        first, last = np.searchsorted(times, start - reach), np.searchsorted(times, end + reach, "right")
        within[first:last] = True
    return within


def cut(
    samples: NDArray[np.floating], noise_only: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the noise-only samples or frames of `samples` (T, ...), joined, and the rest, joined.

    Cut spectrogram frames rather than samples if possible, because joined samples click at the joins.
    """
    if len(samples) != len(noise_only):
        raise UserError(f"cut: {len(samples)} samples or frames and {len(noise_only)} flags; pass one flag for each")
    return samples[noise_only], samples[~noise_only]


def band(events: Sequence[Event]) -> tuple[float, float] | None:
    """Return the lowest and the highest frequency of the events in Hz, or None if they have none."""
    lows = [event.low for event in events if event.low is not None]
    highs = [event.high for event in events if event.high is not None]
    return (min(lows), max(highs)) if lows and highs else None


def warn_of_overrun(events: Sequence[Event], seconds: float, rules: Rules, name: str) -> None:
    """Log a warning, which begins with `name`, if events pass the end of the recording and are cut there."""
    ends = [event.end for event in events if event.end > seconds + TOLERANCE]
    if ends and max(ends) <= seconds + rules.overrun:
        logger.warning(
            "%s: labels pass its end at %.3f s and are cut there: %d of %d, the last ends at %.3f s",
            name,
            seconds,
            len(ends),
            len(events),
            max(ends),
        )


def require_channels(events: Sequence[Event], channels: int, name: str) -> None:
    """Raise UserError, whose message begins with `name`, if an event has a channel that the recording does not have."""
    highest = max((event.channel or 1 for event in events), default=1)
    if highest > channels:
        raise UserError(
            f"{name}: a label is in channel {highest}, but the last channel of the recording is {channels}; "
            "pass the labels of this recording"
        )
