"""The smallest circle around a set of points, by Welzl's algorithm on their convex hull."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError, MissingDependency

Point = tuple[float, float]
Circle = tuple[float, float, float]
SLACK = 1e-9  # relative: points on the circle count as inside


def enclosing_circle(points: Tensor) -> Circle:
    """(y, x, radius) of the smallest circle that contains all points (N, 2), whole numbers too, {cite}`welzl1991`."""
    points = contract.tensor("points", points, ("N", 2), promote=True)
    if points.ndim != 2 or not len(points) or not bool(torch.isfinite(points).all()):
        raise ArgumentError("points", f"shape {tuple(points.shape)}", "(N, 2) with N >= 1, all finite")
    hull = _hull(points)
    order = np.random.default_rng(0).permutation(len(hull))  # makes the expected time linear; the circle is unique
    return _welzl([hull[i] for i in order])


def mask_circle(mask: Tensor) -> Circle:
    """The smallest circle around the true pixels of (Y, X), whole pixels with their corners; pixel (0, 0) is at 0."""
    mask = contract.mask("mask", mask, ("Y", "X"))
    if mask.ndim != 2:
        raise ArgumentError("mask", f"shape {tuple(mask.shape)}", "one mask (Y, X)")
    rows = torch.nonzero(mask.any(1))[:, 0]
    if not len(rows):
        raise ArgumentError("mask", "no true pixel", "at least one")
    inside = mask[rows].int()
    first, last = inside.argmax(1), mask.shape[1] - 1 - inside.flip(1).argmax(1)
    corners = [torch.stack([rows + dy, x + dx], 1) for x, dx in ((first, -0.5), (last, 0.5)) for dy in (-0.5, 0.5)]
    return enclosing_circle(torch.cat(corners).double())


def _hull(points: Tensor) -> list[Point]:
    """Corners of the convex hull of points (N, 2), or the two ends of points on a line."""
    try:
        from scipy.spatial import ConvexHull, QhullError
    except ImportError as error:
        raise MissingDependency("scipy", "the circle around a body") from error
    xy = points.detach().double().cpu().numpy()
    try:
        return sorted(map(tuple, xy[ConvexHull(xy).vertices].tolist()))
    except QhullError:  # fewer than three points, or none off a line
        ends = sorted(map(tuple, xy.tolist()))
        return [ends[0], ends[-1]]


def _welzl(points: list[Point]) -> Circle:
    """Add points one by one; one outside lies on the new circle, which is found again with it fixed."""
    circle = (*points[0], 0.0)
    for i, p in enumerate(points):
        if not _inside(circle, p):
            circle = (*p, 0.0)
            for j, q in enumerate(points[:i]):
                if not _inside(circle, q):
                    circle = _of_two(p, q)
                    for r in points[:j]:
                        if not _inside(circle, r):
                            circle = _of_three(p, q, r)
    return circle


def _inside(circle: Circle, p: Point) -> bool:
    return math.dist(circle[:2], p) <= circle[2] * (1 + SLACK) + 1e-12


def _of_two(p: Point, q: Point) -> Circle:
    return (p[0] + q[0]) / 2, (p[1] + q[1]) / 2, math.dist(p, q) / 2


def _of_three(p: Point, q: Point, r: Point) -> Circle:
    """The circle through three corners of a hull, which do not lie on a line."""
    (a, b), (c, d) = ((s[0] - p[0], s[1] - p[1]) for s in (q, r))
    area = 2 * (a * d - b * c)
    y = (d * (a * a + b * b) - b * (c * c + d * d)) / area
    x = (a * (c * c + d * d) - c * (a * a + b * b)) / area
    return p[0] + y, p[1] + x, math.hypot(y, x)
