"""Take a mixture apart into its sources: a file for each, which add up to the mixture.

The model is one that `partae train` wrote with --model cdae or fnn, which know the sources that they learnt, such as
vocals; or sce, sce-mi, dc-mi, dae-30 or snmf, which tell a voice from noise. The files are called as the sources are,
such as vocals.wav, and have the rate, channels, length and format of the mixture. All channels share a mask, made of
their mean. Written as 16 bits the files add up to the mixture but for their rounding.

With --sources N a model of embeddings (sce, sce-mi, dc-mi) tells any number of sources apart, known or not, by
clusters: source1.wav to sourceN.wav. Clusters have no order, so which is which is for you to hear.

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
    parser.add_argument("model", metavar="MODEL", help="a model of sources that `partae train` wrote")
    parser.add_argument("input", metavar="INPUT", help="the mixture")
    parser.add_argument("--out", required=True, metavar="DIR", help="a folder for the sources")
    parser.add_argument(
        "--step",
        type=int_at_least(1),
        metavar="FRAMES",
        help="from one segment to the next; less than a segment averages what overlapping ones say (default: a "
        "segment, as published)",
    )
    parser.add_argument(
        "--sources",
        type=int_at_least(1),
        metavar="N",
        help="how many to tell apart by clusters, for models of embeddings (default: those that the model knows)",
    )
    parser.add_argument(
        "--clipping",
        choices=CLIPPING,
        default="clip",
        help="of samples beyond full scale: clip them, or write floats (default %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
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
