"""Comparisons of methods: the paper's metrics slice by slice, pairs by patient, classical filters."""

import pytest
import torch

from ctlib import metrics
from ctlib.data.pairs import DosePair, stacks
from ctlib.papers.hqinet import comparison


@pytest.fixture
def pair():
    rng = torch.Generator().manual_seed(0)
    ref = torch.rand(6, 1, 16, 16, generator=rng)
    return ref + 0.1 * torch.randn(ref.shape, generator=rng), ref


def test_scores_are_the_metrics_of_every_slice(pair):
    x, ref = pair
    found = comparison.slice_scores(x, ref, mi_bins=8)
    assert list(found) == ["L1", "NMSE", "PSNR", "MI", "SSIM"]
    assert all(v.shape == (6,) for v in found.values())
    assert found["L1"][2] == pytest.approx(float((x[2] - ref[2]).abs().mean()), rel=1e-5)
    assert torch.equal(found["MI"], metrics.mutual_information(x[:, 0], ref[:, 0], 8))
    assert list(comparison.slice_scores(x, ref, ["MI"])) == ["MI"]
    assert comparison.mean_psnr(x, ref) == pytest.approx(float(found["PSNR"].mean()), abs=1e-5)


def test_a_patients_value_is_the_mean_of_its_slices(pair):
    x, ref = pair
    patients = ("b", "a", "b", "a", "b", "b")
    values = comparison.slice_scores(x, ref)["PSNR"]
    found = comparison.per_patient([x, ref + 0.1], ref, patients)
    assert found.shape == (2, 2)
    assert found[0, 0] == pytest.approx(float(values[[1, 3]].mean()), abs=1e-4)
    assert found[0, 1] == pytest.approx(float(values[[0, 2, 4, 5]].mean()), abs=1e-4)
    assert found[1].tolist() == pytest.approx([20, 20], abs=1e-3)


def test_the_difference_of_two_methods_has_the_sign_of_the_first_and_no_width_where_it_is_constant(pair):
    _, ref = pair
    patients = ("a", "a", "b", "b", "c", "c")
    better, worse = [ref + 0.01] * 3, [ref + 0.1] * 3
    assert comparison.compare(better, worse, ref, patients) == pytest.approx([20, 20, 20], abs=1e-2)
    assert comparison.compare(worse, better, ref, patients)[1] == pytest.approx(-20, abs=1e-2)
    low, mean, high = comparison.compare([pair[0]] * 3, worse, ref, patients)
    assert low <= mean <= high


def disc_sets():
    """Noisy discs: what smooths them is better than what they are."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 24), indexing="ij")
    full = torch.where(y**2 + x**2 < 0.5, 0.7, 0.3).expand(5, -1, -1)
    rng = torch.Generator().manual_seed(0)
    parts = {part: full + 0.1 * torch.randn(full.shape, generator=rng) for part in ("train", "val", "test")}
    return {part: stacks([DosePair("L000", low, full)]) for part, low in parts.items()}


def test_classical_filters_are_chosen_on_the_validation_slices_and_improve_the_test_slices():
    pytest.importorskip("scipy")
    pytest.importorskip("skimage")
    sets = disc_sets()
    found = comparison.filtered(sets)
    assert list(found) == ["Gaussian", "TV", "non-local means", "Wiener"]
    before = comparison.mean_psnr(sets["test"].low, sets["test"].full)
    filters = comparison.classical_filters(sets["train"])
    for name, (best, image) in found.items():
        run, choices = filters[name]
        val = sets["val"]
        quality = [comparison.mean_psnr(run(val.low, p), val.full) for p in choices]
        if name != "Wiener":
            assert best == choices[quality.index(max(quality))]
        assert torch.allclose(image, run(sets["test"].low, best))
        assert comparison.mean_psnr(image, sets["test"].full) > before + 1, name


def test_filters_keep_shape_and_dtype():
    pytest.importorskip("scipy")
    pytest.importorskip("skimage")
    sets = disc_sets()
    for run, choices in comparison.classical_filters(sets["train"]).values():
        image = run(sets["test"].low, choices[0])
        assert image.shape == sets["test"].low.shape
        assert image.dtype == torch.float32
