"""The gate itself: what it must catch, what it must let through."""

import json
import math
import subprocess

import pytest
import torch

from partae_fast.conformance import Candidate, load_candidate, verify
from partae_fast.conformance.cases import TINY, error, poisoned, tensors
from partae_fast.conformance.verify import row
from partae_fast.errors import UserError
from partae_fast.kernels import OPS, BackendUnavailable
from partae_fast.kernels.encode import eager

CPU = torch.device("cpu")


@pytest.mark.parametrize("op", OPS)
def test_reference_agrees_with_loops_and_differences(op):
    found = list(verify(op, "reference"))
    assert tuple(row.op for row in found) == OPS[op].passes
    assert all(row.cases >= 5 for row in found)
    assert [row.failures for row in found if row.failures] == []


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
@pytest.mark.parametrize("op", INTERPRETED)
def test_triton_through_the_interpreter(op):
    pytest.importorskip("triton")
    found = list(verify(op, "triton-interpreter"))
    assert [r.op for r in found] == INTERPRETED[op]
    for r in found:
        assert r.passed, r
        assert r.cases >= 8
        assert r.backend == "triton-interpreter"


def checked(function, op_pass="encode"):
    op = op_pass.removesuffix("_backward")
    candidate = Candidate(op, op_pass, function, "mine")
    return row(op, op_pass, "mine", candidate.module(), "float32", CPU)


def test_a_right_candidate_passes():
    assert checked(eager.encode).passed


def last_of_ties(x, w_enc, pool, mean, std):
    values, positions = eager.encode(x.flip(1), w_enc.flip(0), 1, mean, std)  # an odd filter seen backwards
    values, positions = values.flip(1), positions
    padded = torch.nn.functional.pad(values, (0, 0, 0, -x.shape[1] % pool), value=-1.0)
    windowed = padded.view(x.shape[0], -1, pool, w_enc.shape[2]).flip(2)
    best, place = windowed.max(dim=2)
    starts = torch.arange(best.shape[1])[None, :, None] * pool
    return best, (starts + pool - 1 - place).int().clamp(max=x.shape[1] - 1)


def forgets_an_element(x, w_enc, pool, mean, std):
    values, positions = eager.encode(x, w_enc, pool, mean, std)
    out = torch.empty(values.shape)
    out.flatten()[1:] = values.flatten()[1:]
    return out, positions


def other_bits_each_time(x, w_enc, pool, mean, std):
    values, positions = eager.encode(x, w_enc, pool, mean, std)
    return values * (1 + 1e-7 * torch.randint(0, 8, ())), positions


def drops_nan(x, w_enc, pool, mean, std):
    values, positions = eager.encode(x, w_enc, pool, mean, std)
    return values.nan_to_num(0.0), positions


def cuts_the_last_window(x, w_enc, pool, mean, std):
    values, positions = eager.encode(x, w_enc, pool, mean, std)
    if x.shape[1] % pool:
        values = torch.cat([values[:, :-1], 0.99 * values[:, -1:]], dim=1)
    return values, positions


def ignores_the_leak(x, w_enc, pool, mean, std, leak=0.0):
    return eager.encode(x, w_enc, pool, mean, std)


@pytest.mark.parametrize(
    "wrong",
    [last_of_ties, forgets_an_element, other_bits_each_time, drops_nan, cuts_the_last_window, ignores_the_leak],
)
def test_a_wrong_encode_is_caught(wrong):
    assert not checked(wrong).passed


def test_a_candidate_that_has_no_leak_is_not_given_any():
    without = checked(lambda x, w_enc, pool, mean, std: eager.encode(x, w_enc, pool, mean, std))
    assert without.passed
    assert 50 <= without.cases < checked(eager.encode).cases


def test_a_gradient_that_nobody_asked_for_is_caught():
    def generous(*arguments):
        return eager.encode_backward(*arguments[:-2], True, True)

    assert not checked(generous, "encode_backward").passed
    assert checked(eager.encode_backward, "encode_backward").passed


def test_error_of_results_that_are_no_numbers():
    assert error(torch.tensor([1.0, math.nan]), [1.0, 2.0]) == math.inf
    assert error(torch.tensor([1.0, math.inf]), [1.0, 2.0]) == math.inf
    assert error(torch.tensor([1.0]), [1.0, 2.0]) == math.inf
    assert error(torch.tensor([1e-9, 0.0]), [0.0, 0.0]) == math.inf
    assert error(torch.tensor([3.0, math.nan]), [3.0, math.nan]) == 0.0
    assert error(torch.tensor([3.0, 4.0]), [3.0, 4.5]) == pytest.approx(0.5 / math.hypot(3.0, 4.5))


def test_poison_reaches_every_way_to_allocate():
    like = torch.zeros(3)
    with poisoned():
        assert torch.empty(3).isnan().all()
        assert torch.empty_like(like).isnan().all()
        assert like.new_empty(3).isnan().all()
    assert not torch.zeros(3).isnan().any()


def test_not_contiguous_case_is_what_it_says():
    case = next(c for c in TINY if c.kind == "not contiguous")
    assert not tensors(case, torch.float32, CPU).x.is_contiguous()


def test_candidate_from_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from partae_fast.kernels.decode.eager import decode as inner\ndef decode(*a):\n    return inner(*a)\n"
    )
    rows = list(verify("decode", "reference", load_candidate(f"{file}:decode")))
    assert [r.backend for r in rows] == ["reference", "reference", "mine.py:decode"]
    assert all(r.passed for r in rows)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nowhere.py:encode", "no file nowhere.py"),
        ("encode", "write it as FILE.py:FUNCTION"),
        ("{file}:absent", "has no function absent"),
        ("{file}:helper", "is no pass"),
    ],
)
def test_candidates_that_cannot_be(tmp_path, spec, says):
    file = tmp_path / "mine.py"
    file.write_text("def helper():\n    pass\n")
    with pytest.raises(UserError, match=says):
        load_candidate(spec.format(file=file))


def test_names_that_verify_does_not_know():
    with pytest.raises(UserError, match="op 'encoder' is not known"):
        list(verify("encoder"))
    with pytest.raises(UserError, match="back-end 'gpu' is not known"):
        list(verify("encode", "gpu"))
    with pytest.raises(BackendUnavailable, match="cuda"):
        list(verify("encode", "cuda"))


def test_a_failing_row_has_json(tmp_path):
    found = checked(drops_nan)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["error"] is None
    assert not found.passed


def test_interpreter_process_that_fails_is_a_failed_row(monkeypatch):
    class Done:
        returncode, stdout, stderr = 1, "", "Traceback\nImportError: no such thing\n"

    monkeypatch.setattr(subprocess, "run", lambda *a, **k: Done)
    pytest.importorskip("triton")
    found = list(verify("encode", "triton-interpreter"))
    assert [r.op for r in found] == ["encode", "encode_backward"]
    assert not any(r.passed for r in found)
    assert "no such thing" in found[0].where
