"""Compiled: random numbers of a history, and one photon's flight, collision and deflection in a grid of voxels.

A photon is an array (x, y, z, dx, dy, dz, energy), in mm and keV; what it flies through are the named tuples below.
"""

from collections import namedtuple

import numpy as np

from ctlib.compiled import njit
from ctlib.physics.attenuation import ELECTRON_KEV
from ctlib.physics.compton import HC_KEV_ANGSTROM

Grid = namedtuple("Grid", "density low size counts")
Tables = namedtuple("Tables", "first step rates total majorant quantiles norms forms form_step")


@njit(error_model="numpy")
def mix(z):
    """The 64-bit finaliser of SplitMix64, {cite}`steele2014`."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(error_model="numpy")
def start_stream(state, seed, history):
    """Every history has a stream of its own, whichever thread follows it."""
    state[0] = mix(mix(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15)) + np.uint64(history))


@njit(error_model="numpy")
def uniform(state):
    """Next number of the stream, in (0, 1)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    return (np.float64(mix(state[0]) >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@njit(error_model="numpy")
def node(tables, energy):
    """Node below an energy in the tables, and how far the energy lies towards the next."""
    last = tables.rates.shape[1] - 2
    t = min(max((energy - tables.first) / tables.step, 0.0), last)
    return int(t), t - int(t)


@njit(error_model="numpy")
def lerp(row, i, part):
    return row[i] + part * (row[i + 1] - row[i])


@njit(error_model="numpy")
def crossing(grid, position, direction):
    """Distances to where a ray enters and leaves the grid; far <= near where it misses."""
    near, far = 0.0, np.inf
    for k in range(3):
        d = direction[k] if abs(direction[k]) > 1e-12 else 1e-12
        a = (grid.low[k] - position[k]) / d
        b = (grid.low[k] + grid.size[k] * grid.counts[k] - position[k]) / d
        near, far = max(near, min(a, b)), min(far, max(a, b))
    return near, far


@njit(error_model="numpy")
def voxel(grid, photon):
    """Flat index of the voxel at a photon, or -1 outside the grid."""
    flat = 0
    for k in range(2, -1, -1):
        cell = int(np.floor((photon[k] - grid.low[k]) / grid.size[k]))
        if cell < 0 or cell >= grid.counts[k]:
            return -1
        flat = flat * grid.counts[k] + cell
    return flat


@njit(error_model="numpy")
def attenuations(grid, tables, photon, rates):
    """Attenuation (3 M,) where a photon is, by channel 3 material + process, and their sum; -1 outside the grid."""
    at, total = voxel(grid, photon), 0.0
    if at < 0:
        return -1.0
    i, part = node(tables, photon[6])
    for channel in range(rates.size):
        rates[channel] = grid.density[channel // 3, at] * lerp(tables.rates[channel], i, part)
        total += rates[channel]
    return total


@njit(error_model="numpy")
def fly(grid, tables, photon, state, rates):
    """Woodcock flight to the next collision, {cite}`woodcock1965`; returns the attenuation there, -1 outside."""
    i, part = node(tables, photon[6])
    majorant = lerp(tables.majorant, i, part)
    while True:
        move(photon, -np.log(uniform(state)) / majorant)
        total = attenuations(grid, tables, photon, rates)
        if total < 0 or majorant * uniform(state) < total:
            return total


@njit(error_model="numpy")
def move(photon, distance):
    for k in range(3):
        photon[k] += distance * photon[3 + k]


@njit(error_model="numpy")
def pick(rates, level):
    """Channel in whose share of the running sum `level` falls."""
    channel = 0
    while channel < rates.size - 1 and level >= rates[channel]:
        level -= rates[channel]
        channel += 1
    return channel


@njit(error_model="numpy")
def optical_depth(grid, tables, start, direction, energy, mu):
    """Attenuation along a ray to infinity, voxel by voxel, {cite}`amanatides1987`; mu (M,) is scratch."""
    near, far = crossing(grid, start, direction)
    if far <= near:
        return 0.0
    x, dx, tx, px, sx = _first_wall(grid, start, direction, near, 0)
    y, dy, ty, py, sy = _first_wall(grid, start, direction, near, 1)
    z, dz, tz, pz, sz = _first_wall(grid, start, direction, near, 2)
    i, part = node(tables, energy)
    for m in range(mu.size):
        mu[m] = lerp(tables.total[m], i, part)
    nx, ny, nz = grid.counts
    flat, at, total = (z * ny + y) * nx + x, near, 0.0
    while 0 <= x < nx and 0 <= y < ny and 0 <= z < nz:
        to = min(tx, ty, tz)
        for m in range(mu.size):
            total += mu[m] * grid.density[m, flat] * (to - at)
        at = to
        if tx == to:
            x, tx, flat = x + dx, tx + px, flat + sx
        elif ty == to:
            y, ty, flat = y + dy, ty + py, flat + sy
        else:
            z, tz, flat = z + dz, tz + pz, flat + sz
    return total


@njit(error_model="numpy")
def _first_wall(grid, start, direction, near, k):
    """Cell, its step, distance to its wall, distance between walls, and step of the flat index, along axis k."""
    d = direction[k]
    cell = int(np.floor((start[k] + near * d - grid.low[k]) / grid.size[k]))
    cell = min(max(cell, 0), grid.counts[k] - 1)
    slope, step = max(abs(d), 1e-12), 1 if d >= 0 else -1
    wall = max(step * (grid.low[k] + (cell + (d >= 0)) * grid.size[k] - start[k]) / slope, near)
    stride = 1 if k == 0 else (grid.counts[0] if k == 1 else grid.counts[0] * grid.counts[1])
    return cell, step, wall, grid.size[k] / slope, step * stride


@njit(error_model="numpy")
def kept_fraction(row, energy, cosine):
    """Share of the energy that a photon keeps; all in Rayleigh scattering, odd rows."""
    return 1.0 if row % 2 else 1 / (1 + energy / ELECTRON_KEV * (1 - cosine))


@njit(error_model="numpy")
def sample_cosine(tables, row, energy, u):
    """Cosine of the scattering angle from the table's quantiles."""
    i, part = node(tables, energy)
    t = u * (tables.quantiles.shape[2] - 1)
    j = int(t)
    low = lerp(tables.quantiles[row, i], j, t - j)
    return low + part * (lerp(tables.quantiles[row, i + 1], j, t - j) - low)


@njit(error_model="numpy")
def density(tables, row, energy, cosine):
    """Probability per solid angle of an event of table row at this angle."""
    k = kept_fraction(0, energy, cosine)
    value = 0.5 * (1 + cosine * cosine) if row % 2 else 0.5 * k * k * (k + 1 / k - 1 + cosine * cosine)
    x = energy / HC_KEV_ANGSTROM * np.sqrt(max(0.5 - 0.5 * cosine, 0.0)) / tables.form_step
    j = min(int(x), tables.forms.shape[1] - 2)
    i, part = node(tables, energy)
    return value * lerp(tables.forms[row], j, x - j) / lerp(tables.norms[row], i, part)


@njit(error_model="numpy")
def deflect(photon, cosine, azimuth):
    """Turn a photon's direction, in the frame of {cite}`duff2017`."""
    x, y, z = photon[3], photon[4], photon[5]
    sign = -1.0 if z < 0 else 1.0
    a = -1 / (sign + z)
    b, sine = x * y * a, np.sqrt(max(1 - cosine * cosine, 0.0))
    p, q = sine * np.cos(azimuth), sine * np.sin(azimuth)
    photon[3] = p * (1 + sign * x * x * a) + q * b + cosine * x
    photon[4] = p * sign * b + q * (sign + y * y * a) + cosine * y
    photon[5] = -p * sign * x - q * y + cosine * z
    length = np.sqrt(photon[3] ** 2 + photon[4] ** 2 + photon[5] ** 2)
    for k in range(3, 6):
        photon[k] /= length
