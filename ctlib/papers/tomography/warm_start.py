"""A sampler that starts as the end-to-end network it is made from."""

import torch
from torch import Tensor
from torch.nn.functional import unfold

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.papers.tomography.networks import EndToEnd, Sampler
from ctlib.papers.tomography.residual_unet import LATENT_BLOCK, join


@torch.no_grad()
def warm_start(sampler: Sampler, trained: EndToEnd, log_scale: float = 1.0) -> Sampler:
    """The sampler, with the weights of a trained network of the same widths; in place.

    All blocks but one are the same in both. In the block of z, the 3x3 convolution takes over the 1x1 convolution in
    whose place it stands, with the neutral value 1/2 of the channel attention, for its features f; l, the logarithm of
    the scale of z, starts as `log_scale` everywhere. PReLU starts as the identity.
    """
    log_scale = contract.number("log_scale", log_scale)
    sampler.load_state_dict(trained.state_dict(), strict=False)
    block, old = sampler.g2.unet.up[LATENT_BLOCK], trained.g2.unet.up[LATENT_BLOCK]
    (conv, prelu), num = block.first, block.split[0]
    conv.weight.zero_()
    conv.bias[num:] = log_scale
    conv.weight[:num, :, 1, 1] = old.shrink.weight[:num, :, 0, 0] / 2
    conv.bias[:num] = old.shrink.bias[:num]
    prelu.weight.fill_(1)
    return sampler


@torch.no_grad()
def fit_scale(
    sampler: Sampler, features: Tensor, log_sigma: Tensor, ridge: float = 0.3, largest: float = 8.0
) -> Sampler:  # fmt: skip
    """Let the scale of z start larger where sigma is: l = its mean + what features around a pixel say of log sigma.

    features   (B, F, V, U) of some readings
    log_sigma  (B,), the mean log sigma of each
    ridge      of the least squares over all pixels, relative to the mean variance of the features
    largest    sum of the absolute weights: a change of all features by 1 changes l by no more

    The prediction, linear in 3 x 3 pixels of all channels, is stretched to have slope 1, as far as `largest` allows.
    """
    ridge, largest = contract.number("ridge", ridge, above=0), contract.number("largest", largest, above=0)
    contract.tensor("features", features, (3, "V", "U"))
    contract.alike("log_sigma", contract.tensor("log_sigma", log_sigma), "features", features)
    if log_sigma.shape != features.shape[:1] or len(features) < 2:
        raise ArgumentError("log_sigma", tuple(log_sigma.shape), f"({len(features)},), of two or more readings")
    block, maps = sampler.g2.unet.up[LATENT_BLOCK], sampler.prepare(features)
    conv, num = block.first[0], block.split[0]
    x = unfold(join(maps[-1], maps[-2]), 3, padding=1).double()  # (B, 9 C, pixels)
    mean, target = x.mean((0, 2)), (log_sigma - log_sigma.mean()).double()
    x = (x - mean[:, None]).movedim(1, 2)  # (B, pixels, 9 C)
    gram, moment = x.flatten(0, 1).T @ x.flatten(0, 1), x.sum(1).T @ target
    w = torch.linalg.solve(gram + ridge * gram.diagonal().mean() * torch.eye(len(gram)).to(gram), moment)
    slope = (target * (x @ w).mean(1)).sum() / target.square().sum()
    w = w * torch.minimum(1 / slope, largest / w.abs().sum())
    conv.weight[num:] = w.reshape(1, *conv.weight.shape[1:]).to(conv.weight)
    conv.bias[num:] -= (w @ mean).to(conv.bias)
    return sampler
