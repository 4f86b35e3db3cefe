"""Readings of one scanner at several signal levels, and what networks see of them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.papers.tomography.noise_networks import reading_features
from ctlib.papers.tomography.readings import Readings, converter_step, line_integral_prior, posterior_table


class SignalLevels:
    """Detectors with the tables of their readings, by signal.

    detectors  one `Readings` a signal, with different signals
    prior      line integrals of any shape, those of the training images: what the tables take for likely
    step       None: the steps of the detectors; 0: each is set by `converter_step`

    signals    the signals in the order given; detectors, tables: dictionaries by signal
    """

    def __init__(self, detectors: Sequence[Readings], prior: Tensor, step: float | None = None):
        step = None if step is None else contract.number("step", step, at_least=0)
        if not contract.tensor("prior", prior).numel() or not bool(prior.isfinite().all()):
            raise ArgumentError("prior", f"shape {tuple(prior.shape)}", "finite line integrals")
        y, weight = line_integral_prior(prior)
        if step == 0:
            almost = max(0.1, float(y.min()))  # every ray may cross the body
            detectors = [replace(d, step=float(converter_step(d, y, weight, almost))) for d in detectors]
        elif step is not None:
            detectors = [replace(d, step=float(step)) for d in detectors]
        self.detectors = {d.signal: d for d in detectors}
        self.signals = tuple(self.detectors)
        if not detectors or len(self.signals) < len(detectors):
            raise ArgumentError("detectors", [d.signal for d in detectors], "one or more, of different signals")
        self.tables = {s: posterior_table(d, y.cpu(), weight.cpu()) for s, d in self.detectors.items()}

    def read(self, y: Tensor, signal: float, seed: int) -> Tensor:
        """Readings r of line integrals y (..., V, U) at one signal: whole numbers in y's type, on its device."""
        y, seed = contract.tensor("y", y, ("V", "U")), contract.count("seed", seed, 0, 2**63 - 1)
        return self._detector(signal).sample(y, torch.Generator(y.device).manual_seed(seed))

    def features(self, r: Tensor, signal: float) -> Tensor:
        """What networks see of readings r (..., V, U): (..., 3, V, U), see `reading_features`."""
        r = contract.tensor("r", r, ("V", "U"))
        signal = contract.number("signal", signal)
        return reading_features(self._detector(signal).line_integrals(r), *self.tables[signal](r))

    def drawn(self, y: Tensor, seeds: Sequence[int]) -> Tensor:
        """Features (B, 3, V, U) of fresh readings of y (B, V, U), one seed a sample for its noise.

        Its signal is number (seed mod number of signals).
        """
        if contract.tensor("y", y, ("V", "U")).ndim != 3:
            raise ArgumentError("y", f"shape {tuple(y.shape)}", "sinograms (B, V, U)")
        if len(seeds) != len(y):
            raise ArgumentError("seeds", len(seeds), f"one a sample, {len(y)}")
        levels = [self.signals[s % len(self.signals)] for s in seeds]
        pairs = zip(y, levels, seeds, strict=True)
        return torch.stack([self.features(self.read(one, level, seed), level) for one, level, seed in pairs])

    def _detector(self, signal: float) -> Readings:
        signal = contract.number("signal", signal)
        if signal not in self.detectors:
            raise ArgumentError("signal", signal, f"one of {self.signals}")
        return self.detectors[signal]
