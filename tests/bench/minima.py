"""Who finds the lowest minimum of the likelihood, from 10 to 1000 counts: `python tests/bench/minima.py --out FILE`.

Contestants are ctlib (float64 and float32), SciPy (L-BFGS-B from one start and from the best of five, trust-constr) and
RTK's simplex, in an environment of its own that `--rtk PYTHON` names (`make test-rtk` makes .venv-rtk). All solve the
same problem: a table of the detector's response, one thread, no knowledge of the truth. The file is as of
`python tests/bench`; a row of its records is one contestant at one mean number of counts in all bins of a pixel:

case, materials, counts, engine, pixels
above, above_silently   share of pixels more than 1e-4 nat above the lowest value known, and those not flagged either
flagged, outside        share that says it did not converge (ctlib: or that has a second minimum); beyond the box
bias, rmse              of every material, mean and root mean square of the error over its Cramer-Rao bound
ms_per_pixel            processor time, which a busy machine does not change
"""

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import report
import torch
from torch import Tensor

from ctlib.decompose import cramer_rao, decompose_mle
from ctlib.physics import Detector, SpectralModel, Spectrum

COUNTS = (10, 30, 100, 300, 1000)
ABOVE = 1e-4  # nat
HEIGHTS = torch.arange(1.0, 121.0, dtype=torch.float64)  # [keV]; RTK knows no others
SLOW = 20  # pixels that trust-constr gets
SETUPS = {  # thresholds [keV], box, least and largest path lengths [g/cm2], nodes of the grid along each axis
    ("water", "calcium"): ((15, 33, 45, 59, 120), ((-5, 35), (-5, 10)), ((5.0, 0.0), (25.0, 1.5)), 201),
    ("water", "calcium", "iodine"): (
        (15, 30, 45, 59, 75, 120), ((-5, 40), (-5, 10), (-1, 1)), ((5.0, 0.0, 0.0), (25.0, 1.5, 0.02)), 41,
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Problem:
    """Pixels of one kind: a model whose photons (P,) give every pixel the same mean counts, and their Poisson draws."""

    model: SpectralModel
    box: tuple
    truth: Tensor
    counts: Tensor
    nodes: int

    @classmethod
    def of(cls, materials, mean_counts: float, pixels: int, seed: int = 0) -> "Problem":
        thresholds, box, (low, high), nodes = SETUPS[materials]
        spectrum, g = Spectrum.tungsten(120, {"Al": 3.0}), torch.Generator().manual_seed(seed)
        bare = SpectralModel(spectrum, materials, Detector.ideal(), thresholds)
        silicon = Detector.silicon().response(bare.energies_kev, bare.spectrum.widths_kev)
        table = (silicon.above(HEIGHTS - 0.5) - silicon.above(HEIGHTS + 0.5)).T.clamp_min(0).float().double()
        model = bare.replace(detector=Detector.tabulated(HEIGHTS, table))
        low, high = torch.tensor([low, high], dtype=torch.float64)
        truth = low + (high - low) * torch.rand(pixels, len(materials), generator=g, dtype=torch.float64)
        model = model.replace(photons=mean_counts / model(truth).sum(-1))
        return cls(model, box, truth, torch.poisson(model(truth), generator=g), nodes)

    @cached_property
    def arrays(self):
        """Attenuation (N, M), spectra (N, E), photons (P,), counts (P, E) and bounds (M, 2) as NumPy arrays."""
        tensors = self.model.attenuation, self.model.bin_spectra(), self.model.photons, self.counts
        return *(t.numpy() for t in tensors), np.array(self.box, dtype=float)

    def value(self, paths: Tensor) -> Tensor:
        """Negative log-likelihood (P,) at path lengths (P, M)."""
        expected = self.model(paths.double()).clamp_min(1e-300)
        return (expected - torch.xlogy(self.counts, expected)).sum(-1)

    def by_grid(self, best: int = 3) -> Tensor:
        """Path lengths (P, M) of the lowest of L-BFGS-B's answers from each pixel's best nodes of a grid in the box."""
        f, spectra, photons, counts, bounds = self.arrays
        axes = [np.linspace(*b, self.nodes) for b in bounds]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(bounds))
        expected = np.concatenate([np.exp(-part @ f.T) @ spectra for part in np.array_split(grid, 64)])
        least = photons[:, None] * expected.sum(1) - counts @ np.log(expected.clip(1e-300)).T  # (P, nodes)
        starts = grid[np.argsort(least, 1)[:, :best]]
        return self.best_of([minimized(self, k, starts[k]) for k in range(len(counts))])[0]

    @staticmethod
    def best_of(runs) -> tuple[Tensor, Tensor]:
        """Path lengths (P, M) and whether the optimizer complained (P,), of the lowest run of every pixel."""
        lowest = [min(several, key=lambda r: r.fun) for several in runs]
        flagged = torch.tensor([not r.success for r in lowest])
        return torch.from_numpy(np.stack([r.x for r in lowest])), flagged


def minimized(problem: Problem, pixel: int, starts, method: str = "L-BFGS-B") -> list:
    """SciPy's results for one pixel from several starts, in units in which the box is the unit cube."""
    from scipy.optimize import Bounds, minimize

    f, spectra, photons, counts, bounds = problem.arrays
    low, size, y, scaled = bounds[:, 0], np.ptp(bounds, 1), counts[pixel], photons[pixel] * spectra

    def likelihood(t):
        through = np.exp(-f @ (low + size * t))
        expected = (through @ scaled).clip(1e-300)
        slope = -(f.T * through) @ (scaled @ (1 - y / expected))
        return (expected - y * np.log(expected)).sum(), size * slope

    def hessian(t):
        through = np.exp(-f @ (low + size * t))
        expected, jacobian = (through @ scaled).clip(1e-300), (f.T * through) @ scaled
        second = np.einsum("nk,nl,n,ne->kle", f, f, through, scaled)
        pairs = jacobian[:, None] * jacobian / expected**2
        return np.outer(size, size) * ((1 - y / expected) * second + y * pairs).sum(-1)

    results, box = [], Bounds(np.zeros_like(low), np.ones_like(low))
    options = {"options": {"ftol": 1e-13, "gtol": 1e-9, "maxiter": 500}}
    if method == "trust-constr":
        options = {"options": {"gtol": 1e-9, "xtol": 1e-10}, "hess": hessian}
    for start in np.atleast_2d(starts):
        t = ((start - low) / size).clip(1e-3, 1 - 1e-3)
        with np.errstate(all="ignore"):
            r = minimize(likelihood, t, jac=True, method=method, bounds=box, **options)
        r.x = low + size * np.clip(r.x, 0, 1)
        results.append(r)
    return results


def by_ctlib(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Path lengths and what is flagged: not converged, or with a second minimum."""
    paths, info = decompose_mle(problem.model, problem.counts.to(dtype), problem.box, return_info=True)
    return paths.double(), ~info.converged | info.multiple


def by_scipy(problem: Problem, num_starts: int, method: str) -> tuple[Tensor, Tensor]:
    """The lowest answer from the middle of the object's range and, with more starts, from random points in it."""
    rng, (low, high) = np.random.default_rng(0), np.array(SETUPS[tuple(m.name for m in problem.model.materials)][2])
    starts = np.concatenate([[0.5 * (low + high)], rng.uniform(low, high, (num_starts - 1, len(low)))])
    return problem.best_of([minimized(problem, k, starts, method) for k in range(len(problem.counts))])


def by_rtk(problems: list[Problem], python: str) -> list[tuple[Tensor, float]]:
    """RTK's path lengths and seconds of every problem, from one process in its environment."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{k}.npz") for k in range(len(problems))]
        for path, problem in zip(files, problems, strict=True):
            f, _, photons, counts, _ = problem.arrays
            low, high = np.array(SETUPS[tuple(m.name for m in problem.model.materials)][2])
            np.savez(path, spectrum=photons[:, None] * problem.model.spectrum.weights.numpy(), attenuation=f,
                     response=problem.model.detector.density.numpy().T, counts=counts,
                     start=np.tile(0.5 * (low + high), (len(counts), 1)),
                     thresholds=problem.model.thresholds_kev.numpy())  # fmt: skip
        subprocess.run([python, str(Path(__file__).with_name("rtk_simplex.py")), *files], check=True)
        found = [np.load(path) for path in files]
        return [(torch.from_numpy(f["paths"]), float(f["seconds"])) for f in found]


def records(problem: Problem, mean_counts: float, theirs: tuple[Tensor, float] | None) -> list[dict]:
    """A row for every contestant; theirs  what RTK found, if it took part."""
    names = tuple(m.name for m in problem.model.materials)
    few = Problem.of(names, mean_counts, min(len(problem.counts), SLOW))
    runs = {
        "ctlib": (problem, partial(by_ctlib, problem, torch.float64)),
        "ctlib, float32": (problem, partial(by_ctlib, problem, torch.float32)),
        "SciPy L-BFGS-B": (problem, partial(by_scipy, problem, 1, "L-BFGS-B")),
        "SciPy L-BFGS-B, best of 5 starts": (problem, partial(by_scipy, problem, 5, "L-BFGS-B")),
        "SciPy trust-constr": (few, partial(by_scipy, few, 1, "trust-constr")),
    }
    found = {}
    for name, (asked, run) in runs.items():
        if name.startswith("ctlib"):
            run()  # compiled and cached
        begin = time.process_time()
        paths, flagged = run()
        found[name] = asked, paths, flagged, (time.process_time() - begin) / len(paths)
    if theirs:
        paths, seconds = theirs
        found["RTK simplex"] = problem, paths, torch.zeros(len(paths), dtype=torch.bool), seconds / len(paths)
    lowest = {p: p.value(p.by_grid()) for p in (problem, few)}
    for asked, paths, *_ in found.values():
        inside = paths.clamp(*torch.tensor(asked.box, dtype=torch.float64).T)
        lowest[asked] = torch.minimum(lowest[asked], asked.value(inside).nan_to_num(torch.inf))
    labels = {"case": "minimum", "materials": len(names), "counts": mean_counts}
    return [labels | row(name, *result, lowest[result[0]]) for name, result in found.items()]


def row(name: str, problem: Problem, paths: Tensor, flagged: Tensor, seconds: float, lowest: Tensor) -> dict:
    """What one contestant's answers are worth; an answer beyond the box is judged where the box cuts it."""
    low, high = torch.tensor(problem.box, dtype=torch.float64).T
    outside = ((paths < low - 1e-3) | (paths > high + 1e-3) | ~paths.isfinite()).any(-1)
    inside = paths.nan_to_num(0.0).clamp(low, high)
    above = ~(problem.value(inside) - lowest < ABOVE)
    bound = cramer_rao(problem.model.replace(photons=1.0), problem.truth).diagonal(dim1=-2, dim2=-1)
    error = (inside - problem.truth) / (bound / problem.model.photons[:, None]).sqrt()
    shares = {"above": above, "above_silently": above & ~flagged, "flagged": flagged, "outside": outside}
    figures = {k: float(v.double().mean()) for k, v in shares.items()} | {"ms_per_pixel": 1e3 * seconds}
    figures |= {"bias": error.mean(0).tolist(), "rmse": error.square().mean(0).sqrt().tolist()}
    short = {
        k: float(f"{v:.4g}") if isinstance(v, float) else [float(f"{x:.4g}") for x in v] for k, v in figures.items()
    }
    return {"engine": name, "pixels": len(paths), **short}


def main(out: Path, pixels: int, counts, rtk: str | None) -> None:
    """Every case, written after every part."""
    torch.set_num_threads(1)
    about = {"machine": report.machine(), "versions": report.versions() | rtk_version(rtk), "date": report.today()}
    notes, rows = [] if rtk else ["RTK simplex: left out, no environment of its own was named"], []
    cases = [(materials, n) for materials in SETUPS for n in counts]
    problems = [Problem.of(*case, pixels) for case in cases]
    theirs = by_rtk(problems, rtk) if rtk else [None] * len(cases)
    for (materials, mean_counts), problem, result in zip(cases, problems, theirs, strict=True):
        rows += records(problem, mean_counts, result)
        whole = about | {"gpu": "not used", "notes": notes, "records": rows}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(whole | {"digest": report.digest(whole)}, indent=1) + "\n")
        print(f"{len(materials)} materials, {mean_counts:g} counts", flush=True)


def rtk_version(python: str | None) -> dict:
    """The version of itk-rtk in another environment."""
    code = "import importlib.metadata as m; print(m.version('itk-rtk'))"
    run = python and subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return {"itk-rtk": run.stdout.strip()} if run else {}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Lowest minima of the decomposition's likelihood.")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--pixels", type=int, default=200)
    parser.add_argument("--counts", type=float, nargs="+", default=COUNTS, help="mean counts in all bins of a pixel")
    parser.add_argument("--rtk", help="python of the environment that holds itk-rtk")
    options = parser.parse_args()
    main(options.out, options.pixels, options.counts, options.rtk)
