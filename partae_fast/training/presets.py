"""The settings of published systems, by name."""

from dataclasses import dataclass

from ..errors import UserError


@dataclass(frozen=True)
class Preset:
    """All settings of a system: the spectrogram, the model, the batches, the optimiser and the mask."""

    source: str  # where it was published
    rate: int  # Hz
    n_fft: int
    hop: int
    low: float  # Hz
    high: float  # Hz
    level: float  # RMS of the magnitudes that may have signal
    frames: int  # in a crop
    latents: int
    taps: int
    pool: int
    background: float  # share of the latents
    penalty: float
    noise_only: float  # share of the items
    batch: int
    optimizer: str
    mask_exponent: float


PRESETS = {
    # 50 % hop; 1700 to 7200 Hz holds bins 10 to 41, 32 of them. The paper gives no level, and it matters: squared
    # error grows with it and the penalty does not, so that at a high level foreground latents learn noise too.
    # Chiffchaff in cafe and crowd noise at -5 dB in band, 1500 steps, SI-SDR in band after denoising: 4.4 dB at
    # level 0.01, 5.0 at 0.03, 3.8 at 0.1, 0.9 at 0.3, -3.4 at 1, -6.3 at 3. At low levels AdaDelta's steps (1e-3 at
    # least, by its epsilon) are large beside decoder weights, and the loss breaks out, by factors of 1e4 and more, and
    # comes back: whoever stops then has a bad model. Seen at 0.03 in that scene (at step 2000, 12 dB worse than at
    # 1500) and at 0.03, 0.05 and 0.1 in the demo's; at 0.2, 0.3 and 0.5 not once in steps 500 to 3500.
    "stowell2015": Preset(
        source="Stowell & Turner 2015, Denoising without access to clean data using a partitioned autoencoder",
        rate=22050,
        n_fft=128,
        hop=64,
        low=1700.0,
        high=7200.0,
        level=0.2,
        frames=512,
        latents=32,
        taps=9,
        pool=16,
        background=0.25,
        penalty=0.75,
        noise_only=0.25,
        batch=16,
        optimizer="adadelta",
        mask_exponent=2.0,
    ),
}


def preset_named(name: str) -> Preset:
    """The preset of this name; raises UserError where there is none, listing those that there are."""
    if name not in PRESETS:
        raise UserError(f"preset {name!r} is not known; choose {' or '.join(PRESETS)}")
    return PRESETS[name]
