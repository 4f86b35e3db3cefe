"""Scan geometries as frozen values: a voxel grid and the rays that cross it. Lengths in mm, angles in rad.

Axes: x to the right, y up, z along the rotation axis. Row 0 of an image is its top (largest y), column 0 its left,
slice 0 the lowest z.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from ctlib import contract
from ctlib.errors import ArgumentError


@dataclass(frozen=True)
class Volume:
    """Voxel grid centered on the rotation axis.

    shape     (Y, X) or (Z, Y, X), counts
    voxel_mm  size of a voxel, one number or one per axis in the order of `shape`
    """

    shape: tuple[int, ...]
    voxel_mm: float | tuple[float, ...] = 1.0

    def __post_init__(self):
        shape = contract.shape("shape", self.shape)
        if len(shape) not in (2, 3):
            raise ArgumentError("shape", shape, "(Y, X) or (Z, Y, X)")
        several = isinstance(self.voxel_mm, (tuple, list)) or getattr(self.voxel_mm, "ndim", 0) > 0
        sizes = contract.numbers("voxel_mm", self.voxel_mm if several else (self.voxel_mm,) * len(shape), above=0)
        if len(sizes) != len(shape):
            raise ArgumentError("voxel_mm", sizes, f"one number, or {len(shape)} in the order of shape {shape}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "voxel_mm", sizes)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def extent_mm(self) -> tuple[float, ...]:
        """Size of the grid along each axis [mm]."""
        return tuple(n * s for n, s in zip(self.shape, self.voxel_mm, strict=True))

    @property
    def reach_mm(self) -> float:
        """Distance from the axis at which interpolation between voxels ends: half a voxel beyond the corners [mm]."""
        return math.hypot(*(e + s for e, s in zip(self.extent_mm[-2:], self.voxel_mm[-2:], strict=True))) / 2

    def axis(self, i: int) -> np.ndarray:
        """Coordinates of the voxel centers along axis i [mm]; the y axis descends, for row 0 is the top."""
        if not -self.ndim <= contract.count("i", i, -self.ndim) < self.ndim:
            raise ArgumentError("i", i, f"an axis of the {self.ndim}")
        centers = (np.arange(self.shape[i]) - (self.shape[i] - 1) / 2) * self.voxel_mm[i]
        return -centers if i % self.ndim == self.ndim - 2 else centers


def _angles(given: object, num_views: int, span: float) -> tuple[float, ...]:
    if given is None:
        return tuple(float(v) for v in np.arange(num_views) * (span / num_views))
    angles = contract.numbers("angles", given)
    if len(angles) != num_views:
        raise ArgumentError("angles", f"{len(angles)} angles", f"num_views = {num_views} of them")
    return angles


@dataclass(frozen=True)
class _Scan:
    """What every geometry has: the grid, the views, a row of detector cells."""

    volume: Volume
    num_views: int
    num_cols: int
    pitch_mm: float

    SPAN = math.pi
    NDIM = 2

    def _validate(self):
        if not isinstance(self.volume, Volume) or self.volume.ndim != self.NDIM:
            raise ArgumentError("volume", self.volume, f"a Volume with {self.NDIM} axes")
        for name in ("num_views", "num_cols"):
            object.__setattr__(self, name, contract.count(name, getattr(self, name), 1))
        object.__setattr__(self, "pitch_mm", contract.number("pitch_mm", self.pitch_mm, above=0))
        object.__setattr__(self, "detector_offset_mm", contract.number("detector_offset_mm", self.detector_offset_mm))
        object.__setattr__(self, "angles", _angles(self.angles, self.num_views, self.SPAN))

    @property
    def sino_shape(self) -> tuple[int, ...]:
        return (self.num_views, self.num_cols)

    @property
    def num_rays(self) -> int:
        return math.prod(self.sino_shape)

    def finer(self, rays_per_bin: int) -> "_Scan":
        """The same scan with every bin cut into this many narrower ones along each axis of the detector."""
        k = contract.count("rays_per_bin", rays_per_bin, 1)
        rows = {"num_rows": self.num_rows * k, "row_pitch_mm": self.row_pitch_mm / k} if self.NDIM == 3 else {}
        return replace(self, num_cols=self.num_cols * k, pitch_mm=self.pitch_mm / k, **rows)

    def wider(self, before: int, after: int) -> "_Scan":
        """The same scan with this many more columns before the first and after the last one."""
        before, after = contract.count("before", before), contract.count("after", after)
        offset = self.detector_offset_mm + (after - before) / 2 * self.pitch_mm
        return replace(self, num_cols=self.num_cols + before + after, detector_offset_mm=offset)

    def columns(self, rays_per_bin: int = 1) -> np.ndarray:
        """Detector coordinate of the ray(s) of each column [mm]: (U,) or (U * rays_per_bin,)."""
        num = contract.count("rays_per_bin", rays_per_bin, 1)
        k = np.arange(self.num_cols * num)
        return ((k + 0.5) / num - self.num_cols / 2) * self.pitch_mm + self.detector_offset_mm


@dataclass(frozen=True)
class ParallelBeam(_Scan):
    """Parallel rays: x cos t + y sin t = u at view angle t.

    volume              Volume with two axes
    num_views           V; angles equally spaced over pi unless `angles` [rad] gives them
    num_cols, pitch_mm  U detector columns of this width [mm]
    detector_offset_mm  shift of the detector's center along u [mm]
    """

    angles: tuple[float, ...] | None = field(default=None, repr=False)
    detector_offset_mm: float = 0.0

    def __post_init__(self):
        self._validate()

    def rays(self, rays_per_bin: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """(points, unit directions) of the rays in (x, y) [mm], float64 (V, U * rays_per_bin, 2)."""
        t, u = np.asarray(self.angles)[:, None], self.columns(rays_per_bin)[None, :]
        points = np.stack([u * np.cos(t), u * np.sin(t)], -1)
        return points, np.stack([np.sin(t) + 0 * u, -np.cos(t) + 0 * u], -1)


@dataclass(frozen=True)
class FanBeam(_Scan):
    """Fan beam on a flat detector: the source circles at source_origin_mm, the detector at source_detector_mm from it.

    volume              Volume with two axes
    num_views           V; angles equally spaced over 2 pi unless `angles` [rad] gives them
    num_cols, pitch_mm  U detector columns; their width is measured at the detector [mm]
    """

    source_origin_mm: float = None
    source_detector_mm: float = None
    angles: tuple[float, ...] | None = field(default=None, repr=False)
    detector_offset_mm: float = 0.0

    SPAN = 2 * math.pi

    def __post_init__(self):
        self._validate()
        for name in ("source_origin_mm", "source_detector_mm"):
            object.__setattr__(self, name, contract.number(name, getattr(self, name), above=0))
        _check_source(self.volume, self.source_origin_mm)

    def rays(self, rays_per_bin: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """(source points, unit directions) of the rays in (x, y) [mm], float64 (V, U * rays_per_bin, 2)."""
        t, u = np.asarray(self.angles)[:, None], self.columns(rays_per_bin)[None, :]
        behind = self.source_detector_mm - self.source_origin_mm
        source = np.stack([np.sin(t) + 0 * u, -np.cos(t) + 0 * u], -1) * self.source_origin_mm
        cell = np.stack([-np.sin(t) * behind + u * np.cos(t), np.cos(t) * behind + u * np.sin(t)], -1)
        return source, _unit(cell - source)


@dataclass(frozen=True)
class ConeBeam(_Scan):
    """Cone beam on a flat detector, circular orbit in the plane z = 0.

    volume              Volume with three axes
    num_rows            R detector rows of height row_pitch_mm (default: pitch_mm)
    otherwise as FanBeam
    """

    num_rows: int = None
    source_origin_mm: float = None
    source_detector_mm: float = None
    angles: tuple[float, ...] | None = field(default=None, repr=False)
    row_pitch_mm: float | None = None
    detector_offset_mm: float = 0.0

    SPAN = 2 * math.pi
    NDIM = 3

    def __post_init__(self):
        self._validate()
        object.__setattr__(self, "num_rows", contract.count("num_rows", self.num_rows, 1))
        pitch = self.pitch_mm if self.row_pitch_mm is None else self.row_pitch_mm
        object.__setattr__(self, "row_pitch_mm", contract.number("row_pitch_mm", pitch, above=0))
        for name in ("source_origin_mm", "source_detector_mm"):
            object.__setattr__(self, name, contract.number(name, getattr(self, name), above=0))
        _check_source(self.volume, self.source_origin_mm)

    @property
    def sino_shape(self) -> tuple[int, ...]:
        return (self.num_views, self.num_rows, self.num_cols)

    def rows(self, rays_per_bin: int = 1) -> np.ndarray:
        """Height of the ray(s) of each detector row [mm]: (R * rays_per_bin,)."""
        num = contract.count("rays_per_bin", rays_per_bin, 1)
        k = np.arange(self.num_rows * num)
        return ((k + 0.5) / num - self.num_rows / 2) * self.row_pitch_mm

    def columns_in_plane(self, rays_per_bin: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """(source points, source to cell) of the detector columns in (y, x) [mm], float64 (V, U, 2)."""
        t, u = np.asarray(self.angles)[:, None], self.columns(rays_per_bin)[None, :]
        behind = self.source_detector_mm - self.source_origin_mm
        source = np.stack([-np.cos(t) + 0 * u, np.sin(t) + 0 * u], -1) * self.source_origin_mm
        cell = np.stack([u * np.sin(t) + behind * np.cos(t), u * np.cos(t) - behind * np.sin(t)], -1)
        return source, cell - source

    def rays(self, rays_per_bin: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """(source points, unit directions) of the rays in (x, y, z) [mm], float64 (V, R, U, 3)."""
        source, direction = (p[:, None, :, ::-1] for p in self.columns_in_plane(rays_per_bin))
        height = self.rows(rays_per_bin)[None, :, None, None] + 0 * direction[..., :1]
        source = source + 0 * height
        return np.concatenate([source, 0 * height], -1), _unit(np.concatenate([direction + 0 * height, height], -1))


def _unit(d: np.ndarray) -> np.ndarray:
    return d / np.linalg.norm(d, axis=-1, keepdims=True)


def _check_source(volume: Volume, source_origin_mm: float) -> None:
    if source_origin_mm <= volume.reach_mm:
        raise ArgumentError(
            "source_origin_mm",
            source_origin_mm,
            f"more than {volume.reach_mm:g}: the source must stay half a voxel outside the grid",
        )
