"""`partae verify`: the faults that it must report, and the candidates that it must accept."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from partae_fast.conformance import Candidate, cuda_shim, load_candidate, verify
from partae_fast.conformance.candidate import passes
from partae_fast.conformance.cases import TINY, tensors
from partae_fast.conformance.comparison import error
from partae_fast.conformance.memory import poisoned
from partae_fast.conformance.verify import CANDIDATE, INTERPRETER, candidate_rows
from partae_fast.errors import UserError
from partae_fast.kernels import OPS, BackendUnavailable
from partae_fast.kernels.encode import eager

CPU = torch.device("cpu")


@pytest.mark.parametrize("op", OPS)
def test_reference_agrees_with_loops_and_differences(op):
    rows = list(verify(op, "reference"))
    assert tuple(row.op for row in rows) == OPS[op].passes
    assert all(row.cases >= 5 for row in rows)
    assert [row.failures for row in rows if row.failures] == []


INTERPRETED = {
    "encode": ["encode", "encode_backward"],
    "decode": ["decode", "decode_backward"],
    "partitioned_loss": ["partitioned_loss"],
    "conv2d_pool": ["conv2d_pool", "conv2d_pool_backward"],
    "upsample_conv2d": ["upsample_conv2d", "upsample_conv2d_backward"],
    "dense": ["dense", "dense_backward"],
    "curro_loss": ["curro_loss"],
    "contrastive": ["contrastive_loss"],
    "affinity": ["affinity_loss"],
    "ratio_mask": ["ratio_mask_loss"],
}


@pytest.mark.slow
def test_triton_through_the_interpreter():
    pytest.importorskip("triton")
    rows = list(verify(list(INTERPRETED), "triton-interpreter"))
    assert [r.op for r in rows] == [op_pass for op in OPS if op in INTERPRETED for op_pass in INTERPRETED[op]]
    for r in rows:
        assert r.passed, r
        assert r.cases >= 8
        assert r.backend == "triton-interpreter"


def checked(function, op_pass="encode", types=("float32",), **changes):
    candidate = Candidate(passes()[op_pass], op_pass, function, "mine")
    return list(candidate_rows(candidate, replace(CANDIDATE, draws=2, times=20, **changes), types))


def test_a_compiled_candidate_is_checked_compiled():
    compiling = []

    def counting(*arguments, **settings):
        compiling.append(torch.compiler.is_compiling())
        return eager.encode(*arguments, **settings)

    (row,) = checked(torch.compile(counting, backend="eager", dynamic=True))
    assert row.passed, row.failures
    assert True in compiling


def test_a_wrong_compiled_candidate_fails():
    compiled = torch.compile(lambda *a: eager.encode(*a)[0] * 1.01, backend="eager", dynamic=True)
    assert not checked(lambda *a: (compiled(*a), eager.encode(*a)[1]))[0].passed


def test_a_candidate_without_negative_slope_is_checked_without_it():
    (without,) = checked(lambda x, w_enc, pool, mean, std: eager.encode(x, w_enc, pool, mean, std))
    (full,) = checked(eager.encode)
    assert without.passed and 50 <= without.cases < full.cases
    assert without.note == f"{full.cases - without.cases} cases not run, for lack of the keyword negative_slope"


def test_a_refused_type_is_reported_and_not_a_failure():
    def single(x, *arguments, **settings):
        if x.dtype != torch.float32:
            raise TypeError("give float32")
        return eager.encode(x, *arguments, **settings)

    single_row, double_row = checked(single, types=("float32", "float64"))
    assert single_row.passed and not single_row.refused
    assert double_row.passed and double_row.refused and double_row.note == "refused: TypeError: give float32"


def test_refusing_float32_or_a_later_case_is_a_failure():
    def never(*arguments, **settings):
        raise TypeError("not today")

    def sometimes(x, *arguments, **settings):
        if len(x) > 1:
            raise TypeError("one item alone")
        return eager.encode(x, *arguments, **settings)

    assert not checked(never)[0].passed
    (row,) = checked(sometimes, types=("float64",))
    assert not row.passed and any("TypeError: one item alone" in failure for failure in row.failures)


def test_error_of_results_that_are_not_finite():
    assert error(torch.tensor([1.0, math.nan]), [1.0, 2.0]) == math.inf
    assert error(torch.tensor([1.0, math.inf]), [1.0, 2.0]) == math.inf
    assert error(torch.tensor([1.0]), [1.0, 2.0]) == math.inf
    assert error(torch.tensor([1e-9, 0.0]), [0.0, 0.0]) == math.inf
    assert error(torch.tensor([3.0, math.nan]), [3.0, math.nan]) == 0.0
    assert error(torch.tensor([3.0, math.inf]), [3.0, math.inf]) == 0.0
    assert error(torch.tensor([3.0, -math.inf]), [3.0, math.inf]) == math.inf
    assert error(torch.tensor([3.0, 3e38]), [3.0, math.inf]) == math.inf
    assert error(torch.tensor([math.inf]), [1e60]) == 0.0  # above the type's range
    assert error(torch.tensor([0.0]), [1e-60]) == 0.0  # below the type's range
    assert error(torch.tensor([1e-60], dtype=torch.float64), [1.1e-60]) == pytest.approx(0.1 / 1.1)
    free = np.array([False, True])
    assert error(torch.tensor([3.0, math.nan]), [3.0, 4.0], free) == 0.0
    assert error(torch.tensor([math.nan, 4.0]), [3.0, 4.0], free) == math.inf
    assert error(torch.tensor([[1e9], [1.1]]), [[1e9], [1.0]], each=True) == pytest.approx(0.1)
    assert error(torch.tensor([3.0, 4.0]), [3.0, 4.5]) == pytest.approx(0.5 / math.hypot(3.0, 4.5))


def test_every_allocation_is_poisoned():
    like = torch.zeros(3)
    with poisoned():
        assert torch.empty(3).isnan().all()
        assert torch.empty_like(like).isnan().all()
        assert like.new_empty(3).isnan().all()
    assert not torch.zeros(3).isnan().any()


def test_the_not_contiguous_case_is_not_contiguous():
    case = next(c for c in TINY if c.kind == "not contiguous")
    assert not tensors(case, torch.float32, CPU).x.is_contiguous()


def test_candidate_from_a_file(tmp_path, monkeypatch):
    module = sys.modules[candidate_rows.__module__]
    monkeypatch.setattr(module, "CANDIDATE", replace(CANDIDATE, draws=1, times=10))
    file = tmp_path / "mine.py"
    file.write_text(
        "from partae_fast.kernels.decode.eager import decode as inner\ndef decode(*a):\n    return inner(*a)\n"
    )
    rows = list(verify("decode", "reference", load_candidate(f"{file}:decode"), kind="float32"))
    assert [r.backend for r in rows] == ["reference", "reference", "mine.py:decode"]
    assert all(r.passed for r in rows)


def test_a_candidate_may_import_a_file_beside_it(tmp_path):
    (tmp_path / "beside_the_candidate.py").write_text("from partae_fast.kernels.decode.eager import decode\n")
    (tmp_path / "mine.py").write_text("from beside_the_candidate import decode\n")
    assert load_candidate(f"{tmp_path}/mine.py:decode").op_pass == "decode"


@pytest.mark.parametrize(
    ("op", "name", "op_pass"),
    [
        (None, "encode_backward", "encode_backward"),
        ("encode", "encode_backward", "encode_backward"),
        ("encode", "fast", "encode"),
        ("encode_backward", "fast", "encode_backward"),
        ("contrastive", "fast", "contrastive_loss"),
        ("contrastive_loss", "fast", "contrastive_loss"),
        ("dense", "dense_backward", "dense_backward"),
        ("train_steps", "mine", "train_steps"),
    ],
)
def test_the_pass_that_a_candidate_implements(tmp_path, op, name, op_pass):
    (tmp_path / "mine.py").write_text(f"def {name}(*arguments):\n    pass\n")
    assert load_candidate(f"{tmp_path}/mine.py:{name}", op).op_pass == op_pass


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{broken}:encode", "does not run: ModuleNotFoundError"),
        ("nowhere.py:encode", "no file nowhere.py"),
        ("encode", "write it as FILE.py:FUNCTION"),
        ("{file}:absent", "has no function absent"),
        ("{file}:helper", "is not a pass"),
    ],
)
def test_invalid_candidates(tmp_path, spec, says):
    file, broken = tmp_path / "mine.py", tmp_path / "broken.py"
    file.write_text("def helper():\n    pass\n")
    broken.write_text("import no_such_module\n")
    with pytest.raises(UserError, match=says):
        load_candidate(spec.format(file=file, broken=broken))


def test_unknown_names(monkeypatch):
    monkeypatch.setattr(cuda_shim, "COMPILER", None)
    with pytest.raises(UserError, match="op 'encoder' is not known"):
        list(verify("encoder"))
    with pytest.raises(UserError, match="back-end 'gpu' is not known"):
        list(verify("encode", "gpu"))
    with pytest.raises(BackendUnavailable, match="cuda"):
        list(verify("encode", "cuda"))


def test_a_failing_row_has_json(tmp_path):
    (result,) = checked(lambda *a, **k: (eager.encode(*a, **k)[0].nan_to_num(0.0), eager.encode(*a, **k)[1]))
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["error"] is None
    assert not result.passed


def test_interpreter_process_that_fails_is_a_failed_row(monkeypatch):
    class Done:
        returncode, stdout, stderr = 1, "", "Traceback\nImportError: no such thing\n"

    monkeypatch.setattr(subprocess, "run", lambda *a, **k: Done)
    pytest.importorskip("triton")
    rows = list(verify("encode", "triton-interpreter"))
    assert [r.op for r in rows] == ["encode", "encode_backward"]
    assert not any(r.passed for r in rows)
    assert "no such thing" in rows[0].where


def test_a_process_that_stops_within_a_pass_fails_that_pass(monkeypatch):
    run = subprocess.run

    def stopped(*arguments, **settings):
        done = run(*arguments, **settings)
        done.returncode, done.stderr = -9, ""
        return done

    monkeypatch.setattr(subprocess, "run", stopped)
    pytest.importorskip("triton")
    *passed, last = verify("ratio_mask", "triton-interpreter")
    assert all(row.passed for row in passed)
    assert last.op == "ratio_mask_loss" and not last.passed


def test_back_ends_side_by_side_give_the_rows_of_each_alone():
    beside = list(verify("ratio_mask"))
    names = list(dict.fromkeys(row.backend for row in beside))
    assert {"reference", "eager", "cpu"} <= set(names)
    assert all(row.passed for row in beside)
    # Triton's interpreter runs in the same process of its own when it is alone.
    names = [name for name in names if name != INTERPRETER]
    beside = [row for row in beside if row.backend != INTERPRETER]
    alone = [row for name in names for row in verify("ratio_mask", name)]
    assert [(r.op, r.backend, r.type, r.cases) for r in beside] == [(r.op, r.backend, r.type, r.cases) for r in alone]
