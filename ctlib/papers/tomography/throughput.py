"""How many samples a function does a second."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


@torch.no_grad()
def frames_per_second(apply: Callable[[Tensor], object], inputs: Tensor, repeats: int = 5) -> float:
    """Samples of a batch over the median wall-clock time of a call, without gradients, after one call to warm up.

    inputs  (B, ...), on the device that the function runs on: its work is waited for
    """
    repeats = contract.count("repeats", repeats, 1)
    if not isinstance(inputs, Tensor) or not inputs.ndim or not len(inputs):
        raise ArgumentError("inputs", getattr(inputs, "shape", inputs), "a tensor of at least one sample")
    seconds, wait = [], torch.cuda.synchronize if inputs.is_cuda else lambda: None
    for _ in range(repeats + 1):
        wait()
        start = time.perf_counter()
        apply(inputs)
        wait()
        seconds.append(time.perf_counter() - start)
    return len(inputs) / statistics.median(seconds[1:])
