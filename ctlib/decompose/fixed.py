"""What a decomposition needs of a model and a box beside the counts, kept by the model until its values change."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from ctlib.decompose import engine
from ctlib.decompose.few import stand_in
from ctlib.decompose.newton import Problem
from ctlib.decompose.start import GLARING, PolynomialStart, check_determined, fit_start, reach
from ctlib.errors import ArgumentError
from ctlib.physics.model import SpectralModel

MOST_BOXES = 8  # boxes of a model that are kept


@dataclass(frozen=True)
class Fixed:
    """What does not depend on the counts: the model's own spectra, attenuation (N, M) in float64, and the box."""

    names: tuple[str, ...]
    spectra: Tensor
    attenuation: Tensor
    low: Tensor
    high: Tensor

    @cached_property
    def start(self) -> PolynomialStart:
        """Where the solver starts with these spectra, after the check that they tell the materials apart."""
        with temporarily_clear_interpreter_stack():  # it is kept longer than a transform of torch.func lasts
            check_determined(self.spectra, self.attenuation, self.names)
            usual = self.spectra.reshape(-1, *self.spectra.shape[-2:]).mean(0)
            start = fit_start(usual, self.attenuation, self.low, self.high)
            usual, f, low, high = (t.detach().cpu().double() for t in (usual, self.attenuation, self.low, self.high))
            return replace(start, fine=stand_in(usual, f, *reach(usual, f, low, high, GLARING)))

    @cached_property
    def loops(self):
        """Loops that take readings as they are; None where there are none, or where all pixels are in doubt."""
        if self.start.folds or self.spectra.ndim > 2 or not engine.all_counting(self.spectra):
            return None
        return engine.loops(self.problem(self.spectra[:1]), self.start)

    def problem(self, counts: Tensor, photons: Tensor | float = 1.0) -> Problem:
        """That of these counts per photon."""
        return Problem(counts, self.spectra, self.attenuation.to(counts), self.low, self.high, photons)


def fixed_for(model: SpectralModel, like: Tensor, box, wanted: bool) -> Fixed:
    """Of the dtype and device of `like`; made anew where a gradient to the spectra is wanted."""
    bounds = _bounds(box, model.num_materials)

    def make():
        names, boxes = tuple(m.name for m in model.materials), {}
        return names, model.bin_spectra(None, like), model.attenuation, boxes

    *own, boxes = model.kept(("decompose", like.dtype, like.device), make, wanted)
    if bounds not in boxes:
        if len(boxes) == MOST_BOXES:
            boxes.clear()
        with temporarily_clear_interpreter_stack():
            ends = torch.tensor(bounds, dtype=torch.float64).to(like).unbind(1)
            boxes[bounds] = Fixed(*own, *ends)
    return boxes[bounds]


def _bounds(box, num: int) -> tuple[tuple[float, float], ...]:
    """The box as numbers (low, high)."""
    pairs = box if isinstance(box, tuple) and all(isinstance(pair, tuple) for pair in box) else ()
    if pairs and all(type(end) in (int, float) for pair in pairs for end in pair):
        return _checked(pairs, num)
    return _checked.__wrapped__(box, num)


@lru_cache(maxsize=32)
def _checked(box, num: int) -> tuple[tuple[float, float], ...]:
    if isinstance(box, Tensor) and box.requires_grad:
        raise ArgumentError("box", "a tensor that asks for its gradient", "numbers: none flows to it (t.detach())")
    try:
        bounds = torch.as_tensor(box, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        bounds = torch.empty(0)
    values = bounds.tolist() if bounds.shape == (num, 2) else []
    if not values or not all(-math.inf < low < high < math.inf for low, high in values):
        given = box if isinstance(box, (tuple, list)) else f"{type(box).__name__} {tuple(bounds.shape)}"
        raise ArgumentError("box", given, f"{num} pairs (low, high) of finite numbers, low < high")
    return tuple(map(tuple, values))
