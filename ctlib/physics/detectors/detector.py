"""What a photon-counting detector must give: counts registered above a threshold for a photon that arrives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor

from ctlib.errors import ArgumentError


class Response(Protocol):
    """What a detector does with photons of given energies."""

    def above(self, thresholds_kev: Tensor) -> Tensor:
        """Counts (..., D, N) above thresholds (..., D) [keV] per photon of each energy (N,); differentiable in them."""
        ...


class Detector(ABC):
    """A detector: a frozen dataclass of its parameters, numbers or tensors that may require a gradient.

    Each kind has a file of its own; `class SiliconDetector(Detector, name="silicon")` is made by `Detector.silicon()`.
    Detectors are equal where kind and parameters are, tensors by their values.
    """

    def __init_subclass__(cls, name: str | None = None, **options):
        super().__init_subclass__(**options)
        if name is not None:
            there = getattr(Detector, name, None)  # the same class when its cell is run again
            again = (cls.__module__, cls.__qualname__)
            if there is not None and (getattr(there, "__module__", ""), there.__qualname__) != again:
                raise ArgumentError("name", repr(name), "a name that no detector has, nor an attribute of Detector")
            setattr(Detector, name, cls)

    @abstractmethod
    def response(self, energies_kev: Tensor, widths_kev: Tensor) -> Response:
        """The response to photons of energies (N,) in bins of these widths, float64; differentiable in parameters."""

    @property
    def requires_grad(self) -> bool:
        """Whether any parameter is a tensor that wants a gradient."""
        return any(isinstance(p, Tensor) and p.requires_grad for p in vars(self).values())

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def _values(self) -> tuple:
        return tuple(_value(p) for p in vars(self).values())


def _value(p):
    if not isinstance(p, Tensor):
        return p
    return p.item() if p.ndim == 0 else (tuple(p.shape), *p.flatten().tolist())


def require_rule(rule: str, known: tuple[str, ...]) -> None:
    """Raise unless there is an edge rule of this name."""
    if rule not in known:
        raise ArgumentError("edge_rule", repr(rule), f"one of {', '.join(known)}")
