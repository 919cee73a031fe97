"""The optimisers that training uses: PyTorch's, with a kernel of ours for the step where there is one."""

from typing import Any

import torch

from ..kernels import implementation, resolve


class Adadelta(torch.optim.Adadelta):
    """AdaDelta (Zeiler 2012) with PyTorch's state, so that checkpoints are the same; float32 and float64 on the CPU by
    a kernel of ours, all else by PyTorch.

    Args: parameters, learning_rate, and rho and eps as the paper of Stowell & Turner had them from its framework.
    """

    def __init__(self, parameters: Any, learning_rate: float = 1.0, rho: float = 0.95, eps: float = 1e-6) -> None:
        super().__init__(parameters, lr=learning_rate, rho=rho, eps=eps)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        parameters = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        chosen = {resolve("adadelta", "auto", p.device, p.dtype) for _, p in parameters}
        if closure is not None or chosen != {"cpu"} or not all(p.is_contiguous() for _, p in parameters):
            return super().step(closure)
        kernel = implementation("adadelta", "cpu").adadelta
        for group, p in parameters:
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros(())
                state["square_avg"], state["acc_delta"] = torch.zeros_like(p), torch.zeros_like(p)
            state["step"] += 1
            kernel(p, p.grad, state["square_avg"], state["acc_delta"], group["lr"], group["rho"], group["eps"])
        return None
