"""A public split of LDCT-and-Projection-data by patient: exams with images at both doses, {cite}`eulig2024`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ctlib import contract
from ctlib.data.pairs import split_patients
from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.ldct_cohort import Cohort, find_cohort

SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}

# C chest, L abdomen, N head: 35, 10 and 5 patients each for training, validation and test
PUBLIC_SPLIT = {
    "train": (
        "C002 C004 C012 C016 C021 C027 C030 C050 C077 C081 C095 C099 C111 C120 C124 C128 C130 C158 C160 C162 "
        "C166 C179 C193 C203 C218 C224 C234 C241 C246 C252 C257 C261 C267 C268 C296 L004 L019 L049 L056 L057 "
        "L064 L071 L072 L075 L081 L110 L114 L116 L125 L131 L134 L145 L148 L150 L160 L170 L175 L178 L203 L209 "
        "L210 L219 L229 L232 L237 L248 L266 L273 L277 L299 N005 N012 N030 N051 N053 N072 N076 N082 N085 N100 "
        "N105 N113 N127 N132 N140 N141 N156 N160 N169 N175 N177 N180 N181 N187 N190 N202 N204 N209 N216 N236 "
        "N264 N265 N270 N293 N298 "
    ),
    "val": (
        "C052 C067 C107 C190 C202 C219 C227 C232 C258 C295 L014 L033 L058 L077 L123 L179 L186 L187 L193 L212 "
        "N024 N047 N056 N079 N139 N188 N198 N252 N279 N300 "
    ),
    "test": ("C121 C135 C170 C249 C280 L006 L107 L220 L221 L241 N090 N138 N153 N176 N284 "),
}


def public_split(ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The public split restricted to the patients at hand: {"train", "val", "test"}, sorted; unlisted ids in none.

    ArgumentError where a part stays empty: then `split_patients` divides what there is.
    """
    present = set(ids)
    parts = {part: tuple(i for i in names.split() if i in present) for part, names in PUBLIC_SPLIT.items()}
    empty = [part for part, names in parts.items() if not names]
    if empty:
        raise ArgumentError("ids", sorted(present)[:8], f"patients of the public split in every part; none in {empty}")
    return parts


def divide(cohort: Cohort, least: int = 3, seed: int = 0) -> tuple[dict[str, tuple[str, ...]], str]:
    """Patients of "train", "val" and "test", none of them empty, and a line that says how they were divided.

    The public split where it has patients in every part; else `SHARES` of the patients of each region, drawn with the
    seed. ArgumentError where fewer than three patients have a run of `least` adjacent slices at both doses.
    """
    least, seed = contract.count("least", least, 1), contract.count("seed", seed)
    region = {e.patient: e.region for e in cohort.pairs if max(map(len, e.runs)) >= least}
    if len(region) < len(SHARES):
        needed = (
            f"at least {len(SHARES)}, to train, to choose and to test with, of {least} adjacent slices at both doses"
        )
        raise ArgumentError("patients", f"{len(region)} in {cohort.root}", f"{needed}\n{cohort.describe()}")
    try:
        parts, how = public_split(region), "public"
    except ArgumentError:
        parts, how = split_patients(list(region), SHARES, seed, region.get), f"drawn by patient and region, seed {seed}"
    unused = len(region) - sum(map(len, parts.values()))
    left_out = f"; {unused} patients not in it are left out" if unused else ""
    return parts, f"split ({how}): " + ", ".join(f"{p} {len(names)}" for p, names in parts.items()) + left_out


def describe_cohort(source: Cohort | str | Path, least: int = 3, seed: int = 0) -> str:
    """What a folder holds and how it would be divided, as text: a dry run that reads headers alone, no pixels."""
    cohort = source if isinstance(source, Cohort) else find_cohort(source)
    try:
        return f"{cohort.describe()}\n{divide(cohort, least, seed)[1]}"
    except ArgumentError as error:
        return f"{cohort.describe()}\nno split: {str(error).splitlines()[0]}"
