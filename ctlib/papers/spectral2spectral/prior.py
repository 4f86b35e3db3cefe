"""Spectral2Spectral: the prior is a network that trains itself on the noisy iterate before every use."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.train.precision import Precision


def bin_scale(x: Tensor) -> Tensor:
    """Mean of every energy bin over slices and pixels, (E, 1, 1), of x (Z, E, Y, X): what the network divides by."""
    if contract.tensor("x", x, ("Z", "E", "Y", "X")).ndim != 4:
        raise ArgumentError("x", f"shape {tuple(x.shape)}", "(Z, E, Y, X)")
    return x.mean((0, 2, 3))[:, None, None]


def batches(num: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless batches of slice numbers: random order, every slice once before any comes again."""
    num, size = contract.count("num", num, 1), contract.count("size", size, 1)
    size = min(size, num)
    while True:
        order = torch.randperm(num, generator=generator)
        yield from (order[i : i + size] for i in range(0, num - size + 1, size))


class SelfTrainedPrior:
    """A prior for `split_reconstruct`: train the network on the images it is given, then apply it to them.

    net        maps (B, E, Y, X) to itself; keeps its weights from one outer step to the next
    loss       (net, images (B, E, Y, X) scaled bin by bin, slice numbers (B,), progress in [0, 1]) -> scalar
    num_outer  outer steps that share the training;  steps  of Adam in each
    retrain    False: train when it is used first, with the steps of all, and never again
    decay      the learning rate is multiplied by it five times, evenly, over the whole training
    apply      (net, scaled images) -> images, where the network takes more than the images
    precision  of the network, see `ctlib.train.precision`
    watch      called as watch(step, make) every `watch_every` steps and at the end of each outer step's training;
               make(slice numbers) are the prior's images as of now
    """

    def __init__(
        self, net: nn.Module, loss: Callable, num_outer: int, steps: int, generator: torch.Generator,
        lr: float = 1e-3, batch: int = 4, retrain: bool = True, decay: float = 0.9,
        apply: Callable | None = None, precision: str = "float32", watch: Callable | None = None, watch_every: int = 25,
    ):  # fmt: skip
        num_outer, steps = contract.count("num_outer", num_outer, 1), contract.count("steps", steps)
        lr, decay = contract.number("lr", lr, above=0), contract.number("decay", decay, above=0)
        batch = contract.count("batch", batch, 1)
        self.precision = Precision(precision, next(net.parameters()).device)
        self.net, self.loss, self.generator, self.batch, self.retrain = net, loss, generator, batch, retrain
        self.net, self.apply = self.precision.prepare(net), apply
        self.watch, self.watch_every = watch, contract.count("watch_every", watch_every, 1)
        self.num_outer, self.steps, self.step, self.losses = num_outer, steps, 0, []
        self.optimizer = torch.optim.Adam(net.parameters(), lr, fused=True)
        every = max(1, num_outer * steps // 5)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, every, decay)

    def __call__(self, x: Tensor, outer: int) -> Tensor:
        scale = bin_scale(x)
        self.train(x / scale, self._steps_now())
        return self.images(x / scale) * scale

    def images(self, x: Tensor) -> Tensor:
        """The network's images of scaled ones (Z, E, Y, X), slice by slice so that memory does not grow with Z."""
        with torch.no_grad():
            parts = [self._call(part) if self.apply is None else self.apply(self._call, part) for part in x.split(4)]
        return torch.cat(parts)

    def _call(self, x: Tensor) -> Tensor:
        return self.precision(self.net, x)

    def _steps_now(self) -> int:
        if self.retrain:
            return self.steps
        return self.num_outer * self.steps if self.step == 0 else 0

    def train(self, x: Tensor, steps: int) -> None:
        """Adam on the loss of batches of the scaled images x (Z, E, Y, X)."""
        chosen = batches(len(x), self.batch, self.generator)
        for k in range(steps):
            index = next(chosen)
            loss = self.loss(self._call, x[index], index, self.step / (self.num_outer * self.steps))
            if not bool(torch.isfinite(loss)):
                raise ConvergenceError(f"SelfTrainedPrior: the loss is {float(loss)} at step {self.step}")
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.losses.append(float(loss.detach()))
            self.step += 1
            if self.watch is not None and (self.step % self.watch_every == 0 or k == steps - 1):
                self.watch(self.step, lambda which: self.images(x[which]))
