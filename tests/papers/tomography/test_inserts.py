"""Counting inserts: known disks, true images, and images made wrong on purpose."""

from functools import cache

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.geometry import Volume
from ctlib.papers.tomography.bodies import FIELD_MM, Body, Insert, body
from ctlib.papers.tomography.inserts import RING, count_inserts, insert_radius, insert_threshold, local_contrast

GRID = Volume((48, 48), FIELD_MM / 48)
everywhere = torch.ones(41, 41, dtype=torch.bool)


@cache
def judged():
    """Bodies that the threshold was not set on."""
    return [body(s, GRID) for s in range(100, 140)]


@cache
def threshold():
    return insert_threshold([body(s, GRID) for s in range(30)], GRID)


def disk(radius, center=(20, 20), size=41):
    t = torch.arange(size, dtype=torch.float64)
    return (((t[:, None] - center[0]) ** 2 + (t - center[1]) ** 2).sqrt() <= radius).double()


def test_a_disk_on_any_level_has_its_height():
    c = local_contrast(0.7 + 0.3 * disk(3.0), everywhere, everywhere & (disk(4) == 0), 3.0)
    assert float(c[20, 20]) == pytest.approx(0.3, abs=1e-12)
    assert float(c[5, 35]) == pytest.approx(0.0, abs=1e-12)


def test_local_contrast_equals_loops():
    g = torch.Generator().manual_seed(0)
    d, soft = torch.randn(20, 20, generator=g, dtype=torch.float64), torch.rand(20, 20, generator=g) > 0.2
    plain, r = soft & (torch.rand(20, 20, generator=g) > 0.3), 2.0
    c = local_contrast(d, soft, plain, r)
    t = torch.arange(20, dtype=torch.float64)
    for p in ((10, 10), (3, 12), (17, 4)):
        far = ((t[:, None] - p[0]) ** 2 + (t - p[1]) ** 2).sqrt()
        ring = (far >= RING[0] * r) & (far <= RING[1] * r)
        expected = d[soft & (far <= r)].mean() - d[plain & ring].mean()
        assert float(c[p]) == pytest.approx(float(expected), abs=1e-12)


def test_no_answer_outside_soft_tissue():
    soft = disk(10) > 0
    c = local_contrast(torch.rand(41, 41), soft, soft, 3.0)
    assert float(c[2, 2]) == 0
    assert float(c[20, 20]) != 0


def rates(images):
    counts = [count_inserts(x, b, GRID, threshold()) for x, b in zip(images, judged(), strict=True)]
    shown = [s for c in counts for s in c.shown]
    return sum(shown) / len(shown), sum(len(c.false) for c in counts) / len(counts)


def test_the_truth_shows_all_and_nothing_else():
    """On bodies that the threshold was not set on."""
    shown, false = rates([b.image for b in judged()])
    assert shown >= 0.97
    assert false <= 0.05


def test_the_background_shows_none():
    assert rates([b.background for b in judged()]) == (0.0, 0.0)


def test_blank_and_wrong_sign():
    assert rates([torch.zeros_like(b.image) for b in judged()])[0] < 0.2
    negative = [2 * b.background - b.image for b in judged()]
    assert rates(negative)[0] == 0.0


def test_an_insert_that_is_not_there_is_found_where_it_is():
    """A disk of an insert's contrast, as far from the true inserts as soft tissue allows; few cast a shadow."""
    counted = []
    for b in judged()[:30]:
        y, x = (torch.from_numpy(GRID.axis(k)) for k in range(2))
        far = torch.stack([torch.hypot(x - i.center_mm[0], (y - i.center_mm[1])[:, None]) for i in b.inserts]).amin(0)
        hard = torch.nn.functional.max_pool2d((~b.soft).double()[None], 9, 1, 4)[0] > 0
        far = torch.where(hard, -1.0, far)  # the whole disk lies in soft tissue
        row, col = divmod(int(far.argmax()), 48)
        if float(far.max()) < 30:
            continue
        made = b.image + 0.008 * disk(insert_radius(GRID), (row, col), 48)
        false = count_inserts(made, b, GRID, threshold()).false
        assert min(max(abs(p - row), abs(q - col)) for p, q in false) <= 2
        counted.append(len(false))
    assert len(counted) >= 8
    assert sum(counted) / len(counted) < 1.4


def test_noise_makes_false_ones_and_more_noise_more():
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(len(judged()), 48, 48, generator=g)
    few, many = (rates([b.image + s * n for b, n in zip(judged(), noise, strict=True)])[1] for s in (0.003, 0.02))
    assert few < 1 < 5 < many


def test_the_threshold_is_half_of_a_weak_insert():
    assert 0.4 * 0.005 < threshold() < 0.6 * 0.008


def test_bad_input():
    b = judged()[0]
    with pytest.raises(ArgumentError, match="threshold"):
        count_inserts(b.image, b, GRID, 0.0)
    with pytest.raises(ArgumentError, match="image"):
        count_inserts(b.image[1:], b, GRID, threshold())
    with pytest.raises(ArgumentError, match="bodies"):
        insert_threshold([], GRID)
    with pytest.raises(ArgumentError, match="soft"):
        local_contrast(b.image, b.soft.float(), b.soft, 2.0)
    with pytest.raises(ArgumentError, match="radius"):
        local_contrast(b.image, b.soft, b.soft, 0.0)


@pytest.mark.parametrize(("distance", "false"), [(0.9, 0), (1.2, 1)])
def test_an_insert_reaches_as_far_as_its_longer_half_axis(distance, false):
    """A disk beside the short side of a long insert, nearer and farther than the longer half axis and one radius."""
    radius, voxel = insert_radius(GRID), GRID.voxel_mm[0]
    longer = 5 * radius * voxel
    long = Insert((0.0, 0.0), (longer, 0.2 * longer), 0.0, 0.002)
    level, soft = torch.full((48, 48), 0.02, dtype=torch.float64), torch.ones(48, 48, dtype=torch.bool)
    row = round(23.5 + distance * (longer / voxel + radius))
    image = level + 0.002 * disk(radius, (row, 24), 48)
    found = count_inserts(image, Body(image, level, soft, (long,)), GRID, 0.001).false
    assert found == ((row, 24),) * false
