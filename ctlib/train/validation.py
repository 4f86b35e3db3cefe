"""Validation during a training: the curve, and the weights of its least value."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ctlib.contract import choice, count
from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.train.described import code_of, described, digest
from ctlib.train.distributed import average

KEEP = ("best", "last")


class Validation:
    """Looks at validate(net) after every `every` steps and after the last of them; a part of a `Run`.

    validate  of the network in evaluation mode, without gradients; lower is better. In a process group every process
              calls it, and the mean counts
    least     the smallest value so far; weights, those of that time where the best are kept
    """

    def __init__(
        self, net: nn.Module, validate: Callable[[nn.Module], float], every: int, steps: int, keep: str = "best"
    ):  # fmt: skip
        if not callable(validate):
            raise ArgumentError("validate", type(validate).__name__, "a function of the network")
        self.net, self.validate, self.steps = net, validate, steps
        self.every, self.keep = count("validate_every", every, 1), choice("keep", keep, KEEP)
        self.least, self.weights = math.inf, {}

    def after(self, step: int, history: dict[str, list[float]]) -> None:
        """Add to the history after so many steps, where it is time."""
        if step % self.every and step != self.steps:
            return
        self.net.eval()
        with torch.no_grad():
            value = torch.as_tensor(one_number("validate(net)", self.validate(self.net)), dtype=torch.float64)
        value = float(average(value.to(next(self.net.parameters()).device)))
        if not math.isfinite(value):
            raise ConvergenceError(f"step {step}: the validation is {value}")
        history.setdefault("validation", []).append(value)
        history.setdefault("validation_step", []).append(step)
        if value < self.least:
            self.least = value
            self.weights = _copied(self.net) if self.keep == "best" else {}

    def restore(self) -> None:
        """Give the network the weights that are kept."""
        if self.weights:
            self.net.load_state_dict(self.weights)

    def about(self) -> dict[str, object]:
        """What a checkpoint says of it."""
        code = {"validation": digest(described(self.validate)), "code of the validation": code_of(self.validate)}
        return {"validate_every": self.every, "keep": self.keep, **code}

    def state_dict(self) -> dict:
        return {"least": self.least, "weights": self.weights}

    def load_state_dict(self, state: dict) -> None:
        self.least, self.weights = state["least"], state["weights"]


def one_number(name: str, value: object) -> float:
    """What a function gave as its score, which may be NaN or infinite; ArgumentError where it is no number."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # nothing, text, several numbers
        raise ArgumentError(name, type(value).__name__, "one number") from None


def _copied(net: nn.Module) -> dict[str, Tensor]:
    """The state of a network, with memory of its own."""
    return {k: v.clone() if isinstance(v, Tensor) else v for k, v in net.state_dict().items()}
