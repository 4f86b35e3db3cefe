import pytest
import torch

from ctlib.decompose import counts_jacobian, decompose_images, decompose_mle, effective_attenuation
from ctlib.errors import ArgumentError, MissingDependency
from ctlib.papers.pcct.proxy import ProxyDecomposition, relative_jacobian, solver_samples
from ctlib.papers.pcct.training import fit_proxy


def test_least_squares_inverts_the_mixing_of_images(model):
    matrix = effective_attenuation(model)
    g = torch.Generator().manual_seed(0)
    densities = torch.rand(3, 2, 5, 6, dtype=torch.float64, generator=g)
    images = 0.1 * torch.einsum("em,bmyx->beyx", matrix, densities)
    torch.testing.assert_close(decompose_images(images, matrix), densities)
    noisy = images + 1e-3 * torch.randn(images.shape, dtype=torch.float64, generator=g)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    found = decompose_images(noisy, matrix, weights)
    residual = 10 * noisy - torch.einsum("em,bmyx->beyx", matrix, found)
    normal = torch.einsum("em,e,beyx->bmyx", matrix, weights, residual)
    assert normal.abs().max() < 1e-12


def test_effective_attenuation_falls_with_the_bin_and_lies_within_the_material(model):
    matrix = effective_attenuation(model)
    assert (matrix[1] < matrix[0]).logical_or(matrix[2] < matrix[0]).all()
    assert (matrix > model.attenuation.amin(0)).all()
    assert (matrix < model.attenuation.amax(0)).all()


def test_wrong_images_are_named(model):
    with pytest.raises(ArgumentError, match="images"):
        decompose_images(torch.zeros(3, 5, 5), effective_attenuation(model))
    with pytest.raises(ArgumentError, match="weights"):
        decompose_images(torch.zeros(4, 5, 5), effective_attenuation(model), torch.zeros(4))


def test_a_proxy_trained_on_slopes_has_better_slopes(model):
    """The same network, samples and steps with and without the derivative term."""
    samples = solver_samples(model, (0, 0), (20, 1), 800, torch.Generator().manual_seed(0), noisy=False)
    test = solver_samples(model, (2, 0.1), (18, 0.9), 200, torch.Generator().manual_seed(1), noisy=False)
    errors = []
    for beta in (0.0, 1.0):
        torch.manual_seed(0)  # the initial weights
        net = ProxyDecomposition(
            model(torch.zeros(2, dtype=torch.float64)),
            torch.zeros(2).double(),
            torch.tensor([20.0, 1.0]).double(),
            4.0,
            16,
        )
        losses = fit_proxy(net.double(), samples, 150, 2, beta, batch=128, lr=1e-2).history["loss"]
        assert losses[-1] < 0.2 * losses[0]
        paths, slope = relative_jacobian(net, test[0])
        errors.append(((paths - test[1]).square().mean().item(), (slope - test[2]).square().mean().item()))
    assert errors[1][1] < 0.3 * errors[0][1]


def test_proxy_samples_are_the_solvers(model):
    counts, paths, jacobian = solver_samples(model, (0, 0), (20, 1), 50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(decompose_mle(model, counts), paths)
    torch.testing.assert_close(jacobian, counts_jacobian(model, counts, paths) * counts[:, None, :])
    net = ProxyDecomposition(
        model(torch.zeros(2, dtype=torch.float64)), torch.zeros(2).double(), torch.ones(2).double()
    ).double()
    _, slope = relative_jacobian(net, counts[:2])
    direct = torch.autograd.functional.jacobian(net, counts[0])
    torch.testing.assert_close(slope[0], direct * counts[0])


def test_a_missing_package_is_named(monkeypatch):
    import sys

    from ctlib.physics.attenuation import xray_tables

    monkeypatch.setitem(sys.modules, "xraylib", None)
    with pytest.raises(MissingDependency, match="xraylib"):
        xray_tables()
