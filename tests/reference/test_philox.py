"""Philox-4x32-10 against the known answers of Random123 (kat_vectors)."""

import numpy as np
import pytest

from partae_fast.reference.philox import draw, philox, seed_key

PI = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0]
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (PI[:4], PI[4:], [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter, key, answer):
    assert philox(np.array(counter), np.array(key)).tolist() == answer


def test_many_counters_at_once():
    counters, keys, answers = (np.array(column) for column in zip(*KNOWN, strict=True))
    assert np.array_equal(philox(counters, keys), answers)


def test_seed_fills_both_words_of_the_key():
    assert seed_key(0x123456789ABCDEF0).tolist() == [0x9ABCDEF0, 0x12345678]


def test_draws_reach_both_ends_and_no_further():
    drawn = {draw(7, step, 0, 0, 3) for step in range(100)}
    assert drawn == {0, 1, 2}


def test_draws_are_uniform():
    words = philox(np.stack([np.arange(40000), *np.zeros((3, 40000))], axis=1), seed_key(1))[:, 0]
    counts = np.bincount((words.astype(np.uint64) * np.uint64(10) >> np.uint64(32)).astype(int), minlength=10)
    assert np.sum((counts - 4000.0) ** 2 / 4000.0) < 27.9  # chi squared, 9 degrees of freedom, p = 0.001
