"""Non-negative matrix factorisation: its reference, equality with the reference, separation, fixed rows."""

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.models.nmf import DIVERGENCES, KL, activations, factorise, learn, separate
from partae_fast.reference import nmf as reference


@pytest.fixture
def magnitudes():
    random = np.random.default_rng(1)
    return random.random((20, 3)) @ random.random((3, 8)) + 0.01 * random.random((20, 8))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("fixed", [0, 2])
def test_reference_updates_decrease_the_error_and_keep_fixed_rows(magnitudes, divergence, fixed):
    random = np.random.default_rng(2)
    magnitudes[3, 4] = 0
    a, d = random.random((20, 4)), random.random((4, 8))
    fixed_rows, errors = d[:fixed].copy(), [reference.error(magnitudes, a, d, divergence)]
    for _ in range(50):
        a, d = reference.update(magnitudes, a, d, fixed, divergence)
        errors.append(reference.error(magnitudes, a, d, divergence))
    assert (np.diff(errors) <= 1e-9 * errors[0]).all() and errors[-1] < 0.5 * errors[0]
    np.testing.assert_array_equal(d[:fixed], fixed_rows)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("free", [0, 2])
def test_factorise_matches_the_reference(magnitudes, divergence, free):
    x = torch.from_numpy(magnitudes)
    fixed = torch.rand(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = tuple(t.numpy() for t in factorise(x, fixed, free, divergence, 1, seed=3))
    for iterations in (2, 10):
        factors = factorise(x, fixed, free, divergence, iterations, seed=3)
        expected = start
        for _ in range(iterations - 1):
            expected = reference.update(magnitudes, *expected, 2, divergence)
        for factor, reference_factor in zip(factors, expected, strict=True):
            np.testing.assert_allclose(factor.numpy(), reference_factor, rtol=1e-6)


@pytest.mark.parametrize("supervised", [False, True], ids=["semi-supervised", "supervised"])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_separate_raises_the_snr_of_speech(divergence, supervised):
    """The sources share only the last bin."""
    random = torch.Generator().manual_seed(0)
    speech_activations, noise_activations = (torch.rand(60, 2, generator=random) for _ in range(2))
    speech = speech_activations @ torch.tensor([[1.0, 0, 1, 0, 0, 0, 0.2], [0, 1, 0, 0.5, 0, 0, 0]])
    noise = noise_activations @ torch.tensor([[0, 0, 0, 0, 1.0, 0, 0.2], [0, 0, 0, 0, 0, 1, 0]])
    speech_dictionary = learn(speech, 2, divergence, 200)
    assert speech_dictionary.shape == (2, 7) and torch.allclose(speech_dictionary.sum(1), torch.ones(2))
    noise_rows = learn(noise, 2, divergence, 200) if supervised else 2
    estimate = separate(speech + noise, speech_dictionary, noise_rows, divergence, 200)
    assert snr(speech, estimate) > snr(speech, speech + noise) + 8


def snr(reference, estimate):
    return float(10 * torch.log10(reference.square().sum() / (reference - estimate).square().sum()))


def test_arguments_out_of_range_are_rejected():
    with pytest.raises(pf.UserError, match="divergence"):
        learn(torch.rand(3, 4), 2, "itakura")
    with pytest.raises(pf.UserError, match="components"):
        learn(torch.rand(3, 4), 0)
    with pytest.raises(pf.UserError, match="bins"):
        separate(torch.rand(3, 4), torch.rand(2, 5), 1)


def test_activations_are_the_references_and_independent_of_other_frames(magnitudes):
    x, dictionary = torch.from_numpy(magnitudes), learn(torch.from_numpy(magnitudes), 3)
    result = activations(x, dictionary, 30)
    expected = np.repeat(magnitudes.sum(1, keepdims=True) / 3, 3, axis=1)
    for _ in range(30):
        expected, _ = reference.update(magnitudes, expected, dictionary.numpy(), 3, KL)
    np.testing.assert_allclose(result, expected, rtol=1e-9)
    np.testing.assert_allclose(activations(x[5:7], dictionary, 30), result[5:7], rtol=1e-9)
    assert not activations(torch.zeros(2, 8), dictionary.float(), 30).any()
    many = torch.from_numpy(np.random.default_rng(3).random((600, 8)))  # more than a block
    one_by_one = torch.cat([activations(frame, dictionary, 5) for frame in many.split(1)])
    np.testing.assert_allclose(activations(many, dictionary, 5), one_by_one, rtol=1e-9)


@pytest.mark.parametrize(("frames", "bins", "rows"), [(1, 1, 1), (23, 33, 5), (25, 83, 48), (97, 64, 33), (7, 600, 16)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_activations_of_any_size_are_the_references(frames, bins, rows, kind):
    random = np.random.default_rng(4)
    x, dictionary = (torch.from_numpy(random.exponential(size=(n, bins))).to(kind) for n in (frames, rows))
    x[0, 0] = 0
    expected = np.repeat(x.double().numpy().sum(1, keepdims=True) / rows, rows, axis=1)
    for _ in range(6):
        expected, _ = reference.update(x.double().numpy(), expected, dictionary.double().numpy(), rows, KL)
    # The relative error of a sum of positive numbers is below their count times the rounding error; it enters the
    # activations once an update, and on average far less than at the bound.
    tolerance = 6 * (bins + rows) ** 0.5 * torch.finfo(kind).eps
    np.testing.assert_allclose(activations(x, dictionary, 6), expected, rtol=tolerance + 1e-9)


def test_the_number_of_threads_changes_no_bit():
    random, threads = np.random.default_rng(5), torch.get_num_threads()
    x, dictionary = (torch.from_numpy(random.random((n, 200), np.float32)) for n in (500, 40))
    try:
        results = []
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(activations(x, dictionary, 20))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)
