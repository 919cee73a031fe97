"""Train on noisy recordings and labels, and write signal and noise of each.

python examples/denoise_recordings.py dawn.txt out dawn1.wav dawn2.wav
"""

import argparse
from pathlib import Path

import soundfile

import partae_fast as pf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", help="a label file: an Audacity track, a Raven table, a CSV table, ...")
    parser.add_argument("out", type=Path, help="folder for the model and the results")
    parser.add_argument("recordings", nargs="+", type=Path, help="noisy recordings")
    parser.add_argument("--steps", type=int, help="training steps (default: the system's)")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    model = pf.fit(args.recordings, labels=args.labels, options=pf.TrainingOptions(steps=args.steps))
    pf.save(model, args.out / "model.safetensors")

    for path in args.recordings:
        audio, rate = soundfile.read(path, dtype="float32")
        signal = pf.denoise(audio, rate, model)
        noise = pf.denoise(audio, rate, model, part="noise")  # signal + noise = audio
        soundfile.write(args.out / f"{path.stem}_signal.wav", signal, rate)
        soundfile.write(args.out / f"{path.stem}_noise.wav", noise, rate)
        print(f"{path}: {len(audio) / rate:.1f} s denoised")


if __name__ == "__main__":
    main()
