"""Spectral2Spectral: binned counts, losses, noise, priors, splitting, regions and specimens."""

import torch

from ctlib.geometry import ParallelBeam, Volume
from ctlib.nets.unet import make_unet
from ctlib.papers.spectral2spectral import losses, noise2noise, prior, subspace
from ctlib.projector import Projector

A = Projector(ParallelBeam(Volume((4, 4), 1.0), 3, 6, 1.0), "torch")
PLANE = Volume((12, 12), 4.0)


def rand(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def whole(*shape):
    return torch.randint(1, 20, shape, generator=stream()).double()


def some(*shape, seed=2):
    return rand(*shape, seed=seed) > 0.4


def doubled(x):
    return 2 * x


def halved(x):
    """The first half of the channels."""
    return x[:, : x.shape[1] // 2]


def space():
    return subspace.MaterialSubspace.spanned_by(rand(3, 2), rand(3, seed=1))


def densities():
    """Metal, water and iodine: bone in places."""
    return rand(1, 3, 6, 7) * torch.tensor([1.0, 1.0, 0.005], dtype=torch.float64)[:, None, None]


def trained(num_outer=1, steps=1, lr=1e-3, batch=2, decay=0.9):
    """A prior after one use."""
    loss = lambda net, x, index, progress: losses.paired_loss(net, x, x.flip(0))  # noqa: E731
    net = make_unet(0, 2, 2, width=2, depth=1).double()
    made = prior.SelfTrainedPrior(net, loss, num_outer, steps, stream(), lr, batch, decay=decay)
    return made(rand(2, 2, 4, 4), 0)


def pairs(counts=None, every=1):
    deal = noise2noise.ThinnedPairs(whole(2, 3) if counts is None else counts, doubled, stream(), every)
    return [deal(), deal()]


def first_batches(num, size):
    found = prior.batches(num, size, stream())
    return [next(found) for _ in range(3)]


def split(**options):
    from ctlib.papers.spectral2spectral.splitting import split_reconstruct

    return split_reconstruct(A, prior=lambda x, k: 0.9 * x, num_outer=1, **options)


P = "ctlib.papers.spectral2spectral"
EXAMPLES = {
    f"{P}.binned.bin_counts": lambda: dict(expected=10 * rand(3, 4, 5), generator=stream()),
    f"{P}.binned.thin": lambda: dict(counts=whole(3, 4, 5), generator=stream(), share=0.5),
    f"{P}.binned.bin_line_integrals": lambda: dict(counts=whole(2, 3, 4, 5), open_beam=30 + rand(3)),
    f"{P}.binned.summed_line_integrals": lambda: dict(counts=whole(2, 3, 4, 5), open_beam=30 + rand(3)),
    f"{P}.binned.count_variance": lambda: dict(counts=whole(2, 3, 4, 5), mode="subtract"),
    f"{P}.binned.log_variance": lambda: dict(counts=whole(3, 4, 5), variance=whole(3, 4, 5)),
    f"{P}.binned.log_covariance": lambda: dict(counts=whole(3, 4, 5), mode="subtract"),
    f"{P}.losses.by_extremes": lambda: dict(x=rand(2, 4, 6)),
    f"{P}.losses.by_mean": lambda: dict(x=rand(2, 4, 6)),
    f"{P}.losses.distant_terms": lambda: dict(net=doubled, x=rand(2, 3, 4, 8), generator=stream()),
    f"{P}.pairs.hidden_bins": lambda: dict(shape=(2, 3, 4, 6), generator=stream(), most=2),
    f"{P}.pairs.filled_in": lambda: dict(
        net=halved, x=rand(2, 3, 4, 6), hidden=torch.eye(3)[1:, :, None, None].double()
    ),
    f"{P}.pairs.bins_loss": lambda: dict(net=halved, x=rand(2, 3, 4, 6), generator=stream(), most=2),
    f"{P}.pairs.fill_bins": lambda: dict(net=halved, x=rand(2, 3, 4, 6)),
    f"{P}.scores.body_mask": lambda: dict(densities=densities(), least=0.2),
    f"{P}.scores.shrunk": lambda: dict(mask=some(2, 6, 7), by=1),
    f"{P}.scores.flat_mask": lambda: dict(truth=rand(1, 2, 12, 14), body=some(1, 1, 12, 14), by=1, share=0.9),
    f"{P}.scores.image_scores": lambda: dict(
        x=rand(1, 2, 16, 18),
        truth=rand(1, 2, 16, 18, seed=1),
        body=some(1, 1, 16, 18) | True,
        window=torch.ones(2, 1, 1, dtype=torch.float64),
        flat=some(1, 1, 16, 18),
    ),
    f"{P}.start.first_images": lambda: dict(A=A, y=rand(2, 3, 6), sirt_iters=2, rho=0.1, tol=0.1),
    f"{P}.losses.neighbor_choice": lambda: dict(shape=(2, 3, 4, 6), generator=stream()),
    f"{P}.losses.subsample": lambda: dict(x=rand(2, 3, 4, 6), choice=losses.neighbor_choice((2, 3, 4, 6), stream())[0]),
    f"{P}.losses.neighbor_terms": lambda: dict(net=doubled, x=rand(2, 3, 4, 6), generator=stream()),
    f"{P}.losses.paired_loss": lambda: dict(net=doubled, first=rand(2, 3, 4, 6), second=rand(2, 3, 4, 6, seed=1)),
    f"{P}.losses.similar_loss": lambda: dict(
        net=doubled, noisy=rand(2, 3, 4, 6), target=rand(2, 3, 4, 6, seed=1), similar=some(2, 1, 4, 6)
    ),
    f"{P}.losses.normalized": lambda: dict(x=rand(2, 4, 6), low=0.05, high=0.9),
    f"{P}.losses.spectral_similarity_loss": lambda: dict(
        images=rand(2, 3, 12, 11), reference=rand(2, 1, 12, 11, seed=1), scaling="quantiles"
    ),
    f"{P}.losses.spectral2spectral_loss": lambda: dict(
        net=doubled,
        x=rand(2, 3, 12, 14),
        reference=rand(2, 1, 12, 14, seed=1),
        generator=stream(),
        lam_r=1.0,
        lam_s=0.1,
    ),
    f"{P}.losses.loss_weights": lambda: dict(schedule="n2n", progress=0.5, lam_r=1.0, lam_s=0.1),
    f"{P}.low_rank.hosvd_threshold": lambda: dict(groups=rand(2, 3, 4, 2), tau=0.1),
    f"{P}.low_rank.nonlocal_lowrank": lambda: dict(
        x=rand(1, 2, 8, 9), strength=2.0, patch=3, stride=2, search=5, num_similar=4
    ),
    f"{P}.matrix_fit.fit_matrix": lambda: dict(images=rand(3, 4, 5), densities=rand(2, 4, 5, seed=1)),
    f"{P}.noise2noise.ThinnedPairs": lambda: dict(call=pairs, counts=whole(2, 3), every=1),
    f"{P}.noise2sim.box_distance": lambda: dict(x=rand(2, 3, 5, 6), other=rand(2, 3, 5, 6, seed=1), window=3),
    f"{P}.noise2sim.similar_slices": lambda: dict(
        x=rand(4, 3, 5, 6), index=torch.tensor([0, 3]), generator=stream(), reach=2, limit=0.5, window=3
    ),
    f"{P}.noise_level.noise_level": lambda: dict(x=rand(2, 5, 6)),
    f"{P}.noise_level.neighbor_correlation": lambda: dict(noise=rand(2, 5, 6) - 0.6, mask=some(5, 6)),
    f"{P}.noise_level.detrended": lambda: dict(x=rand(2, 6, 7), mask=some(6, 7)),
    f"{P}.prior.SelfTrainedPrior": lambda: dict(call=trained, num_outer=1, steps=1, lr=1e-3, batch=2, decay=0.9),
    f"{P}.prior.batches": lambda: dict(call=first_batches, num=4, size=2),
    f"{P}.prior.bin_scale": lambda: dict(x=rand(2, 3, 4, 5)),
    f"{P}.regions.bone_regions": lambda: dict(densities=densities(), least=0.8),
    f"{P}.regions.vessel_region": lambda: dict(densities=densities(), least=0.004),
    f"{P}.regions.slopes": lambda: dict(x=rand(2, 5, 6)),
    f"{P}.regions.edge_gradient": lambda: dict(x=rand(5, 6), truth=rand(5, 6, seed=1)),
    f"{P}.regions.in_units": lambda: dict(maps=rand(2, 3, 4, 5)),
    f"{P}.specimens.rods": lambda: dict(slice_number=1.0, seed=1, size_mm=50.0, drift=0.01),
    f"{P}.specimens.mouse_shapes": lambda: dict(slice_number=1.0, seed=1, size_mm=46.0, drift=0.01),
    f"{P}.specimens.mouse": lambda: dict(volume=PLANE, slice_number=1.0, seed=1, drift=0.01),
    f"{P}.specimens.rod_centers": lambda: dict(seed=1, size_mm=50.0),
    f"{P}.specimens.rod_regions": lambda: dict(volume=PLANE, slice_number=1.0, seed=1, drift=0.01),
    f"{P}.specimens.specimen": lambda: dict(kind="rods", volume=PLANE, num_slices=2, seed=1, drift=0.01),
    f"{P}.splitting.coupling": lambda: dict(A=A, rho=0.1, like=rand(3, 6)),
    f"{P}.splitting.data_steps": lambda: dict(
        A=A, y=rand(3, 6), x=rand(4, 4), z=rand(4, 4, seed=1), lam=0.1, num_iters=2
    ),
    f"{P}.splitting.data_solution": lambda: dict(
        A=A, y=rand(3, 6), x=rand(4, 4), z=rand(4, 4, seed=1), lam=0.5, tol=0.1, max_iters=50
    ),
    f"{P}.splitting.data_objective": lambda: dict(A=A, y=rand(3, 6), x=rand(4, 4), z=rand(4, 4, seed=1), lam=0.1),
    f"{P}.splitting.split_reconstruct": lambda: dict(
        call=split, y=rand(2, 2, 3, 6), x0=rand(2, 2, 4, 4), num_inner=1, rho=0.1
    ),
    f"{P}.subspace.MaterialSubspace.spanned_by": lambda: dict(matrix=rand(3, 2), sigma=rand(3, seed=1)),
    f"{P}.subspace.MaterialSubspace.coordinates": lambda: dict(call=space().coordinates, x=rand(2, 3, 4, 5)),
    f"{P}.subspace.MaterialSubspace.spectra": lambda: dict(call=space().spectra, c=rand(2, 2, 4, 5)),
    f"{P}.vials.vials_and_head": lambda: dict(seed=1),
    f"{P}.vials.vial_densities": lambda: dict(volume=Volume((12, 12), 2.6), seed=1, texture=0.05),
}
RUNS = "the chapter's runs: what they are made of is walked; their parameters are declared in the chapter"
SKIP = {
    f"{P}.bin_images.*": "reads files; tested with files",
    f"{P}.scan_files.*": "reads files; tested with files",
    f"{P}.evaluation.*": RUNS,
    f"{P}.compare.*": RUNS,
    f"{P}.dose.fit_dose": "takes the lists that fbp_errors and the table give; tested with curves of its own",
    f"{P}.dose.fbp_errors": RUNS,
    f"{P}.dose.DoseFit": "a record of a fit",
    f"{P}.example_scan.*": "writes files; tested with files",
    f"{P}.jobs.*": "what a job of the chapter is of",
    f"{P}.lab.*": RUNS,
    f"{P}.measured.*": RUNS,
    f"{P}.methods.*": RUNS,
    f"{P}.study.*": RUNS,
    f"{P}.verdicts.*": RUNS,
    f"{P}.experiment.*": RUNS,
    f"{P}.scan.*": RUNS,
    f"{P}.scene.*": RUNS,
    f"{P}.vial_scene.*": RUNS,
    f"{P}.low_rank.nearest_patches": "the grouping within nonlocal_lowrank, which checks",
    f"{P}.prior.SelfTrainedPrior.*": "called by split_reconstruct and in the example of the constructor",
    f"{P}.splitting.Splitting": "a record of a reconstruction",
    f"{P}.subspace.MaterialSubspace": "made by spanned_by",
}
STREAM = {n: "the random numbers of another shape are others" for n in ("missing axis", "batch")}
ALLOW = {
    f"{P}.binned.bin_counts": STREAM,
    f"{P}.binned.thin": STREAM,
    f"{P}.noise2noise.ThinnedPairs": STREAM,
    f"{P}.regions.slopes": {n: "the two components come first" for n in ("missing axis", "batch")},
}
