"""An optimiser for any module: the kernels' rules, over named parameters."""

from math import inf

from torch import Tensor

from ..errors import UserError
from ..kernels import implementation, resolve
from ..kernels.optimiser import EVERY_RULE


class Optimiser:
    """Steps parameters by one of the rules in `partae_fast.kernels.optimiser.EVERY_RULE`.

    `options` replace the rule's defaults, by name. Every rule has weight_decay, >= 0: this times a parameter is added
    to its gradient, and no loss that is reported counts it. `state` holds what the rule keeps, by parameter and then
    in the rule's order, zeros before the first step.

    Raises UserError for an unknown rule or option, and for a weight decay below 0.
    """

    def __init__(self, rule: str, parameters: dict[str, Tensor], options: dict[str, float]) -> None:
        if rule not in EVERY_RULE:
            raise UserError(f"optimizer {rule!r} is not known; choose one of {', '.join(EVERY_RULE)}")
        unknown = sorted(set(options) - set(EVERY_RULE[rule].options))
        if unknown:
            raise UserError(f"{rule} has no option {unknown[0]!r}; it has {', '.join(EVERY_RULE[rule].options)}")
        self.rule, self.parameters = rule, parameters
        self.options = {**EVERY_RULE[rule].options, **options}
        if not 0 <= self.options["weight_decay"] < inf:
            raise UserError(f"weight_decay is {self.options['weight_decay']}; it must be 0 or more")
        if not self.options.get("clip", 1.0) > 0:
            raise UserError(f"clip is {self.options['clip']}; weights are held in [-clip, clip], so it must be above 0")
        count = len(EVERY_RULE[rule].state)
        self.state = {n: tuple(p.new_zeros(p.shape) for _ in range(count)) for n, p in parameters.items()}

    def step(self, number: int) -> None:
        """Change every parameter that has a gradient; steps are numbered from 0."""
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                continue
            weight = parameter.detach()
            kernels = implementation("optimiser", resolve("optimiser", "auto", weight.device, weight.dtype))
            getattr(kernels, self.rule)(weight, parameter.grad, self.state[name], number, self.options)

    def tensors(self) -> dict[str, Tensor]:
        """The state by PARAMETER.NAME."""
        named = zip(self.state, self.state.values(), strict=True)
        return {f"{p}.{n}": t for p, kept in named for n, t in zip(EVERY_RULE[self.rule].state, kept, strict=True)}
