"""What a forward pass keeps for its backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def activation_bytes(net: nn.Module, call: Callable[[], Tensor]) -> int:
    """Bytes that call() keeps until its backward pass, without the network's own weights and statistics.

    Tensors that share memory count once. With everything on the "meta" device sizes are counted without the memory.
    """
    own = {p.untyped_storage()._cdata for p in (*net.parameters(), *net.buffers())}
    kept: dict[int, Tensor] = {}

    def note(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage._cdata not in own:
            kept.setdefault(storage._cdata, t)  # the tensor keeps its storage alive, so that no address is used twice
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        result = call()
    total = sum(t.untyped_storage().nbytes() for t in kept.values())
    del result
    return total
