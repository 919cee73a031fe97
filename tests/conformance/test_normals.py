import numpy as np
import pytest

from partae_fast.conformance.normals import TINY, reference_errors
from partae_fast.reference.normals import normals

from .common import assert_conforms


@pytest.mark.parametrize("backend", ["eager", "cpu"])
def test_normals(backend):
    assert_conforms("normals", "normals", backend, "float32", "cpu", cases=17)


def test_the_reference_is_what_it_says():
    errors = list(reference_errors("normals"))
    assert len(errors) == len(TINY) and max(error for *_, error in errors) < 1e-12


def test_the_numbers_are_normal_and_independent():
    numbers = normals(1, 2, range(64), 3, 4096)
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert abs((numbers**power).mean() - moment) < 5 * np.sqrt(105 / numbers.size)
    others = [normals(2, 2, range(64), 3, 4096), normals(1, 3, range(64), 3, 4096), normals(1, 2, range(64), 4, 4096)]
    halves = [(numbers[:32], numbers[32:]), (numbers[:, :2048], numbers[:, 2048:]), (numbers[:, 1:], numbers[:, :-1])]
    for one, other in [*((numbers, other) for other in others), *halves]:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size)
