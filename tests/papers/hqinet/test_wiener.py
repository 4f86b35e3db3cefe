"""The Wiener filter is the least-squares filter."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.wiener import apply_response, wiener_response


def rand(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (9, 5)])
def test_a_known_filter_is_found(size):
    x, kernel = rand(0, 5, *size), rand(1, *size)
    y = torch.zeros_like(x)
    for dy in range(size[0]):
        for dx in range(size[1]):
            y += kernel[dy, dx] * x.roll((dy, dx), (1, 2))
    response = wiener_response(x, y)
    torch.testing.assert_close(response, torch.fft.rfft2(kernel))
    torch.testing.assert_close(apply_response(x, response), y)


def test_no_other_filter_has_a_smaller_error():
    clean = rand(0, 20, 1, 12, 12).cumsum(-1).cumsum(-2)
    noisy = clean + 5 * rand(1, 20, 1, 12, 12)
    best = wiener_response(noisy, clean)

    def error(response):
        return float((apply_response(noisy, response) - clean).square().sum())

    for seed in range(10):
        change = torch.fft.rfft2(1e-3 * rand(seed + 2, 12, 12))
        assert error(best + change) > error(best)
    assert error(best) < min(error(torch.ones_like(best)), float(clean.square().sum()))


def test_white_noise_on_a_white_signal_scales_by_the_variance_ratio():
    signal, noise = rand(0, 4000, 6, 6), 2 * rand(1, 4000, 6, 6)
    response = wiener_response(signal + noise, signal)
    torch.testing.assert_close(response.real, torch.full_like(response.real, 0.2), rtol=0, atol=0.02)


def test_shapes_must_match():
    with pytest.raises(ArgumentError, match="target"):
        wiener_response(rand(0, 4, 4), rand(0, 4, 5))
