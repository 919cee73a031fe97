"""Denoise recordings, and folders of them, with a model: same rate, channels and length.

Of what the model takes away nothing is lost: --part noise writes exactly that, and the two add up to the input.

A folder is denoised with all folders in it, each result in its recording's place below --out. What was done stays done:
a file that cannot be read is passed over and named at the end (exit code 1), and after Ctrl-C, a crash or a power cut
the same command goes on where it stopped. partae-journal.jsonl in --out says what became of each recording; what it has
as done, of the same recording, model and settings, is skipped. So over a folder that grows the same command does what
is new. A result that is no longer wanted is deleted; to do all again, delete --out.

--jobs takes several recordings at a time, each in a process of its own, which pays off for many short ones.
--scheduler sends them to a Dask cluster (pip install "partae-fast[cluster]"), whose workers must see model, recordings
and --out under the same names; start them with one thread each: dask worker ADDRESS --nworkers 8 --nthreads 1.

examples:
  partae denoise dawn.safetensors dawn.wav --out clean.wav
  partae denoise dawn.safetensors june/*.flac --out clean/ --reduction 20 --figure
  partae denoise dawn.safetensors /media/sdcard --out clean --jobs 4
  partae denoise /data/dawn.safetensors /data/june --out /data/clean --scheduler tcp://10.0.0.1:8786
  partae denoise speech.safetensors street.wav --out clean.wav --adapt 100 --keep-best
"""

import argparse
from pathlib import Path
from typing import Any

from ..audio.files import CLIPPING, require_file
from ..denoising.batch.folder import BatchSummary, denoise_folder, devices
from ..denoising.batch.jobs import Job, Outcome
from ..denoising.batch.listing import lone_target
from ..denoising.batch.progress import is_shown, progress_of
from ..denoising.denoise import PARTS
from ..denoising.files import FIGURE_SECONDS, denoise_file, figure_path
from ..errors import UserError
from ..models import load
from . import adapting
from .options import add_json, add_threads, int_at_least, print_json, use_threads

_NAMED = 20  # failures that the summary names


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model that `partae train` wrote")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="recordings, and folders of recordings")
    parser.add_argument(
        "--out", required=True, metavar="WHERE", help="a file, or for several recordings or a folder of them a folder"
    )
    parser.add_argument("--part", choices=PARTS, default="signal", help="what to write (default %(default)s)")
    parser.add_argument("--reduction", type=float, metavar="DB", help="attenuate nothing by more than this")
    parser.add_argument(
        "--clipping",
        choices=CLIPPING,
        default="clip",
        help="of samples beyond full scale: clip them, write floats, or scale the file down (default %(default)s)",
    )
    parser.add_argument(
        "--figure", action="store_true", help=f"draw the first {FIGURE_SECONDS} s beside each output, as .png"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace outputs that exist; in a folder those that no earlier run wrote, for its own it replaces unasked",
    )
    adapting.add(parser)
    place = parser.add_argument_group("where it runs")
    place.add_argument(
        "--jobs",
        type=int_at_least(1),
        metavar="N",
        help="recordings at a time, in N processes (default: 1, or 1 a GPU)",
    )
    place.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: all GPUs where there are any)")
    place.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, in place of --jobs")
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    use_threads(args)
    target = lone_target(args.inputs, args.out, args.overwrite)
    if target is not None and args.scheduler:
        raise UserError(f"{target}: names one file, and --scheduler is for many; leave that out, or name a folder")
    adapting.check(args, lone=target is not None)
    learned: dict[str, Any] = {}
    summary = _folder(args) if target is None else _file(args, Path(args.inputs[0]), target, learned)
    if args.json:
        print_json(_as_json(summary, args.figure) | learned)
    elif summary.journal is not None:
        _print_summary(summary)
    return 1 if summary.failed else 0


def _file(args: argparse.Namespace, source: Path, target: Path, learned: dict[str, Any]) -> BatchSummary:
    """`learned` is told of the adaptation, if there was any."""
    model = load(args.model).to(devices(args.device)[0])
    state = require_file(source).stat()
    if args.adapt:
        found = adapting.adapted(args, model, source)
        model, learned["adaptation"] = found.model, adapting.as_json(found)
    job = Job(source, target, state.st_size, state.st_mtime_ns)
    with progress_of([job], False if args.quiet else None) as bar:
        about = denoise_file(
            model,
            source,
            target,
            args.part,
            args.reduction,
            args.figure,
            args.overwrite,
            args.clipping,
            progress_callback=lambda share: bar.update(job, share),
        )
    outcome = Outcome(job, about.seconds)
    if not args.json:
        _print_done(outcome, args.figure)
    return BatchSummary(done=[outcome])


def _folder(args: argparse.Namespace) -> BatchSummary:
    progress = False if args.quiet else None
    told = None if args.json or is_shown(progress) else lambda outcome: _print_done(outcome, args.figure)
    try:
        return denoise_folder(
            args.model,
            args.inputs,
            args.out,
            part=args.part,
            reduction=args.reduction,
            clipping=args.clipping,
            figure=args.figure,
            overwrite=args.overwrite,
            jobs=args.jobs,
            device=args.device,
            scheduler=args.scheduler,
            progress=progress,
            outcome_callback=told,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the same command goes on from what is in {args.out}") from None


def _as_json(summary: BatchSummary, figure: bool) -> dict[str, Any]:
    def about(job: Job) -> dict[str, Any]:
        return {"input": str(job.source), "output": str(job.target)}

    def drawn(outcome: Outcome) -> str | None:
        return str(figure_path(outcome.job.target)) if figure else None

    return {
        "done": [{**about(o.job), "figure": drawn(o), "seconds": o.seconds, "notes": o.notes} for o in summary.done],
        "skipped": [about(job) for job in summary.skipped],
        "failed": [{**about(o.job), "reason": o.reason} for o in summary.failed],
        "ignored": summary.ignored,
        "journal": None if summary.journal is None else str(summary.journal),
        "seconds": round(summary.seconds, 3),
    }


def _print_done(outcome: Outcome, figure: bool) -> None:
    """One that failed is in the log."""
    if outcome.reason is None:
        target = outcome.job.target
        _print(f"{outcome.job.source} -> {target}" + (f", {figure_path(target)}" if figure else ""))


def _print_summary(summary: BatchSummary) -> None:
    done, skipped, failed = len(summary.done), len(summary.skipped), len(summary.failed)
    said = f"{done} done, {skipped} skipped as done before, {failed} failed"
    if summary.ignored:
        said += f"; {summary.ignored} other files passed over"
    remarks = sum(bool(outcome.notes) for outcome in summary.done)
    if remarks:
        said += f"; {remarks} done with a remark, see {summary.journal}"
    if summary.done:
        said += f"; {summary.audio_seconds / 3600:.2f} h of audio in {summary.seconds / 60:.1f} min"
    _print(said)
    for outcome in summary.failed[:_NAMED]:
        _print(f"failed: {outcome.reason}")
    if failed > _NAMED:
        _print(f"and {failed - _NAMED} more: see {summary.journal}")


def _print(line: str) -> None:
    """A name that is no valid text is shown with escapes."""
    print(line.encode(errors="backslashreplace").decode(), flush=True)
