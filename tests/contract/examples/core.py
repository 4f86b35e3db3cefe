"""Units, linear operators, proximal maps, implicit derivatives, geometries, the projector and the engines behind it."""

import torch

from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.linop import FunctionOperator, from_matrix
from ctlib.projector import Projector


def rand(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


VOLUME = Volume((4, 5), 1.0)
PARALLEL = ParallelBeam(VOLUME, 3, 6, 1.0)
FAN = FanBeam(VOLUME, 3, 6, 2.0, 20.0, 40.0)
CONE = ConeBeam(Volume((3, 4, 4), 1.0), 3, 6, 2.0, 4, 20.0, 40.0)
A = Projector(PARALLEL, "torch")
M = from_matrix(rand(3, 4))
SCAN = {"num_views": 3, "num_cols": 6, "pitch_mm": 1.0, "detector_offset_mm": 0.5, "angles": torch.tensor([0.0, 1, 2])}
SOURCE = {"source_origin_mm": 20.0, "source_detector_mm": 40.0}


def doubled():
    return FunctionOperator(lambda x: 2 * x, lambda y: 2 * y, (4,), (4,))


def spd(v):
    return v * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def square_root(u, theta):
    return u * u - theta


EXAMPLES = {
    "ctlib.units.hu_from_mu": lambda: dict(mu=rand(3, 4), mu_water=0.02),
    "ctlib.units.mu_from_hu": lambda: dict(hu=rand(3, 4), mu_water=0.02),
    "ctlib.linop.LinearOperator.__call__": lambda: dict(call=A, x=rand(2, 4, 5)),
    "ctlib.linop.LinearOperator.T": lambda: dict(call=A.T, y=rand(2, 3, 6)),
    "ctlib.linop.LinearOperator.norm": lambda: dict(call=M.norm, num_iters=20),
    "ctlib.linop.FunctionOperator.__call__": lambda: dict(call=doubled(), x=rand(2, 4)),
    "ctlib.linop.FunctionOperator.T": lambda: dict(call=doubled().T, y=rand(2, 4)),
    "ctlib.linop.linear_map": lambda: dict(x=rand(2, 3), apply=spd, transpose=spd),
    "ctlib.linop.from_matrix": lambda: dict(matrix=rand(3, 4)),
    "ctlib.linop.scaled": lambda: dict(A=M, factor=2.0),
    "ctlib.linop.dot_test": lambda: dict(A=M, generator=stream(), batch=(2, 3)),
    "ctlib.linop.power_norm": lambda: dict(A=M, num_iters=20, tolerance=1e-7),
    "ctlib.linop.conjugate_gradient": lambda: dict(apply=spd, b=rand(3), num_iters=5, tolerance=1e-10),
    "ctlib.prox.gradient": lambda: dict(x=rand(2, 3, 4), ndim=2, out=torch.zeros(2, 2, 3, 4, dtype=torch.float64)),
    "ctlib.prox.gradient_adjoint": lambda: dict(d=rand(2, 2, 3, 4), ndim=2),
    "ctlib.prox.total_variation": lambda: dict(x=rand(2, 3, 4), ndim=2),
    "ctlib.prox.length": lambda: dict(v=rand(2, 3, 4), dim=-3),
    "ctlib.prox.shrink": lambda: dict(v=rand(2, 3, 4), tau=0.2),
    "ctlib.prox.shrink_isotropic": lambda: dict(v=rand(2, 3, 4), tau=0.2, dim=-3),
    "ctlib.prox.project_ball": lambda: dict(v=rand(2, 3, 4), radius=0.2, dim=-3),
    "ctlib.prox.project_box": lambda: dict(x=rand(2, 3, 4), low=0.2, high=0.8),
    "ctlib.prox.tv_dual": lambda: dict(
        v=rand(2, 3, 4), weight=rand(1, 1, seed=1), num_iters=4, start=rand(2, 2, 3, 4, seed=2), ndim=2
    ),
    "ctlib.prox.prox_tv": lambda: dict(v=rand(2, 3, 4), weight=0.1, num_iters=4, ndim=2),
    "ctlib.geometry.Volume": lambda: dict(shape=(4, 5), voxel_mm=(1.0, 2.0)),
    "ctlib.geometry.Volume.axis": lambda: dict(call=VOLUME.axis, i=1),
    "ctlib.geometry.ParallelBeam": lambda: dict(volume=VOLUME, **SCAN),
    "ctlib.geometry.FanBeam": lambda: dict(volume=VOLUME, **SCAN, **SOURCE),
    "ctlib.geometry.ConeBeam": lambda: dict(volume=CONE.volume, num_rows=4, row_pitch_mm=2.0, **SCAN, **SOURCE),
    "ctlib.geometry.ParallelBeam.rays": lambda: dict(call=PARALLEL.rays, rays_per_bin=2),
    "ctlib.geometry.FanBeam.rays": lambda: dict(call=FAN.rays, rays_per_bin=2),
    "ctlib.geometry.ConeBeam.rays": lambda: dict(call=CONE.rays, rays_per_bin=2),
    "ctlib.geometry.ConeBeam.rows": lambda: dict(call=CONE.rows, rays_per_bin=2),
    "ctlib.geometry.ConeBeam.columns_in_plane": lambda: dict(call=CONE.columns_in_plane, rays_per_bin=2),
    "ctlib.projector.Projector": lambda: dict(geometry=PARALLEL, backend="torch", rays_per_bin=2),
    "ctlib.projector.Projector.__call__": lambda: dict(call=Projector(FAN), x=rand(2, 4, 5)),
    "ctlib.projector.Projector.T": lambda: dict(call=Projector(CONE, "sparse", 2).T, y=rand(2, 3, 4, 6)),
}
SKIP = {
    "ctlib.recon.redundancy.ScanWeights": "a record of a scan's weights, made from a geometry",
    "ctlib.contract.*": "the contract itself: tested by what uses it, and in tests/test_contract_helper.py",
    "ctlib.compiled.njit": "takes a function; numba's options are passed on",
    "ctlib.backends.*": "engines and their tables stand behind the projector, which checks",
    "ctlib.implicit.*": "takes functions and tensors of any number; its checks are tested in tests/test_implicit.py",
    "ctlib.linop.FunctionOperator": "takes functions and shapes",
}
THEIRS = "the function is the caller's, and so is what it refuses"
ALLOW = {
    "ctlib.linop.linear_map": {"axis 1 + 1": THEIRS, "axis 1 empty": THEIRS},
    "ctlib.linop.conjugate_gradient": {"axis 0 + 1": THEIRS, "missing axis": "b is one vector, whatever its axes"},
}
