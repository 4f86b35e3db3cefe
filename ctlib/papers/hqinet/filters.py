"""Classical filters of low-dose images, each with one strength; the best linear one has none."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import MissingDependency
from ctlib.papers.hqinet.wiener import apply_response
from ctlib.prox import prox_tv

RANGES = {"Gaussian": (0.5, 1.5), "TV": (0.02, 0.2), "non-local means": (0.03, 0.2)}  # of strengths tried
FILTERS = (*RANGES, "Wiener")


def filter_trials(num: int) -> dict[str, list[dict[str, float]]]:
    """{filter: settings to try}: `num` strengths each, a geometric row; for Wiener, none."""
    num = contract.count("num", num, 1)
    rows = {name: np.geomspace(*ends, num).tolist() for name, ends in RANGES.items()}
    return {name: [{"strength": s} for s in row] for name, row in rows.items()} | {"Wiener": [{}]}


def apply_filter(name: str, x: Tensor, strength: float | Tensor) -> Tensor:
    """Gray images (N, 1, Y, X) filtered; strength: standard deviation [pixels], weight of TV, h of non-local means, or
    the frequency response of the Wiener filter."""
    if contract.choice("name", name, FILTERS) == "Wiener":
        return apply_response(x, response_for(strength, x.shape[-1]))
    if name == "TV":
        return prox_tv(x, strength, 60)
    try:
        from scipy.ndimage import gaussian_filter
        from skimage.restoration import denoise_nl_means
    except ImportError as error:
        raise MissingDependency("scikit-image", "classical filters") from error
    one = {
        "Gaussian": partial(gaussian_filter, sigma=strength),
        "non-local means": partial(denoise_nl_means, patch_size=3, patch_distance=5, h=strength),
    }[name]
    return torch.stack([torch.as_tensor(one(s.cpu().numpy())) for s in x[:, 0]])[:, None].to(x)


def response_for(response: Tensor, size: int) -> Tensor:
    """The frequency response of the same filter on images of another size, no smaller: its kernel with zeros around."""
    own = response.shape[0]
    if size == own:
        return response
    kernel = torch.fft.fftshift(torch.fft.irfft2(response, s=(own, own)))
    wide = kernel.new_zeros(size, size)
    wide[:own, :own] = kernel
    return torch.fft.rfft2(torch.roll(wide, (-(own // 2),) * 2, (0, 1)))
