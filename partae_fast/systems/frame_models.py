"""Settings and samplers of the systems of single frames (Lusterman 2016)."""

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from ..audio.frame_input import FrameInput
from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..models.frame_autoencoder import FrameAutoencoder
from ..models.frame_layers import check_number
from ..sampling.frames import RecordedFrames
from ..training.material import Material
from ..training.options import option as setting

THESIS = "Lusterman 2016, A partitioned autoencoder for audio de-noising (thesis, The Cooper Union)"
STEPS, LEARNING_RATE, OPTIMIZER = 2000, 1e-3, "adam"  # of the thesis
WEAK = "recordings", "noise", "labels", "clean"  # material that the partitioned systems accept


@dataclass(frozen=True)
class FrameSettings:
    """Settings that all systems of single frames share."""

    input: str = setting("magnitude", "contents of a frame: time, magnitude, context or complex")
    n_fft: int = setting(1024, "samples in a window")
    spectrum: str = setting("one-sided", "bins of a frame: one-sided, without-nyquist or two-sided")
    context: int = setting(3, "neighbouring frames on each side, for input context")
    rate: int = setting(16000, "sample rate of the model, Hz")
    snr: float = setting(0.0, "signal-to-noise ratio of mixtures of clean recordings and noise, dB (eq. 24)")
    batch: int = setting(128, "frames in a batch")
    statistics: str = setting("running", "statistics of batch normalisation after training: running or batch")
    as_program: bool = setting(False, "follow the thesis's program where it differs from its text")


_Settings = TypeVar("_Settings", bound=FrameSettings)


def resolve_settings(settings: _Settings, program: dict[str, Any], batch_norm: str) -> _Settings:
    """Return the settings to use, with those of the thesis's program if asked for.

    With as_program, settings that have their default take the value of the program.

    Raises UserError if snr, rate or batch is out of range; the model and the sampler check the other settings.
    """
    if settings.as_program:
        defaults = {field.name: field.default for field in fields(settings)}
        program = {"spectrum": "two-sided", **program}
        unchanged = {name: value for name, value in program.items() if getattr(settings, name) == defaults[name]}
        settings = replace(settings, **unchanged)
    check_number("snr", settings.snr)
    check_number("rate", settings.rate, 1)
    if settings.batch < 2 and batch_norm != "none":
        raise UserError(f"batch is {settings.batch}; batch normalisation needs 2 frames or more")
    return settings


def set_spectrogram(model: FrameAutoencoder, rate: int) -> FrameAutoencoder:
    """Set the spectrogram of the model, and return the model.

    The spectrogram has all frequencies and 50 % overlap.
    """
    n_fft = model.input.n_fft
    model.spectrogram = Spectrogram(rate=rate, n_fft=n_fft, hop=n_fft // 2, low=0.0, high=rate / 2)
    return model


def weak_sampler(material: Material, settings: FrameSettings, input: FrameInput, noise_only: float, seed: int) -> Any:
    """Return a sampler of frames for training with weak labels.

    Frames with signal are from noisy recordings, or from clean recordings that are mixed with noise here. Without noise
    recordings, clean recordings are mixed with white noise. Raises UserError unless the material has either noisy or
    clean recordings.
    """
    if bool(material.recordings) == bool(material.clean):
        raise UserError("give either noisy recordings or clean ones (--clean), which are mixed with noise")
    if not 0 < noise_only < 1 or round(settings.batch * noise_only) == 0:
        raise UserError(
            f"noise_only is {noise_only} of {settings.batch} items; choose it so that a batch has both kinds of items"
        )
    if material.clean:
        if material.labels:
            raise UserError("labels are for noisy recordings; leave them out with clean recordings (--clean)")
        signal, noise, snr = material.channels("clean", settings.rate), _noise(material, settings.rate), settings.snr
    else:
        (signal, noise), snr = material.weakly_labelled(settings.rate), None
    program = settings.as_program
    return RecordedFrames(signal, noise, input, snr, settings.batch, noise_only, seed, program, program)


def clean_sampler(material: Material, settings: FrameSettings, input: FrameInput, seed: int) -> RecordedFrames:
    """Return a sampler of clean frames and their mixtures with noise.

    Without noise recordings, the noise is white.
    """
    signal, noise = material.channels("clean", settings.rate), _noise(material, settings.rate)
    program = settings.as_program
    return RecordedFrames(signal, noise, input, settings.snr, settings.batch, 0.0, seed, program, program)


def _noise(material: Material, rate: int) -> list[Any] | None:
    return material.channels("noise", rate) if material.noise else None
