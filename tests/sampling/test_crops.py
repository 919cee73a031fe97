"""CropSampler: agreement with the reference, statistics, settings and errors."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from partae_fast.errors import UserError
from partae_fast.kernels.philox import first_word
from partae_fast.reference import philox, sampler
from partae_fast.sampling.crops import CropSampler


def recordings(seed, lengths, bins=5):
    random = np.random.default_rng(seed)
    return [random.gamma(1.0, 1.0, (length, bins)).astype(np.float32) for length in lengths]


def groups(seed, *lengths):
    return [recordings(seed + i, group) for i, group in enumerate(lengths)]


def groups_with_targets(seed, *lengths):
    """Return groups in which every second recording has a target of its own."""
    return [
        [r if i % 2 == 0 else (r, (r * 0.75).astype(np.float32)) for i, r in enumerate(group)]
        for group in groups(seed, *lengths)
    ]


def test_random_words_equal_the_reference():
    counters = np.random.default_rng(0).integers(0, 2**32, (50, 3)).astype(np.uint64)
    seed = 0xFEDCBA9876543210
    words = first_word(seed, *counters.T)
    expected = philox.philox(np.insert(counters, 3, 0, axis=1), philox.seed_key(seed))[:, 0]
    assert np.array_equal(words, expected)


@settings(deadline=None, max_examples=40)
@given(
    signal=st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=4), min_size=1, max_size=3),
    noise=st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=4), min_size=1, max_size=2),
    corruption=st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=3), max_size=2),
    make=st.sampled_from([groups, groups_with_targets]),
    frames=st.integers(1, 20),
    batch=st.integers(1, 9),
    noise_only=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    seed=st.sampled_from([0, 1, 2**63 + 5]),
    step=st.sampled_from([0, 1, 63, 100_000, 2**32 - 1]),
)
def test_batches_equal_the_reference(signal, noise, corruption, make, frames, batch, noise_only, seed, step):
    # The last recording of each group is long enough for a crop.
    signal = make(0, *[[*lengths, frames] for lengths in signal])
    noise = make(10, *[[*lengths, frames + 1] for lengths in noise])
    corruption = groups(20, *[[*lengths, frames] for lengths in corruption])
    ours = CropSampler(signal, noise, frames, batch, noise_only, seed, corruption)
    (x, flags), target = ours.batch_at(step), ours.target_at(step)
    arguments = signal, noise, frames, batch, noise_only, seed, step
    expected_x, expected_flags = sampler.batch_at(*arguments, corruption)
    expected_target = sampler.target_at(*arguments)
    assert x.dtype == target.dtype == flags.dtype == torch.float32
    assert x.is_contiguous() and target.is_contiguous()
    assert flags.tolist() == expected_flags.tolist()
    if len(signal) == len(noise) == 1:
        assert np.array_equal(target.numpy(), expected_target)
    np.testing.assert_allclose(target.numpy(), expected_target, rtol=1e-6)
    np.testing.assert_allclose(x.numpy(), expected_x, rtol=1e-6)
    assert (ours.target is None) == (ours.crops.target is None)
    if make is groups:
        assert ours.target is None
    if ours.crops.target_is_input:
        assert not corruption and torch.equal(x, target)


def test_statistics_include_corruption():
    signal, noise, corruption = groups(0, [50, 3, 70], [40]), groups(9, [64]), groups(5, [80, 2])
    ours = CropSampler(signal, noise, frames=8, batch=4, corruption=corruption)
    mean, std = sampler.statistics(signal, 8, corruption)
    np.testing.assert_allclose(ours.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(ours.std, std, rtol=1e-6)
    np.testing.assert_allclose(ours.noise_mean_square, sampler.noise_mean_square(noise, 8), rtol=1e-6)
    assert ours.crops.corruption_groups == ours.crops.noise_groups == 1


def test_statistics_equal_the_reference():
    signal, noise = groups(0, [50, 3, 70], [40]), groups(9, [64], [80, 2])
    signal[0].append(np.zeros((9, 5), np.float32))
    for group in (*signal, *noise):
        for recording in group:
            recording[:, 2] = 4.0  # a constant bin
    ours = CropSampler(signal, noise, frames=8, batch=4)
    mean, std = sampler.statistics(signal, 8)
    np.testing.assert_allclose(ours.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(ours.std, std, rtol=1e-6)
    np.testing.assert_allclose(ours.noise_mean_square, sampler.noise_mean_square(noise, 8), rtol=1e-6)
    assert ours.bins == 5


def test_the_arrays_for_kernels_give_the_same_crops():
    signal, noise = groups(0, [50, 30], [40]), groups(9, [64])
    ours = CropSampler(signal, noise, frames=8, batch=6, noise_only=0.5, seed=3)
    step, source = 12, ours.source.numpy()
    expected = np.zeros((6, 8, 5), np.float32)
    for item in range(6):
        for g in [2] if item < ours.noise_items else [0, 1]:
            word = int(philox.philox(np.array([step, item, g, 0]), philox.seed_key(3))[0])
            c = ours.group_first[g] + ((word * int(ours.group_starts[g])) >> 32)
            r = np.flatnonzero(ours.starts_before <= c)[-1]
            expected[item] += source[c + ours.shift[r] :][:8]
    assert np.array_equal(ours.batch_at(step)[0].numpy(), expected)


def test_a_recording_in_two_groups_is_stored_once():
    shared = recordings(0, [100])
    ours = CropSampler([recordings(1, [100]), shared], [shared], frames=8, batch=4)
    assert len(ours.source) == 200
    x, _ = ours.batch_at(5)
    expected, _ = sampler.batch_at([recordings(1, [100]), shared], [shared], 8, 4, 0.25, 0, 5)
    assert np.array_equal(x, expected.astype("f4"))


def test_targets_are_the_clean_part_of_mixtures_and_silence_for_noise():
    (song,), (hiss,), (noise,) = groups(0, [60], [60], [40])
    settings = {"frames": 8, "batch": 4, "noise_only": 0.5}
    ours = CropSampler([[(song + hiss, song)]], [[(noise, np.zeros_like(noise))]], **settings)
    clean = CropSampler([[song]], [[noise]], **settings)
    mixture = CropSampler([[song + hiss]], [[noise]], **settings)
    target = ours.target_at(3)
    assert not target[:2].any()
    assert torch.equal(target[2:], clean.target_at(3)[2:])
    assert torch.equal(ours.batch_at(3)[0], mixture.batch_at(3)[0])
    for name in ("mean", "std", "noise_mean_square"):  # statistics of the input
        assert torch.equal(getattr(ours, name), getattr(mixture, name))


def test_a_recording_is_stored_once_for_each_of_its_targets():
    (song, first, second), (hiss,) = recordings(0, [50, 50, 50]), recordings(9, [30])
    signal = [[(song, first), song], [(song, second)], [(song, first), (song, song)]]
    ours = CropSampler(signal, [[hiss]], frames=8, batch=4)
    assert np.array_equal(ours.source, np.concatenate([song, song, song, hiss]))
    assert np.array_equal(ours.target, np.concatenate([first, song, second, hiss]))
    own_target = CropSampler([[(song, song)]], [[hiss]], frames=8, batch=4)
    assert own_target.target is None
    assert own_target.fingerprint() == CropSampler([[song]], [[hiss]], 8, 4).fingerprint()


def test_batches_do_not_depend_on_the_order_of_steps():
    ours = CropSampler(*[groups(0, [50])] * 2, frames=8, batch=4)
    first = ours.batch_at(7)[0]
    ours.batch_at(10**6)
    second = ours.batch_at(7)[0]
    assert torch.equal(first, second)
    second += 1  # a change by the caller does not affect later batches
    assert torch.equal(first, ours.batch_at(7)[0])


def test_tensors_and_arrays_of_other_types_and_orders_are_accepted():
    arrays = groups(0, [50], [40])
    converted = [[torch.from_numpy(arrays[0][0])], [np.asfortranarray(arrays[1][0].astype(np.float64))]]
    batches = [CropSampler(g, g, frames=8, batch=4).batch_at(3)[0] for g in (arrays, converted)]
    assert torch.equal(*batches)


def test_noise_may_be_empty_if_no_item_is_noise_only():
    ours = CropSampler(groups(0, [50]), [], frames=8, batch=4, noise_only=0.0)
    assert ours.batch_at(0)[1].tolist() == [0.0] * 4
    assert ours.noise_mean_square.tolist() == [0.0] * 5


def test_samplers_with_different_batches_have_different_fingerprints():
    def fingerprint(seed=0, lengths=(50,), **settings):
        return CropSampler(groups(seed, lengths), groups(9, [50]), **{"frames": 8, "batch": 4} | settings).fingerprint()

    base = fingerprint()
    assert base == fingerprint()
    others = [fingerprint(seed=1), fingerprint(lengths=(25, 25)), fingerprint(frames=9), fingerprint(batch=5)]
    others.append(fingerprint(corruption=groups(9, [50])))
    for target in groups(20, [50], [50]):
        pair = groups(0, [50])[0][0], target[0]
        others.append(CropSampler([[pair]], groups(9, [50]), frames=8, batch=4).fingerprint())
    assert others[-1] != others[-2]
    assert all(other != base for other in others)
    assert "corruption_groups" not in base  # older checkpoints do not have the key
    assert others[0]["recordings_sha256"] != base["recordings_sha256"] != others[1]["recordings_sha256"]


def test_short_recordings_and_missing_noise_only_items_are_logged(caplog):
    with caplog.at_level(logging.WARNING, "partae_fast"):
        CropSampler(groups(0, [50, 3, 7]), groups(1, [50]), frames=8, batch=1)
    assert "signal[0]: 2 of 3 recordings are shorter than 8 frames: left out" in caplog.text
    assert "no item will be noise-only" in caplog.text


def with_value(value):
    signal = groups(0, [50, 60])
    signal[0][1][3, 2] = value
    return signal


GOOD = groups(5, [50])
REFUSED = [
    ({"signal": []}, "signal has no group"),
    ({"signal": [[]]}, r"signal\[0\] has no recording"),
    ({"noise": []}, "noise has no group"),
    ({"noise": [GOOD[0], []]}, r"noise\[1\] has no recording"),
    ({"noise": groups(0, [7, 6])}, r"noise\[0\]: the longest recording has 7 frames, but a crop has 8"),
    ({"noise": [recordings(0, [50], bins=6)]}, r"noise\[0\] has a recording of 6 bins, but signal\[0\] has 5"),
    ({"corruption": groups(0, [7, 6])}, r"corruption\[0\]: the longest recording has 7 frames, but a crop has 8"),
    ({"corruption": [GOOD[0], with_value(-0.5)[0]]}, r"corruption\[1\] recording 1 has negative"),
    ({"signal": with_value(np.nan)}, r"signal\[0\] recording 1 has NaN or infinite"),
    ({"signal": with_value(np.inf)}, r"signal\[0\] recording 1 has NaN or infinite"),
    ({"signal": with_value(-np.inf)}, r"signal\[0\] recording 1 has NaN or infinite"),
    ({"signal": with_value(-0.5)}, r"signal\[0\] recording 1 has negative magnitudes, the lowest -0.5"),
    ({"signal": [GOOD[0][0]]}, r"signal\[0\] recording 0 has shape \(5,\)"),
    ({"signal": [[np.ones((50, 5), complex)]]}, "complex"),
    ({"signal": [[np.ones((50, 5))]]}, "every bin of the signal is constant"),
    ({"signal": [[GOOD[0] * 2]]}, r"signal\[0\] recording 0 has shape \(2, 50, 5\).*tuples of a recording and its"),
    (
        {"signal": [[(GOOD[0][0], GOOD[0][0][:49])]]},
        r"signal\[0\] recording 0 has shape \(50, 5\) and its target \(49, 5\); they must be equal",
    ),
    ({"noise": [[GOOD[0][0], (GOOD[0][0], -GOOD[0][0])]]}, r"noise\[0\] recording 1's target has negative magnitudes"),
    ({"noise": [[(GOOD[0][0], GOOD[0][0] * np.nan)]]}, r"noise\[0\] recording 0's target has NaN or infinite"),
    ({"corruption": [[(GOOD[0][0], GOOD[0][0])]]}, r"corruption\[0\] recording 0 has a target; .* pass the recording"),
    ({"frames": 0}, "frames is 0"),
    ({"batch": 0}, "batch is 0"),
    ({"noise_only": 1.5}, "noise_only is 1.5"),
    ({"noise_only": float("nan")}, "noise_only is nan"),
    ({"seed": -1}, "seed is -1"),
    ({"seed": 2**64}, "seed is 18446744073709551616"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_invalid_arguments_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        CropSampler(**{"signal": GOOD, "noise": GOOD, "frames": 8, "batch": 4} | change)


@pytest.mark.parametrize("step", [-1, 2**32])
def test_steps_out_of_range_are_refused(step):
    with pytest.raises(UserError, match="steps are numbered"):
        CropSampler(GOOD, GOOD, frames=8, batch=4).batch_at(step)


@pytest.mark.parametrize(
    "change", [{"seed": 5}, {"batch": 7}, {"noise_only": 0.5}, {"frames": 30}, {"frames": 45, "batch": 3, "seed": 1}]
)
@pytest.mark.parametrize("corruption", [[], groups(12, [48, 33])], ids=["plain", "corrupted"])
@pytest.mark.parametrize("make", [groups, groups_with_targets])
def test_with_settings_equals_a_new_sampler_and_shares_the_source(change, corruption, make):
    signal, noise = make(0, [50, 32], [40, 60]), groups(9, [64])
    base = CropSampler(signal, noise, frames=8, batch=4, corruption=corruption)
    before = base.batch_at(3)[0]
    derived = base.with_settings(**change)
    new = CropSampler(signal, noise, corruption=corruption, **{"frames": 8, "batch": 4} | change)
    for step in (0, 3):
        assert torch.equal(derived.target_at(step), new.target_at(step))
        assert all(torch.equal(a, b) for a, b in zip(derived.batch_at(step), new.batch_at(step), strict=True))
    for name in ("mean", "std", "noise_mean_square"):
        assert torch.equal(getattr(derived, name), getattr(new, name))
    assert derived.source is base.source and derived.target is base.target
    assert torch.equal(before, base.batch_at(3)[0]) and base.frames == 8


def test_with_settings_checks_its_arguments():
    ours = CropSampler(GOOD, GOOD, frames=8, batch=4)
    with pytest.raises(UserError, match=r"signal\[0\]: the longest recording has 50 frames, but a crop has 51"):
        ours.with_settings(frames=51)
    with pytest.raises(UserError, match=r"noise_only is 1\.5"):
        ours.with_settings(noise_only=1.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_batches_on_a_gpu_equal_those_on_the_cpu():
    ours = CropSampler(
        groups_with_targets(0, [50], [60, 40]), groups(3, [40]), frames=8, batch=6, corruption=groups(7, [30])
    )
    on_cpu = *ours.batch_at(3), ours.target_at(3)
    ours.to("cuda")
    on_gpu = *ours.batch_at(3), ours.target_at(3)
    assert all(g.is_cuda and torch.equal(c, g.cpu()) for c, g in zip(on_cpu, on_gpu, strict=True))


def test_bfloat16_halves_the_memory_and_batches_are_sums_of_rounded_recordings():
    groups = [[np.random.default_rng(i).random((60, 3), dtype=np.float32)] for i in range(4)]
    settings = {"frames": 20, "batch": 4, "noise_only": 0.5, "seed": 7}
    halved = CropSampler(groups[:2], groups[2:3], **settings, corruption=groups[3:]).to("cpu", torch.bfloat16)
    rounded = [[torch.tensor(r).bfloat16().float().numpy() for r in group] for group in groups]
    expected = CropSampler(rounded[:2], rounded[2:3], **settings, corruption=rounded[3:])
    assert halved.source.nbytes == expected.source.nbytes // 2
    assert torch.equal(halved.batch_at(3)[0], expected.batch_at(3)[0])
    assert halved.fingerprint() == expected.fingerprint()
    derived = halved.to("cpu").with_settings(seed=8)
    assert derived.source is halved.source and derived.source.dtype == torch.bfloat16
    with pytest.raises(UserError, match=r"dtype is torch\.float16; it must be torch\.float32 or torch\.bfloat16"):
        halved.to("cpu", torch.float16)


def test_targets_in_bfloat16_are_sums_of_rounded_targets():
    source, target, noise = groups(0, [60], [60], [50])
    halved = CropSampler([[(source[0], target[0])]], [noise], frames=20, batch=4).to("cpu", torch.bfloat16)
    rounded = torch.tensor(target[0]).bfloat16().float()
    expected = CropSampler([[rounded]], [noise], frames=20, batch=4, noise_only=0)
    assert halved.target.dtype == torch.bfloat16
    assert torch.equal(halved.with_settings(noise_only=0).target_at(3), expected.target_at(3))
