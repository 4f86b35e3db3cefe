"""The recorded benchmark on a page: tables and curves from book/results/bench/<name>.json, refused when edited."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ctlib.book.ledger.claimfile import BOOK
from ctlib.book.ledger.stored_runs import guarded
from ctlib.book.page.results_table import ResultsTable, table
from ctlib.book.page.tables import Table, digits
from ctlib.errors import ArgumentError

FIELDS = ("machine", "versions", "date", "gpu", "records")
NOT_MEASURED = "not yet measured"
PRECISIONS = ("network", "weights", "training", "float32 [ms]", "bf16 [ms]", "times as fast")
PRECISIONS += ("float32 [dB]", "bf16 − float32 [dB]", "")


class Benchmark:
    """One run of `make bench`: its records, chosen by their labels."""

    def __init__(self, path: Path, run: dict):
        self.path, self.run = path, run

    def rows(self, **labels) -> list[dict]:
        """Records whose labels equal these; ArgumentError when there is none."""
        found = [r for r in self.run["records"] if all(r.get(k) == v for k, v in labels.items())]
        if not found:
            raise ArgumentError("labels", labels, f"labels of records in {self.path.name}")
        return found

    def times(self, case: str, geometry: str) -> Table:
        """Milliseconds per call and, in brackets, how many times as long as ctlib takes: engines by batches."""
        rows = self.rows(case=case, geometry=geometry)
        batches = sorted({r["batch"] for r in rows})
        cells = {(r["engine"], r["batch"]): f"{digits(r['median_ms'])} ({r['ratio']:.1f} x)" for r in rows}
        engines = list(dict.fromkeys(r["engine"] for r in rows))
        head = [f"{case} [ms]", *(f"batch {b}" for b in batches)]
        return Table(head, [[e, *(cells.get((e, b), "") for b in batches)] for e in engines])

    def accuracy(self, geometry: str) -> Table:
        """Error against exact integrals, error of the adjoint and memory, engine by engine."""
        memory = {(r["engine"], r["batch"]): r["peak_mib"] for r in self.rows(case="memory", geometry=geometry)}
        head = [
            "engine",
            "error against exact bins",
            "adjoint, positive",
            "adjoint, random",
            "MiB, batch 1",
            "batch 16",
        ]
        rows = []
        for r in self.rows(case="accuracy", geometry=geometry):
            used = [f"{memory[r['engine'], b]:.0f}" if (r["engine"], b) in memory else "" for b in (1, 16)]
            errors = [r["adjoint_error_positive"], r["adjoint_error_random"]]
            rows.append([r["engine"], digits(r["relative_error"]), *(f"{e:.0e}" for e in errors), *used])
        return Table(head, rows)

    def minima(self, materials: int, figure: str = "above") -> Table:
        """Contestants of `tests/bench/minima.py` by the mean counts of a pixel.

        figure  "above", share [%] of the pixels above the lowest minimum, and in brackets those that are not flagged
                either; "bias" or "rmse" of every material, over its Cramer-Rao bound; "ms_per_pixel"
        """
        rows = self.rows(case="minimum", materials=materials)
        found = {(r["engine"], r["counts"]): r for r in rows}
        engines, counts = (list(dict.fromkeys(r[k] for r in rows)) for k in ("engine", "counts"))

        def cell(r: dict) -> str:
            if figure == "above":
                return f"{100 * r['above']:.1f} ({100 * r['above_silently']:.1f})"
            values = r[figure] if isinstance(r[figure], list) else [r[figure]]
            return ", ".join(f"{v:.2g}" for v in values)

        head = [figure.replace("_", " "), *(f"{n:g} counts" for n in counts)]
        return Table(head, [[e, *(cell(found[e, n]) for n in counts)] for e in engines])

    def scaling(self, case: str, quantity: str, geometry: str = "parallel") -> tuple[np.ndarray, np.ndarray, float]:
        """(values, milliseconds, slope in logarithms) of time against one quantity."""
        rows = sorted(self.rows(case=case, quantity=quantity, geometry=geometry), key=lambda r: r[quantity])
        x, ms = np.array([[r[quantity], r["median_ms"]] for r in rows], float).T
        return x, ms, float(np.polyfit(np.log(x), np.log(ms), 1)[0])

    def __repr__(self) -> str:
        machine, versions = self.run["machine"], self.run["versions"]
        packages = ", ".join(f"{k} {v}" for k, v in versions.items())
        return f"Recorded {self.run['date']} on {machine['cpu']}, {machine['cores']} cores; {packages}"


def recorded_benchmark(name: str, book: Path | str = BOOK) -> Benchmark:
    """The run stored as book/results/bench/<name>.json; DataError when it is missing, damaged or edited by hand."""
    path = Path(book, "results", "bench", f"{name}.json")
    return Benchmark(path, guarded(path, FIELDS, "run `make bench` again"))


def recorded_precision(book: Path | str = BOOK) -> ResultsTable:
    """bfloat16 against float32, network by network, from book/results/bench/precision.json; or that there is none yet.

    Time of a step, PSNR as mean and standard deviation over the seeds, and the mean difference from the same seed.
    """
    if not Path(book, "results", "bench", "precision.json").is_file():
        return table(["network"], [[NOT_MEASURED]])
    bench = recorded_benchmark("precision", book)
    full, half = (bench.rows(case="precision", precision=name) for name in ("float32", "bf16"))
    rows = []
    for one, two in zip(full, half, strict=True):
        training = f"{one['steps']} steps, batch {one['batch']}, {one['image']}, {len(one['psnr_db'])} seeds"
        times = [digits(one["step_ms"]), digits(two["step_ms"]), one["step_ms"] / two["step_ms"]]
        result = [(float(np.mean(one["psnr_db"])), two["spread_db"]), two["difference_db"]]
        told = "within the spread" if two["within_spread"] else "outside the spread"
        rows.append([one["network"], f"{one['parameters']:,}", training, *times, *result, told])
    devices = dict.fromkeys(f"{r['device']}, threads: {r['threads']}" for r in full)
    where = f"{bench!r}; {'; '.join(devices)}"
    return table(PRECISIONS, rows, caption=where, digits={PRECISIONS[5]: 2, PRECISIONS[6]: 2, PRECISIONS[7]: 2})
