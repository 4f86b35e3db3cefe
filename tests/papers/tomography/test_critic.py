"""The critic's norms against dense matrices, and the inequality between what is normalized and what matters."""

import math

import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.critic import Critic, conv_norm, lipschitz_bound, reshaped_norm


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dense_norm(apply, shape):
    """Largest singular value from the whole matrix."""
    columns = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return float(torch.linalg.matrix_norm(apply(columns).flatten(1), 2))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (4, 2, 1), (3, 2, 0)])
def test_conv_norm_is_that_of_the_dense_matrix(kernel, stride, padding):
    conv = seeded(0, nn.Conv2d, 2, 3, kernel, stride, padding).double()
    want = dense_norm(lambda x: nn.functional.conv2d(x, conv.weight.detach(), None, stride, padding), (2, 7, 6))
    assert conv_norm(conv, (7, 6)) == pytest.approx(want, rel=1e-4)


def symbol_norm(weight, shape):
    """Largest singular value of a periodic convolution of stride 1 on images of this shape, {cite}`sedghi2019`.

    max over frequencies f of sigma_1(K(f)), K the (out, in) matrices of the kernel's Fourier transform. For large
    images it is the norm without borders, which zero padding cannot exceed.
    """
    symbol = torch.fft.fft2(weight.detach().double(), s=shape)  # (out, in, Y, X)
    return float(torch.linalg.matrix_norm(symbol.permute(2, 3, 0, 1), 2).max())


def test_symbol_norm_is_that_of_the_dense_periodic_convolution():
    conv = seeded(1, nn.Conv2d, 2, 3, 3).double()

    def apply(x):
        return nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1), mode="circular"), conv.weight.detach())

    assert symbol_norm(conv.weight, (6, 7)) == pytest.approx(dense_norm(apply, (2, 6, 7)), rel=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_reshaped_norm_bounds_a_convolution_only_up_to_the_root_of_the_kernels_size(seed):
    conv = seeded(seed, nn.Conv2d, 4, 4, 3, 1, 1)
    true, symbol, reshaped = conv_norm(conv, (12, 12)), symbol_norm(conv.weight, (64, 64)), reshaped_norm(conv.weight)
    assert true <= symbol * (1 + 1e-6)
    assert symbol <= 3 * reshaped * (1 + 1e-6)
    assert true > reshaped  # normalizing the reshaped kernel does not make the layer 1-Lipschitz


def test_the_worst_kernel_reaches_the_bound():
    weight = torch.ones(1, 1, 3, 3)
    assert reshaped_norm(weight) == pytest.approx(3)
    assert symbol_norm(weight, (8, 8)) == pytest.approx(9)


def test_spectral_norms_are_one_after_enough_steps():
    critic = seeded(0, Critic, (4, 8))
    for _ in range(60):
        critic(rand(1, 1, 16, 16))
    critic.eval()
    for conv in critic.convs:
        assert reshaped_norm(conv.weight) == pytest.approx(1, abs=1e-3)
    assert reshaped_norm(seeded(0, Critic, (4, 8), False).convs[1].weight) != pytest.approx(1, abs=1e-2)


def test_measuring_changes_nothing():
    critic = seeded(0, Critic, (4, 8)).train()
    before = {k: v.clone() for k, v in critic.state_dict().items()}
    lipschitz_bound(critic, (16, 16))
    assert critic.training
    assert all(torch.equal(v, before[k]) for k, v in critic.state_dict().items())


def test_the_bound_holds_between_random_images_and_along_the_gradient():
    critic = seeded(3, Critic, (4, 8)).eval()
    bound = lipschitz_bound(critic, (16, 16))
    x, y = rand(8, 1, 16, 16), rand(8, 1, 16, 16, seed=1)
    slope = (critic(x) - critic(y)).abs() / (x - y).flatten(1).norm(dim=1)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x)
    steepest = float(gradient.flatten(1).norm(dim=1).max())
    assert float(slope.detach().max()) <= bound
    assert 0 < steepest <= bound


def test_the_critic_gives_one_number_an_image():
    critic = seeded(0, Critic, (4, 8))
    assert [tuple(c.weight.shape) for c in critic.convs] == [(4, 1, 4, 4), (8, 4, 4, 4), (1, 8, 4, 4)]
    critic.eval()
    x = rand(3, 1, 16, 24)
    assert critic(x).shape == (3,)
    assert torch.allclose(critic(x)[1:2], critic(x[1:2]), atol=1e-6)
    with torch.device("meta"):
        paper = Critic(normalized=False)
    assert [c.out_channels for c in paper.convs] == [64, 128, 256, 512, 1]
    with pytest.raises(ArgumentError):
        critic(rand(1, 1, 12, 16))
