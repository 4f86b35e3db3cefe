"""Benchmark of the projectors and reconstructions against other libraries: `python tests/bench --out FILE [--quick]`.

Everything is measured in one process and in rounds that call every contestant once, so that a busy machine hits all
alike. The JSON written to FILE holds `machine`, `versions`, `date`, `notes` (what was left out and why), `gpu` ("not
yet measured", or the device), `digest` (an edited number shows) and `records`, a flat list of rows:

case              "A", "A.T", "A + A.T", "FBP", "SIRT-50", "decomposition", "decomposition + backward", "accuracy",
                  "memory", "scaling A", "scaling A.T", "A after a pause", "A.T after a pause": right after another,
                  and after 100 ms without work; "decomposition memory", "decomposition + backward memory"
geometry, engine  names; the first engine of a group, ctlib's automatic choice, is what ratios refer to
batch, threads    images in the call; threads it may use
median_ms, low_ms, high_ms, rounds, ratio   of the whole batch
relative_error    |A x - y| / |y|: x the phantom averaged over pixels, y its exact integrals averaged over the bins
adjoint_error_*   |<A x, y> - <x, A' y>| over <A x, y> (positive data) or over |A x| |y| (random signs)
peak_mib          resident memory above the input images while an engine is built and applies A and A.T, or above
                  the counts while they are decomposed; fresh process
quantity, size, views   of a scaling row: what varies, and all that it depends on
images_per_s      of rows measured on a GPU
"""

import argparse
import json
import sys
from pathlib import Path

import accuracy
import cases
import decomposition
import engines
import gpu
import memory
import report
import scaling
import setups
import torch
from timing import compete


def main(out: Path, quick: bool) -> None:
    """Run every case, write the JSON after every part, print the table."""
    budget_s, notes, records = 0.02 if quick else 2.0, [], []
    scans, bounds = setups.small() if quick else setups.standard(), report.bounds(quick)
    for setup in scans:
        records += accuracy_and_times(setup, budget_s, quick, notes)
        engines.forget()
        if not quick or setup is scans[0]:  # a process each
            records += memory.records(setup, records, quick)
        write(out, bounds, notes, records)
    for group in decomposition.groups(100 if quick else 10_000, notes):
        records += compete(group, budget_s)
    records += decomposition.memory_records((1000,) if quick else (10_000, 1_000_000))
    records += scaling.records(budget_s / 4, quick)
    if torch.cuda.is_available():
        records += [row for setup in scans for row in gpu.records(setup, notes)]
    write(out, bounds, notes, records)
    print(report.table(records))
    print("\n".join(["", *notes, f"GPU: {report.gpu()}"]))


def accuracy_and_times(setup: setups.Setup, budget_s: float, quick: bool, notes: list[str]) -> list[dict]:
    """Accuracy of every engine on one scan, and the times of those that compute the same thing."""
    field, records = [], []
    for engine in engines.build(setup.geometry, notes):
        rows = accuracy.records(engine, setup)
        if rows[0]["relative_error"] < accuracy.BOUND or quick:
            field.append(engine)
            records += rows
        else:
            notes.append(f"{engine.name}, {setup.name}: left out, error {rows[0]['relative_error']:.3g}")
    for batch in setup.batches:
        print(f"{setup.name}, batch {batch}", file=sys.stderr, flush=True)
        groups = list(cases.product_groups(field, setup, batch, notes))
        if batch <= 16:
            groups.append(cases.fbp_group(field, setup, batch))
        if batch == 1 and setup.sirt_iters:
            groups.append(cases.sirt_group(field, setup, batch))
        for group in groups:
            records += compete(group, budget_s)
    return records


def write(out: Path, bounds: dict, notes: list[str], records: list[dict]) -> None:
    """The JSON file: what ran where, and the records so far."""
    result = {"machine": report.machine(), "versions": report.versions(), "date": report.today(), "gpu": report.gpu()}
    result |= {"bounds": bounds, "notes": notes, "records": records}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result | {"digest": report.digest(result)}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Benchmark of projectors and reconstructions.")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--quick", action="store_true", help="small scans, a few seconds: does it run at all?")
    options = parser.parse_args()
    main(options.out, options.quick)
