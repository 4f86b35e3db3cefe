"""What a Compton event leaves behind: Klein-Nishina times the incoherent scattering function."""

import numpy as np

from ctlib.physics.attenuation import ELECTRON_KEV, xray_tables

HC_KEV_ANGSTROM = 12.398419843
"""Planck's constant times the speed of light [keV Angstrom], CODATA 2018."""
SAMPLES = 200  # midpoints over [0, largest transfer]


def largest_transfer(energies_kev):
    """Energy [keV] of the recoil electron when the photon turns back: 2 a E / (1 + 2 a), a = E / 511 keV."""
    a = energies_kev / ELECTRON_KEV
    return 2 * a * energies_kev / (1 + 2 * a)


def klein_nishina(energies_kev, transfers_kev):
    """Klein-Nishina cross section per transferred energy, up to a factor that depends on the photon's energy alone.

        2 + s^2 / (a^2 (1 - s)^2) + s / (1 - s) (s - 2 / a),    s = T / E,    a = E / 511 keV

    Free electron at rest, {cite}`klein1929`.
    """
    a, s = energies_kev / ELECTRON_KEV, transfers_kev / energies_kev
    return 2 + (s / (a * (1 - s))) ** 2 + s / (1 - s) * (s - 2 / a)


def momentum_transfer(energies_kev, transfers_kev):
    """x = E sin(theta / 2) / hc [1/Angstrom] of a free-electron Compton event that transfers T."""
    a = energies_kev / ELECTRON_KEV
    one_minus_cos = transfers_kev / (a * (energies_kev - transfers_kev))
    return energies_kev / HC_KEV_ANGSTROM * np.sqrt(one_minus_cos / 2)


def incoherent_factor(atomic_number: int, x):
    """S(x) / Z, the share of bound electrons free enough to scatter, {cite}`hubbell1975`; log-log between 300 nodes."""
    section = xray_tables().SF_Compt
    nodes = np.geomspace(5e-3, 50.0, 300)
    values = np.array([section(atomic_number, q) for q in nodes]) / atomic_number
    return np.exp(np.interp(np.log(np.maximum(x, nodes[0])), np.log(nodes), np.log(values)))


def transfer_samples(atomic_number: int, energies_kev, bound: bool = True):
    """Transferred energies (N, 200) [keV] and their probabilities, rows summing to 1, of photon energies (N,).

    bound  multiply Klein-Nishina by S(x) / Z; Doppler broadening is left out
    """
    energies = np.asarray(energies_kev, dtype=float)[:, None]
    transfers = largest_transfer(energies) * (np.arange(SAMPLES) + 0.5) / SAMPLES
    density = klein_nishina(energies, transfers)
    if bound:
        density = density * incoherent_factor(atomic_number, momentum_transfer(energies, transfers))
    return transfers, density / density.sum(axis=1, keepdims=True)


def transfer_matrix(atomic_number: int, step_kev: float, size: int):
    """Probability (size, size) that a photon of energy i step transfers j step; row 0 is no photon.

    Samples are shared between their two neighbors on the grid, which keeps every row's sum and mean.
    """
    energies = step_kev * np.arange(1, size)
    transfers, weights = transfer_samples(atomic_number, energies)
    matrix, rows = np.zeros((size, size)), np.arange(1, size)[:, None]
    low = np.floor(transfers / step_kev).astype(int)
    part = transfers / step_kev - low
    np.add.at(matrix, (rows, low), weights * (1 - part))
    np.add.at(matrix, (rows, low + 1), weights * part)
    return matrix
