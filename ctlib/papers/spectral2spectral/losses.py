"""Training losses; networks and operators come as arguments."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.metrics import ssim

NEIGHBORS = ((0, 1), (1, 0), (0, 2), (2, 0), (1, 3), (3, 1), (2, 3), (3, 2))  # in a 2 x 2 cell numbered 0 1 / 2 3


def neighbor_choice(shape, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two neighboring pixels of every 2 x 2 cell, drawn evenly among the 8 ordered pairs that share an edge.

    shape      (B, C, Y, X) of the images, Y and X even; one draw serves all channels, so that spectra stay whole
    generator  on the CPU

    Indices (B, Y/2, X/2) of the first and of the second pixel; cells are numbered 0 1 / 2 3. {cite}`huang2021`
    """
    shape = contract.shape("shape", shape, 4)
    if shape[2] % 2 or shape[3] % 2:
        raise ArgumentError("shape", tuple(shape), "(B, C, Y, X) with even Y and X")
    drawn = torch.randint(8, (shape[0], shape[2] // 2, shape[3] // 2), generator=generator)
    first, second = torch.tensor(NEIGHBORS)[drawn].unbind(-1)
    return first, second


def _cells(name: str, x: Tensor) -> Tensor:
    """Images (B, C, Y, X) that 2 x 2 cells tile."""
    x = contract.tensor(name, x, ("B", "C", "Y", "X"))
    if x.ndim != 4 or not x.numel() or x.shape[2] % 2 or x.shape[3] % 2:
        raise ArgumentError(name, f"shape {tuple(x.shape)}", "images (B, C, Y, X) with even Y and X")
    return x


def subsample(x: Tensor, choice: Tensor) -> Tensor:
    """S(x): the chosen pixel (B, Y/2, X/2) of every 2 x 2 cell of x (B, C, Y, X) -> (B, C, Y/2, X/2)."""
    x = _cells("x", x)
    if not isinstance(choice, Tensor) or choice.dtype != torch.int64 or choice.layout != torch.strided:
        raise ArgumentError("choice", type(choice).__name__, "a dense int64 tensor")
    if choice.shape != (len(x), x.shape[2] // 2, x.shape[3] // 2) or bool(((choice < 0) | (choice > 3)).any()):
        raise ArgumentError("choice", f"shape {tuple(choice.shape)}", "(B, Y/2, X/2) of numbers 0 to 3")
    cells = F.pixel_unshuffle(x[:, :, None].flatten(0, 1), 2).unflatten(0, x.shape[:2])  # (B, C, 4, Y/2, X/2)
    index = choice.to(x.device)[:, None, None].expand(-1, x.shape[1], 1, -1, -1)
    return cells.gather(2, index)[:, :, 0]


def neighbor_terms(net, x: Tensor, generator: torch.Generator, output: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Neighbor2Neighbor's loss and its regularizer, means over all entries, {cite}`huang2021`.

        |f(S1 x) - S2 x|^2,    |f(S1 x) - S2 x - (S1 f(x) - S2 f(x))|^2,    f(x) without gradient

    x       noisy images (B, C, Y, X), Y and X even
    output  f(x), if it is known already
    """
    x = _cells("x", x)
    first, second = neighbor_choice(x.shape, generator)
    error = net(subsample(x, first)) - subsample(x, second)
    if output is None:
        with torch.no_grad():
            output = net(x)
    output = output.detach()
    change = subsample(output, first) - subsample(output, second)
    return error.square().mean(), (error - change).square().mean()


def distant_terms(net, x: Tensor, generator: torch.Generator, output: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`neighbor_terms` of every second pixel, so that the two of a pair lie two apart and share less noise.

    x  (B, C, Y, X), sizes multiples of four; one of the four grids of every second pixel is drawn
    """
    x = _cells("x", x)
    if x.shape[2] % 4 or x.shape[3] % 4:
        raise ArgumentError("x", f"shape {tuple(x.shape)}", "images (B, C, Y, X), sizes multiples of four")
    row, col = divmod(int(torch.randint(4, (1,), generator=generator)), 2)
    if output is None:
        with torch.no_grad():
            output = net(x)
    part = lambda t: t[..., row::2, col::2].contiguous()  # noqa: E731
    return neighbor_terms(net, part(x), generator, part(output))


def paired_loss(net, first: Tensor, second: Tensor) -> Tensor:
    """Noise2Noise in both directions, (|f(x1) - x2|^2 + |f(x2) - x1|^2) / 2 per entry, {cite}`lehtinen2018`."""
    first, second = contract.together(first=first, second=second)
    if first.shape != second.shape:
        raise ArgumentError("first, second", f"shapes {tuple(first.shape)}, {tuple(second.shape)}", "equal ones")
    return 0.5 * (F.mse_loss(net(first), second) + F.mse_loss(net(second), first))


def similar_loss(net, noisy: Tensor, target: Tensor, similar: Tensor) -> Tensor:
    """Noise2Sim: |f(x) - x'|^2 per entry, over the pixels (B, 1, Y, X) where x' is similar, {cite}`niu2022`."""
    noisy, target = contract.together(("B", "E", "Y", "X"), noisy=noisy, target=target)
    sizes = (noisy.shape[0], 1, *noisy.shape[2:])
    if contract.mask("similar", similar, sizes).shape != sizes or noisy.shape != target.shape:
        shapes = [tuple(t.shape) for t in (noisy, target, similar)]
        raise ArgumentError("noisy, target, similar", f"shapes {shapes}", "(B, E, Y, X) twice and (B, 1, Y, X)")
    weight = similar.to(noisy).expand_as(noisy)
    return (weight * (net(noisy) - target).square()).sum() / weight.sum().clamp_min(1)


def normalized(x: Tensor, low: float = 0.005, high: float = 0.995) -> Tensor:
    """Images (..., Y, X) scaled so that their `low` and `high` quantiles become 0 and 1; the limits carry no gradient.

    low = 0, high = 1 is the scaling by extremes as printed.
    """
    x, low = contract.tensor("x", x, ("Y", "X")), contract.number("low", low, at_least=0, at_most=1)
    if not low < contract.number("high", high, at_least=0, at_most=1) or 0 in x.shape[-2:]:
        raise ArgumentError("x, low, high", f"{tuple(x.shape)}, {low}, {high}", "pixels, and low < high")
    if not x.numel():
        return x
    ends = torch.quantile(x.detach().flatten(-2), torch.tensor([low, float(high)]).to(x), dim=-1)[..., None, None]
    return (x - ends[0]) / (ends[1] - ends[0]).clamp_min(torch.finfo(x.dtype).tiny)


def by_extremes(x: Tensor) -> Tensor:
    """Images (..., Y, X) scaled so that their least value becomes 0 and their largest 1, as printed in eq. 21."""
    return normalized(x, 0.0, 1.0)


def by_mean(x: Tensor) -> Tensor:
    """Images (..., Y, X) over the size of their mean, as the paper's text says; the mean carries no gradient.

    At least a hundredth of the largest value is divided by: a network's first images may have a mean of 0.
    """
    x = contract.tensor("x", x, ("Y", "X"))
    if 0 in x.shape[-2:]:
        raise ArgumentError("x", f"shape {tuple(x.shape)}", "images with pixels")
    level, largest = x.detach().mean((-2, -1), keepdim=True).abs(), x.detach().abs().amax((-2, -1), keepdim=True)
    return x / torch.maximum(level, 0.01 * largest).clamp_min(torch.finfo(x.dtype).tiny)


SCALINGS = {"quantiles": normalized, "extremes": by_extremes, "mean": by_mean}


def spectral_similarity_loss(images: Tensor, reference: Tensor, scaling: str = "quantiles") -> Tensor:
    """L_ss = 1 - mean over bins of SSIM(bin, full spectrum), both scaled alike, {eq}`s2s-similarity`.

    images   (B, E, Y, X);  reference (B, 1, Y, X), reconstructed from all photons together
    scaling  "quantiles" (`normalized`), "extremes" as printed, "mean" as the text says
    """
    images, reference = contract.together(("Y", "X"), images=images, reference=reference)
    scaled = SCALINGS[contract.choice("scaling", scaling, tuple(SCALINGS))]
    return 1 - ssim(scaled(images), scaled(reference), data_range=1.0).mean()


def spectral2spectral_loss(
    net, x: Tensor, reference: Tensor, generator: torch.Generator, lam_r: float, lam_s: float,
    scaling: str = "quantiles", distant: bool = False,
) -> Tensor:  # fmt: skip
    """|f(S1 x) - S2 x|^2 + lam_s L_ss + lam_r L_r, {eq}`s2s-loss`, {cite}`guo2022`.

    x        (B, E, Y, X), each bin scaled to unit mean;  reference  (B, 1, Y, X)
    scaling  of L_ss, see `spectral_similarity_loss`;  distant: pairs of `distant_terms`
    """
    lam_r, lam_s = contract.number("lam_r", lam_r, at_least=0), contract.number("lam_s", lam_s, at_least=0)
    x = _cells("x", x)
    if contract.tensor("reference", reference, ("Y", "X")).shape != (len(x), 1, *x.shape[2:]):
        raise ArgumentError("reference", f"shape {tuple(reference.shape)}", f"(B, 1, Y, X), for x {tuple(x.shape)}")
    output = net(x) if lam_s > 0 else None
    fit, regularizer = (distant_terms if distant else neighbor_terms)(net, x, generator, output)
    loss = fit + lam_r * regularizer
    return loss if output is None else loss + lam_s * spectral_similarity_loss(output, reference, scaling)


def loss_weights(schedule: str, progress: float, lam_r: float, lam_s: float) -> tuple[float, float]:
    """Weights of L_r and L_ss at a share `progress` in [0, 1] of the training.

    paper    lam_r,              lam_s progress       as stated in its experiments
    swapped  lam_r progress,     lam_s                as its text on L_r demands
    n2n      2 lam_r progress,   lam_s progress       Neighbor2Neighbor's ramp
    """
    progress = contract.number("progress", progress, at_least=0, at_most=1)
    lam_r, lam_s = contract.number("lam_r", lam_r, at_least=0), contract.number("lam_s", lam_s, at_least=0)
    table = {
        "paper": (lam_r, lam_s * progress),
        "swapped": (lam_r * progress, lam_s),
        "n2n": (2 * lam_r * progress, lam_s * progress),
    }
    if schedule not in table:
        raise ArgumentError("schedule", repr(schedule), f"one of {', '.join(table)}")
    return table[schedule]
