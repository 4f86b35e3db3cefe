"""Counts behind the object: Poisson photons, electronic noise, a quantizing converter, and the logarithm back.

Line integrals, counts and signals are float32 or float64 tensors of any shape; photons are a number or a tensor of the
same dtype that spreads over them (per view, per column, ...).
"""

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


def expected_counts(line_integrals: Tensor, photons: float | Tensor) -> Tensor:
    """Mean photon counts behind the object, Beer-Lambert: photons exp(-line_integrals), any shape."""
    contract.tensor("line_integrals", line_integrals)
    photons = contract.factor("photons", photons, "line_integrals", line_integrals, above=0)
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
    mean = expected_counts(line_integrals, photons)
    electronic_std = contract.number("electronic_std", electronic_std, at_least=0)
    gain, bits = contract.number("gain", gain, above=0), None if bits is None else contract.count("bits", bits, 1, 53)
    require_stream(generator, "line_integrals", line_integrals)
    if not bool(mean.detach().isfinite().all()):
        raise ArgumentError("line_integrals", "NaN, or values of which exp overflows", "finite expected counts")
    signal = torch.poisson(mean, generator=generator)
    if electronic_std > 0:
        noise = torch.empty_like(signal).normal_(generator=generator)
        signal = signal + electronic_std * noise
    return signal if bits is None else quantize(signal, gain, bits)


def quantize(signal: Tensor, gain: float, bits: int) -> Tensor:
    """Analogue-to-digital conversion [photons]: round to 1/gain, clip to [0, (2^bits - 1)/gain]. Zero gradient."""
    contract.tensor("signal", signal)
    gain, bits = contract.number("gain", gain, above=0), contract.count("bits", bits, 1, 53)
    return (signal * gain).round().clamp(0, 2**bits - 1) / gain


def line_integrals_from_counts(counts: Tensor, photons: float | Tensor, floor: float = 0.5) -> Tensor:
    """Line integrals [1] from counts: l = log(photons / max(counts, floor)).

    Readings below `floor` [photons], zero and negative ones too, are replaced by `floor`: the log stays finite, and
    a starved ray reads log(photons / floor), too little attenuation.
    """
    contract.tensor("counts", counts)
    photons = contract.factor("photons", photons, "counts", counts, above=0)
    return torch.log(photons / counts.clamp_min(contract.number("floor", floor, above=0)))


def line_integral_variance(line_integrals: Tensor, photons: float | Tensor, electronic_std: float = 0.0) -> Tensor:
    """First-order variance [1] of the logarithm of a reading with mean m = photons exp(-l).

        Var(l) = (m + electronic_std^2) / m^2

    Photon noise alone gives exp(l) / photons: {cite}`kak2001`. Valid while starved rays are rare, m >> 1.
    """
    mean = expected_counts(line_integrals, photons)
    electronic_std = contract.number("electronic_std", electronic_std, at_least=0)
    return (mean + electronic_std * electronic_std) / mean**2


def require_stream(generator: torch.Generator, like_name: str, like: Tensor) -> None:
    """Raise unless this is a random stream on the device of a tensor."""
    if not isinstance(generator, torch.Generator) or generator.device.type != like.device.type:
        given = f"one on {generator.device}" if isinstance(generator, torch.Generator) else type(generator).__name__
        needed = f"a torch.Generator on the device of {like_name}, torch.Generator({like.device.type!r})"
        raise ArgumentError("generator", given, needed)
