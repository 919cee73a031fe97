"""The command line `partae`: one file for each verb, each with `add`, its arguments, and `run`, what it does.

Exit codes: 0 done; 1 a check failed (`verify`), a model failed (`sweep`) or a fault of the program; 2 a mistake of the
user's, said in one line on stderr; 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by a terminal that closed, all in the
same way. Results go to stdout, the log and the errors to stderr.
"""

import argparse
import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from .. import __version__
from ..errors import USER_ERRNOS, UserError, is_out_of_memory
from ..interrupts import interrupt
from ..kernels import BackendUnavailable
from ..training.distributed import launched
from . import bench, demo, denoise, evaluate, info, labels, report, reproduce, separate, sweep, train, verify

_VERBS = (demo, labels, train, sweep, denoise, separate, report, evaluate, reproduce, verify, bench, info)

_EPILOG = """example, from two recordings to a cleaner one:
  partae train dawn.wav --noise rain.wav --out dawn.safetensors
  partae denoise dawn.safetensors dawn.wav --out clean.wav

`partae VERB --help` has an example for each verb."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage before it."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `partae` with `arguments`, by default those of the process; returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: the name of a file need not be UTF-8
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser(arguments)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        hint = f"; `partae train --model {args.model} --help` lists its settings" if args.verb == "train" else ""
        parser.exit(2, f"partae {args.verb}: unrecognized arguments: {' '.join(unknown)}{hint or '; see --help'}\n")
    ranks = launched()
    level = logging.WARNING if args.quiet else logging.INFO
    with _logging(logging.CRITICAL if ranks and ranks.rank else level), _stoppable() as signals:
        try:
            if ranks and args.verb != "train":
                raise UserError("torchrun starts several processes, which `train` alone can share; run it without")
            code = args.run(args)
            _flush_output()
            return code
        except (UserError, BackendUnavailable) as error:
            if args.debug:
                raise
            return _say(args.verb, str(error), 2)
        except KeyboardInterrupt as stop:
            return _say(args.verb, str(stop) or "stopped", 128 + (signals[0] if signals else signal.SIGINT))
        except BrokenPipeError:
            _drop_output()  # whoever read it has left (`partae info ... | head`)
            return 1
        except (OSError, MemoryError, RuntimeError) as error:
            if args.debug or not (told := _remedy(error)):
                raise
            return _say(args.verb, told, 2)


def _flush_output() -> None:
    """Write what was printed, so that a disk that is full is noticed here."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        raise UserError(f"standard output: {error.strerror}; send it to another place") from error


def _drop_output() -> None:
    """Send what is printed to nowhere: Python would complain once more at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _remedy(error: Exception) -> str | None:
    """What to say of an error of the machine that the user can mend; None for any other."""
    if isinstance(error, OSError) and error.errno in USER_ERRNOS:
        return f"{error.filename or 'a file'}: {error.strerror}; check its permissions and the space on the disk"
    if is_out_of_memory(error):
        return "memory ran out; close other programs, give it fewer or shorter recordings, or use another machine"
    return None


def _say(verb: str, message: str, code: int) -> int:
    """The message in one line of characters that can be shown; a file's name, or what is in it, may have others."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(message.split()))
    print(f"partae {verb}: {line}", file=sys.stderr)
    return code


@contextlib.contextmanager
def _stoppable() -> Iterator[list[int]]:
    """What asks a program to end, a batch system or a terminal that closes, does what Ctrl-C does at that moment.

    So whatever puts Ctrl-C off, such as an update of the weights, puts that off too. Its number is put into the list.
    Where another handler is set (nohup's among them), or off the main thread, nothing is changed.
    """
    stopping: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.append(number)
        interrupt(number, frame)

    ours = []
    if threading.current_thread() is threading.main_thread():
        wanted = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        ours = [number for number in wanted if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="partae",
        description="Learns to denoise from noisy recordings and recordings of noise, and denoises.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"partae {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for module in _VERBS:
        name = module.__name__.rpartition(".")[2]
        summary, _, example = (module.__doc__ or "").partition("\n\n")
        verb = verbs.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=example,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if module is train:
            train.add(verb, arguments)
        else:
            module.add(verb)
        verb.add_argument("-q", "--quiet", action="store_true", help="no log, only warnings and errors")
        verb.add_argument("--debug", action="store_true", help="show where in the program an error arose")
        verb.set_defaults(run=module.run)
    return parser


@contextlib.contextmanager
def _logging(level: int) -> Iterator[None]:
    """The library's log on stderr, as plain lines."""
    logger = logging.getLogger("partae_fast")
    handler = logging.StreamHandler()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
