"""Adam without momentum that leaves alone what has no gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn, overload

import torch


class ZeroAdam(torch.optim.Optimizer):
    """Adam with betas (0, 0.99) and bias correction, which skips parameters whose gradient is None or zero
    everywhere: neither their step count nor their second moment changes. An element with zero gradient does
        not move. (Published tuning.)"""

    BETA2, EPS = 0.99, 1e-8

    def __init__(self, params: Iterable, lr: float):
        super().__init__(params, {"lr": lr})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> NoReturn: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One update from the gradients in place. TypeError for a closure."""
        if closure is not None:
            raise TypeError("ZeroAdam takes no closure")
        for group in self.param_groups:
            for p in group["params"]:
                g = p.grad
                if g is None or not g.any():
                    continue
                state = self.state[p]
                if not state:
                    state["step"], state["v"] = 0, torch.zeros_like(p)
                state["step"] += 1
                state["v"].mul_(self.BETA2).addcmul_(g, g, value=1 - self.BETA2)
                correction = (1 - self.BETA2 ** state["step"]) ** 0.5
                p.addcdiv_(g, state["v"].sqrt().div_(correction).add_(self.EPS), value=-group["lr"])
