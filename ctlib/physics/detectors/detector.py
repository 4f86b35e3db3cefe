"""What a photon-counting detector must give: counts registered above a threshold for a photon that arrives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.physics.arrays import numbers


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

    def for_parts(self, parent: Tensor, num: int) -> Detector:
        """The detector for parts of `num` energy bins, cut from the bins parent (N,); itself, but for tables."""
        return self

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
    if isinstance(p, np.ndarray):
        return p.shape, *p.ravel().tolist()
    if not isinstance(p, Tensor):
        return p
    return p.item() if p.ndim == 0 else (tuple(p.shape), *p.flatten().tolist())


def as_bins(energies_kev, widths_kev) -> tuple[Tensor, Tensor]:
    """Energies and widths (N,) of bins as float64 tensors; an ArgumentError where they are none."""
    energies, widths = numbers("energies_kev", energies_kev, above=0), numbers("widths_kev", widths_kev, above=0)
    if energies.ndim != 1 or widths.shape not in (energies.shape, (1,)):
        shapes = tuple(energies.shape), tuple(widths.shape)
        raise ArgumentError("energies_kev, widths_kev", shapes, "(N,) both")
    return energies.double(), widths.to(energies.device).double()


def as_thresholds(thresholds_kev, like: Tensor) -> Tensor:
    """Thresholds (..., D) as a response computes with them: float64, on its device."""
    return contract.tensor("thresholds_kev", thresholds_kev, (None,)).to(like)
