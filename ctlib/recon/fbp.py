"""Filtered back-projection in physical units: parallel beam, flat-detector fan beam, flat-detector cone beam (FDK)."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam
from ctlib.recon._completeness import tell
from ctlib.recon._truncation import continued
from ctlib.recon.backproject import backproject
from ctlib.recon.redundancy import scan_of, scan_weights, view_weights

__all__ = ["fan_cosine", "fbp", "filter_sinogram", "ramp_kernel", "view_weights", "window_response"]
WINDOWS = ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")


def fbp(A, y: Tensor, window: str = "ram-lak", truncation: str = "warn", incomplete: str = "refuse") -> Tensor:
    """Filtered back-projection [1/mm], {cite}`kak2001` chapter 3: line integrals (..., V, U) -> (..., Y, X).

        parallel: x(r) = sum_v w_v (h * y_v)(u),               w_v: the share of pi that view v stands for
        fan:      x(r) = sum_v w_v/2 (SO/L)^2 (h * (y_v cos g))(u SO/SD),  over 2 pi, g the angle in the fan
        cone:     as fan, each detector row filtered by itself, {cite}`feldkamp1984`: (..., V, R, U) -> (..., Z, Y, X)

    A           anything with `.geometry`: ParallelBeam, FanBeam or ConeBeam (flat detector)
    window      low-pass on the band-limited ramp: one of `WINDOWS`
    truncation  for an object that reaches beyond the detector: "warn" (`TruncationWarning`), "extrapolate" its rows as
                those of a disc (not linear in y; {cite}`hsieh2004`), or "ignore"
    incomplete  for views that miss more than a twelfth of the lines through some column: "refuse" (ArgumentError) or
                "warn"; up to a twelfth an `IncompleteScanWarning` names the gaps, and views beside them stand in

    Views may lie anywhere: short scans, several turns, unequal steps, gaps; so may the detector, as long as it covers
    the axis. Lines that are measured twice are weighted by `scan_weights`. A cone beam is exact in the plane of the
    orbit alone.
    """
    geometry, backend = scan_of(A), getattr(A, "backend", "auto")
    y = contract.tensor("y", y, geometry.sino_shape)
    contract.choice("window", window, WINDOWS)
    ends = tell(geometry, y, truncation, incomplete)
    if truncation == "extrapolate":
        y, geometry = continued(y, geometry, ends)
    weights, pitch_mm = scan_weights(geometry), geometry.pitch_mm
    if weights.rays is not None:
        y = y * (weights.rays[:, None] if type(geometry) is ConeBeam else weights.rays).to(y)
    if type(geometry) is not ParallelBeam:
        y = y * fan_cosine(geometry, y)
        pitch_mm *= geometry.source_origin_mm / geometry.source_detector_mm  # of the detector moved into the isocenter
    if any(weights.padding):
        y, geometry = pad(y, weights.padding), geometry.wider(*weights.padding)
    return backproject(filter_sinogram(y, pitch_mm, window), geometry, weights.views, backend)


def fan_cosine(geometry: FanBeam | ConeBeam, like: Tensor) -> Tensor:
    """Cosine of each cell's angle to the central ray, SD / sqrt(SD^2 + u^2 (+ v^2)): (U,), or (R, U) for a cone."""
    like = contract.tensor("like", like)
    if type(geometry) not in (FanBeam, ConeBeam):
        raise ArgumentError("geometry", type(geometry).__name__, "a FanBeam or ConeBeam")
    u = torch.as_tensor(geometry.columns(), dtype=like.dtype, device=like.device)
    square = geometry.source_detector_mm**2 + u**2
    if type(geometry) is ConeBeam:
        square = square + torch.as_tensor(geometry.rows(), dtype=like.dtype, device=like.device)[:, None] ** 2
    return geometry.source_detector_mm / torch.sqrt(square)


def ramp_kernel(num: int, pitch_mm: float) -> Tensor:
    """Ramp band-limited to |f| < 1/(2 pitch), sampled in space [1/mm^2]: (2 num,) float64, {cite}`ramachandran1971`.

    h(0) = 1 / (4 pitch^2),   h(n) = -1 / (pi n pitch)^2 for odd n,   0 for even n
    """
    num, pitch_mm = contract.count("num", num, 1), contract.number("pitch_mm", pitch_mm, above=0)
    n = torch.arange(2 * num, dtype=torch.float64)
    n = torch.minimum(n, 2 * num - n)
    h = torch.where(n % 2 == 1, -1 / (math.pi * n.clamp_min(1) * pitch_mm) ** 2, 0.0)
    h[0] = 1 / (4 * pitch_mm * pitch_mm)
    return h


def window_response(name: str, f: Tensor) -> Tensor:
    """Low-pass factor [1] at f = frequency / Nyquist in [0, 1]; 1 at f = 0."""
    contract.choice("window", name, WINDOWS)
    f = contract.tensor("f", f)
    if name == "ram-lak":
        return torch.ones_like(f)
    if name == "shepp-logan":
        return torch.sinc(f / 2)
    if name == "cosine":
        return torch.cos(math.pi * f / 2)
    if name == "hamming":
        return 0.54 + 0.46 * torch.cos(math.pi * f)
    return 0.5 + 0.5 * torch.cos(math.pi * f)  # hann


def filter_sinogram(y: Tensor, pitch_mm: float, window: str = "ram-lak") -> Tensor:
    """Convolve the columns with the windowed ramp, q = pitch h * y [1/mm], without wrap-around: (..., U) to itself."""
    y, pitch_mm = contract.tensor("y", y, ("U",)), contract.number("pitch_mm", pitch_mm, above=0)
    if not y.numel():
        return 1 * y  # some FFT libraries refuse an empty batch
    num = 1 << (y.shape[-1] - 1).bit_length()  # the linear convolution of U samples fits in 2 num >= 2 U - 1
    response = torch.fft.rfft(ramp_kernel(num, pitch_mm)).real * pitch_mm
    response = response * window_response(window, torch.linspace(0, 1, num + 1, dtype=torch.float64))
    q = torch.fft.irfft(torch.fft.rfft(y, n=2 * num) * response.to(y), n=2 * num)
    return q[..., : y.shape[-1]]
