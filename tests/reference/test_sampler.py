"""The reference sampler: the origin of crops, mixtures, and the statistics of mixtures."""

import numpy as np
import pytest

from partae_fast.reference import sampler


def counting(length, first=0, bins=2):
    """Return a recording whose values are the frame numbers, so that a crop shows its position."""
    return np.repeat(np.arange(first, first + length, dtype=np.float64)[:, None], bins, axis=1)


def test_every_start_of_every_recording_and_no_other():
    lengths = [4, 2, 7]  # the second is shorter than a crop
    result = [sampler.locate(start, lengths, 3) for start in range(7)]
    assert result == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4)]
    with pytest.raises(IndexError):
        sampler.locate(7, lengths, 3)


def test_crops_are_contiguous_frames_of_one_recording():
    group = [counting(10), counting(9, first=100)]
    values = set()
    for step in range(200):
        taken = sampler.crop(group, 0, 3, step, 0, 8)
        assert np.array_equal(taken[:, 0], taken[0, 0] + np.arange(8))
        values.add(taken[0, 0])
    assert values == {0.0, 1.0, 2.0, 100.0, 101.0}


def test_an_item_is_the_sum_of_one_crop_of_each_of_its_groups():
    signal = [[np.full((4, 2), 1.0)], [np.full((4, 2), 10.0)]]
    noise = [[np.full((4, 2), 100.0)]]
    x, noise_only = sampler.batch_at(signal, noise, 4, 5, 0.4, seed=0, step=0)
    assert noise_only.tolist() == [1, 1, 0, 0, 0]
    assert x[:, 0, 0].tolist() == [100, 100, 11, 11, 11]


def test_corruption_is_in_every_input_and_in_no_target():
    signal, noise = [[np.full((4, 2), 1.0)]], [[np.full((4, 2), 10.0)]]
    corruption = [[np.full((4, 2), 100.0)], [np.full((4, 2), 1000.0)]]
    settings = signal, noise, 4, 3, 0.4, 0, 5
    x, noise_only = sampler.batch_at(*settings, corruption)
    assert noise_only.tolist() == [1, 0, 0]
    assert x[:, 0, 0].tolist() == [1110, 1101, 1101]
    assert sampler.target_at(*settings)[:, 0, 0].tolist() == [10, 1, 1]


def test_the_target_of_a_recording_is_only_in_the_target():
    signal = [[(counting(20), counting(20, first=1000))], [np.full((9, 2), 0.5)]]
    noise = [[(np.full((4, 2), 7.0), np.zeros((4, 2)))]]
    settings = signal, noise, 4, 3, 0.4, 0, 5
    x, noise_only = sampler.batch_at(*settings)
    target = sampler.target_at(*settings)
    assert noise_only.tolist() == [1, 0, 0]
    assert (x[0] == 7.0).all() and not target[0].any()
    assert np.array_equal(target[1:], x[1:] + 1000)  # the same frames of it
    plain = [[counting(20)], [np.full((9, 2), 0.5)]]
    assert np.array_equal(x, sampler.batch_at(plain, [[np.full((4, 2), 7.0)]], *settings[2:])[0])
    for result, expected in zip(sampler.statistics(signal, 4), sampler.statistics(plain, 4), strict=True):
        assert np.array_equal(result, expected)


def test_corruption_groups_are_numbered_after_the_others():
    signal, noise, corruption = [[counting(50)]], [[counting(40)]] * 2, [[counting(60)]]
    x, _ = sampler.batch_at(signal, noise, 4, 2, 0.0, 3, 7, corruption)
    expected = sampler.target_at(signal, noise, 4, 2, 0.0, 3, 7)
    expected += [sampler.crop(corruption[0], 3, 3, 7, item, 4) for item in range(2)]
    assert np.array_equal(x, expected)


def test_inputs_are_normalised_with_their_corruption():
    random = np.random.default_rng(0)
    signal, corruption = [[random.random((400, 3))]], [[random.gamma(1.0, [1.0, 2.0, 3.0], (300, 3))]]
    for result, expected in zip(
        sampler.statistics(signal, 8, corruption), sampler.statistics([*signal, *corruption], 8), strict=True
    ):
        assert np.array_equal(result, expected)


def test_the_mixture_has_the_moments_of_the_batches():
    random = np.random.default_rng(0)
    groups = [[random.gamma(2.0, 1.0, (400, 3))], [random.gamma(1.0, [1.0, 2.0, 3.0], (300, 3))]]
    mean, variance = sampler.mixture(groups, 8)
    x = np.concatenate([sampler.batch_at(groups, [], 8, 64, 0.0, 0, step)[0] for step in range(20)])
    frames = x.reshape(-1, 3)
    assert np.allclose(frames.mean(axis=0), mean, rtol=0.05)
    assert np.allclose(frames.var(axis=0), variance, rtol=0.1)
    square = sampler.noise_mean_square(groups, 8)
    assert np.allclose(np.mean(frames**2, axis=0), square, rtol=0.1)


def test_a_constant_bin_gets_the_floor_and_short_recordings_do_not_count():
    varying = np.stack([np.tile([0.0, 2.0], 8), np.ones(16)], axis=1)
    mean, std = sampler.statistics([[varying, np.full((3, 2), 1e6)]], frames=4)
    assert mean.tolist() == [1.0, 1.0]
    assert std.tolist() == [1.0, 0.0005]
