"""How outputs of different methods are compared: the paper's metrics, pairs by patient, and the classical filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from ctlib import contract, metrics
from ctlib.data.pairs import Stacks
from ctlib.errors import ArgumentError, MissingDependency
from ctlib.metrics.paired import paired_interval
from ctlib.papers.hqinet.wiener import apply_response, wiener_response
from ctlib.prox import prox_tv


def slice_scores(
    x: Tensor, ref: Tensor, names: Sequence[str] = ("L1", "NMSE", "PSNR", "MI", "SSIM"), mi_bins: int = 32
) -> dict[str, Tensor]:
    """The paper's four metrics and SSIM of every slice, (N,) each; x and ref are gray images (N, 1, Y, X).

    mi_bins  histogram bins of the mutual information over [0, 1]
    """
    x, ref = contract.together((1, "Y", "X"), promote=True, x=x, ref=ref)
    if x.shape != ref.shape or x.ndim != 4:
        raise ArgumentError("x", f"shape {tuple(x.shape)}", f"(N, 1, Y, X) as ref, {tuple(ref.shape)}")
    mi_bins = contract.count("mi_bins", mi_bins, 1)
    known = {
        "L1": lambda a, b: (a - b).abs().mean((1, 2)),
        "NMSE": metrics.nmse,
        "PSNR": partial(metrics.psnr, data_range=1.0),
        "MI": partial(metrics.mutual_information, bins=mi_bins),
        "SSIM": partial(metrics.ssim, data_range=1.0),
    }
    names = [contract.choice("names", name, tuple(known)) for name in names]
    return {name: known[name](x[:, 0], ref[:, 0]) for name in names}


def mean_psnr(x: Tensor, ref: Tensor) -> float:
    """Mean PSNR of the slices [dB], data range 1."""
    return float(slice_scores(x, ref, ["PSNR"])["PSNR"].mean())


def per_patient(outputs: Sequence[Tensor], ref: Tensor, patients: Sequence[str], what: str = "PSNR") -> Tensor:
    """One metric of every seed, averaged over each patient's slices: (seeds, patients), patients sorted.

    outputs   (N, 1, Y, X) of one network a seed, on the same slices
    patients  whose slice each of the N is
    """
    if not outputs or any(len(x) != len(patients) for x in (*outputs, ref)) or not patients:
        lengths = ([len(x) for x in outputs], len(ref), len(patients))
        raise ArgumentError("outputs, ref, patients", lengths, "one slice each for every name, and at least one")
    member = torch.tensor([[p == q for q in patients] for p in sorted(set(patients))], dtype=torch.float32)
    values = torch.stack([slice_scores(x, ref, [what])[what].cpu() for x in outputs])
    return values @ member.T / member.sum(1)


def compare(
    first: Sequence[Tensor], second: Sequence[Tensor], ref: Tensor, patients: Sequence[str], what: str = "PSNR"
) -> list[float]:
    """Lower end, mean and upper end of first minus second, on the same slices and seeds; ends as `paired_interval`."""
    difference = per_patient(first, ref, patients, what) - per_patient(second, ref, patients, what)
    low, high = paired_interval(difference, torch.Generator().manual_seed(0))
    return [low, float(difference.mean()), high]


def classical_filters(train: Stacks) -> dict[str, tuple[Callable[[Tensor, object], Tensor], tuple]]:
    """{name: (filter, parameters to choose from)}; a filter maps images (N, 1, Y, X) and a parameter to images."""
    try:
        from scipy.ndimage import gaussian_filter
        from skimage.restoration import denoise_nl_means
    except ImportError as error:
        raise MissingDependency("scikit-image", "classical filters") from error

    def each(filter_one: Callable, x: Tensor) -> Tensor:
        return torch.stack([torch.as_tensor(filter_one(s.cpu().numpy())) for s in x[:, 0]])[:, None].to(x)

    def non_local(s, h: float):
        return denoise_nl_means(s, patch_size=3, patch_distance=5, h=h)

    return {
        "Gaussian": (lambda x, p: each(partial(gaussian_filter, sigma=p), x), (0.4, 0.55, 0.7, 0.85, 1.0, 1.2)),
        "TV": (lambda x, p: prox_tv(x, p, 60), (0.01, 0.02, 0.03, 0.05, 0.08, 0.12)),
        "non-local means": (lambda x, p: each(partial(non_local, h=p), x), (0.03, 0.05, 0.08, 0.12, 0.18)),
        "Wiener": (apply_response, (wiener_response(train.low, train.full),)),
    }


def filtered(sets: Mapping[str, Stacks]) -> dict[str, tuple[object, Tensor]]:
    """{filter: (parameter, test slices filtered)}; parameters are those of the best PSNR on the validation slices."""
    val, found = sets["val"], {}
    for name, (run, choices) in classical_filters(sets["train"]).items():
        best = max(choices, key=lambda p, run=run: mean_psnr(run(val.low, p), val.full))
        found[name] = best, run(sets["test"].low, best)
    return found
