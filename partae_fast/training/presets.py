"""The settings of whole systems, by name: those of a paper, and those for recordings from the field."""

from dataclasses import dataclass, field
from typing import Any

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
    learning_rate: float | None  # None for the optimiser's own
    falling: bool  # whether the learning rate falls as training goes on
    steps: int  # of training, in all
    # How the steps are shared between the partitioned autoencoder and denoising ones, each of which learns from remixes
    # of what the one before passes (`training.remix`).
    shares: tuple[int, ...] = (1,)
    match_noise: bool = False  # whether recordings of noise are brought to the level of the noise in the others
    mask: dict[str, Any] = field(default_factory=dict)  # settings of `denoising.Mask`

    @property
    def remixed(self) -> bool:
        """Whether the model that denoises is another than the partitioned one."""
        return len(self.shares) > 1

    def split(self, steps: int) -> list[int]:
        """How many of so many steps in all each model takes: one at least, where there are enough."""
        total = sum(self.shares)
        ends = [steps * sum(self.shares[:count]) // total for count in range(1, len(self.shares) + 1)]
        ends = [min(steps, max(count, end)) for count, end in enumerate(ends, start=1)]
        return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


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
        learning_rate=None,
        falling=False,
        steps=4000,
    ),
    # bench/results/quality/field.md says what was tried and what it gave.
    "field": Preset(
        source="bench/results/quality/field.md: for recordings from the field, the default",
        rate=22050,
        n_fft=256,
        hop=64,
        low=80.0,
        high=11025.0,
        level=0.2,
        frames=128,
        latents=64,
        taps=5,
        pool=4,
        background=0.25,
        penalty=100.0,
        noise_only=0.5,
        batch=8,
        optimizer="adam",
        learning_rate=2e-3,
        falling=True,
        steps=2200,
        shares=(3, 4, 4),
        match_noise=True,
        mask={"exponent": 1.0, "background": 0.0, "noise": 0.4, "gate": 1.5, "smoothing": 3},
    ),
}

DEFAULT = "field"


def preset_named(name: str) -> Preset:
    """The preset of this name; raises UserError where there is none, listing those that there are."""
    if name not in PRESETS:
        raise UserError(f"preset {name!r} is not known; choose {' or '.join(PRESETS)}")
    return PRESETS[name]
