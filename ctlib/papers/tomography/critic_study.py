"""How steep a trained critic is: layer by layer, and on images."""

from __future__ import annotations

import torch
from torch import Tensor

from ctlib import contract
from ctlib.papers.tomography.critic import Critic, conv_norm, reshaped_norm


def layer_norms(critic: Critic, n: int) -> list[tuple[float, float]]:
    """(norm of the matrix, norm of the convolution) of every layer of a critic of n x n pixels, as it is used."""
    critic.eval()
    sides = [contract.count("n", n, 1) // 2**i for i in range(len(critic.convs))]
    layers = zip(critic.convs, sides, strict=True)
    return [(reshaped_norm(conv.weight), conv_norm(conv, (side, side))) for conv, side in layers]


def steepest(critic: Critic, images: Tensor) -> float:
    """Largest Euclidean norm of the critic's gradient at images (B, 1, Y, X): its slope in the steepest direction."""
    x = contract.tensor("images", images, ("Y", "X")).detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(critic.eval()(x).sum(), x)
    return float(gradient.flatten(1).norm(dim=1).max())
