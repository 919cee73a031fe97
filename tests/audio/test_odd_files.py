"""A corpus of odd audio files, each with its one outcome: read, read with a warning, or refused in one line."""

import re

import numpy as np
import pytest

from partae_fast.audio import Spectrogram, files
from partae_fast.denoising.files import denoise_file
from partae_fast.errors import UserError

from ..denoising.models import Fixed
from .odd_files import FLOATS, ODD, Odd

MODEL = Fixed(Spectrogram(rate=8000, low=0.0, high=None), pool=1, taps=1)


@pytest.fixture(params=ODD)
def case(request):
    return ODD[request.param]


def test_an_odd_file_has_one_outcome(tmp_path, case: Odd, caplog, capfd):
    source, target = tmp_path / f"odd{case.suffix}", tmp_path / "out.wav"
    case.write(source)
    if case.frames is None:
        for use in (files.read, lambda path: denoise_file(MODEL, path, target)):
            with pytest.raises(UserError) as error:
                use(source)
            assert str(error.value).startswith(str(source)) and "\n" not in str(error.value)
            assert re.search(case.message, str(error.value))
        assert not target.exists() and not caplog.messages
    else:
        samples, rate = files.read(source)
        assert len(samples) == case.frames
        if case.exact:
            np.testing.assert_array_equal(samples, np.tile(FLOATS[: case.frames, None], (1, samples.shape[1])))
        assert len(caplog.messages) == bool(case.message)
        assert re.search(case.message, caplog.text)
        caplog.clear()
        denoise_file(MODEL, source, target, clipping="float")
        output = files.info(target)
        assert (output.frames, output.rate, output.channels) == (case.frames, rate, samples.shape[1])
        assert [message for message in caplog.messages if str(source) in message] == caplog.messages
    assert "Exception ignored" not in capfd.readouterr().err
