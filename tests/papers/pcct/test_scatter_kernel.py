"""The fitted scatter kernel: recovers a kernel it was made with, and beats one that was not fitted."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.pcct.scatter_kernel import ScatterKernel, best_amplitudes, blurred_sources, fit_scatter_kernel

pytestmark = pytest.mark.usefixtures("one_thread")


def bodies(num=3, views=4, columns=48, seed=0):
    """Counts (N, 2, V, U) behind elliptical cylinders."""
    g = torch.Generator().manual_seed(seed)
    u = torch.linspace(-1, 1, columns, dtype=torch.float64)
    draw = lambda: torch.rand(num, 1, views, 1, dtype=torch.float64, generator=g)  # noqa: E731
    line = (1 + 4 * draw()) * (1 - (u / (0.5 + 0.4 * draw())) ** 2).clamp_min(0).sqrt()
    return torch.exp(-torch.cat([1.2 * line, line], 1))


def kernel():
    d = lambda *rows: torch.tensor(rows, dtype=torch.float64)  # noqa: E731
    return ScatterKernel(d(0.9, 1.3), d([0.02, 0.03], [0.05, 0.01]), d([3.0, 12.0], [5.0, 25.0]))


def test_a_fit_recovers_the_kernel_that_made_the_data():
    total, true = bodies(), kernel()
    fitted = fit_scatter_kernel(total, true.scatter(total))
    torch.testing.assert_close(fitted.exponents, true.exponents, rtol=1e-3, atol=0)
    torch.testing.assert_close(fitted.widths, true.widths, rtol=1e-2, atol=0)
    torch.testing.assert_close(fitted.amplitudes, true.amplitudes, rtol=1e-2, atol=0)
    other = bodies(seed=1)
    torch.testing.assert_close(fitted.scatter(other), true.scatter(other), rtol=1e-3, atol=1e-7)


def test_the_fit_beats_every_other_kernel_tried():
    """A misfit in the ratio that neither the start nor neighbors of the fit undercut."""
    total, g = bodies(), torch.Generator().manual_seed(3)
    u = torch.linspace(0, 3, total.shape[-1], dtype=torch.float64)
    scatter = 0.03 * total**0.8 * (2 + torch.sin(u))  # not of the kernel's form
    fitted = fit_scatter_kernel(total, scatter)
    misfit = lambda k: (((k.scatter(total) - scatter) / total) ** 2).mean()  # noqa: E731
    for _ in range(20):
        near = lambda x: x * torch.exp(0.2 * torch.randn(x.shape, generator=g, dtype=x.dtype))  # noqa: E731
        other = ScatterKernel(near(fitted.exponents), near(fitted.amplitudes), near(fitted.widths))
        assert misfit(fitted) < misfit(other)
    assert misfit(fitted) < 0.1 * ((scatter / total) ** 2).mean()


def test_amplitudes_are_least_squares():
    parts = torch.rand(2, 3, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scatter, weight = parts[0] - 0.3 * parts[1] + 0.1 * parts[0] ** 2, parts[1] + 0.5
    found = best_amplitudes(parts, scatter, weight)
    for e in range(2):
        rows = (parts * weight)[:, :, e].flatten(1).T
        expected = torch.linalg.lstsq(rows, (scatter * weight)[:, e].flatten()[:, None]).solution[:, 0]
        torch.testing.assert_close(found[e], expected, rtol=1e-6, atol=0)


def test_a_blur_keeps_the_sum_far_from_the_edges():
    total = torch.ones(1, 1, 81, dtype=torch.float64)
    total[..., 40] = 0.5
    blurred = blurred_sources(total, torch.ones(1).double(), torch.tensor([[3.0]]).double())
    assert float(blurred.sum()) == pytest.approx(0.5 * torch.tensor(2.0).log().item(), rel=1e-3)


@pytest.mark.parametrize("column", [0, 2, 40, 79])
@pytest.mark.parametrize("width", [3.0, 25.0])
def test_what_a_blur_carries_beyond_the_detector_is_lost(column, width):
    """A single bright column: what arrives is the part of its Gaussian that lies on the detector, at every place."""
    total = torch.full((1, 1, 80), 1.0, dtype=torch.float64)
    total[..., column] = 0.3
    found = blurred_sources(total, torch.tensor([1.7]).double(), torch.tensor([[width]]).double())[0, 0, 0]
    reach = torch.arange(-79, 80, dtype=torch.float64)
    gauss = torch.exp(-0.5 * (reach / width) ** 2)
    source = 0.3 * torch.tensor(1 / 0.3, dtype=torch.float64).log() ** 1.7
    expected = source * (gauss / gauss.sum())[79 - column : 159 - column]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.max()))
    left, whole = float(found.sum() / source), float(gauss[79 - column : 159 - column].sum() / gauss.sum())
    assert left == pytest.approx(whole, rel=1e-4)
    if column == 0:
        assert left < 0.6


def test_what_is_left_stays_positive_in_any_dtype_and_batch():
    strong = ScatterKernel(kernel().exponents, 100 * kernel().amplitudes, kernel().widths)
    total = bodies().float()
    left = strong.correct(total)
    assert left.dtype == torch.float32
    assert (left > 0).all()
    torch.testing.assert_close(strong.correct(total[0]), left[0])
    torch.testing.assert_close(strong.correct(total[None]), left[None])
    assert (kernel().scatter(-total) == 0).all()


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("total", lambda: kernel().scatter(torch.ones(3, 4, 5))),
        ("total", lambda: kernel().scatter(torch.ones(4, 5))),
        ("total, scatter", lambda: fit_scatter_kernel(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 5))),
        ("total, scatter", lambda: fit_scatter_kernel(torch.ones(1, 2, 3, 4), torch.ones(2, 2, 3, 4))),
        ("total, scatter", lambda: fit_scatter_kernel(torch.ones(2, 3, 4), torch.ones(2, 3, 4))),
        ("scatter", lambda: fit_scatter_kernel(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4).double())),
        ("start_widths", lambda: fit_scatter_kernel(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4), (0.1, 2.0))),
    ],
)
def test_bad_input_names_the_argument(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
