"""How much each measured ray counts: rays along one line count once together, whatever the views and the detector.

A turn is cut into the angles that each view stands for; where a gap or the end of a detector leaves lines measured
once, twice or never, the weights of a ray and of its partner, the same line from the other side, add up to one.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam

WIDE = 2.5  # a gap of more than this many steps (nine tenths of the steps are no longer) is no step but a gap
BRIDGED = math.pi / 12  # up to this gap, views beside it stand for what is missing between them [rad]
TAPER = math.pi / 12  # over this angle, views near a gap give way to their partners [rad]
EDGE_COLUMNS = 32  # over this many columns (or the overlap), those near a displaced detector's short end do so
BRIDGE = 0.03  # how much those are trusted against the partners of what is missing, 1 being a view's own
NODES = 8  # angles within one view's share over which weights are averaged


@dataclass(frozen=True, eq=False)
class ScanWeights:
    """Weights of a scan, and what it leaves out.

    views      (V,) [rad]
    rays       (V, U), or None where all are 1
    missing    (U,) part of a column's lines, over a turn, that is never measured
    by_angles  (U,) the same, were the detector as long on its short side
    gaps       (place, size) of gaps in the angles [rad]
    open_ends  whether the object must end before the first and last column: not at a displaced detector's short end
    padding    columns to add at both ends before the filter, whose result reaches beyond that end
    """

    views: Tensor
    rays: Tensor | None
    missing: np.ndarray
    by_angles: np.ndarray
    gaps: tuple[tuple[float, float], ...] = ()
    open_ends: tuple[bool, bool] = (True, True)
    padding: tuple[int, int] = (0, 0)


def scan_of(A) -> ParallelBeam | FanBeam | ConeBeam:
    """The geometry of an operator, or the geometry itself."""
    geometry = getattr(A, "geometry", A)
    if type(geometry) not in (ParallelBeam, FanBeam, ConeBeam):
        raise ArgumentError("A", type(geometry).__name__, "a ParallelBeam, FanBeam or ConeBeam geometry")
    return geometry


@lru_cache(maxsize=4)
def scan_weights(geometry: ParallelBeam | FanBeam | ConeBeam) -> ScanWeights:
    """Weights of views and rays such that every line counts once, float64 on the CPU.

        sum_v views_v rays_v(u) p_v(u) (...)  ~  integral over one turn of w(t, u) p(t, u) (...) dt
        w(t, u) = c(t) d(u) / (c(t) d(u) + c(t') d(-u)),     t' = t + pi - 2 gamma(u): the partner of the ray (t, u)

    c falls to 0 toward gaps in the views (short scans: {cite}`parker1982`, in the form of {cite}`noo2002`), d toward
    the short end of a displaced detector {cite}`wang2002`. A ray without a partner counts fully, up to the last view.
    """
    parallel = type(geometry) is ParallelBeam
    angles = torch.tensor(geometry.angles, dtype=torch.float64)
    turn, detector = _Turn(angles, 2 * math.pi), _Detector(geometry)
    half = _Turn(angles, math.pi) if parallel else None  # both directions of a line are one view
    if not detector.displaced and (parallel or not turn.holes):
        views, gaps = (half.shares, half.gaps) if parallel else (turn.shares / 2, ())
        missing = np.full(geometry.num_cols, half.missing if parallel else 0.0)
        return ScanWeights(views, None, missing, missing, gaps)
    turn = _Turn(angles, 2 * math.pi, half)
    missing, by_angles = (_missing(turn, detector, covers) for covers in (detector.covers, detector.covers_both))
    complete = bool((missing < by_angles + 1 / 12).all())
    ends = (detector.side < 0, detector.side > 0) if detector.displaced and complete else (True, True)
    more = round(2 * abs(geometry.detector_offset_mm) / geometry.pitch_mm) * detector.displaced
    padding = (more, 0) if detector.side > 0 else (0, more)
    gaps = half.gaps or turn.gaps if parallel else turn.gaps
    return ScanWeights(turn.shares, _rays(turn, detector), missing, by_angles, gaps, ends, padding)


class _Turn:
    """Views on a circle: what each stands for, and how much an angle near a gap is trusted.

    half  the same views on half a circle: views at the ends of a half turn then meet without overlap
    """

    def __init__(self, angles: Tensor, period: float, half: "_Turn | None" = None):
        phase, order = torch.sort(angles % period)
        gaps = torch.diff(phase, append=phase[:1] + period)  # gap after each view, around the circle
        gaps = torch.where(gaps < 1e-9, torch.zeros_like(gaps), gaps)
        steps = gaps[gaps > 0].sort().values
        step = float(steps[int(0.9 * (len(steps) - 1))])
        wide = gaps > WIDE * step * (1 + 1e-9)
        end = torch.full_like(gaps, step / 2)  # how far the views beside a gap reach into it
        after = before = end
        if half is not None:
            after, before = (torch.where(t > 0, t, end).clamp_max(WIDE * step / 2) for t in half.reach)
            after, before = after[order], before[order].roll(-1)
        ahead, back = (torch.where(wide & (gaps > BRIDGED), t, gaps / 2) for t in (after, before))
        self.reach = tuple(torch.empty_like(gaps).scatter_(0, order, t) for t in (ahead, back.roll(1)))
        self.angles, self.period = angles, period
        self.shares = self.reach[0] + self.reach[1]
        self.gaps = tuple((float(p), float(g)) for p, g in zip(phase[wide], gaps[wide], strict=True))
        self.holes = tuple(
            (float(p + a), float(g - a - b), float(g) <= BRIDGED)
            for p, g, a, b in zip(phase[wide], gaps[wide], after[wide], before[wide], strict=True)
        )  # (start, length, bridged) of the angles that no view measures
        self.missing = sum(length for _, length, _ in self.holes) / period

    def trust(self, t: Tensor, bridge: float = BRIDGE) -> Tensor:
        """1 well within the views, falling to 0 at gaps; `bridge` in gaps that are bridged, in others 0."""
        if not self.holes:
            return torch.ones_like(t)
        away = torch.full_like(t, TAPER)
        inside = torch.zeros_like(t, dtype=torch.bool)
        fallback = torch.full_like(t, bridge)
        for start, length, bridged in self.holes:
            behind = (t - start) % self.period
            hit = behind < length
            inside |= hit
            fallback = torch.where(hit & torch.tensor(not bridged), 0.0, fallback)
            away = torch.minimum(away, torch.minimum((behind - length) % self.period, self.period - behind))
        trust = torch.sin(math.pi / 2 * away / TAPER) ** 2
        return torch.where(inside, fallback, trust.clamp_min(bridge))


class _Detector:
    """A row of cells and what it covers on both sides of the axis."""

    def __init__(self, geometry):
        self.columns, self.pitch = torch.as_tensor(geometry.columns()), geometry.pitch_mm
        half, offset = geometry.num_cols * self.pitch / 2, geometry.detector_offset_mm
        self.displaced = abs(offset) > self.pitch * (1 + 1e-9)
        self.side, self.long, self.short = math.copysign(1, offset), half + abs(offset), half - abs(offset)
        if self.short <= 0:
            raise ArgumentError("detector_offset_mm", offset, f"less than {half:g}: a detector that covers the axis")
        flat = type(geometry) is ParallelBeam
        self.fan_angle = 0 * self.columns if flat else torch.atan(self.columns / geometry.source_detector_mm)

    def covers(self, u: Tensor) -> Tensor:
        """1 on the detector, falling to 0 toward the short end of a displaced one, 0 beyond."""
        if not self.displaced:
            return self.covers_both(u)
        width = min(2 * self.short, EDGE_COLUMNS * self.pitch)
        inside = ((self.side * u + self.short) / width).clamp(0, 1)
        return torch.sin(math.pi / 2 * inside) ** 2 * self.covers_both(u)

    def covers_both(self, u: Tensor) -> Tensor:
        """The same, were the detector as long on the other side."""
        return (u.abs() <= self.long * (1 + 1e-9)).to(u)


def _rays(turn: _Turn, detector: _Detector) -> Tensor:
    """Average of w over what each view stands for: (V, U)."""
    before, u = turn.angles - turn.reach[1], detector.columns
    own, other = detector.covers(u), detector.covers(-u)
    total = torch.zeros(len(turn.angles), len(u), dtype=torch.float64)
    nodes = NODES if turn.holes else 1
    for k in range(nodes):
        t = (before + (k + 0.5) / nodes * turn.shares)[:, None].expand_as(total)
        ray, partner = turn.trust(t) * own, turn.trust(t + math.pi - 2 * detector.fan_angle) * other
        total += torch.where(ray > 0, ray / (ray + partner).clamp_min(1e-300), 0.0) / nodes
    return total


def _missing(turn: _Turn, detector: _Detector, covers, nodes: int = 1440) -> np.ndarray:
    """The part of each column's lines, over a turn, that neither a ray nor its partner measures: (U,)."""
    u = detector.columns
    t = ((torch.arange(nodes, dtype=torch.float64) + 0.5) * 2 * math.pi / nodes)[:, None].expand(-1, len(u))
    ray = turn.trust(t, bridge=0.0) * covers(u)
    partner = turn.trust(t + math.pi - 2 * detector.fan_angle, bridge=0.0) * covers(-u)
    return ((ray + partner) <= 0).double().mean(0).numpy()


def view_weights(angles: Tensor, period: float) -> Tensor:
    """Share of the period each view stands for [rad], half the distance between its neighbors: (V,), sum = period.

    Equally spaced views get period / V; several turns, interlaced or golden-angle views are handled.
    Raises ArgumentError where views leave a gap of more than 15 degrees between much smaller steps.
    """
    period = contract.number("period", period, above=0, at_most=2 * math.pi)
    if contract.tensor("angles", angles).ndim != 1 or not len(angles) or not bool(angles.isfinite().all()):
        raise ArgumentError("angles", f"shape {tuple(angles.shape)}", "(V,) finite angles, one at least")
    turn = _Turn(angles, period)
    if wide := [size for _, size in turn.gaps if size > BRIDGED]:
        raise ArgumentError("angles", f"a gap of {max(wide):.4g} rad", f"views spread over {period:.4g} rad")
    return turn.shares
