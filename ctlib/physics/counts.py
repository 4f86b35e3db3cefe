"""Counts behind the object: Poisson photons, electronic noise, a quantizing converter, and the logarithm back."""

import torch
from torch import Tensor

from ctlib.errors import ArgumentError


def _require_positive(name: str, value: float | Tensor) -> None:
    if not bool((torch.as_tensor(value) > 0).all()):
        raise ArgumentError(name, value, "positive values")


def expected_counts(line_integrals: Tensor, photons: float | Tensor) -> Tensor:
    """Mean photon counts behind the object, Beer-Lambert: photons exp(-line_integrals), any shape."""
    return photons * torch.exp(-line_integrals)


def transmission_counts(
    line_integrals: Tensor,
    photons: float | Tensor,
    generator: torch.Generator,
    electronic_std: float = 0.0,
    gain: float = 1.0,
    bits: int | None = None,
) -> Tensor:
    """One noisy transmission reading [photons] of every ray, {cite}`lariviere2005`.

        N ~ Poisson(photons exp(-l)),    s = N + electronic_std * normal,    reading = ADC(s)

    line_integrals  l [1], any shape
    photons         photons per reading in the open beam; a tensor broadcasts (per view, per column, ...)
    electronic_std  standard deviation of the electronic noise, in photons
    gain, bits      converter: `gain` digital steps a photon, rounded, clipped to [0, 2^bits - 1], returned in photons;
                    bits=None converts nothing, so readings may be negative
    generator       on the device of line_integrals; the only source of randomness
    """
    _require_positive("photons", photons)
    if electronic_std < 0 or gain <= 0 or (bits is not None and bits < 1):
        raise ArgumentError("electronic_std, gain, bits", (electronic_std, gain, bits), ">= 0, > 0 and None or >= 1")
    signal = torch.poisson(expected_counts(line_integrals, photons), generator=generator)
    if electronic_std > 0:
        noise = torch.empty_like(signal).normal_(generator=generator)
        signal = signal + electronic_std * noise
    return signal if bits is None else quantize(signal, gain, bits)


def quantize(signal: Tensor, gain: float, bits: int) -> Tensor:
    """Analogue-to-digital conversion [photons]: round to 1/gain, clip to [0, (2^bits - 1)/gain]. Zero gradient."""
    return (signal * gain).round().clamp(0, 2**bits - 1) / gain


def line_integrals_from_counts(counts: Tensor, photons: float | Tensor, floor: float = 0.5) -> Tensor:
    """Line integrals [1] from counts: l = log(photons / max(counts, floor)).

    Readings below `floor` [photons], zero and negative ones too, are replaced by `floor`: the log stays finite, and
    a starved ray reads log(photons / floor), too little attenuation.
    """
    _require_positive("photons", photons)
    _require_positive("floor", floor)
    return torch.log(photons / counts.clamp_min(floor))


def line_integral_variance(line_integrals: Tensor, photons: float | Tensor, electronic_std: float = 0.0) -> Tensor:
    """First-order variance [1] of the logarithm of a reading with mean m = photons exp(-l).

        Var(l) = (m + electronic_std^2) / m^2

    Photon noise alone gives exp(l) / photons: {cite}`kak2001`. Valid while starved rays are rare, m >> 1.
    """
    mean = expected_counts(line_integrals, photons)
    return (mean + electronic_std**2) / mean**2
