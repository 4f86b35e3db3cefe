"""Edge-on silicon: deposited energies per incident photon, with Compton scatter inside the detector."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ctlib.physics.attenuation import linear_attenuation
from ctlib.physics.compton import transfer_matrix
from ctlib.physics.detectors.response import SharingDetector

ATOMIC_NUMBER = 14


def interaction(energies_kev: Tensor) -> tuple[Tensor, Tensor]:
    """Photoelectric and Compton attenuation [1/mm] of silicon; coherent scatter counts as transmitted."""
    return tuple(linear_attenuation("Si", energies_kev, process).to(energies_kev) for process in ("photo", "compton"))


def detected(mu: Tensor, depth_mm: Tensor, dead_mm: Tensor) -> Tensor:
    """Share of the photons that interact behind a dead layer: exp(-mu t) (1 - exp(-mu L))."""
    return torch.exp(-mu * dead_mm) * -torch.expm1(-mu * depth_mm)


def scatter_matrix(transfer: Tensor) -> Tensor:
    """Probability (E, E') that a photon of grid energy E leaves a Compton event with E' = E - T."""
    size = len(transfer)
    i = torch.arange(size, device=transfer.device)
    left = i[:, None] - i  # transferred steps that take i to j
    return torch.where(left >= 0, transfer.gather(1, left.clamp_min(0)), 0.0)


def kept(mu: Tensor, depth_mm: Tensor) -> Tensor:
    """Probability that a photon born inside a slab interacts before it leaves: even depths, isotropic directions.

    1 - int_0^1 c / tau (1 - exp(-tau / c)) dc,    tau = mu L
    """
    nodes, weights = (torch.from_numpy(a).to(mu) for a in np.polynomial.legendre.leggauss(32))
    c, tau = 0.5 * (nodes + 1), (mu * depth_mm)[:, None]
    return 1 + (0.5 * weights * c / tau * torch.expm1(-tau / c)).sum(1)


def cascade(transfer: Tensor, photo: Tensor, inside: Tensor, rescatter: Tensor) -> Tensor:
    """Counts (E, T) per deposit T of a photon E born inside the silicon, each event in another strip.

        X = k (f + (1 - f) (P + r Q X))

    k  probability to interact at all (E,);  f  photo fraction of the interactions (E,);  P  transfer matrix
    Q  scatter matrix;  r  share of the scattered photons that count again
    """
    peak, compton = torch.diag(inside * photo), (inside * (1 - photo))[:, None]
    again = rescatter * compton * scatter_matrix(transfer)
    return torch.linalg.solve_triangular(torch.eye(len(peak)).to(peak) - again, peak + compton * transfer, upper=False)


def compton_deposits(energies_kev: Tensor, grid_kev: Tensor, depth_mm: Tensor, rescatter: Tensor) -> Tensor:
    """Counts (N, C) per grid deposit of one Compton event: the recoil, and r times the scattered photon's own."""
    mu_photo, mu_compton = interaction(grid_kev[1:])
    first = pad(torch.stack([mu_photo / (mu_photo + mu_compton), kept(mu_photo + mu_compton, depth_mm)]), (1, 0))
    transfer = torch.from_numpy(transfer_matrix(ATOMIC_NUMBER, float(grid_kev[1]), len(grid_kev))).to(grid_kev)
    events = transfer + rescatter * scatter_matrix(transfer) @ cascade(transfer, *first, rescatter)
    low = (energies_kev / grid_kev[1]).long()
    part = (energies_kev / grid_kev[1] - low)[:, None]
    return (1 - part) * events[low] + part * events[low + 1]


@dataclass(frozen=True, eq=False)
class SiliconDetector(SharingDetector, name="silicon"):
    """Edge-on silicon strips: photo peak, Compton recoil, charge sharing, electronic noise, {cite}`bornefalk2010`.

    depth_mm   silicon along the ray; dead_mm of it in front counts nothing
    pitch_mm   width of a strip;  cloud_mm: standard deviation of the charge cloud
    noise_kev  standard deviation of the electronic noise
    rescatter  share of the Compton-scattered photons that reach other strips: 0 with perfect foils between the strips,
               1 without foils and without lateral end; a real detector lies between
    """

    depth_mm: float | Tensor = 60.0
    dead_mm: float | Tensor = 0.0
    pitch_mm: float | Tensor = 0.5
    cloud_mm: float | Tensor = 0.012
    noise_kev: float | Tensor = 1.6
    rescatter: float | Tensor = 0.0

    def deposits(self, energies_kev: Tensor, grid_kev: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Photo peak (1, N), its counts (1, N) and the tail (N, C) of deposits per incident photon."""
        mu_photo, mu_compton = interaction(energies_kev)
        mu = mu_photo + mu_compton
        seen = detected(mu, self.depth_mm, self.dead_mm)
        events = compton_deposits(energies_kev, grid_kev, self.depth_mm, self.rescatter)
        return energies_kev[None], (seen * mu_photo / mu)[None], (seen * mu_compton / mu)[:, None] * events
