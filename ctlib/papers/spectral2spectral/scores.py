"""Scores of images inside the body: error, similarity, and noise and resolution apart."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ctlib import contract, metrics
from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.regions import edge_gradient, slopes

SCORES = ("error", "ssim", "noise", "edges")


def _mask(name: str, mask: Tensor, like: Tensor) -> Tensor:
    """A bool mask (Z, 1, Y, X) on the device of images (Z, E, Y, X)."""
    mask = contract.mask(name, mask, ("Y", "X"))
    sizes = (like.shape[0], 1, *like.shape[2:]) if like.ndim == 4 else None
    if mask.device != like.device or mask.shape != sizes:
        given = f"{tuple(mask.shape)} on {mask.device}"
        raise ArgumentError(name, given, f"(Z, 1, Y, X) for images {tuple(like.shape)} on {like.device}")
    return mask


def body_mask(densities: Tensor, least: float = 0.2) -> Tensor:
    """Bool mask (Z, 1, Y, X) of the body: where the materials (Z, M, Y, X) weigh at least so much [g/cm3]."""
    densities = contract.tensor("densities", densities, ("M", "Y", "X"))
    return densities.abs().sum(-3, keepdim=True) >= contract.number("least", least)


def shrunk(mask: Tensor, by: int) -> Tensor:
    """A mask (..., Y, X) less its rim of so many pixels."""
    by, mask = contract.count("by", by), contract.mask("mask", mask, ("Y", "X"))
    if not mask.numel():
        return mask.clone()
    outside = (~mask).float().reshape(-1, 1, *mask.shape[-2:])
    grown = F.max_pool2d(F.pad(outside, (by,) * 4, value=1.0), 2 * by + 1, 1)
    return grown.reshape(mask.shape) == 0


def flat_mask(truth: Tensor, body: Tensor, by: int = 2, share: float = 0.08) -> Tensor:
    """Bool mask (Z, 1, Y, X) of the pixels at least `by` away from every edge of the true bins (Z, E, Y, X).

    share  of a bin's steepest slope from which a slope is an edge; that of texture is less
    """
    truth = contract.tensor("truth", truth, ("Z", "E", "Y", "X"))
    if contract.somewhere(~truth.isfinite()):
        raise ArgumentError("truth", "images with NaN or infinite values", "finite ones: every slope is compared")
    body = _mask("body", body, truth)
    steep, share = slopes(truth).norm(dim=0), contract.number("share", share, above=0)
    edges = (steep > share * steep.amax((-2, -1), keepdim=True)).any(-3, keepdim=True)
    return shrunk(body & ~edges, by)


def image_scores(x: Tensor, truth: Tensor, body: Tensor, window: Tensor, flat: Tensor | None = None) -> dict[str, list]:
    """{score: one number a bin} of images (Z, E, Y, X) against the truth, inside the body (Z, 1, Y, X).

        error   |x - truth| / |truth|                         lower is better
        ssim    structural similarity, gray scale 0 to `window` (E, 1, 1), windows centered in the body
        noise   deviation of x - truth in flat regions, means over 9 x 9 pixels taken off, over the mean truth there
        edges   slope across the truth's edges over that of the truth: 1 is as sharp, less is blurred

    flat  of `flat_mask`, by default
    """
    x, truth = contract.together(("Z", "E", "Y", "X"), x=x, truth=truth)
    window = contract.alike("window", contract.tensor("window", window), "x", x)
    body = _mask("body", body, x)
    if x.shape != truth.shape or window.shape != (x.shape[1], 1, 1) or not bool(body.any()):
        given = [tuple(t.shape) for t in (x, truth, window)]
        raise ArgumentError("x, truth, window", given, "(Z, E, Y, X) twice, (E, 1, 1), and a body that is not empty")
    flat = flat_mask(truth, body) if flat is None else _mask("flat", flat, x)
    off, total = (x - truth) * body, lambda t: t.sum((0, 2, 3))
    shown, ref = ((t / window).clamp(0, 1) for t in (x, truth))
    found = {
        "error": (total(off.square()) / total((truth * body).square())).sqrt(),
        "ssim": metrics.ssim(shown, ref, data_range=1.0, mask=body.expand_as(x)).nanmean(0),
        "noise": _noise(x - truth, flat) / (total(truth * flat) / flat.sum()),
    }
    edges = [edge_gradient(x[:, e], truth[:, e]) for e in range(x.shape[1])]
    return {**{k: [float(v) for v in t] for k, t in found.items()}, "edges": edges}


def _noise(off: Tensor, flat: Tensor, window: int = 9) -> Tensor:
    """Deviation (E,) inside a mask of images (Z, E, Y, X) less their local means, which are bias rather than noise."""
    inside = flat.to(off)
    pool = lambda t: F.avg_pool2d(t, window, 1, window // 2, count_include_pad=False)  # noqa: E731
    high = (off - pool(off * inside) / pool(inside).clamp_min(1e-6)) * inside
    return (high.square().sum((0, 2, 3)) / inside.sum().clamp_min(1)).sqrt()
