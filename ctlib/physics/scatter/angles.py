"""Angular distributions of Compton and Rayleigh scattering, and their inverse distribution functions."""

import math

import numpy as np

from ctlib.physics.attenuation import ELECTRON_KEV, Material, xray_tables
from ctlib.physics.compton import HC_KEV_ANGSTROM, incoherent_factor

CLASSICAL_RADIUS_CM = 2.8179403e-13
"""Classical electron radius [cm], CODATA 2018."""
AVOGADRO = 6.02214076e23
FORM_STEP = 0.0025  # [1/Angstrom]
NUM_QUANTILES = 512
NUM_ANGLES = 4000


def kept_fraction(energy, cosine):
    """k = E' / E of a photon that a free electron at rest scatters: 1 / (1 + a (1 - cos)), a = E / 511 keV."""
    return 1 / (1 + energy / ELECTRON_KEV * (1 - cosine))


def angular_density(process, energy, cosine):
    """Angular factor of one electron in units of r_e^2 per sr, and the momentum transfer x [1/Angstrom].

        Compton (process 0)    k^2 (k + 1/k - sin^2) / 2    {cite}`klein1929`
        Rayleigh (process 1)   (1 + cos^2) / 2
        x = E sqrt((1 - cos) / 2) / hc

    Arrays or tensors; the process may be one of them.
    """
    k = kept_fraction(energy, cosine)
    compton = 0.5 * k * k * (k + 1 / k - 1 + cosine * cosine)
    rayleigh = 0.5 * (1 + cosine * cosine)
    x = energy / HC_KEV_ANGSTROM * (0.5 - 0.5 * cosine).clip(0) ** 0.5
    return compton + process * (rayleigh - compton), x


def klein_nishina_total(energies_kev):
    """Total cross section of one free electron [cm2], {cite}`klein1929`; series below 5 keV, where terms cancel."""
    a = np.asarray(energies_kev, dtype=float) / ELECTRON_KEV
    series = 8 * math.pi / 3 * (1 - 2 * a + 5.2 * a**2 - 13.3 * a**3)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log1p(2 * a)
        exact = 2 * math.pi * ((1 + a) / a**2 * (2 * (1 + a) / (1 + 2 * a) - log / a) + log / (2 * a))
        exact = exact - 2 * math.pi * (1 + 3 * a) / (1 + 2 * a) ** 2
    return CLASSICAL_RADIUS_CM**2 * np.where(a < 0.01, series, exact)


def electrons_per_gram(material: Material) -> float:
    """Number of electrons in a gram, N_A sum of w Z / A."""
    tables = xray_tables()
    numbers = [(tables.SymbolToAtomicNumber(symbol), w) for symbol, w in material.mass_fractions]
    return AVOGADRO * sum(w * z / tables.AtomicWeight(z) for z, w in numbers)


def free_electron_attenuation(material: Material, energies_kev):
    """Mass attenuation by Compton scattering on free electrons [cm2/g]."""
    return electrons_per_gram(material) * klein_nishina_total(energies_kev)


def form_function(materials, highest_kev: float, bound: bool):
    """(step, (2 M, X)): S(x) and F(x)^2 of each material, sums over its atoms per gram, at x = k step [1/Angstrom]."""
    x = FORM_STEP * np.arange(int(highest_kev / HC_KEV_ANGSTROM / FORM_STEP) + 3)
    rows = []
    for material in materials:
        incoherent, coherent = (sum(parts) for parts in zip(*_atoms(material, x), strict=True))
        rows += [incoherent if bound else np.ones_like(x), coherent]
    return FORM_STEP, np.stack(rows)


def _atoms(material: Material, x):
    """S and F^2 per gram of each element, {cite}`hubbell1975`, as xraylib tabulates them, {cite}`schoonjans2011`."""
    tables = xray_tables()
    for symbol, w in material.mass_fractions:
        z = tables.SymbolToAtomicNumber(symbol)
        atoms = w / tables.AtomicWeight(z)
        coherent = np.array([tables.FF_Rayl(z, q) for q in x.tolist()]) ** 2
        yield atoms * z * incoherent_factor(z, x), atoms * coherent


def quantiles(process: int, energies_kev, form, step: float):
    """Cosines at probabilities j / J (N, J + 1), and the integral of the angular density over the sphere (N,).

    In t = sin(angle / 2) the density is smooth also where it peaks forward: cos = 1 - 2 t^2, dOmega = 8 pi t dt.
    """
    t = np.linspace(0, 1, NUM_ANGLES + 1) ** 1.5
    cosine, probability = 1 - 2 * t * t, np.linspace(0, 1, NUM_QUANTILES + 1)
    value, x = angular_density(process, np.asarray(energies_kev)[:, None], cosine)
    value = value * np.interp(x, step * np.arange(len(form)), form) * 8 * math.pi * t
    cumulative = np.cumsum(0.5 * (value[:, 1:] + value[:, :-1]) * np.diff(t), axis=1)
    cumulative = np.concatenate([np.zeros((len(value), 1)), cumulative], axis=1)
    total = cumulative[:, -1]
    rows = [np.interp(probability, c / c[-1], t) for c in cumulative]
    return 1 - 2 * np.stack(rows) ** 2, total
