"""partae verify tells wrong kernels from right ones."""

from dataclasses import replace

import pytest

from partae_fast.conformance import Candidate
from partae_fast.conformance.candidate import passes
from partae_fast.conformance.verify import CANDIDATE, candidate_rows

from ..mutants import MUTANTS, contrastive, conv2d_pool, decode, dense, encode, optimiser, partitioned_loss, train_steps

TYPES = ("float32", "float64", "bfloat16")
# A right kernel is tried as any, but for the many calls, which would take a minute each.
BRIEF = replace(CANDIDATE, draws=3, times=50)


def rows(mutant, thoroughness, stop):
    op = passes()[mutant.op_pass]
    candidate = Candidate(op, mutant.op_pass, mutant.function, mutant.name)
    types = [kind for kind in TYPES if op != "train_steps" or kind != "bfloat16"]
    yield from candidate_rows(candidate, thoroughness, types, stop)


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if not m.right], ids=lambda m: m.name)
def test_a_wrong_kernel_is_rejected(mutant):
    """In what any candidate goes through: the many calls come last, as few mutants need them."""
    without_many_calls = rows(mutant, replace(CANDIDATE, times=50), stop=True)
    assert any(not row.passed for row in without_many_calls) or any(
        not row.passed for row in rows(mutant, CANDIDATE, stop=True)
    )


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.right], ids=lambda m: m.name)
def test_a_right_kernel_is_accepted(mutant):
    for row in rows(mutant, BRIEF, stop=False):
        assert row.passed, (row.type, row.failures)


def test_there_are_mutants_of_every_kind():
    assert len([m for m in MUTANTS if not m.right]) >= 100
    for module in (encode, decode, partitioned_loss, dense, conv2d_pool, contrastive, optimiser, train_steps):
        name = module.__name__.rpartition(".")[2]
        assert {m.right for m in MUTANTS if m.function.__module__ == module.__name__ or name in m.op_pass} == {
            True,
            False,
        }
