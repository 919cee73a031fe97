"""Sparse NMF: equality with the reference, descent of the objective, stacks, separation, arguments."""

import numpy as np
import pytest
import torch

from partae_fast.errors import UserError
from partae_fast.models import snmf, snmf_cpu
from partae_fast.reference import snmf as reference


def magnitudes(frames=40, bins=7, seed=0):
    return np.random.default_rng(seed).random((frames, bins)) ** 2


@pytest.mark.parametrize("sparsity", [0.0, 0.7])
def test_updates_match_the_reference_and_never_raise_the_objective(sparsity):
    rng = np.random.default_rng(1)
    v, a, w = magnitudes(), rng.random((40, 5)) + 0.1, rng.random((5, 7)) + 0.1
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    x, active, dictionary = (torch.from_numpy(array) for array in (v, a, w))
    before = reference.objective(v, a, w, sparsity)
    for _ in range(30):
        a = reference.update_activations(v, a, w, sparsity)
        between = reference.objective(v, a, w, sparsity)
        w = reference.update_dictionary(v, a, w)
        after = reference.objective(v, a, w, sparsity)
        assert before >= between - 1e-12 and between >= after - 1e-12
        before = after
        active = snmf.update_activations(active, dictionary, x / (active @ dictionary), sparsity)
        dictionary = snmf.update_dictionary(active, dictionary, x / (active @ dictionary))
    np.testing.assert_allclose(active, a, rtol=1e-9)
    np.testing.assert_allclose(dictionary, w, rtol=1e-9)


def test_learning_and_inference_are_the_references():
    v = magnitudes()
    v[3, 2:4] = 0.0
    random = torch.Generator().manual_seed(5)
    w, a = ((torch.rand(size, generator=random) + 0.1).double().numpy() for size in ((4, 7), (40, 4)))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    objectives = []
    for _ in range(6):
        a = reference.update_activations(v, a, w, 0.7)
        w = reference.update_dictionary(v, a, w)
        objectives.append(reference.objective(v, a, w, 0.7))
    dictionary, learned_objectives = snmf.learn_dictionary(torch.from_numpy(v), 4, 0.7, 6, seed=5)
    np.testing.assert_allclose(dictionary, w, rtol=1e-6)
    np.testing.assert_allclose(learned_objectives, objectives, rtol=1e-6)
    a = np.ones_like(a)
    for _ in range(6):
        a = reference.update_activations(v, a, w, 0.7)
    active = snmf.activations(torch.from_numpy(v), torch.from_numpy(w), 0.7, 6)
    np.testing.assert_allclose(active, a, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("frames", [1, snmf_cpu.FRAMES - 1, snmf_cpu.FRAMES + 1, 2 * snmf_cpu.FRAMES])
def test_blocks_of_frames_have_the_activations_of_all_frames(frames, monkeypatch):
    v = magnitudes(frames, 11)
    v[0, 3:7] = 0.0
    x, w = torch.from_numpy(v), snmf.unit_rows(torch.from_numpy(magnitudes(6, 11, seed=1)))
    expected = np.ones((frames, 6))
    for _ in range(4):
        expected = reference.update_activations(v, expected, w.numpy(), 0.3)
    np.testing.assert_allclose(snmf.activations(x, w, 0.3, 4), expected, rtol=1e-9, atol=1e-12)
    monkeypatch.setattr(snmf_cpu, "available", lambda: False)  # then PyTorch's products, frame by frame the same
    np.testing.assert_allclose(snmf.activations(x, w, 0.3, 4), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(not snmf_cpu.available(), reason="NumPy's products are not OpenBLAS's")
def test_threads_change_no_bit_of_the_activations():
    x, w = (torch.from_numpy(magnitudes(n, 90, seed=n)).float() for n in (2 * snmf_cpu.FRAMES + 3, 40))
    results, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(snmf.activations(x, w, 0.5, 3))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_stack_past_puts_a_frame_after_those_before_it():
    x = torch.arange(1.0, 7.0).view(3, 2)
    assert snmf.stack_past(x, 1).tolist() == [[0, 0, 1, 2], [1, 2, 3, 4], [3, 4, 5, 6]]


def test_masks_separate_voices_and_noises_in_different_bins():
    rng = np.random.default_rng(3)
    kinds = [np.zeros((2, 8)), np.zeros((2, 8))]
    for number, kind in enumerate(kinds):
        kind[:, 4 * number : 4 * number + 4] = rng.random((2, 4))
    voices, noises = (torch.from_numpy(rng.random((60, 2)) @ kind).float() for kind in kinds)
    model = snmf.SparseNMF(bins=8, bases=3, context=2, sparsity=0.01)
    objectives = model.learn(voices, noises, iterations=60)
    assert len(objectives) == 60 and objectives[-1] < 0.5 * objectives[0]
    masks = model.masks((voices + noises)[None])[0]
    assert masks[:, :4, 0].mean() > 0.95 and masks[:, 4:, 0].mean() < 0.05
    torch.testing.assert_close(masks.sum(2), torch.ones(60, 8))
    torch.testing.assert_close(model.masks((voices + noises)[None, :20])[0], masks[:20])


def test_arguments_out_of_range_are_rejected():
    with pytest.raises(UserError, match="bases is 0"):
        snmf.SparseNMF(bases=0)
    with pytest.raises(UserError, match="0 frames"):
        snmf.SparseNMF(bins=4, bases=2).learn(torch.zeros(0, 4), torch.ones(3, 4))
