"""Arguments of a wrong type or out of range raise errors that say what to pass."""

import math

import numpy as np
import pytest
import torch

import partae_fast as pf

from .common import calls, every_op, on_cpu


def loss(backend="auto", penalty=0.75, pool=4, **changes):
    call = calls()["partitioned_loss"]
    a = {**call.inputs, **call.data, **changes}
    return pf.partitioned_loss(
        a["x"], a["mean"], a["std"], a["w_enc"], a["w_dec"], a["noise_only"], a["foreground"], penalty, pool,
        a["target"], backend,
    )  # fmt: skip


@every_op
def test_an_array_or_a_list_is_refused(name):
    call = calls()[name]
    for argument, tensor in {**call.inputs, **call.data}.items():
        with pytest.raises(TypeError, match=rf"^{argument} is numpy.ndarray .*; pass torch.from_numpy\({argument}\)$"):
            call(**{argument: tensor.numpy()})
        with pytest.raises(TypeError, match=rf"^{argument} is list .*; pass torch.tensor\({argument}\)$"):
            call(**{argument: tensor.tolist()})


@every_op
def test_none_is_refused(name):
    call = calls()[name]
    for argument in {**call.inputs, **call.data}.keys() - {"mean", "std", "target", "weights"}:
        if (name, argument) == ("dense", "bias"):
            continue
        with pytest.raises(TypeError, match=rf"^{argument} is None and must be a torch.Tensor; pass a tensor"):
            call(**{argument: None})


@pytest.mark.parametrize("value", [16.0, True, "16", None, torch.tensor(16)])
def test_a_count_that_is_not_an_int_is_refused(value):
    x, labels = torch.rand(1, 16, 2), torch.zeros(1, 3, dtype=torch.int64)
    maps = torch.rand(1, 4, 4, 2), torch.rand(3, 3, 2, 2), torch.rand(2)
    values, positions = pf.encode(x, torch.rand(1, 2, 1), 16)
    for name, function in {
        "pool": lambda: pf.encode(x, torch.rand(1, 2, 1), value),
        "frames": lambda: pf.decode(values, positions, torch.rand(1, 1, 2), value),
        "sources": lambda: pf.affinity_loss(torch.rand(1, 3, 2), labels, sources=value),
        r"pool\[0\]": lambda: pf.conv2d_pool(*maps, (value, 1)),
        r"scale\[1\]": lambda: pf.upsample_conv2d(*maps, (1, value)),
        "seed": lambda: pf.dense(torch.rand(1, 2), torch.rand(2, 2), None, seed=value),
    }.items():
        with pytest.raises(TypeError, match=rf"^{name} is .* and must be an int; pass a whole number"):
            function()


def test_numpy_counts_and_numbers_are_accepted():
    assert loss(penalty=np.float32(0.75), pool=np.int64(4)) == loss()


def test_a_pair_that_is_a_number_is_refused():
    for function, name in ((pf.conv2d_pool, "pool"), (pf.upsample_conv2d, "scale")):
        with pytest.raises(TypeError, match=f"{name} is 2 and must be two ints"):
            function(torch.rand(1, 4, 4, 2), torch.rand(3, 3, 2, 2), torch.rand(2), 2)


@pytest.mark.parametrize("value", ["0.75", True, None, torch.tensor(0.75)])
def test_a_number_of_another_type_is_refused(value):
    with pytest.raises(TypeError, match=r"^penalty is .* and must be a float; pass a number"):
        loss(penalty=value)
    with pytest.raises(TypeError, match=r"^negative_slope is .* and must be a float"):
        pf.encode(torch.rand(1, 4, 2), torch.rand(1, 2, 1), 2, negative_slope=value)
    with pytest.raises(TypeError, match=r"^dropout is .* and must be a float"):
        pf.dense(torch.rand(1, 2), torch.rand(2, 2), None, dropout=value)


@on_cpu
@pytest.mark.parametrize("penalty", [-1.0, math.nan, math.inf])
def test_a_penalty_out_of_range_is_refused(backend, penalty):
    with pytest.raises(ValueError, match=f"^penalty is {penalty}; give a finite number, 0 or above$"):
        loss(backend, penalty)


@on_cpu
@pytest.mark.parametrize("value", [5.0, -1.0, math.nan, math.inf])
def test_a_share_out_of_range_is_refused(backend, value):
    for argument, size in (("noise_only", 2), ("foreground", 3)):
        share = torch.zeros(size, dtype=torch.float64)
        share[1] = value
        with pytest.raises(ValueError, match=rf"^{argument} has values from .*; give values from 0 to 1$"):
            loss(backend, **{argument: share})
    with pytest.raises(ValueError, match=r"^noise_only has values"):
        calls()["curro_loss"](backend, noise_only=torch.tensor([0.0, value]))


@on_cpu
def test_soft_shares_and_a_penalty_of_0_are_accepted(backend):
    soft = loss(backend, noise_only=torch.tensor([0.5, 0.0]), foreground=torch.tensor([0.0, 0.5, 1.0]))
    hard, none = loss(backend, noise_only=torch.tensor([1, 0])), loss(backend, penalty=0)
    assert none < soft < hard


@on_cpu
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_std_out_of_range_is_refused(backend, value):
    std = torch.ones(5, dtype=torch.float64)
    std[3] = value
    with pytest.raises(ValueError, match=f"^std has a value of {value}; give values above 0"):
        calls()["encode"](backend, std=std)


def test_values_are_checked_in_compiled_code():
    call = calls()["curro_loss"]
    compiled = torch.compile(pf.curro_loss, fullgraph=True, backend="aot_eager")
    assert compiled(**call.inputs, **call.data) == call()
    with pytest.raises(ValueError, match=r"^noise_only has values from 5\.0 to 5\.0"):
        compiled(**call.inputs, noise_only=torch.full((2,), 5.0))
