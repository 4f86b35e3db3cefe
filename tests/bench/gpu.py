"""The products, FBP and the decomposition on a CUDA device: `python tests/bench/gpu.py --case NAME --out PART`.

One case a call, for a machine that is lent for minutes; `--merge FOLDER --out FILE` makes the benchmark's JSON of all
parts of the same code, device and versions as now. Its rows are those of `tests/bench` and say besides: `images_per_s`
(or `ns_per_pixel`), `device_mib` (highest memory of the call above what it was given), `bound_images_per_s`, `bound_by`
and `fraction_of_bound` (`device_bounds`).
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path

import decomposition
import device_bounds
import report
import setups
import torch
from astra_cuda import contestants
from failures import in_short
from setups import Setup

from ctlib import backends
from ctlib.book.project import Project
from ctlib.book.runner.provenance import commit
from ctlib.decompose import decompose_mle
from ctlib.geometry import ConeBeam
from ctlib.projector import Projector
from ctlib.recon import fbp

BATCHES, PIXELS, ROUNDS = (1, 16, 64), 1_000_000, 15
DECOMPOSITION, AUTO = "decomposition", "ctlib auto"
SAME = ("code", "gpu", "versions")  # in all parts of one benchmark


def records(setup: Setup, notes: list[str], device: str = "cuda", batches=BATCHES, rounds: int = ROUNDS) -> list[dict]:
    """Interleaved times of ctlib's engines and of ASTRA's on the device; what cannot be called is noted."""
    machine, rows = device_bounds.measured(device), []
    for batch in batches if not isinstance(setup.geometry, ConeBeam) else batches[:1]:
        groups = calls(setup, device, batch, notes)
        for case, group in groups.items():
            works = {name: call for name, call in group.items() if tried(call, f"{name}, {setup.name}, {case}", notes)}
            if AUTO not in works:
                notes.append(f"{setup.name}, {case}, batch {batch}: left out, nothing to compare with")
                continue
            times = interleaved(works, rounds, device)
            first = statistics.median(times[AUTO])
            for name, ms in times.items():
                row = {"case": case, "geometry": setup.name, "engine": name, "batch": batch, "threads": 1}
                row |= told(ms, first, batch) | {"device_mib": peak_mib(works[name], device)}
                if name.startswith("ctlib auto") and case in ("A", "A.T"):
                    row |= device_bounds.fraction(setup, case, batch, "float16" in name, row["images_per_s"], machine)
                rows.append(row)
    return rows


def calls(setup: Setup, device: str, batch: int, notes: list[str]) -> dict[str, dict]:
    """{case: {engine: call}}, ctlib's automatic choice first."""
    x, y = setup.image(batch).to(device), setup.sinogram(batch).to(device)
    A, fdk = Projector(setup.geometry), "FDK" if isinstance(setup.geometry, ConeBeam) else "FBP"
    groups = {"A": {"ctlib auto": partial(A, x)}, "A.T": {"ctlib auto": partial(A.T, y)}}
    groups[fdk] = {"ctlib auto": partial(fbp, A, y)}
    if "float16" in backends.dtypes("auto", x.half()):
        small_x, small_y = (x / x.max()).half(), (y / y.max()).half()  # within the range of float16
        groups["A"]["ctlib auto, float16"] = partial(A, small_x)
        groups["A.T"]["ctlib auto, float16"] = partial(A.T, small_y)
    if batch == 1:
        torch_engine = Projector(setup.geometry, "torch")
        groups["A"]["ctlib torch"], groups["A.T"]["ctlib torch"] = partial(torch_engine, x), partial(torch_engine.T, y)
    for case, name, call in contestants(setup.geometry, x, y, notes):
        groups[case][name] = call
    return groups


def tried(call, name: str, notes: list[str]) -> bool:
    """Whether a call works; why not is noted."""
    try:
        call()
    except Exception as error:  # a library of somebody else, or memory
        notes.append(f"{name}: left out, {in_short(error)}")
        return False
    return True


