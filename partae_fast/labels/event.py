"""What a line of a label file says, whatever the format."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One label: from `start` to `end` in seconds, `low` to `high` in Hz where the label says so.

    `channel`, from 1, is the one that the label is about; None for all.
    """

    start: float
    end: float
    label: str = ""
    low: float | None = None
    high: float | None = None
    channel: int | None = None


@dataclass(frozen=True)
class Row:
    """An event and the recording that it is in; no event says that the recording was reviewed and has none.

    `recording` is a name as it stands in the file, None where the file names none. An event that runs on into the next
    file of a sequence ends in the file `last`.
    """

    event: Event | None
    recording: str | None = None
    last: str | None = None


@dataclass(frozen=True)
class Table:
    """The rows of a label file.

    `format` is the dialect's name. Times are in seconds, or, where `samples`, counted in samples of the recording.
    """

    format: str
    rows: list[Row]
    samples: bool = False
