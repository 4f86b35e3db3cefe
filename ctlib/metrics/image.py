"""Image quality, with data range and mask spelled out. Every metric maps (..., Y, X) pairs to a tensor over (...).

Integers and half precision are promoted to float32 or float64, and so are pairs of two dtypes, before any difference.
"""

import math

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


def _checked(x: object, ref: object, mask: object | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
    """The images, promoted to one dtype, and the mask; all of one size, with leading axes that spread."""
    x, ref = contract.together(("Y", "X"), promote=True, x=x, ref=ref)
    if mask is not None:
        mask = contract.mask("mask", mask, x.shape[-2:])
        if mask.device != x.device or not contract.fit(mask.shape, x.shape, ref.shape):
            given = f"shape {tuple(mask.shape)} on {mask.device}"
            raise ArgumentError("mask", given, f"one that spreads over x, {tuple(x.shape)} on {x.device}")
    return x, ref, mask


def _range(data_range: float) -> float:
    return contract.number("data_range", data_range, above=0, at_most=1e100)  # its square is a number


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the image, or over the pixels where the mask is true (NaN where it is empty)."""
    if mask is None:
        return x.mean(dim=(-2, -1))
    return torch.where(mask, x, x.new_zeros(())).sum(dim=(-2, -1)) / mask.sum(dim=(-2, -1))


def rmse(x: Tensor, ref: Tensor, mask: Tensor | None = None) -> Tensor:
    """Root mean squared error in the images' unit, over the pixels where `mask` (bool) holds: (..., Y, X) -> (...)."""
    x, ref, mask = _checked(x, ref, mask)
    return _mean((x - ref) ** 2, mask).sqrt()


def psnr(x: Tensor, ref: Tensor, *, data_range: float, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio [dB]: 10 log10(data_range^2 / MSE); infinite for equal images.

    data_range  the reference's range, stated by the caller: never inferred from the images
    mask        bool (..., Y, X): pixels that count
    """
    x, ref, mask = _checked(x, ref, mask)
    return 10 * torch.log10(_range(data_range) ** 2 / _mean((x - ref) ** 2, mask))


def nmse(x: Tensor, ref: Tensor, mask: Tensor | None = None) -> Tensor:
    """Normalized mean squared error |x - ref|^2 / |ref|^2 [1]: 1 for x = 0. Depends on the zero of the gray scale."""
    x, ref, mask = _checked(x, ref, mask)
    return _mean((x - ref) ** 2, mask) / _mean(ref**2, mask)


def _gaussian_means(num: int, sigma: float, like: Tensor) -> Tensor:
    """Matrix (num - 2r, num) of Gaussian means where the whole window fits, its radius r = int(3.5 sigma + 0.5)."""
    radius = int(3.5 * sigma + 0.5)
    at = torch.arange(num, dtype=like.dtype, device=like.device)
    off = at - (at[: num - 2 * radius, None] + radius)
    weight = torch.where(off.abs() <= radius, torch.exp(-0.5 * (off / sigma) ** 2), 0.0)
    return weight / weight.sum(1, keepdim=True)


def _blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian mean: (N, Y, X) -> (N, Y - 2r, X - 2r). Two products: a convolution of one channel has a slow gradient.

    A value that is not finite spoils the windows that it lies in.
    """
    rows, cols = (_gaussian_means(n, sigma, x) for n in x.shape[-2:])
    sound = x.isfinite()
    means, spoiled = (rows @ t @ cols.T for t in (torch.where(sound, x, 0.0), (~sound).to(x)))
    return torch.where(spoiled > 0, torch.nan, means)


def ssim_map(x: Tensor, ref: Tensor, *, data_range: float, sigma: float = 1.5) -> Tensor:
    """Local structural similarity [1] at the pixels whose 11 x 11 Gaussian window fits, {cite}`wang2004`.

        SSIM = (2 m_x m_r + C1)(2 s_xr + C2) / ((m_x^2 + m_r^2 + C1)(s_x^2 + s_r^2 + C2))

    with Gaussian-weighted means m and covariances s, C1 = (0.01 R)^2, C2 = (0.03 R)^2, R = data_range:
    (..., Y, X) -> (..., Y - 10, X - 10), differentiable.
    """
    x, ref, _ = _checked(x, ref)
    data_range, sigma = _range(data_range), contract.number("sigma", sigma, above=0)
    if min(x.shape[-2:]) < 2 * int(3.5 * sigma + 0.5) + 1:
        needed = f"at least {2 * int(3.5 * sigma + 0.5) + 1} pixels a side, for a sigma of {sigma:g}"
        raise ArgumentError("x", tuple(x.shape), needed)
    x, ref = torch.broadcast_tensors(x, ref)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    a, b = (t.reshape(-1, *t.shape[-2:]) for t in (x, ref))
    level = b.detach().mean((-2, -1), keepdim=True)  # far from 0, squares would lose the variances to rounding
    level = torch.where((level.abs() > data_range) & level.isfinite(), level, 0.0)
    a, b = a - level, b - level
    with contract.full_precision(x):
        moments = _blur(torch.cat([a, b, a * a, b * b, a * b]), sigma).unflatten(0, (5, len(a)))
    ma, mb, aa, bb, ab = moments
    s, spread = 2 * (ab - ma * mb) + c2, aa - ma**2 + bb - mb**2 + c2
    ma, mb = ma + level, mb + level
    s = (2 * ma * mb + c1) * s / ((ma**2 + mb**2 + c1) * spread)
    return s.reshape(*x.shape[:-2], *s.shape[-2:])


def ssim(x: Tensor, ref: Tensor, *, data_range: float, mask: Tensor | None = None) -> Tensor:
    """Mean structural similarity [1], differentiable: the mean of `ssim_map`, {cite}`wang2004`.

    Equals scikit-image's structural_similarity with gaussian_weights=True, sigma=1.5, use_sample_covariance=False.
    mask  bool: windows centered on a true pixel count (a border of 5 pixels never does)
    """
    x, ref, mask = _checked(x, ref, mask)
    local = ssim_map(x, ref, data_range=data_range)
    inner = None if mask is None else mask[..., 5:-5, 5:-5]
    return _mean(local, inner)


def histogram_bin(x: Tensor, bins: int, value_range: tuple[float, float]) -> Tensor:
    """Histogram bin of every pixel, an integer in [0, bins); values outside `value_range` count in the end bins.

    NaN is refused, for it lies in no bin.
    """
    x = contract.tensor("x", x, promote=True)
    if contract.somewhere(x.isnan()):
        raise ArgumentError("x", "NaN", "values with a bin")
    return _bins(x, *_histogram(bins, value_range))


def _histogram(bins: int, value_range: tuple[float, float]) -> tuple[int, float, float]:
    low, high = contract.numbers("value_range", value_range, 2)
    if not high > low:
        raise ArgumentError("value_range", (low, high), "two numbers, low < high")
    return contract.count("bins", bins, 1), low, high


def _bins(x: Tensor, bins: int, low: float, high: float) -> Tensor:
    return ((x - low) * (bins / (high - low))).floor().clamp(0, bins - 1).long()  # clamped first: long() may overflow


def mutual_information(x: Tensor, ref: Tensor, bins: int = 64, value_range: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Mutual information [nat] of the gray levels of two images, plug-in histogram estimate: (..., Y, X) -> (...).

        MI = sum_ij p_ij log(p_ij / (p_i q_j)),    bins as of `histogram_bin`

    Biased upward by about (B_x - 1)(B_ref - 1) / (2 N) nat, with B occupied bins and N pixels: compare only values
    of equal `bins` and size. Invariant to invertible gray-level maps. Not differentiable.
    An image with a NaN gives NaN.
    """
    bins, low, high = _histogram(bins, value_range)
    x, ref = torch.broadcast_tensors(*_checked(x, ref)[:2])
    i, j = (_bins(t.nan_to_num(nan=low), bins, low, high) for t in (x, ref))
    num, n = math.prod(x.shape[:-2]), x.shape[-2] * x.shape[-1]
    image = torch.arange(num, device=x.device).repeat_interleave(n)
    joint = torch.bincount((image * bins + i.reshape(-1)) * bins + j.reshape(-1), minlength=num * bins * bins)
    p = joint.reshape(num, bins, bins).to(torch.float64) / n
    independent = p.sum(2, keepdim=True) * p.sum(1, keepdim=True)
    terms = torch.where(p > 0, p * torch.log(p / independent.clamp_min(1e-300)), p.new_zeros(()))
    found = terms.sum((1, 2)).to(x.dtype).reshape(x.shape[:-2])
    return found.masked_fill((x.isnan() | ref.isnan()).flatten(-2).any(-1), math.nan)
