"""Half precision in the network alone: autocast, full precision behind it, and loss scaling where it is needed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctlib.contract import choice, number
from ctlib.errors import ArgumentError

PRECISIONS = ("float32", "bf16", "fp16")


def full(x: Tensor) -> Tensor:
    """A tensor of half precision in float32; any other as it is."""
    if not isinstance(x, Tensor):
        raise ArgumentError("x", type(x).__name__, "a torch tensor")
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Precision:
    """What networks on a device compute in, by its name in `Settings`; the weights keep their own type.

    scaler  of the loss, for fp16; its state belongs in a checkpoint
    """

    def __init__(self, name: str, device: torch.device):
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}
        self.device, self.half = torch.device(device), half.get(choice("name", name, PRECISIONS))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half is torch.float16)

    def __call__(self, call: Callable[..., Tensor | tuple[Tensor, ...]], *args) -> Tensor | tuple[Tensor, ...]:
        """call(*args) under autocast, the result in full precision."""
        with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
            result = call(*args)
        return tuple(full(t) for t in result) if isinstance(result, tuple) else full(result)

    def descend(self, optimizer: torch.optim.Optimizer, loss: Tensor, lr: float) -> None:
        """One step of the optimizer down the loss. `scaler.update()` follows the last optimizer of a step."""
        optimizer.param_groups[0]["lr"] = number("lr", lr, at_least=0)
        optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(optimizer)
