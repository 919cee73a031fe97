"""Non-negative matrix factorisation: it descends, as the reference does, and leaves what is given as it was."""

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.models.nmf import DIVERGENCES, factorised, learned, separated
from partae_fast.reference import nmf as reference


@pytest.fixture
def magnitudes():
    random = np.random.default_rng(1)
    return random.random((20, 3)) @ random.random((3, 8)) + 0.01 * random.random((20, 8))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("fixed", [0, 2])
def test_no_update_raises_the_error(magnitudes, divergence, fixed):
    random = np.random.default_rng(2)
    magnitudes[3, 4] = 0
    a, d = random.random((20, 4)), random.random((4, 8))
    given, errors = d[:fixed].copy(), [reference.error(magnitudes, a, d, divergence)]
    for _ in range(50):
        a, d = reference.update(magnitudes, a, d, fixed, divergence)
        errors.append(reference.error(magnitudes, a, d, divergence))
    assert (np.diff(errors) <= 1e-9 * errors[0]).all() and errors[-1] < 0.5 * errors[0]
    np.testing.assert_array_equal(d[:fixed], given)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("free", [0, 2])
def test_factors_are_those_of_the_reference(magnitudes, divergence, free):
    x = torch.from_numpy(magnitudes)
    given = torch.rand(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a, d = (t.numpy() for t in factorised(x, given, free, divergence, 1, seed=3))
    for iterations in (2, 10):
        found = factorised(x, given, free, divergence, iterations, seed=3)
        wanted = a, d
        for _ in range(iterations - 1):
            wanted = reference.update(magnitudes, *wanted, 2, divergence)
        for got, expected in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("noise", [2, "known"], ids=["semi-supervised", "supervised"])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_speech_is_told_from_noise(divergence, noise):
    """Sources in bins of their own but for one that they share."""
    random = torch.Generator().manual_seed(0)
    speech, other = (torch.rand(60, 2, generator=random) for _ in range(2))
    rows = torch.tensor([[1.0, 0, 1, 0, 0, 0, 0.2], [0, 1, 0, 0.5, 0, 0, 0]])
    others = torch.tensor([[0, 0, 0, 0, 1.0, 0, 0.2], [0, 0, 0, 0, 0, 1, 0]])
    clean, hum = speech @ rows, other @ others
    known = learned(clean, 2, divergence, 200)
    assert known.shape == (2, 7) and torch.allclose(known.sum(1), torch.ones(2))
    noise = learned(hum, 2, divergence, 200) if noise == "known" else noise
    found = separated(clean + hum, known, noise, divergence, 200)
    assert pf_snr(clean, found) > pf_snr(clean, clean + hum) + 8


def pf_snr(reference, estimate):
    return float(10 * torch.log10(reference.square().sum() / (reference - estimate).square().sum()))


def test_what_cannot_be_is_refused():
    with pytest.raises(pf.UserError, match="divergence"):
        learned(torch.rand(3, 4), 2, "itakura")
    with pytest.raises(pf.UserError, match="components"):
        learned(torch.rand(3, 4), 0)
    with pytest.raises(pf.UserError, match="bins"):
        separated(torch.rand(3, 4), torch.rand(2, 5), 1)
