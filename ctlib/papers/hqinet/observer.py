"""Model observers, channelized Hotelling and non-prewhitening: how well a known lesion is told from none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError

OBSERVERS = ("hotelling", "non-prewhitening")


def dog_channels(size: int, num: int = 10, first: float = 0.005, ratio: float = 1.4, width: float = 1.67) -> Tensor:
    """Difference-of-Gaussians channels in space, (num, size, size) float64, {cite}`abbey2001`.

        C_j(f) = exp(-(f / (Q s_j))^2 / 2) - exp(-(f / s_j)^2 / 2),    s_j = first ratio^j [1/pixel],  Q = width

    Rings of spatial frequency as of human vision; none of them sees the mean.
    """
    size, num = contract.count("size", size, 4), contract.count("num", num, 1)
    first, ratio = contract.number("first", first, above=0), contract.number("ratio", ratio, above=1)
    width = contract.number("width", width, above=1)
    f = torch.fft.fftfreq(size, dtype=torch.float64)
    f = torch.hypot(f[:, None], f[None, :])
    scales = [first * ratio**j for j in range(num)]
    rings = torch.stack([torch.exp(-0.5 * (f / (width * s)) ** 2) - torch.exp(-0.5 * (f / s) ** 2) for s in scales])
    return torch.fft.fftshift(torch.fft.ifft2(rings).real, dim=(-2, -1))


def hotelling_template(present: Tensor, absent: Tensor, channels: Tensor) -> Tensor:
    """Template (S, S) of the channelized Hotelling observer, {eq}`hqi-hotelling`, from images (N, S, S) of both kinds.

    w = U K^-1 U^T (mean present - mean absent),    K: covariance of the channels' outputs, mean of both kinds
    """
    present, absent = contract.together(("Y", "X"), present=present, absent=absent)
    u = channels.to(present).flatten(1)  # (C, S S)
    if len(present) + len(absent) < len(u) + 3:
        raise ArgumentError("present", len(present), f"more images than the {len(u)} channels")
    outputs = [x.flatten(1) @ u.T for x in (present, absent)]  # (N, C)
    covariance = sum(torch.cov(v.T) for v in outputs).reshape(len(u), len(u)) / 2
    ridge = 1e-9 * covariance.diagonal().mean() * torch.eye(len(u)).to(covariance)
    difference = outputs[0].mean(0) - outputs[1].mean(0)
    return (torch.linalg.solve(covariance + ridge, difference) @ u).reshape(present.shape[1:])


def template_of(observer: str, present: Tensor, absent: Tensor, channels: Tensor) -> Tensor:
    """Template (S, S) of an observer; the non-prewhitening one takes the mean difference of the images as it is."""
    if contract.choice("observer", observer, OBSERVERS) == "hotelling":
        return hotelling_template(present, absent, channels)
    return present.mean(0) - absent.mean(0)


def detectability(present: Tensor, absent: Tensor) -> Tensor:
    """Detectability index [1] of decision values (..., N) of images with and without the lesion.

    d' = (mean present - mean absent) / sqrt((variance present + variance absent) / 2)
    """
    present, absent = contract.together((None,), present=present, absent=absent)
    if present.shape[-1] < 2:
        raise ArgumentError("present", tuple(present.shape), "two decision values or more")
    return (present.mean(-1) - absent.mean(-1)) / ((present.var(-1) + absent.var(-1)) / 2).sqrt()


def decisions(
    present: Tensor, absent: Tensor, groups: Sequence[int], observer: str = "hotelling", num_channels: int = 10
) -> tuple[Tensor, Tensor]:
    """Decision values (N,) of images (N, S, S) with and without the lesion, by templates that never saw them.

    groups  what must not be on both sides, one number an image: its body (not its scan: those of a body share anatomy
            and lesions); even ones are judged by the template of the odd ones and the other way round
    """
    present, absent = contract.together(("Y", "X"), present=present.double(), absent=absent.double())
    half = torch.as_tensor([int(g) % 2 for g in groups])
    if len(half) != len(present) or present.shape != absent.shape or min(int((half == k).sum()) for k in (0, 1)) < 3:
        raise ArgumentError("groups", len(half), "one number for each image of both kinds, at least 3 even and 3 odd")
    channels = dog_channels(present.shape[-1], num_channels)
    out = torch.empty(2, len(half), dtype=torch.float64)
    for side in (0, 1):
        learn, judge = half != side, half == side
        template = template_of(observer, present[learn], absent[learn], channels)
        for kind, images in enumerate((present, absent)):
            out[kind, judge] = (images[judge] * template).sum((1, 2))
        out[:, judge] /= out[:, judge].std(1).mean()  # the scales of two templates are not comparable
        out[:, judge] -= out[:, judge].mean()
    return out[0], out[1]


def compare_detectability(
    values: Mapping[str, tuple[Tensor, Tensor]], reference: str, groups: Sequence[int], draws: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float, float, float]]:
    """{method: (d', share of the reference's d', lower and upper end of its 95 % interval)}; whole groups drawn anew.

    values  {method: decision values with and without the lesion}, (N,) each, of the same lesions in the same order
    """
    contract.choice("reference", reference, tuple(values))
    stream = torch.Generator().manual_seed(contract.count("seed", seed))
    names, of = sorted(set(groups)), torch.as_tensor([int(g) for g in groups])
    members = [(of == g).nonzero()[:, 0] for g in names]
    found = {name: [float(detectability(*v))] for name, v in values.items()}
    drawn = {name: [] for name in values}
    for _ in range(contract.count("draws", draws, 10)):
        picked = torch.cat([members[int(k)] for k in torch.randint(len(members), (len(members),), generator=stream)])
        for name, (present, absent) in values.items():
            drawn[name].append(float(detectability(present[picked], absent[picked])))
    base = torch.tensor(drawn[reference], dtype=torch.float64)
    for name in values:
        shares = torch.tensor(drawn[name], dtype=torch.float64) / base
        ends = torch.quantile(shares, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        found[name] += [found[name][0] / float(detectability(*values[reference])), *ends]
    return {name: tuple(v) for name, v in found.items()}
