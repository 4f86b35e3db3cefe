"""Compiled: whole histories, and what each sends to the detector. Threads share the slots (batch, view).

Every slot is followed by one thread and has sums of its own, so that a seed gives the same result with any number of
threads.
"""

from collections import namedtuple

import numpy as np

from ctlib.compiled import njit
from ctlib.cpu.threads import borrowed, claimed
from ctlib.physics.scatter.cpu import histories as flight
from ctlib.physics.scatter.cross_sections import LOWEST_KEV

Detector = namedtuple("Detector", "source center along normal width height cols rows counts step_kev")
Source = namedtuple("Source", "edges share ratios per_slot seed num_points")


@njit(error_model="numpy")
def point_of(detector, view, u, w, out):
    """Point of the detector at fractions u, w of its width and height."""
    for k in range(3):
        out[k] = detector.center[view, k] + detector.width * (u - 0.5) * detector.along[view, k]
    out[2] += detector.height * (w - 0.5)


@njit(error_model="numpy")
def cell_of(detector, view, photon):
    """Flat detector cell that a photon's line leads to, or -1; the photon may be beyond the detector already."""
    toward = distance = u = 0.0
    for k in range(3):
        toward += photon[3 + k] * detector.normal[view, k]
        distance += (detector.center[view, k] - photon[k]) * detector.normal[view, k]
    if toward <= 1e-6:
        return -1
    for k in range(3):
        u += (photon[k] + distance / toward * photon[3 + k] - detector.center[view, k]) * detector.along[view, k]
    w = photon[2] + distance / toward * photon[5] - detector.center[view, 2]
    col = int(np.floor((u / detector.width + 0.5) * detector.cols))
    row = int(np.floor((w / detector.height + 0.5) * detector.rows))
    inside = 0 <= col < detector.cols and 0 <= row < detector.rows
    return row * detector.cols + col if inside else -1


@njit(error_model="numpy")
def count(detector, order, energy, cell, weight, sums):
    """Add a photon of this energy and weight to its bins; sums (3, E, cells)."""
    k = min(int(energy / detector.step_kev), detector.counts.shape[1] - 1)
    for e in range(detector.counts.shape[0]):
        sums[min(order, 2), e, cell] += weight * detector.counts[e, k]


@njit(error_model="numpy")
def emit(source, detector, view, shift, index, photon):
    """A photon from the source to the detector; its energy and target are points of a shifted Kronecker sequence."""
    at, u, w = ((shift[0] + index * source.ratios[0]) % 1.0, (shift[1] + index * source.ratios[1]) % 1.0,
                (shift[2] + index * source.ratios[2]) % 1.0)  # fmt: skip
    point_of(detector, view, u, w, photon[3:6])
    for k in range(3):
        photon[k] = detector.source[view, k]
        photon[3 + k] -= photon[k]
    photon[3:6] /= np.sqrt(photon[3] ** 2 + photon[4] ** 2 + photon[5] ** 2)
    i = min(max(np.searchsorted(source.share, at, side="right"), 1), source.share.size - 1)
    part = (at - source.share[i - 1]) / max(source.share[i] - source.share[i - 1], 1e-12)
    photon[6] = source.edges[i - 1] + min(max(part, 0.0), 1.0) * (source.edges[i] - source.edges[i - 1])


@njit(error_model="numpy")
def expect_compton(grid, tables, detector, view, photon, order, weight, rates, u, w, work, sums):
    """Add what Compton scattering of a colliding photon is expected to send to the detector at (u, w)."""
    ray = work[0:3]
    point_of(detector, view, u, w, ray)
    square = cosine = incidence = odds = 0.0
    for k in range(3):
        ray[k] -= photon[k]
        square += ray[k] ** 2
    for k in range(3):
        ray[k] /= np.sqrt(square)
        cosine += ray[k] * photon[3 + k]
        incidence += ray[k] * detector.normal[view, k]
    cosine = min(max(cosine, -1.0), 1.0)
    for m in range(grid.density.shape[0]):
        odds += rates[3 * m + 1] * flight.density(tables, 2 * m, photon[6], cosine)
    energy = photon[6] * flight.kept_fraction(0, photon[6], cosine)
    left = np.exp(-flight.optical_depth(grid, tables, photon, ray, energy, work[7:]))
    cell = int(w * detector.rows) * detector.cols + int(u * detector.cols)
    count(detector, order + 1, energy, cell, weight * odds * left * max(incidence, 0.0) / square, sums)


