"""Philox for arrays, tensors and compiled code, against the reference."""

import numpy as np
import pytest
import torch

from partae_fast.kernels._cpu.jit import kernel
from partae_fast.kernels._cpu.philox import words_at
from partae_fast.kernels.philox import first_word, words
from partae_fast.reference import philox as reference

SEEDS = [0, 7, 2**40 + 3, 2**63 - 1, 2**64 - 1]
COUNTER = np.random.default_rng(0).integers(0, 2**32, (4, 200), dtype=np.uint64)


def truth(seed, counter):
    return reference.philox(np.stack(counter, axis=-1), reference.seed_key(seed)).astype(np.uint64)


@kernel
def compiled(out, seed, counter):
    for i in range(len(out)):
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = words_at(
            seed, counter[0, i], counter[1, i], counter[2, i], counter[3, i]
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_compiled_words(seed):
    out = np.zeros((200, 4), np.uint64)
    compiled(out, np.uint64(seed), COUNTER)
    assert np.array_equal(out, truth(seed, COUNTER))


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed < 2**63])
def test_words_of_tensors(seed):
    drawn = words(seed, *(torch.from_numpy(word.astype(np.int64)) for word in COUNTER))
    assert np.array_equal(torch.stack(drawn, dim=1).numpy().astype(np.uint64), truth(seed, COUNTER))


@pytest.mark.parametrize("seed", SEEDS)
def test_first_words_of_arrays_and_of_numbers(seed):
    step, item, group = COUNTER[:3]
    expected = truth(seed, [step, item, group, 0 * step])[:, 0]
    assert np.array_equal(first_word(seed, step, item, group), expected)
    one = first_word(seed, np.uint64(step[0]), np.uint64(item[0]), np.uint64(group[0]))
    assert one == expected[0] and one.dtype == np.uint64
