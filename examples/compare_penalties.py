"""Train models with several penalties and seeds, and compare them.

python examples/compare_penalties.py calls.wav noise.wav sweep
"""

import argparse
from pathlib import Path

import soundfile

import partae_fast as pf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calls", help="a recording with calls and noise")
    parser.add_argument("noise", help="a recording of the noise alone, at the same sample rate")
    parser.add_argument("out", type=Path, help="folder for models, table and plot")
    parser.add_argument("--steps", type=int, default=2000, help="training steps of each model (default: %(default)s)")
    args = parser.parse_args()

    spectrograms = []
    for path in (args.calls, args.noise):
        audio, rate = soundfile.read(path, dtype="float32")
        spec = pf.Spectrogram(rate=rate, n_fft=128, hop=64, low=0.08 * rate, high=0.33 * rate)
        spectrograms.append(spec.magnitude(audio))
    calls, noise = spectrograms
    sampler = pf.CropSampler(signal=[[calls]], noise=[[noise]], frames=128, batch=16, noise_only=0.25)

    grid = {"penalty": [0.25, 0.75], "seed": [0, 1]}
    rows = pf.Sweep.of_grid(grid, sampler, args.out, fixed={"optimizer": "adam"}, steps=args.steps).run()
    for row in rows:
        print("penalty {penalty}, seed {seed}: keeps {leak:.2f} of noise and {keep:.2f} of the rest".format(**row))


if __name__ == "__main__":
    main()