def decompositions(notes: list[str], device: str = "cuda", pixels: int = PIXELS, rounds: int = ROUNDS) -> list[dict]:
    """The decomposition forward, and with its implicit gradient."""
    model, counts = decomposition.problem(pixels)
    counts = counts.to(device)
    forward = partial(decompose_mle, model, counts, box=decomposition.BOX)
    group = {DECOMPOSITION: forward, f"{DECOMPOSITION} + backward": partial(decomposition.with_gradient, model, counts)}
    group = {case: call for case, call in group.items() if tried(call, case, notes)}
    rows = []
    for case, ms in interleaved(group, rounds, device).items():
        row = {"case": case, "geometry": "", "engine": "ctlib auto", "batch": pixels, "threads": 1}
        median = statistics.median(ms)
        row |= told(ms, median, pixels) | {"device_mib": peak_mib(group[case], device)}
        rows.append(row | {"ns_per_pixel": 1e6 * median / pixels})
    return rows


def told(times_ms: list[float], first: float, batch: int) -> dict:
    median = statistics.median(times_ms)
    row = {"median_ms": median, "low_ms": min(times_ms), "high_ms": max(times_ms), "rounds": len(times_ms)}
    return row | {"ratio": median / first, "images_per_s": 1e3 * batch / median}


def interleaved(group: dict, rounds: int, device: str) -> dict:
    """Milliseconds of each call, A B C A B C, after three warm-up rounds: by CUDA events, on a CPU by its clock."""
    times = {key: [] for key in group}
    for k in range(rounds + 3):
        for key, call in group.items():
            ms = one(call, device)
            if k >= 3:
                times[key].append(ms)
    return times


def one(call, device: str) -> float:
    """Milliseconds of one call."""
    if not device.startswith("cuda"):
        start = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - start)
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop)


def peak_mib(call, device: str) -> float | None:
    """Device memory of torch above what there was before the call; ASTRA's own is not seen."""
    if not device.startswith("cuda"):
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def part(case: str, device: str, quick: bool, code: str) -> dict:
    """Rows, notes and measured bounds of one case, and what they were measured with."""
    notes, batches, rounds = [], (1, 2) if quick else BATCHES, 2 if quick else ROUNDS
    if case == DECOMPOSITION:
        rows = decompositions(notes, device, 100 if quick else PIXELS, rounds)
    else:
        (setup,) = (s for s in (setups.small() if quick else setups.standard()) if s.name == case)
        rows = records(setup, notes, device, batches, rounds)
    return {**stamp(code), "bounds": device_bounds.measured(device), "notes": notes, "records": rows}


def stamp(code: str) -> dict:
    """What a measurement is of: machine, packages, device, code; and when and at which commit."""
    about = {"machine": report.machine(), "versions": report.versions(), "date": report.today(), "gpu": report.gpu()}
    return about | {"code": code, "commit": commit(Project())}


def merged(folder: Path, now: dict) -> dict:
    """The benchmark's JSON of the parts in a folder that have the same stamp as now; of others a note says so."""
    parts = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    same = {name: p for name, p in parts.items() if all(p.get(key) == now[key] for key in SAME)}
    notes = [note for p in same.values() for note in p["notes"]]
    notes += [f"{name}: left out, of other code, device or versions" for name in parts if name not in same]
    result = now | {"bounds": next((p["bounds"] for p in same.values()), {}), "notes": notes}
    result["records"] = [row for p in same.values() for row in p["records"]]
    return result | {"digest": report.digest(result)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark on a GPU, one case a call.")
    names = [s.name for s in setups.standard() + setups.small()] + [DECOMPOSITION]
    parser.add_argument("--case", choices=names)
    parser.add_argument("--merge", type=Path, metavar="FOLDER", help="of parts")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="few rounds, small batches")
    parser.add_argument("--code", default="", metavar="DIGEST", help="of what is measured: other parts are not merged")
    options = parser.parse_args()
    if options.merge:
        made = merged(options.merge, stamp(options.code))
    else:
        made = part(options.case, options.device, options.quick, options.code)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    new = options.out.with_name(options.out.name + ".part")
    new.write_text(json.dumps(made, indent=1) + "\n")
    new.replace(options.out)
    print(report.table(made["records"]))
    print("\n".join(made["notes"]))


if __name__ == "__main__":
    main()
