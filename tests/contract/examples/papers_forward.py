"""The first chapter's experiments."""

import torch

from ctlib.geometry import ParallelBeam, Volume


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def beam():
    return ParallelBeam(Volume((4, 4), 2.0), 3, 6, 2.0)


CHECK = "measures one number from sizes that the geometry checks: tests/papers/forward"
MADE = "takes a body and a scan, which are checked where they are made: tests/papers/forward"

_P = "ctlib.papers.forward."
EXAMPLES = {
    _P + "bodies.noise_hu": lambda: dict(image=40 + 5 * rand(20, 20)),
    _P + "mismatch.nearest_back_projection": lambda: dict(y=rand(3, 6), geometry=beam()),
}
SKIP = {
    _P + "bodies.body_region": CHECK,
    _P + "bodies.disc": CHECK,
    _P + "checks.careless_filter": CHECK,
    _P + "checks.transform": CHECK,
    _P + "checks.attenuation_slope": CHECK,
    _P + "checks.axis_with_least_below_zero": CHECK,
    _P + "checks.peak_returned": CHECK,
    _P + "checks.psnr_by_views": CHECK,
    _P + "checks.ramp_offsets": CHECK,
    _P + "mismatch.Divergence": "what two experiments return, made by nobody else",
    _P + "mismatch.cgls_with_interpolation": CHECK,
    _P + "mismatch.sirt_with_nearest_cell": CHECK,
    _P + "mismatch.residuals_of": "hands its arguments to a solver, which checks them",
    _P + "noise.*": CHECK,
    _P + "remarks.*": "picks a sentence by numbers of the page: tests/papers/forward",
    _P + "mismatch.growth": CHECK,
    _P + "bodies.Body": MADE,
    _P + "bodies.clinical_fan": CHECK,
    _P + "bodies.head_body": CHECK,
    _P + "bodies.real_body": CHECK,
    _P + "bodies.synthetic_body": CHECK,
    _P + "checks.center_noise": CHECK,
    _P + "checks.cone_over": CHECK,
    _P + "checks.cosine_error": CHECK,
    _P + "checks.cylinder_deviation": CHECK,
    _P + "checks.head_psnr": CHECK,
    _P + "checks.noise_by_views": CHECK,
    _P + "checks.parallel_over": CHECK,
    _P + "checks.projection_error": CHECK,
    _P + "checks.sides_of_the_slice_theorem": CHECK,
    _P + "checks.stack_of_discs": CHECK,
    _P + "comparison.*": MADE,
    _P + "mismatch.errors_of": "hands its arguments to a solver, which checks them",
    _P + "mismatch.unit_images": CHECK,
}
