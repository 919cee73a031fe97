"""Ctrl-C where it must not land in the middle of something: it is put off until that is over."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def late_interrupt(patient: bool = False) -> Iterator[list[int]]:
    """Ctrl-C fills the list instead of raising, so that it never lands in the middle of an update.

    A second Ctrl-C raises at once, unless `patient`: torchrun passes on what the terminal sent to all already. Where
    another handler is set, or off the main thread, nothing is changed.
    """
    waiting: list[int] = []

    def note(number: int, frame: object) -> None:
        waiting.append(number)
        if not patient:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield waiting
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C raises at the end of the block, not in it.

    For calls of a library that calls back into Python: an exception in there is printed and lost, and the library goes
    on with what it was given, such as a file that seems to end.
    """
    with late_interrupt() as waiting:
        yield
    if waiting:
        raise KeyboardInterrupt
