"""What all pixels have in common, for the compiled loops, in two arrays that are kept.

numba looks at every argument of a call, and at every entry of a tuple: at the forty of a task and its rules it looked
for longer than the loops take for a hundred pixels.
"""

from typing import NamedTuple

import numpy as np

from ctlib.decompose.cpu.block import Task, plain
from ctlib.decompose.cpu.rule import STRIP, Rule

NUMBERS = 18  # low, high and scale of three materials; limit, near and ridge; least and most of three materials
SIZES = 7  # steps that count as far; coefficients and bins of the start; strips and entries of either rule


class Packed(NamedTuple):
    """Materials of a `Task`, float32 and int32.

    reals  `NUMBERS`, the start, depth and weight of both rules;  wholes  `SIZES`, first, middle and row of both rules
    """

    materials: tuple[int, ...]
    reals: np.ndarray
    wholes: np.ndarray


def pack(materials, numbers, num_far: int, coefficients, open_beam, fine: Rule, other: Rule) -> Packed:
    """numbers (NUMBERS,); coefficients (F, M) and open_beam (E,) of the start, or F = E = 0.

    fine  the rule where its energies stand for all;  other  that of the first steps, or for the gradient of all
    """
    sizes = [num_far, len(coefficients), len(open_beam)]
    sizes += [n for rule in (fine, other) for n in (len(rule.middle), len(rule.row))]
    reals = [numbers, coefficients, open_beam, fine.depth, fine.weight, other.depth, other.weight]
    wholes = [sizes, *fine[1:4], *other[1:4]]
    flat = [
        np.concatenate([np.asarray(p, t).ravel() for p in parts])
        for parts, t in ((reals, np.float32), (wholes, np.int32))
    ]
    return Packed(materials, *flat)


@plain
def _rule(reals, wholes, at, start, strips, entries):
    """The rule whose reals begin at `at`, and whole numbers at `start`."""
    depth = reals[at : at + strips * 3 * STRIP].reshape(strips, 3, STRIP)
    at += depth.size
    weight = reals[at : at + entries * STRIP].reshape(entries, STRIP)
    middle = start + strips + 1
    row = middle + strips
    return Rule(depth, wholes[start:middle], wholes[middle:row], wholes[row : row + entries], weight)


@plain
def unpacked(y, photons, readings, tolerance, materials, reals, wholes):
    """Task, and both rules."""
    n, num = reals, len(materials)
    beam = NUMBERS + wholes[1] * num
    coefficients, open_beam = n[NUMBERS:beam].reshape(wholes[1], num), n[beam : beam + wholes[2]]
    at, start = beam + open_beam.size, SIZES
    fine = _rule(reals, wholes, at, start, wholes[3], wholes[4])
    at += fine.depth.size + fine.weight.size
    start += fine.first.size + fine.middle.size + fine.row.size
    other = _rule(reals, wholes, at, start, wholes[5], wholes[6])
    task = Task(
        materials,
        y,
        photons,
        readings,
        (n[0], n[1], n[2]),
        (n[3], n[4], n[5]),
        (n[6], n[7], n[8]),
        coefficients,
        open_beam,
        tolerance,
        n[9],
        n[10],
        n[11],
        (n[12], n[13], n[14]),
        (n[15], n[16], n[17]),
        wholes[0],
    )
    return task, fine, other
