"""Degradations: exact adjoints, the filter as the paper's code has it, masks as asked for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.errors import ArgumentError
from ctlib.linop import dot_test
from ctlib.papers.dip.operators import Downsample, Identity, Mask, bernoulli_mask, box_mask, lanczos_kernel, text_mask

RULES = settings(deadline=None, max_examples=20, derandomize=True)


@RULES
@given(rows=st.integers(1, 6), cols=st.integers(1, 6), factor=st.integers(1, 5))
def test_downsampling_has_an_exact_adjoint_and_keeps_constants(rows, cols, factor):
    d = Downsample((rows * factor, cols * factor), factor)
    assert dot_test(d, torch.Generator().manual_seed(0), batch=(2,)) < 1e-14
    constant = d(torch.full(d.domain_shape, 0.7, dtype=torch.float64))
    torch.testing.assert_close(constant, torch.full((rows, cols), 0.7, dtype=torch.float64))


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_the_lanczos_kernel_is_symmetric_sums_to_one_and_has_4t_taps(factor):
    """An odd factor has a fine pixel at the coarse pixel's center, hence one tap more (once a row was lost)."""
    k = lanczos_kernel(factor)
    assert len(k) == 4 * factor + factor % 2
    assert float(k.sum()) == pytest.approx(1.0, abs=1e-14)
    assert torch.equal(k, k.flip(0))
    assert int(k.argmax()) in (2 * factor - 1, 2 * factor)
    torch.testing.assert_close(Downsample((3, 4), 1)(torch.eye(3, 4)), torch.eye(3, 4))


def test_downsampling_removes_what_the_coarse_grid_cannot_show():
    x = torch.zeros(32, 32, dtype=torch.float64)
    x[:, ::2] = 1.0
    assert (Downsample((32, 32), 4)(x)[:, 2:-2] - 0.5).abs().max() < 0.02


def test_downsampling_commutes_with_shifts_by_whole_coarse_pixels():
    d, x = Downsample((24, 24), 4), torch.zeros(24, 24, dtype=torch.float64)
    x[10:14, 9:12] = 1.0
    torch.testing.assert_close(d(x.roll(4, 1))[:, 1:], d(x)[:, :-1])


def test_masks_are_their_own_adjoint_and_hide_what_they_say():
    mask = bernoulli_mask((20, 30), 0.5, torch.Generator().manual_seed(0))
    A, x = Mask(mask), torch.randn(3, 20, 30, dtype=torch.float64)
    assert dot_test(A, torch.Generator().manual_seed(0)) < 1e-15
    assert torch.equal(A(A(x)), A(x))
    assert (A(x)[:, mask == 0] == 0).all()
    assert A.num_observed == int(mask.sum())
    assert dot_test(Identity((4, 5)), torch.Generator().manual_seed(0)) == 0


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_bernoulli_mask_keeps_its_share(keep):
    """Three standard deviations of the share in 10 000 pixels."""
    share = float(bernoulli_mask((100, 100), keep, torch.Generator().manual_seed(1)).mean())
    assert abs(share - keep) < 3 * (keep * (1 - keep) / 10_000) ** 0.5


def test_text_and_box_hide_a_part_and_leave_the_rest():
    text, box = text_mask((64, 64)), box_mask((64, 64), 0.25)
    assert 0.05 < 1 - float(text.mean()) < 0.4
    assert int((1 - box).sum()) == 16 * 16
    assert (box[24:40, 24:40] == 0).all()
    glyph = text_mask((9, 8), "T", scale=1)
    assert glyph[1, 1:6].sum() == 0
    assert glyph[2:8, 3].sum() == 0
    assert int((1 - glyph).sum()) == 5 + 6


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("shape", lambda: Downsample((10, 12), 4)),
        ("mask", lambda: Mask(torch.full((3, 3), 0.5))),
        ("mask", lambda: Mask(torch.zeros(3, 3))),
        ("keep", lambda: bernoulli_mask((3, 3), 0.0, torch.Generator())),
        ("text", lambda: text_mask((64, 64), "?")),
    ],
)
def test_bad_input_names_the_argument(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
