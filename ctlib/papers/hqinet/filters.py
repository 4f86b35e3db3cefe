"""Classical filters of low-dose images, each with one parameter; the best linear one has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from ctlib.errors import MissingDependency
from ctlib.papers.hqinet.training import patch_psnr
from ctlib.papers.hqinet.wiener import apply_response, wiener_response
from ctlib.prox import prox_tv

STRENGTHS = {"Gaussian": (0.5, 0.8, 1.2), "TV": (0.02, 0.05, 0.12), "non-local means": (0.04, 0.08, 0.16)}


def apply_filter(name: str, x: Tensor, strength: float | Tensor | None) -> Tensor:
    """Gray images (N, 1, Y, X) filtered: standard deviation [pixels], weight, h, or a frequency response for Wiener."""
    if name == "Wiener":
        return torch.cat([apply_to_size(s[None], strength) for s in x])
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


def apply_to_size(x: Tensor, response: Tensor) -> Tensor:
    """A frequency response that was learned on patches, applied to images of another size: read between its values."""
    size = response.shape[0]
    if x.shape[-1] == size:
        return apply_response(x, response)
    kernel = torch.fft.irfft2(response, s=(size, size))
    wide = x.new_zeros(x.shape[-2:])
    half = size // 2
    wide[:size, :size] = torch.fft.fftshift(kernel)
    wide = torch.roll(wide, (-half, -half), (0, 1))
    return apply_response(x, torch.fft.rfft2(wide))


def filter_trials(sample: tuple[Tensor, Tensor], num: int = 3) -> dict[str, list[dict]]:
    """{filter: settings to try}: `num` strengths each; Wiener's response of training patches (low, full) is one."""
    found = {name: [{"strength": s} for s in strengths[:num]] for name, strengths in STRENGTHS.items()}
    return found | {"Wiener": [{}]}


def filter_score(
    held_out: tuple[Tensor, Tensor], sample: tuple[Tensor, Tensor]
) -> Callable[[str, Mapping[str, object]], float]:
    """score(name, settings): PSNR [dB] of the filtered middle slices of the held-out patches."""
    inputs, targets = held_out
    middle = inputs.shape[1] // 2
    response = wiener_response(*sample)

    def score(name: str, settings: Mapping[str, object]) -> float:
        strength = response if name == "Wiener" else settings["strength"]
        return patch_psnr(apply_filter(name, inputs[:, middle : middle + 1], strength), targets)

    return score


def names(only: Sequence[str] = ()) -> list[str]:
    """The filters, in the order in which they are shown."""
    return [n for n in (*STRENGTHS, "Wiener") if not only or n in only]
