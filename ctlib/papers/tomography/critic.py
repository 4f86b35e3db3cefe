"""The critic of a Wasserstein GAN, its spectral normalization, and what its convolutions' norms really are."""

import math

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input
from torch.nn.utils.parametrizations import spectral_norm

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.linop import FunctionOperator
from ctlib.nets.blocks import batch


class Critic(nn.Module):
    """D(x), low for real images: (B, 1, Y, X) -> (B,), sizes multiples of 2^(len(widths) + 1).

    widths      channels of the 4x4 convolutions of stride 2; a last one has one channel, whose mean is D
    normalized  every weight W is replaced by W / sigma_1(W reshaped to out x rest), {cite}`miyato2018`, with one step
                of the power method a call in training
    """

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256, 512), normalized: bool = True, in_channels: int = 1):
        super().__init__()
        channels = [contract.count("in_channels", in_channels, 1), *contract.shape("widths", widths), 1]
        self.in_channels = channels[0]
        convs = [nn.Conv2d(channels[i], channels[i + 1], 4, 2, 1) for i in range(len(channels) - 1)]
        self.convs = nn.ModuleList(spectral_norm(c) if normalized else c for c in convs)

    def forward(self, x: Tensor) -> Tensor:
        step = 2 ** len(self.convs)
        batch("x", x, self, self.in_channels, "Y", "X")
        if any(n % step for n in x.shape[2:]):
            raise ArgumentError("x", tuple(x.shape), f"(B, {self.in_channels}, Y, X), sizes multiples of {step}")
        for conv in self.convs[:-1]:
            x = nn.functional.leaky_relu(conv(x), 0.2)
        return self.convs[-1](x).mean((1, 2, 3))


def reshaped_norm(weight: Tensor) -> float:
    """sigma_1 of a kernel (out, in, h, w) reshaped to (out, in h w): what spectral normalization sets to 1."""
    if contract.tensor("weight", weight).ndim < 2 or not weight.numel() or not bool(weight.isfinite().all()):
        raise ArgumentError("weight", tuple(weight.shape), "a kernel (out, in, ...) of finite numbers")
    return float(torch.linalg.matrix_norm(weight.detach().double().flatten(1), 2))


def conv_norm(conv: nn.Conv2d, shape: tuple[int, int], num_iters: int = 300) -> float:
    """Largest singular value of a convolution as a map of images of this shape, zero padding and stride included."""
    shape, num_iters = contract.shape("shape", shape, 2), contract.count("num_iters", num_iters, 1)
    weight = _weight(conv).double()
    options = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation, "groups": conv.groups}
    domain = (weight.shape[1] * conv.groups, *shape)
    device = weight.device

    def apply(x: Tensor) -> Tensor:
        return nn.functional.conv2d(x[None].to(device), weight, **options)[0].cpu()

    def adjoint(y: Tensor) -> Tensor:
        return conv2d_input((1, *domain), weight, y[None].to(device), **options)[0].cpu()

    out = apply(torch.zeros(domain, dtype=torch.float64)).shape
    return FunctionOperator(apply, adjoint, domain, out).norm(num_iters)


def _weight(conv: nn.Conv2d) -> Tensor:
    """The weight as used, without the step of the power method that reading it costs in training."""
    training = conv.training
    weight = conv.eval().weight.detach()
    conv.train(training)
    return weight


def lipschitz_bound(critic: Critic, shape: tuple[int, int]) -> float:
    """Product of the true norms of the critic's convolutions and of the last mean: |D(x) - D(x')| <= c |x - x'|."""
    bound, shape = 1.0, contract.shape("shape", shape, 2)
    if any(n % 2 ** len(critic.convs) for n in shape):
        raise ArgumentError("shape", shape, f"multiples of {2 ** len(critic.convs)}")
    for conv in critic.convs:
        bound *= conv_norm(conv, shape)
        shape = (shape[0] // 2, shape[1] // 2)
    return bound / math.sqrt(shape[0] * shape[1])
