"""Half precision in the network alone: autocast, full precision behind it, and loss scaling where it is needed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctlib.contract import choice, number
from ctlib.errors import ArgumentError

PRECISIONS = ("float32", "bf16", "fp16", "auto")


def chosen(name: str, device: str | torch.device) -> str:
    """What "auto" stands for on a device: "bf16" where its arithmetic is built in, else "float32"; others as they are.

    On a CPU that is AVX512-BF16 or AMX, on a CUDA device compute capability 8.0.
    """
    if choice("name", name, PRECISIONS) != "auto":
        return name
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bf16" if _cpu_has_bf16() else "float32"


def _cpu_has_bf16() -> bool:
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def full(x: Tensor) -> Tensor:
    """A tensor of half precision in float32; any other as it is."""
    if not isinstance(x, Tensor):
        raise ArgumentError("x", type(x).__name__, "a torch tensor")
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Precision:
    """What networks on a device compute in, by its name in `Settings`; the weights keep their own type.

    name    what was `chosen`
    scaler  of the loss, for fp16; its state belongs in a checkpoint
    """

    def __init__(self, name: str, device: torch.device):
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}
        self.device, self.name = torch.device(device), chosen(name, device)
        self.half = half.get(self.name)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half is torch.float16)

    def prepare(self, net: torch.nn.Module) -> torch.nn.Module:
        """The network with its weights laid out as half precision is fastest, channels last; before the first step."""
        volumes = any(p.ndim == 5 for p in net.parameters())  # torch lays out images and volumes by different names
        return net if self.half is None or volumes else net.to(memory_format=torch.channels_last)

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
