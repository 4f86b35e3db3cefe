"""Material decomposition: 10,000 pixels, 4 bins, 2 materials, 100 energies; left out where it cannot be imported.

`python decomposition.py PIXELS [--backward]` prints the peak of resident memory above the counts [MiB].
"""

import sys
from functools import partial

import memory
import torch
from timing import Contestant

BOX = ((-5, 35), (-5, 10))


def groups(pixels: int, notes: list[str]) -> list[list[Contestant]]:
    """Forward to convergence, and forward with the implicit backward pass."""
    try:
        from ctlib.decompose import decompose_mle
    except ImportError as error:
        notes.append(f"decomposition: left out, {error}")
        return []
    model, counts = problem(pixels)
    forward = partial(decompose_mle, model, counts, box=BOX)
    labels = {"geometry": "", "batch": pixels, "threads": torch.get_num_threads()}
    tables = model.attenuation.float(), model.bin_spectra(like=counts) * float(model.photons)
    newton = partial(plain_newton, *tables, counts, decompose_mle(model, counts, box=BOX) * 0.9)
    return [
        [
            Contestant("ctlib", forward, {"case": "decomposition", **labels}),
            Contestant("torch, 6 Newton steps, forward alone", newton, {"case": "decomposition", **labels}),
        ],
        [Contestant("ctlib", partial(with_gradient, model, counts), {"case": "decomposition + backward", **labels})],
    ]


def memory_records(sizes: tuple[int, ...]) -> list[dict]:
    """Rows of the peak, forward alone and with the backward pass, for as many pixels; none where nothing counts it."""
    rows = []
    for pixels in sizes:
        for case, flags in (("decomposition memory", ()), ("decomposition + backward memory", ("--backward",))):
            peak = memory.printed(__file__, str(pixels), *flags)
            labels = {"case": case, "geometry": "", "engine": "ctlib", "batch": pixels}
            rows += [] if peak is None else [labels | {"peak_mib": round(peak, 1)}]
    return rows


def plain_newton(f: torch.Tensor, spectra: torch.Tensor, counts: torch.Tensor, paths: torch.Tensor) -> torch.Tensor:
    """Six Newton steps as one writes them in torch: one matrix product with [1, -f, f f] and a closed 2 x 2 solve."""
    basis = torch.cat([torch.ones_like(f[:, :1]), -f, f[:, :1] * f, f[:, 1:] ** 2], 1)  # 1, -f1, -f2, f1f1, f1f2, f2f2
    tables = (basis[:, :, None] * spectra[:, None, :]).flatten(1)
    for _ in range(6):
        expected, a, b, aa, ab, bb = (torch.exp(-paths @ f.T) @ tables).unflatten(-1, (6, -1)).unbind(-2)
        r, ratio = 1 - counts / expected, counts / expected**2
        ga, gb = (r * a).sum(-1), (r * b).sum(-1)
        haa, hab, hbb = (ratio * p + r * q for p, q in ((a * a, aa), (a * b, ab), (b * b, bb)))
        haa, hab, hbb = haa.sum(-1), hab.sum(-1), hbb.sum(-1)
        step = torch.stack([hbb * ga - hab * gb, haa * gb - hab * ga], -1) / (haa * hbb - hab**2)[:, None]
        paths = paths - step
    return paths


def with_gradient(model, counts: torch.Tensor) -> None:
    """Decompose, and differentiate the sum by the counts."""
    from ctlib.decompose import decompose_mle

    counts = counts.detach().requires_grad_()
    decompose_mle(model, counts, box=BOX).sum().backward()


def problem(pixels: int):
    """A spectral model of 120 kV and counts (pixels, 4) of random thicknesses of water and calcium."""
    from ctlib.physics import Detector, SpectralModel, Spectrum

    spectrum = Spectrum.tungsten(kvp=120, filters_mm={"Al": 3.0})
    model = SpectralModel(
        spectrum, materials=("water", "calcium"), detector=Detector.silicon(depth_mm=60),
        thresholds_kev=(15, 33, 45, 59, 120), photons=1e6,
    )  # fmt: skip
    g = torch.Generator().manual_seed(0)
    paths = torch.rand(pixels, 2, generator=g) * torch.tensor([25.0, 1.5])
    return model, torch.poisson(model(paths).double(), generator=g).float()


def main(pixels: str, *flags: str) -> None:
    """Print the peak [MiB] after a call for a few pixels, which what is compiled and kept belongs to."""
    from ctlib.decompose import decompose_mle

    call = with_gradient if flags else partial(decompose_mle, box=BOX)
    model, counts = problem(int(pixels))
    call(model, counts[:600].clone())
    print(memory.growth_mib(partial(call, model, counts)))


if __name__ == "__main__":
    main(*sys.argv[1:])
