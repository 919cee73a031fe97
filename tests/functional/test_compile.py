"""Compiled with dynamic shapes, every op gives the uncompiled values and gradients."""

import torch

from .common import calls, every_op


@every_op
def test_values_and_gradients(name):
    torch._dynamo.reset()
    call = calls()[name]
    names = list(call.inputs)

    def function(*inputs):
        return call(**dict(zip(names, inputs, strict=True)))

    results = []
    for run in (function, torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")):
        inputs = [t.clone().requires_grad_() for t in call.inputs.values()]
        output = run(*inputs)
        results.append([output, *torch.autograd.grad((output**2).sum(), inputs)])
    for result, expected in zip(*results, strict=True):
        torch.testing.assert_close(result, expected)