@njit(error_model="numpy")
def expect_rayleigh(grid, tables, detector, view, photon, order, weight, rates, state, work, sums):
    """Add what Rayleigh scattering into a random direction of its own distribution sends to the detector."""
    coherent = rates[2::3]
    row = 2 * flight.pick(coherent, coherent.sum() * flight.uniform(state)) + 1
    other = work[0:7]
    other[:] = photon
    cosine = flight.sample_cosine(tables, row, photon[6], flight.uniform(state))
    flight.deflect(other, cosine, 2 * np.pi * flight.uniform(state))
    cell = cell_of(detector, view, other)
    if cell >= 0:
        left = np.exp(-flight.optical_depth(grid, tables, other, other[3:6], other[6], work[7:]))
        count(detector, order + 1, other[6], cell, weight * coherent.sum() * left, sums)


@njit(error_model="numpy")
def expect_hits(grid, tables, detector, source, view, photon, order, rates, state, work, sums):
    """What a collision is expected to send: Compton to a point in each strip, Rayleigh into as many directions."""
    part, area = 1.0 / (rates.sum() * source.num_points), detector.width * detector.height
    for p in range(source.num_points):
        u, w = (p + flight.uniform(state)) / source.num_points, flight.uniform(state)
        expect_compton(grid, tables, detector, view, photon, order, part * area, rates, u, w, work, sums)
        expect_rayleigh(grid, tables, detector, view, photon, order, part, rates, state, work, sums)


@njit(error_model="numpy")
def scatter(tables, photon, channel, state):
    """Turn a photon after an event of this channel; returns the energy it leaves behind."""
    row = 2 * (channel // 3) + channel % 3 - 1
    cosine = flight.sample_cosine(tables, row, photon[6], flight.uniform(state))
    lost = photon[6] * (1 - flight.kept_fraction(row, photon[6], cosine))
    flight.deflect(photon, cosine, 2 * np.pi * flight.uniform(state))
    photon[6] -= lost
    return lost


@njit(error_model="numpy")
def follow(grid, tables, detector, source, view, photon, state, rates, work, sums, ledger):
    """One history from the source to its end; ledger (2,) adds the energy left in the object and carried out."""
    order, total = 0, -1.0
    near, far = flight.crossing(grid, photon, photon[3:6])
    if far > near:
        flight.move(photon, near + 1e-9 * (far - near))
        total = flight.fly(grid, tables, photon, state, rates)
    while total >= 0:
        if source.num_points:
            expect_hits(grid, tables, detector, source, view, photon, order, rates, state, work, sums)
        channel = flight.pick(rates, total * flight.uniform(state))
        if channel % 3:
            ledger[0] += scatter(tables, photon, channel, state)
            order += 1
        if channel % 3 == 0 or photon[6] < LOWEST_KEV:
            ledger[0] += photon[6]
            return
        total = flight.fly(grid, tables, photon, state, rates)
    ledger[1] += photon[6]
    cell = -1 if source.num_points else cell_of(detector, view, photon)
    if cell >= 0:
        count(detector, order, photon[6], cell, 1.0, sums)


@njit(error_model="numpy")
def _follow_slot(grid, tables, detector, source, slot, sums, ledger):
    """The histories of a slot; sums (3, E, cells), ledger (3,)."""
    photon, work, rates = np.empty(7), np.empty(7 + grid.density.shape[0]), np.empty(tables.rates.shape[0])
    state, shift, view = np.empty(1, np.uint64), np.empty(3), slot % detector.source.shape[0]
    flight.start_stream(state, source.seed, slot)
    for k in range(3):
        shift[k] = flight.uniform(state)
    for index in range(source.per_slot):
        emit(source, detector, view, shift, index, photon)
        ledger[2] += photon[6]
        follow(grid, tables, detector, source, view, photon, state, rates, work, sums, ledger)


@njit(nogil=True, cache=True, error_model="numpy")
def follow_slots(claims, grid, tables, detector, source, sums, ledger):
    """All histories; sums (slots, 3, E, cells), ledger (slots, 3): energy absorbed, escaped, emitted [keV]."""
    world, sums, ledger = borrowed((grid, tables, detector, source)), borrowed(sums), borrowed(ledger)
    for slot in claimed(claims):
        _follow_slot(*world, slot, sums[slot], ledger[slot])
