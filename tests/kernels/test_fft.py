"""Fourier transforms in lanes, and the vectors that they are made of."""

import numpy as np
import pytest

from partae_fast.kernels._cpu.jit import kernel
from partae_fast.kernels.fft import roots_of_unity, rows_of, transform
from partae_fast.kernels.vectors import LANES, LINE, aligned, load, root, store, transpose


@pytest.mark.parametrize("finer", [1, 2])
@pytest.mark.parametrize("length", [1, 2, 4, 8, 16, 128, 512])
def test_transform_and_inverse(length, finer):
    x = np.random.default_rng(0).normal(size=(2, length, LANES)).astype(np.float32)
    rows, roots = rows_of(length), roots_of_unity(finer * length)
    for inverse in (False, True):
        parts = x.copy().reshape(2, -1)
        transform(*(parts[::-1] if inverse else parts), length, *roots)
        found = (parts[0] + 1j * parts[1]).reshape(length, LANES)[rows]
        series = x[0] + 1j * x[1].astype(complex)
        wanted = np.fft.ifft(series, axis=0, norm="forward") if inverse else np.fft.fft(series, axis=0)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


@kernel
def _roots(target, source):
    for i in range(0, source.size, LANES):
        store(root(load(source, i)), target, i)


@kernel
def _turned(target, source, spacing, stride):
    transpose(target, 1, spacing, source, 2, stride)


def test_vectors():
    source = np.arange(2 * LANES, dtype=np.float32)
    target = aligned(2 * LANES)
    assert target.shape == source.shape and target.ctypes.data % LINE == 0
    _roots(target, source)
    np.testing.assert_allclose(target, np.sqrt(source), rtol=1e-6)


def test_transpose_touches_its_block_alone():
    spacing, stride = LANES + 3, LANES + 1
    source = np.random.default_rng(0).normal(size=LANES * stride + 2).astype(np.float32)
    target = np.full(LANES * spacing + 1, np.nan, np.float32)
    _turned(target, source, spacing, stride)
    found = target[1:].reshape(LANES, spacing)
    np.testing.assert_array_equal(found[:, :LANES], source[2:].reshape(LANES, stride)[:, :LANES].T)
    assert np.isnan(found[:, LANES:]).all() and np.isnan(target[0])
