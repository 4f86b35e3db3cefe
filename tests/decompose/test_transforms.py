"""Derivatives of the layer of any order, and every transform of torch.func."""

import pytest
import torch
from torch.func import jacfwd, jacrev, jvp, vjp, vmap

from ctlib.decompose import counts_jacobian, decompose_mle
from ctlib.physics import Detector, SpectralModel, Spectrum

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def small():
    """Ten energies, and counts that no path lengths explain exactly."""
    spectrum = Spectrum(torch.arange(20.0, 121.0, 10.0), [1.0, 2, 3, 4, 4, 3, 3, 2, 1, 1])
    model = SpectralModel(spectrum, ("water", "calcium"), Detector.silicon(), (20, 50, 70, 90, 121), photons=1e6)
    paths = torch.tensor([[8.0, 0.4], [15.0, 0.9], [11.0, 0.1]]).double()
    return model, model(paths) * torch.tensor([1.01, 1.0, 1.005, 0.99]).double()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_torch_func(small, dtype, tolerance):
    model, y = small[0], small[1].to(dtype)

    def layer(y):
        return decompose_mle(model, y)

    dense = counts_jacobian(model, y, layer(y))
    scale = dense.abs().max()

    def same(found, expected):
        assert ((found - expected).abs().max() / scale) < tolerance

    for transform in (jacrev, jacfwd):
        whole = transform(layer)(y)
        same(torch.stack([whole[k, :, k] for k in range(3)]), dense)
        same(vmap(transform(layer))(y), dense)
    v = torch.tensor([[1.0, 2.0], [0.5, -1], [0, 3]], dtype=dtype)
    same(vjp(layer, y)[1](v)[0], (v[:, None] @ dense)[:, 0])
    small_change = 1e-3 * y
    same(
        jvp(layer, (y,), (small_change,))[1] / small_change.mean(),
        (dense @ small_change[..., None])[..., 0] / small_change.mean(),
    )
    assert torch.equal(vmap(layer)(y), layer(y))
    assert torch.equal(vmap(layer, in_dims=1)(y.T.contiguous()), layer(y))
    info = vmap(lambda y: decompose_mle(model, y, return_info=True)[1].converged)(y)
    assert info.all()


def test_second_derivatives_to_counts_and_thresholds(small):
    model, y = small[0], small[1][:1]
    inputs = (y / 1e3).requires_grad_(), model.thresholds_kev.clone().requires_grad_()

    def layer(kilocounts, thresholds):
        return decompose_mle(model, 1e3 * kilocounts, thresholds_kev=thresholds, tolerance=1e-12)

    assert torch.autograd.gradcheck(layer, inputs, eps=1e-4, rtol=1e-4, atol=1e-6, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(layer, inputs, eps=1e-4, rtol=1e-3, atol=1e-5)
