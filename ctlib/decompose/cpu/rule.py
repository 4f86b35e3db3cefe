"""Sums over energies as the compiled loops take them: eight energies a strip, and the moments they contribute to."""

from collections import namedtuple

import numpy as np

STRIP = 8  # energies whose transmissions `block.moments` keeps in registers, by name
NOTHING = 1e-12  # share of a bin's counts below which an energy does not belong to it

# depth (S, 3, STRIP) attenuation of strip s times -log2(e), 0 for a third material that is not there;  of strip s the
# entries first[s] to first[s + 1], from middle[s] on those of second derivatives;  row (n,) of the moment that an entry
# adds to, weight (n, STRIP)
Rule = namedtuple("Rule", "depth first middle row weight")


def strips(attenuation: np.ndarray, spectra: np.ndarray) -> Rule:
    """The rule of `moment_tables`; attenuation (N, M), spectra (N, E).

    Energies that no bin counts are left out, and those that the same bins count lie side by side.
    """
    counted = np.abs(spectra) > NOTHING * np.abs(spectra).sum(0)
    order = np.lexsort(counted.T)[np.sum(~counted.any(1)) :]
    spectra = np.where(counted, spectra, 0.0)[order]
    f = _padded(attenuation.astype(np.float64)[order])
    (num, bins), materials = (len(f), spectra.shape[1]), attenuation.shape[1]
    rows, cols = np.triu_indices(materials)
    basis = np.concatenate([np.ones_like(f[:, :1]), -f, f[:, rows] * f[:, cols]], 1)
    tables = (basis[:, :, None] * _padded(spectra)[:, None, :]).reshape(num // STRIP, STRIP, basis.shape[1] * bins)
    wide = np.pad(f, ((0, 0), (0, 3 - materials))).reshape(num // STRIP, STRIP, 3).transpose(0, 2, 1)
    present = tables.any(1)  # (S, moments)
    strip, row = np.nonzero(present)
    first = np.concatenate([[0], np.cumsum(present.sum(1))])
    middle = first[:-1] + present[:, : (1 + materials) * bins].sum(1)
    parts = -np.log2(np.e) * wide, first, middle, row, tables[strip, :, row]
    return Rule(*(np.ascontiguousarray(p, t) for p, t in zip(parts, ("f4", "i4", "i4", "i4", "f4"), strict=True)))


def _padded(rows: np.ndarray) -> np.ndarray:
    return np.pad(rows, ((0, -len(rows) % STRIP), (0, 0)))
