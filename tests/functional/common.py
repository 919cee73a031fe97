"""A small call of every op: its differentiable inputs, its data, and the function of both."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

import partae_fast as pf

on_cpu = pytest.mark.parametrize("backend", ["eager", "cpu"])

# A loss returns its first derivatives too. They have no gradient, which opcheck would require.
WITHOUT_GRADIENTS = ("test_schema", "test_autograd_registration", "test_faketensor")


@dataclass(frozen=True)
class Call:
    """A call `function(backend=..., **inputs, **data)`, whose output has gradients for `inputs`."""

    function: Callable[..., Tensor]
    inputs: dict[str, Tensor]
    data: dict[str, Tensor]

    def to(self, device: str) -> "Call":
        """Return the call with its tensors on a device."""
        inputs, data = ({name: t.to(device) for name, t in tensors.items()} for tensors in (self.inputs, self.data))
        return replace(self, inputs=inputs, data=data)

    def gradients(self, inputs: dict[str, Tensor], backend: str = "auto") -> list[Tensor]:
        """Return the output for `inputs`, and the gradients of a weighted sum of it."""
        inputs = {name: t.detach().clone().requires_grad_() for name, t in inputs.items()}
        output = self(backend, **inputs)
        weights = torch.linspace(0.5, 1.5, output.numel(), device=output.device).view(output.shape)
        return [output.detach(), *torch.autograd.grad((weights * output.float()).sum(), list(inputs.values()))]

    def __call__(self, backend: str = "auto", **changes: Tensor) -> Tensor:
        return self.function(backend=backend, **{**self.inputs, **self.data, **changes})


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))


def encode(x, w_enc, mean, std, backend):
    return pf.encode(x, w_enc, 4, mean, std, backend)[0]


def decode(values, w_dec, backend):
    positions = torch.arange(0, 8, 4, dtype=torch.int32, device=getattr(values, "device", None))[None, :, None].expand(
        2, 2, 3
    )
    return pf.decode(values, positions, w_dec, 7, backend)


def partitioned_loss(x, w_enc, w_dec, target, mean, std, noise_only, foreground, backend):
    return pf.partitioned_loss(
        x, mean, std, w_enc, w_dec, noise_only, foreground, 0.75, 4, target, backend, negative_slope=0.1
    )


def conv2d_pool(x, weight, bias, backend):
    return pf.conv2d_pool(x, weight, bias, (2, 3), backend)[0]


def upsample_conv2d(x, weight, bias, backend):
    return pf.upsample_conv2d(x, weight, bias, (2, 3), backend)


def dense(x, weight, bias, backend):
    return pf.dense(x, weight, bias, "mrelu", dropout=0.25, backend=backend)


def calls(dtype: torch.dtype = torch.float64) -> dict[str, Call]:
    """Return a call of every op, by name."""

    def t(*shape):
        return draw(*shape, dtype=dtype)

    label, parts = torch.tensor([1.0, 0.25], dtype=dtype), t(2, 3, 5, 2).abs()
    mark = (draw(2, 3, 5) > 0).long()
    normal = {"mean": t(5), "std": t(5).abs() + 0.5}
    maps = {"x": t(2, 5, 7, 3), "weight": t(3, 3, 3, 4), "bias": t(4)}
    return {
        "encode": Call(encode, {"x": t(2, 7, 5).abs(), "w_enc": t(4, 5, 3)}, normal),
        "decode": Call(decode, {"values": t(2, 2, 3), "w_dec": t(4, 3, 5)}, {}),
        "partitioned_loss": Call(
            partitioned_loss,
            {"x": t(2, 7, 5).abs(), "w_enc": t(4, 5, 3), "w_dec": t(4, 3, 5), "target": t(2, 7, 5)},
            {**normal, "noise_only": label, "foreground": torch.tensor([0.0, 1.0, 0.5], dtype=dtype)},
        ),
        "dense": Call(dense, {"x": t(5, 4), "weight": t(4, 7), "bias": t(7)}, {}),
        "conv2d_pool": Call(conv2d_pool, maps, {}),
        "upsample_conv2d": Call(upsample_conv2d, maps, {}),
        "curro_loss": Call(
            pf.curro_loss, {"signal": t(2, 6), "noise": t(2, 6) + 1, "target": t(2, 6) - 1}, {"noise_only": label}
        ),
        "contrastive_loss": Call(
            pf.contrastive_loss,
            {"embeddings": t(2, 3, 5, 4), "table": t(6, 4)},
            {"sources": torch.tensor([[5, 0], [2, 5]]), "labels": mark},
        ),
        "affinity_loss": Call(
            pf.affinity_loss, {"embeddings": t(2, 15, 4)}, {"labels": mark.flatten(1), "weights": t(2, 15).abs()}
        ),
        "ratio_mask_loss": Call(
            pf.ratio_mask_loss, {"logits": t(2, 3, 5, 2)}, {"mixture": parts.sum(-1), "sources": parts}
        ),
    }


every_op = pytest.mark.parametrize("name", list(calls()))
EACH_INPUT = [(name, argument) for name, call in calls().items() for argument in call.inputs]
each_input = pytest.mark.parametrize(("name", "argument"), EACH_INPUT)
each_data = pytest.mark.parametrize(
    ("name", "argument"),
    [(name, key) for name, call in calls().items() for key, t in call.data.items() if t.is_floating_point()],
)
