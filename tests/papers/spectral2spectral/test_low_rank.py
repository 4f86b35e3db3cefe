"""The non-local low-rank prior: its transform, its grouping, what it keeps and what it removes."""

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.low_rank import hosvd_threshold, nearest_patches, nonlocal_lowrank


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_without_threshold_groups_come_back():
    groups = torch.randn(4, 6, 9, 5, dtype=torch.float64, generator=rng())
    out, weight = hosvd_threshold(groups, 0.0)
    torch.testing.assert_close(out, groups)
    assert torch.allclose(weight, torch.full((4,), 1 / (6 * 9 * 5), dtype=weight.dtype))


def test_a_rank_one_group_needs_one_coefficient():
    a, b, c = (torch.rand(n, dtype=torch.float64, generator=rng(n)) for n in (6, 9, 5))
    group = torch.einsum("k,p,e->kpe", a, b, c)[None]
    out, weight = hosvd_threshold(group, 1e-6 * float(group.norm()))
    torch.testing.assert_close(out, group)
    assert float(weight) == 1.0


def test_the_factors_are_those_of_numpy():
    group = torch.randn(1, 4, 6, 5, dtype=torch.float64, generator=rng())
    tau, t = 0.8, group[0].numpy()
    factors = [np.linalg.svd(np.moveaxis(t, k, 0).reshape(t.shape[k], -1), full_matrices=True)[0] for k in range(3)]
    core = np.einsum("kpe,ka,pb,ec->abc", t, *factors)
    core[np.abs(core) <= tau] = 0
    torch.testing.assert_close(
        hosvd_threshold(group, tau)[0][0], torch.from_numpy(np.einsum("abc,ka,pb,ec->kpe", core, *factors))
    )


def test_nearest_patches_by_brute_force():
    grid, reach, num = (7, 8), 2, 5
    patches = torch.rand(56, 10, dtype=torch.float64, generator=rng())
    cols = torch.tensor([0, 4, 7])
    got = nearest_patches(patches, torch.tensor(3), cols, grid, reach, num)
    for row, col in zip(got, cols.tolist(), strict=True):
        inside = [8 * y + x for y in range(1, 6) for x in range(8) if abs(x - col) <= reach]
        distance = (patches[inside] - patches[24 + col]).norm(dim=1)
        expected = [inside[i] for i in distance.argsort()[:num]]
        assert sorted(row.tolist()) == sorted(expected)
        assert int(row[0]) == 24 + col


def test_noise_goes_and_structure_stays():
    g = rng(1)
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    disc = ((x - 20) ** 2 + (y - 18) ** 2 < 120).float()
    clean = torch.stack([disc * s + 0.2 for s in (1.0, 0.7, 0.5)])[None]
    sigma = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    noisy = clean + sigma * torch.randn(clean.shape, generator=g)
    out = nonlocal_lowrank(noisy, 2.7)
    before, after = ((t - clean).square().mean((0, 2, 3)).sqrt() for t in (noisy, out))
    assert bool((after < 0.5 * before).all())
    assert out.shape == noisy.shape


@pytest.mark.parametrize("change", [{"search": 4}, {"stride": 7}, {"patch": 40}])
def test_bad_arguments(change):
    with pytest.raises(ArgumentError):
        nonlocal_lowrank(torch.zeros(1, 2, 20, 20), **change)
