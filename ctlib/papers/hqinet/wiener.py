"""The best linear, shift-invariant filter between two sets of images, learned from their spectra."""

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


def wiener_response(noisy: Tensor, target: Tensor) -> Tensor:
    """Frequency response of the Wiener filter that maps `noisy` to `target`, both (..., Y, X): (Y, X // 2 + 1).

        H(f) = sum conj(N(f)) T(f) / sum |N(f)|^2,    sums over the images

    No other filter that is the same everywhere (and wraps around) has a smaller squared error on these images,
    {cite}`gonzalez2018`.
    """
    noisy, target = contract.together(("Y", "X"), noisy=noisy, target=target)
    if noisy.shape != target.shape or not noisy.numel():
        raise ArgumentError("target", tuple(target.shape), f"the shape of noisy, (..., Y, X) = {tuple(noisy.shape)}")
    n, t = (torch.fft.rfft2(x).reshape(-1, x.shape[-2], x.shape[-1] // 2 + 1) for x in (noisy, target))
    return (n.conj() * t).sum(0) / n.abs().square().sum(0).clamp_min(torch.finfo(noisy.dtype).tiny)


def apply_response(x: Tensor, response: Tensor) -> Tensor:
    """Images (..., Y, X) filtered by a frequency response (Y, X // 2 + 1)."""
    shape = tuple(contract.tensor("x", x, ("Y", "X")).shape[-2:])
    freqs = (shape[0], shape[1] // 2 + 1)
    if not isinstance(response, Tensor) or not response.is_complex() or response.shape != freqs:
        given = f"{response.dtype} {tuple(response.shape)}" if isinstance(response, Tensor) else type(response).__name__
        raise ArgumentError(
            "response", given, f"a complex tensor {freqs}, as `wiener_response` gives for images like x"
        )
    if not x.numel():
        return x.clone()
    return torch.fft.irfft2(torch.fft.rfft2(x) * response, s=x.shape[-2:])
