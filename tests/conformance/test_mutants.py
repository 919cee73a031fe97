"""partae verify rejects wrong kernels and accepts right ones."""

from dataclasses import replace

import pytest

from partae_fast.conformance import Candidate
from partae_fast.conformance.candidate import passes
from partae_fast.conformance.verify import CANDIDATE, candidate_rows
from partae_fast.kernels import OPS

from ..mutants import MUTANTS, contrastive, conv2d_pool, decode, dense, encode, partitioned_loss, train_steps

# The check of right kernels: fewer calls, which would take a minute each.
BRIEF = replace(CANDIDATE, draws=3, times=50, beyond=("float32",))


def rows(mutant, thoroughness, stop, types):
    op = passes()[mutant.op_pass]
    candidate = Candidate(op, mutant.op_pass, mutant.function, mutant.name)
    taken = [str(dtype).removeprefix("torch.") for dtype in OPS[op].types]
    yield from candidate_rows(candidate, thoroughness, [kind for kind in types if kind in taken], stop)


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if not m.right], ids=lambda m: m.name)
def test_a_wrong_kernel_is_rejected(mutant):
    """The checks of a candidate in three parts, of which the first rejects most mutants."""
    parts = [
        (replace(CANDIDATE, times=50), ("float32",)),
        (replace(CANDIDATE, times=50, draws=0, beyond=()), ("float64", "bfloat16")),
        (replace(CANDIDATE, draws=0, beyond=()), ("float32",)),
    ]
    assert any(not row.passed for thoroughness, types in parts for row in rows(mutant, thoroughness, True, types))


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.right], ids=lambda m: m.name)
def test_a_right_kernel_is_accepted(mutant):
    own = mutant.function.__name__.startswith(
        "by_"
    )  # the others call our kernels, which are checked in every type and at every size elsewhere
    thoroughness = BRIEF if own else replace(BRIEF, draws=1, beyond=())
    for row in rows(mutant, thoroughness, False, ("float32", "float64") if own else ("float32",)):
        assert row.passed, (row.type, row.failures)


def test_there_are_mutants_of_every_kind():
    assert len([m for m in MUTANTS if not m.right]) >= 100
    for module in (encode, decode, partitioned_loss, dense, conv2d_pool, contrastive, train_steps):
        name = module.__name__.rpartition(".")[2]
        assert {m.right for m in MUTANTS if m.function.__module__ == module.__name__ or name in m.op_pass} == {
            True,
            False,
        }
