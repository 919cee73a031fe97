"""Events, rows and tables of label files, independent of the format."""

from dataclasses import dataclass
from typing import NamedTuple


class Event(NamedTuple):
    """A label from `start` to `end` in seconds, and from `low` to `high` in Hz if it has frequencies.

    `channel` is counted from 1; None means all channels.
    """

    start: float
    end: float
    label: str = ""
    low: float | None = None
    high: float | None = None
    channel: int | None = None


class Row(NamedTuple):
    """An event and the recording that it belongs to.

    A row without an event marks its recording as reviewed and free of events. `recording` is the name in the label
    file, or None if the file names none. `last` is the name of the recording that the event ends in, if it continues
    into the next file of a sequence.
    """

    event: Event | None
    recording: str | None = None
    last: str | None = None


@dataclass(frozen=True)
class Table:
    """The rows of a label file.

    `format` is one of `formats.FORMATS`. Times are in seconds, or in samples of the recording if `samples` is true.
    """

    format: str
    rows: list[Row]
    samples: bool = False
