"""Measure the effect of the window length, for the tables of docs/settings.md.

    python -m partae_fast.bench.windows FOLDER

FOLDER has birdsong/bengalese_finch_104.flac, speech/lj050_0131.flac and noise/. Song or speech is mixed at 0 dB in its
band with the first 60 % of a noise; the rest of that noise is the noise-only audio. For each window, a model of the
default preset is trained, and the SI-SDR in the band before and after denoising is printed.
"""

import math
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import partae_fast as pf
from partae_fast.audio import files
from partae_fast.audio.resample import resample
from partae_fast.metrics import band, si_sdr

SECONDS = 12.0  # length of the clean recording
# Clean recording, noise, rate in Hz, band in Hz, windows in samples.
CASES = (
    ("birdsong/bengalese_finch_104.flac", "cafe", 32000, (1500.0, 8000.0), (64, 128, 256, 512, 1024, 2048)),
    *(
        ("speech/lj050_0131.flac", noise, 16000, (80.0, 8000.0), (128, 256, 512))
        for noise in ("cafe", "ambient_5", "wind", "machine", "diffuse")
    ),
)


def main(folder: Path) -> None:
    for clean_name, noise_name, rate, edges, windows in CASES:
        clean = _read(folder / clean_name, rate)[: round(SECONDS * rate)]
        noise = _read(folder / "noise" / f"{noise_name}.flac", rate)
        cut = round(0.6 * len(noise))
        mixed_in = np.resize(noise[:cut], len(clean))
        clean_in_band, noise_in_band = band(clean, rate, *edges), band(mixed_in, rate, *edges)
        gain = math.sqrt((clean_in_band @ clean_in_band) / (noise_in_band @ noise_in_band))
        noisy, noise_only = clean + gain * mixed_in, gain * noise[cut:]
        before = si_sdr(clean_in_band, band(noisy, rate, *edges))
        for n_fft in windows:
            settings = {"rate": rate, "n_fft": n_fft, "hop": n_fft // 4, "low": edges[0], "high": edges[1]}
            model = pf.fit([(noisy, rate)], noise=[(noise_only, rate)], progress=False, **settings)
            after = si_sdr(clean_in_band, band(pf.denoise(noisy, rate, model), rate, *edges))
            milliseconds = 1000 * n_fft / rate
            print(f"{clean_name} in {noise_name}, {milliseconds:g} ms: {before:.1f} dB, {after:.1f} dB", flush=True)


def _read(path: Path, rate: int) -> NDArray[np.float64]:
    samples, file_rate = files.read(path)
    return resample(samples[:, 0], file_rate, rate).astype(np.float64)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
