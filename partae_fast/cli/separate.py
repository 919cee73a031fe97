"""Separate a mixture into its sources, with one output file per source.

Use a model that was trained with --model cdae or fnn, which separate the sources they were trained on, such as vocals,
or with sce, sce-mi, dc-mi, dae-30 or snmf, which separate voice and noise. Each file is named after its source, such as
vocals.wav, and has the rate, channels, length and format of the mixture. All channels share one mask, which is computed
from their mean. The files add up to the mixture, up to rounding if they have 16 bits.

With --sources N, a model of embeddings (sce, sce-mi, dc-mi) separates N sources by clustering, including sources that
it was not trained on. The files are source1.wav to sourceN.wav; their order is arbitrary.

examples:
  partae train --model cdae --stems songs --out band.safetensors
  partae separate band.safetensors song.wav --out song
  partae train --model sce-mi --speech speakers --noise noises --out voice.safetensors
  partae separate voice.safetensors street.wav --out street
  partae separate voice.safetensors two_speakers.wav --sources 2 --out speakers_apart
"""

import argparse
from pathlib import Path

from ..audio.files import require_file
from ..denoising.batch.folder import devices
from ..denoising.batch.jobs import Job
from ..denoising.batch.progress import progress_of
from ..denoising.separate import CLIPPING, separate_file
from ..models import load
from .options import add_json, add_threads, int_at_least, print_json, use_threads


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a separation model that `partae train` wrote")
    parser.add_argument("input", metavar="INPUT", help="the mixture")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the sources")
    parser.add_argument(
        "--step",
        type=int_at_least(1),
        metavar="FRAMES",
        help="hop from one segment to the next; overlapping segments are averaged (default: the length of a segment, "
        "as published)",
    )
    parser.add_argument(
        "--sources",
        type=int_at_least(1),
        metavar="N",
        help="separate N sources by clustering, for models of embeddings (default: the sources of the model)",
    )
    parser.add_argument(
        "--clipping",
        choices=CLIPPING,
        default="clip",
        help="if samples exceed full scale: clip them, or write floats (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    use_threads(args)
    model = load(args.model).to(devices(args.device)[0])
    source = Path(args.input)
    state = require_file(source).stat()
    job = Job(source, Path(args.out), state.st_size, state.st_mtime_ns)
    with progress_of([job], False if args.quiet else None) as bar:
        targets, about = separate_file(
            model,
            source,
            args.out,
            args.step,
            args.overwrite,
            args.clipping,
            progress_callback=lambda share: bar.update(job, share),
            count=args.sources,
        )
    if args.json:
        outputs = {name: str(path) for name, path in targets.items()}
        print_json({"input": str(source), "outputs": outputs, "seconds": about.seconds})
        return 0
    for path in targets.values():
        print(f"{source} -> {path}")
    return 0
