"""The settings of the spectrogram that systems with weak labels share."""

from dataclasses import dataclass, fields

from ..training.options import option as setting
from ..training.spectrograms import AskedSpectrogram


@dataclass(frozen=True)
class SpectrogramSettings:
    """Settings of the spectrogram; those that are None follow the labels and recordings.

    The band is that of the labels if they contain frequencies, else the default band of the system, limited to that of
    the recordings. The rate is the default rate, doubled until the band fits, and at most that of the recordings.
    Window and hop keep the default duration. They are longer for a band that would have fewer than 8 bins, and, with
    the default band at lower frequencies, for recordings that have less than a quarter of its bins.
    """

    low: float | None = setting(
        None, "lower end of the band (default: from the labels, else the system's)", metavar="HZ"
    )
    high: float | None = setting(
        None, "upper end of the band (default: from the labels, else the system's)", metavar="HZ"
    )
    rate: int | None = setting(None, "sample rate of the model (default: chosen for the band)", least=1, metavar="HZ")
    n_fft: int | None = setting(None, "samples in a window (default: chosen for the rate)", least=1, metavar="N")
    hop: int | None = setting(
        None, "samples from one window to the next (default: chosen for the rate)", least=1, metavar="N"
    )
    bins: int | None = setting(None, "number of frequency bins in the band, instead of --high", least=1, metavar="N")

    @property
    def asked(self) -> AskedSpectrogram:
        """The settings of the spectrogram that are not None."""
        return AskedSpectrogram(**{entry.name: getattr(self, entry.name) for entry in fields(AskedSpectrogram)})
