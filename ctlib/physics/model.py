"""The spectral forward model: from path lengths of basis materials to expected counts in energy bins."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ctlib.errors import ArgumentError
from ctlib.physics.attenuation import Material, k_edges, mass_attenuation
from ctlib.physics.detectors import Detector
from ctlib.physics.moments import moment_tables, moments, product, transmission, unpack_pairs
from ctlib.physics.spectrum import Spectrum


class SpectralModel:
    """Expected counts of a photon-counting detector behind basis materials, {cite}`wang2026` and {cite}`roessl2007`.

        lambda_i(A) = photons sum_n w_n exp(-sum_k A_k f_k(E_n)) (H(D_i / g; E_n) - H(D_i+1 / g; E_n))

    spectrum        w, normalized; bins that hold a K-edge of a material are cut there, one node on either side
    materials       names or `Material`s, one per basis; A_k are path lengths [g/cm2], f_k mass attenuation [cm2/g]
    detector        H(D; E): counts registered above D per photon of energy E
    thresholds_kev  D, ascending, E + 1 of them; inf leaves the last bin open
    photons         incident photons per reading; a tensor (...) gives each pixel its own
    gain            g: registered over deposited energy; a tensor (...) gives each pixel its own

    Thresholds, photons, gain and the detector's parameters may be tensors that require a gradient.
    """

    def __init__(self, spectrum: Spectrum, materials, detector: Detector, thresholds_kev, photons=1.0, gain=1.0):
        if not materials or isinstance(materials, str):
            raise ArgumentError("materials", materials, "a sequence of one or more materials")
        self.materials = tuple(Material.named(m) for m in materials)
        low, high = float(spectrum.edges_kev[0]), float(spectrum.edges_kev[-1])
        self.spectrum = spectrum.split(e for m in self.materials for e in k_edges(m, low, high))
        self.energies_kev = self.spectrum.energies_kev
        self.attenuation = torch.stack([mass_attenuation(m, self.energies_kev) for m in self.materials], 1)  # (N, M)
        self.detector, self.photons, self.gain = detector, photons, gain
        own = _checked_thresholds(thresholds_kev)
        self.thresholds_kev = own if own.requires_grad else own.clone()
        for name, value in (("photons", photons), ("gain", gain)):
            if not bool((torch.as_tensor(value) > 0).all()):
                raise ArgumentError(name, value, "positive numbers")
        self._kept = {}

    @property
    def num_bins(self) -> int:
        """Number of energy bins E."""
        return self.thresholds_kev.shape[-1] - 1

    @property
    def num_materials(self) -> int:
        """Number of basis materials M."""
        return len(self.materials)

    def __call__(self, paths: Tensor, thresholds_kev=None) -> Tensor:
        """Expected counts (..., E) at path lengths (..., M) [g/cm2]; thresholds (E + 1,) or (..., E + 1)."""
        self._check_paths(paths)
        through = transmission(paths, self.attenuation.to(paths))
        return self.photons_as(paths)[..., None] * product(through, self.bin_spectra(thresholds_kev, paths))

    def derivatives(self, paths: Tensor, thresholds_kev=None) -> tuple[Tensor, Tensor, Tensor]:
        """Counts (..., E), Jacobian (..., E, M) and second derivatives (..., E, M, M) in the path lengths."""
        self._check_paths(paths)
        f = self.attenuation.to(paths)
        parts = moments(paths, f, moment_tables(f, self.bin_spectra(thresholds_kev, paths)))
        photons = self.photons_as(paths)[..., None]
        second = unpack_pairs(parts[2], self.num_materials)
        return photons * parts[0], photons[..., None] * parts[1].mT, photons[..., None, None] * second.movedim(-1, -3)

    def bin_spectra(self, thresholds_kev=None, like: Tensor | None = None) -> Tensor:
        """Spectrum (..., N, E) that each bin counts per incident photon without an object, as dtype and device of like.

        Differentiable in thresholds, gain and the detector's parameters; kept where nothing wants a gradient.
        """
        if thresholds_kev is not None:
            given = _checked_thresholds(thresholds_kev, self.num_bins)
            return self._bin_spectra(given, given if like is None else like)
        like = self.thresholds_kev if like is None else like
        make = partial(self._bin_spectra, self.thresholds_kev, like)
        return self.kept(("spectra", like.dtype, like.device), make, self.requires_grad)

    @property
    def requires_grad(self) -> bool:
        """Whether the spectra that the bins count depend on something that wants a gradient."""
        gain = isinstance(self.gain, Tensor) and self.gain.requires_grad
        return gain or self.thresholds_kev.requires_grad or self.detector.requires_grad

    def photons_as(self, like: Tensor) -> Tensor:
        """Incident photons, dtype and device of `like`, differentiable."""
        return torch.as_tensor(self.photons).to(like)

    def kept(self, key, make, wanted: bool):
        """make(), computed once for each key and kept with the model; computed anew where a gradient is wanted."""
        if wanted:
            return make()
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _response(self, device):
        def make():
            return self.detector.response(self.energies_kev.to(device), self.spectrum.widths_kev.to(device))

        return self.kept(("response", device), make, self.detector.requires_grad)

    def _bin_spectra(self, given: Tensor, like: Tensor) -> Tensor:
        gain = torch.as_tensor(self.gain, dtype=torch.float64, device=like.device)
        thresholds = given.to(like.device, torch.float64) / gain[..., None]
        above = self._response(like.device).above(thresholds)  # (..., E + 1, N)
        return (self.spectrum.weights.to(above) * (above[..., :-1, :] - above[..., 1:, :])).mT.to(like.dtype)

    def _check_paths(self, paths: Tensor) -> None:
        if not isinstance(paths, Tensor) or paths.ndim < 1 or paths.shape[-1] != self.num_materials:
            shape = tuple(paths.shape) if isinstance(paths, Tensor) else type(paths).__name__
            raise ArgumentError("paths", shape, f"a tensor (..., {self.num_materials})")


def _checked_thresholds(thresholds_kev, num_bins: int | None = None) -> Tensor:
    t = torch.as_tensor(thresholds_kev, dtype=None if isinstance(thresholds_kev, Tensor) else torch.float64)
    if t.ndim < 1 or t.shape[-1] < 2 or (num_bins is not None and t.shape[-1] != num_bins + 1):
        raise ArgumentError("thresholds_kev", tuple(t.shape), f"(..., {num_bins + 1 if num_bins else 'at least 2'})")
    values = t.detach()
    if not bool((values[..., 1:] > values[..., :-1]).all()) or not bool((values[..., 0] >= 0).all()):
        raise ArgumentError("thresholds_kev", values.flatten()[: t.shape[-1]].tolist(), "ascending energies >= 0 [keV]")
    return t


def virtual_monoenergetic(densities: Tensor, materials, energy_kev: float) -> Tensor:
    """Linear attenuation [1/mm] at one energy: sum_k a_k f_k / 10, densities a (M, ...) [g/cm3] of basis materials."""
    f = torch.stack([mass_attenuation(m, energy_kev) for m in materials]).to(densities)
    return 0.1 * torch.tensordot(f, densities, dims=1)
