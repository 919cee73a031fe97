"""The settings of the spectrogram that systems with weak labels share."""

from dataclasses import dataclass, fields

from ..training.options import option as setting
from ..training.spectrograms import AskedSpectrogram


@dataclass(frozen=True)
class SpectrogramSettings:
    """The spectrogram: None where a setting follows labels and recordings.

    The band is the labels' where they have one, else the system's usual one, no wider than the recordings; the rate is
    the usual one, doubled until the band fits, no higher than the recordings'; window and hop keep the duration of the
    usual ones.
    """

    low: float | None = setting(None, "lower end of the band (default: the labels', else the model's)", metavar="HZ")
    high: float | None = setting(None, "upper end of the band (default: the labels', else the model's)", metavar="HZ")
    rate: int | None = setting(
        None, "sample rate that the model works at (default: fits the band)", least=1, metavar="HZ"
    )
    n_fft: int | None = setting(None, "samples in a window (default: the model's, for its rate)", least=1, metavar="N")
    hop: int | None = setting(None, "samples from one window to the next (default: the model's)", least=1, metavar="N")
    bins: int | None = setting(None, "bins in the band, in place of high", least=1, metavar="N")

    @property
    def asked(self) -> AskedSpectrogram:
        """What of the spectrogram is set."""
        return AskedSpectrogram(**{entry.name: getattr(self, entry.name) for entry in fields(AskedSpectrogram)})
