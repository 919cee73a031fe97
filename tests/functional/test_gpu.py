"""Every op on a GPU behaves as PyTorch's own: compiled, in CUDA graphs, on other streams and devices, in autocast."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import partae_fast as pf

from .common import Call, calls, every_op

pytestmark = pytest.mark.gpu
on_gpu = pytest.mark.parametrize("backend", ["triton", "eager", "cuda"])
IN_CUDA_C = ("encode", "decode", "partitioned_loss")


@pytest.fixture(autouse=True)
def op_with_back_end(request):
    """Skip ops that have no kernels in CUDA C."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if parameters.get("backend") == "cuda" and parameters.get("name") not in IN_CUDA_C:
        pytest.skip("the op has no kernels in CUDA C")


second_gpu = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="PyTorch sees no second CUDA device")


def call_on(device: str, name: str) -> Call:
    return calls(torch.float32)[name].to(device)


def other_inputs(call: Call) -> dict[str, Tensor]:
    """Return inputs with other numbers, of the same signs."""
    return {name: 0.5 * t + 0.25 * t.abs() for name, t in call.inputs.items()}


def assert_same_bits(results: list[Tensor], expected: list[Tensor]) -> None:
    for result, other in zip(results, expected, strict=True):
        assert result.isfinite().all() and torch.equal(result, other)


def assert_near(results: list[Tensor], expected: list[Tensor]) -> None:
    for result, other in zip(results, expected, strict=True):
        torch.testing.assert_close(result, other, rtol=1e-4, atol=1e-5)


@on_gpu
@every_op
def test_results_are_those_of_the_cpu(name, backend):
    call = calls(torch.float32)[name]
    results = call.to("cuda").gradients(call.to("cuda").inputs, backend)
    assert_near([t.cpu() for t in results], call.gradients(call.inputs, "eager"))


@on_gpu
@every_op
def test_compiled_results_are_those_of_the_uncompiled_op(name, backend):
    torch._dynamo.reset()
    call = call_on("cuda", name)
    compiled = replace(call, function=torch.compile(call.function, fullgraph=True))
    assert_near(compiled.gradients(call.inputs, backend), call.gradients(call.inputs, backend))


@pytest.mark.parametrize("backend", ["triton", "cuda"])
@every_op
def test_a_captured_graph_computes_with_new_inputs(name, backend):
    call = call_on("cuda", name)
    static = {key: t.clone() for key, t in call.inputs.items()}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # compiles the kernels
        call.gradients(static, backend)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = call.gradients(static, backend)
    for inputs in (call.inputs, other_inputs(call)):
        for key, tensor in inputs.items():
            static[key].copy_(tensor)
        graph.replay()
        assert_same_bits(results, call.gradients(inputs, backend))


def test_a_captured_layer_drops_other_units_when_its_step_changes():
    x, weight = torch.rand(64, 32, device="cuda"), torch.rand(32, 48, device="cuda")
    step = torch.tensor(3, device="cuda")

    def layer(step):
        return pf.dense(x, weight, None, dropout=0.5, seed=1, step=step, backend="triton")

    layer(step)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = layer(step)
        step += 1
    for number in (3, 4, 5):
        graph.replay()
        assert torch.equal(output, layer(number))


@on_gpu
@every_op
def test_kernels_run_on_the_current_stream(name, backend):
    """The side stream gets its inputs late: on another stream they would be read before."""
    call = call_on("cuda", name)
    expected = call.gradients(call.inputs, backend)
    late = {key: torch.full_like(t, float("nan")) for key, t in call.inputs.items()}
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)  # cycles: about 0.1 s
        for key, tensor in call.inputs.items():
            late[key].copy_(tensor)
        results = call.gradients(late, backend)
    side.synchronize()
    assert_same_bits(results, expected)


@second_gpu
@on_gpu
@every_op
def test_kernels_run_on_the_device_of_their_tensors(name, backend):
    first, second = call_on("cuda:0", name), call_on("cuda:1", name)
    with torch.cuda.device(0):
        results = second.gradients(second.inputs, backend)
        assert {t.device for t in results} == {torch.device("cuda", 1)}
        assert torch.cuda.current_device() == 0
        assert_near([t.to("cuda:0") for t in results], first.gradients(first.inputs, backend))


@pytest.mark.parametrize("backend", ["triton", "eager"])
@every_op
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_autocast_casts_to_its_type(name, kind, backend):
    """Layers return that type and losses float32; gradients have the type of the inputs."""
    call = call_on("cuda", name)
    loss = name.endswith("loss")
    expected = call.gradients(call.inputs, "eager")
    with torch.autocast("cuda", kind):
        results = call.gradients(call.inputs, backend)
    assert results[0].dtype == (torch.float32 if loss else kind)
    assert {t.dtype for t in results[1:]} == {torch.float32}
    for result, other in zip(results, expected, strict=True):
        assert (result.float() - other).norm() <= 0.1 * other.norm()
