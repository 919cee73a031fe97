"""Synthesise a noisy scene, train a model on it, denoise it and print the scores.

In the scene two birds sing near a crowd. The model is trained on the noisy recording and on a recording of the crowd
alone; the clean songs are used for scoring only. Writes noisy.wav, denoised.wav, noise.wav, model.safetensors,
figure.png and metrics.json. Takes about a minute.

example:
  partae demo --out demo
"""

import argparse

from .options import add_json, add_threads, int_at_least, print_json, use_threads


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default="partae-demo", metavar="DIR", help="folder for the results (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int_at_least(0), default=0, metavar="N", help="seed of the scene (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run")
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ..demo import demo

    use_threads(args)
    result = demo(args.out, seed=args.seed, overwrite=args.overwrite, progress=False if args.quiet else None)
    if args.json:
        print_json(result)
        return 0
    low, high = result["band_hz"]
    print(f"SI-SDR of the songs from {low / 1000:.1f} to {high / 1000:.1f} kHz:")
    for name, label in (("noisy", "noisy input"), ("untrained", "untrained model"), ("denoised", "denoised")):
        print(f"  {label:<16}{result['si_sdr_db'][name]:6.1f} dB")
    print(f"{result['steps']} steps in {result['training_seconds']:.1f} s, {result['seconds']:.1f} s in total")
    for path in result["files"]:
        print(f"  {path}")
    return 0
