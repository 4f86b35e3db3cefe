"""Filtered back-projection in physical units: parallel beam, flat-detector fan beam, flat-detector cone beam (FDK)."""

import math

import torch
from torch import Tensor

from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam
from ctlib.recon._common import require_range
from ctlib.recon.backproject import backproject

WINDOWS = ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")


def fbp(A, y: Tensor, window: str = "ram-lak") -> Tensor:
    """Filtered back-projection [1/mm], {cite}`kak2001` chapter 3: line integrals (..., V, U) -> (..., Y, X).

        parallel: x(r) = sum_v w_v (h * y_v)(u),               w_v: the share of pi that view v stands for
        fan:      x(r) = sum_v w_v/2 (SO/L)^2 (h * (y_v cos g))(u SO/SD),  over 2 pi, g the angle in the fan
        cone:     as fan, each detector row filtered by itself, {cite}`feldkamp1984`: (..., V, R, U) -> (..., Z, Y, X)

    A       anything with `.geometry`: ParallelBeam over pi or more, FanBeam or ConeBeam over 2 pi (flat detector)
    window  low-pass on the band-limited ramp: one of `WINDOWS`

    Views need not be equally spaced, but no gap may exceed twice their mean spacing. The detector must cover the
    object in every view; it need not be centered. A cone beam is exact in the plane of the orbit alone.
    """
    geometry = A.geometry
    if type(geometry) not in (ParallelBeam, FanBeam, ConeBeam):
        raise ArgumentError("A", type(geometry).__name__, "a ParallelBeam, FanBeam or ConeBeam geometry")
    require_range(A, y)
    diverging, backend = type(geometry) is not ParallelBeam, getattr(A, "backend", "auto")
    period = 2 * math.pi if diverging else math.pi
    weights = view_weights(torch.as_tensor(geometry.angles, dtype=torch.float64), period)
    if not diverging:
        return backproject(filter_sinogram(y, geometry.pitch_mm, window), geometry, weights, backend)
    scale = geometry.source_origin_mm / geometry.source_detector_mm  # to the detector shifted into the isocenter
    q = filter_sinogram(y * fan_cosine(geometry, y), geometry.pitch_mm * scale, window)
    return backproject(q, geometry, weights / 2, backend)


def fan_cosine(geometry: FanBeam | ConeBeam, like: Tensor) -> Tensor:
    """Cosine of each cell's angle to the central ray, SD / sqrt(SD^2 + u^2 (+ v^2)): (U,), or (R, U) for a cone."""
    u = torch.as_tensor(geometry.columns(), dtype=like.dtype, device=like.device)
    square = geometry.source_detector_mm**2 + u**2
    if type(geometry) is ConeBeam:
        square = square + torch.as_tensor(geometry.rows(), dtype=like.dtype, device=like.device)[:, None] ** 2
    return geometry.source_detector_mm / torch.sqrt(square)


def ramp_kernel(num: int, pitch_mm: float) -> Tensor:
    """Ramp band-limited to |f| < 1/(2 pitch), sampled in space [1/mm^2]: (2 num,) float64, {cite}`ramachandran1971`.

    h(0) = 1 / (4 pitch^2),   h(n) = -1 / (pi n pitch)^2 for odd n,   0 for even n
    """
    n = torch.arange(2 * num, dtype=torch.float64)
    n = torch.minimum(n, 2 * num - n)
    h = torch.where(n % 2 == 1, -1 / (math.pi * n.clamp_min(1) * pitch_mm) ** 2, 0.0)
    h[0] = 1 / (4 * pitch_mm**2)
    return h


def window_response(name: str, f: Tensor) -> Tensor:
    """Low-pass factor [1] at f = frequency / Nyquist in [0, 1]; 1 at f = 0."""
    if name == "ram-lak":
        return torch.ones_like(f)
    if name == "shepp-logan":
        return torch.sinc(f / 2)
    if name == "cosine":
        return torch.cos(math.pi * f / 2)
    if name == "hamming":
        return 0.54 + 0.46 * torch.cos(math.pi * f)
    if name == "hann":
        return 0.5 + 0.5 * torch.cos(math.pi * f)
    raise ArgumentError("window", repr(name), f"one of {', '.join(WINDOWS)}")


def filter_sinogram(y: Tensor, pitch_mm: float, window: str = "ram-lak") -> Tensor:
    """Convolve the columns with the windowed ramp, q = pitch h * y [1/mm], without wrap-around: (..., U) to itself."""
    num = 1 << (y.shape[-1] - 1).bit_length()  # the linear convolution of U samples fits in 2 num >= 2 U - 1
    response = torch.fft.rfft(ramp_kernel(num, pitch_mm)).real * pitch_mm
    response = response * window_response(window, torch.linspace(0, 1, num + 1, dtype=torch.float64))
    q = torch.fft.irfft(torch.fft.rfft(y, n=2 * num) * response.to(y), n=2 * num)
    return q[..., : y.shape[-1]]


def view_weights(angles: Tensor, period: float) -> Tensor:
    """Share of the period each view stands for [rad], half the distance between its neighbors: (V,), sum = period.

    Equally spaced views get period / V; several turns, interlaced or golden-angle views are handled.
    Raises ArgumentError where a gap exceeds twice the mean spacing of distinct views: the range is too short.
    """
    phase, order = torch.sort(angles % period)
    gaps = torch.diff(phase, append=phase[:1] + period)  # gap after each view, around the circle
    gaps = torch.where(gaps < 1e-9, torch.zeros_like(gaps), gaps)
    distinct = int((gaps > 0).sum())
    if float(gaps.max()) > 2 * period / distinct * (1 + 1e-9):
        raise ArgumentError("angles", f"a gap of {float(gaps.max()):.4g} rad", f"views spread over {period:.4g} rad")
    return torch.empty_like(gaps).scatter_(0, order, (gaps + gaps.roll(1)) / 2)
