"""The spectral forward model: from path lengths of basis materials to expected counts in energy bins."""

from __future__ import annotations

import pickle
from functools import partial

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.physics.arrays import number_or_tensor, numbers
from ctlib.physics.attenuation import TABLES_KEV, Material, k_edges, mass_attenuation
from ctlib.physics.detectors import Detector
from ctlib.physics.fixed import Fixed
from ctlib.physics.moments import moment_tables, moments, product, transmission, unpack_pairs
from ctlib.physics.spectrum import Spectrum

LEAST_EDGE_KEV = 1.0  # K-edges below it, of elements lighter than neon, cut no bin


class SpectralModel(Fixed):
    """Expected counts of a photon-counting detector behind basis materials, {cite}`wang2026` and {cite}`roessl2007`.

        lambda_i(A) = photons sum_n w_n exp(-sum_k A_k f_k(E_n)) (H(D_i / g; E_n) - H(D_i+1 / g; E_n))

    spectrum        w, normalized; bins that hold a K-edge of a material are cut there, one node on either side
    materials       names or `Material`s, one per basis; A_k are path lengths [g/cm2], f_k mass attenuation [cm2/g]
    detector        H(D; E): counts registered above D per photon of energy E
    thresholds_kev  D, ascending, E + 1 of them; inf leaves the last bin open
    photons         incident photons per reading; a tensor (...) gives each pixel its own
    gain            g: registered over deposited energy; a tensor (...) gives each pixel its own

    Spectrum weights, thresholds, photons, gain and the detector's parameters may be tensors that require a gradient.
    A model does not change: `replace` makes another one. Its tensors are those it was given, and what it keeps from
    one call to the next knows their values, so that whatever is written into one counts at the next call.
    """

    def __init__(self, spectrum: Spectrum, materials, detector: Detector, thresholds_kev, photons=1.0, gain=1.0):
        for name, value, kind in (("spectrum", spectrum, Spectrum), ("detector", detector, Detector)):
            if not isinstance(value, kind):
                raise ArgumentError(name, type(value).__name__, f"a {kind.__name__}")
        if isinstance(materials, (str, Material)) or not hasattr(materials, "__len__") or not len(materials):
            raise ArgumentError("materials", repr(materials), "a sequence of one or more materials")
        materials, (low, high) = tuple(Material.named(m) for m in materials), spectrum.edges_kev[[0, -1]].tolist()
        edges = [e for m in materials for e in k_edges(m, max(low, LEAST_EDGE_KEV), high)]
        self._set(
            materials=materials, spectrum=spectrum.split(edges), detector=detector, _given=spectrum,
            _parent=spectrum.cuts(edges)[1], thresholds_kev=_checked_thresholds(thresholds_kev),
            photons=number_or_tensor("photons", photons, above=0), gain=number_or_tensor("gain", gain, above=0),
            _kept={},
        )  # fmt: skip

    def replace(self, **changes) -> SpectralModel:
        """Another model, with these arguments in place of its own: `model.replace(gain=1.02)`."""
        own = {"spectrum": self._given} | {
            n: getattr(self, n) for n in ("materials", "detector", "thresholds_kev", "photons", "gain")
        }
        if unknown := sorted(changes.keys() - own.keys()):
            raise ArgumentError("changes", ", ".join(unknown), f"some of {', '.join(own)}")
        return SpectralModel(**own | changes)

    @property
    def energies_kev(self) -> Tensor:
        """Energies (N,) of the spectrum's bins, cut at K-edges."""
        return self.spectrum.energies_kev

    @property
    def attenuation(self) -> Tensor:
        """Mass attenuation f (N, M) [cm2/g] of the materials at these energies, float64."""
        return self._attenuation().clone()

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
        contract.tensor("paths", paths, (self.num_materials,))
        through = transmission(paths, self._attenuation().to(paths))
        photons = self._photons_for(paths)
        return photons[..., None] * product(through, self.bin_spectra(thresholds_kev, paths))

    def derivatives(self, paths: Tensor, thresholds_kev=None) -> tuple[Tensor, Tensor, Tensor]:
        """Counts (..., E), Jacobian (..., E, M) and second derivatives (..., E, M, M) in the path lengths."""
        contract.tensor("paths", paths, (self.num_materials,))
        f = self._attenuation().to(paths)
        parts = moments(paths, f, moment_tables(f, self.bin_spectra(thresholds_kev, paths)))
        photons = self._photons_for(paths)[..., None]
        second = unpack_pairs(parts[2], self.num_materials)
        return photons * parts[0], photons[..., None] * parts[1].mT, photons[..., None, None] * second.movedim(-1, -3)

    def bin_spectra(self, thresholds_kev=None, like: Tensor | None = None) -> Tensor:
        """Spectrum (..., N, E) that each bin counts per incident photon without an object, as dtype and device of like.

        Differentiable in weights, thresholds, gain and the detector's parameters; kept where nothing wants a gradient.
        """
        if thresholds_kev is not None:
            given = _checked_thresholds(thresholds_kev, self.num_bins)
            return self._bin_spectra(given, given if like is None else like)
        like = self.thresholds_kev if like is None else like
        make = partial(self._bin_spectra, self.thresholds_kev, like)
        found = self.kept(("spectra", like.dtype, like.device), make, self.requires_grad)
        return found if self.requires_grad else found.clone()

    def counts_per_photon(self, energies_kev) -> Tensor:
        """Counts (..., E, K) of every bin per photon of K energies [keV], float64; a table needs energies of its rows.

        What `simulate_scatter` and `single_scatter` ask for as their `response`.
        """
        energies = numbers("energies_kev", energies_kev, above=0).double()
        response = self.detector.response(energies, torch.full_like(energies, 1e-3))
        above = response.above(self._scaled(self.thresholds_kev, energies.device))
        return above[..., :-1, :] - above[..., 1:, :]

    @property
    def requires_grad(self) -> bool:
        """Whether the spectra that the bins count depend on something that wants a gradient."""
        parts = self.spectrum, self.detector, self.thresholds_kev, self.gain
        return any(getattr(part, "requires_grad", False) for part in parts)

    def photons_as(self, like: Tensor) -> Tensor:
        """Incident photons, dtype and device of `like`, differentiable."""
        return torch.as_tensor(self.photons).to(like)

    def kept(self, key, make, wanted: bool):
        """make(), computed once for each key and values of the model; computed anew where a gradient is wanted."""
        if wanted:
            return make()
        with temporarily_clear_interpreter_stack():
            own = self.thresholds_kev, self.gain, *self._response_parts()
            return self._kept_for(key, make, own)

    def _kept_for(self, key, make, parts):
        with temporarily_clear_interpreter_stack():  # what is kept outlives a transform of torch.func
            values = tuple(_value(part) for part in parts)
            if key not in self._kept or self._kept[key][0] != values:
                self._kept[key] = values, make()
        return self._kept[key][1]

    def _response_parts(self) -> tuple:
        return self.spectrum.edges_kev, self.spectrum.weights.detach(), *vars(self.detector).values()

    def _attenuation(self) -> Tensor:
        make = lambda: torch.stack([mass_attenuation(m, self.energies_kev) for m in self.materials], 1)  # noqa: E731
        return self._kept_for("attenuation", make, (self.spectrum.edges_kev,))

    def _response(self, device):
        def make():
            here = self.detector.for_parts(self._parent, len(self._given.edges_kev) - 1)
            return here.response(self.energies_kev.to(device), self.spectrum.widths_kev.to(device))

        if self.detector.requires_grad:
            return make()
        return self._kept_for(("response", device), make, (self.spectrum.edges_kev, *vars(self.detector).values()))

    def _scaled(self, thresholds: Tensor, device) -> Tensor:
        """Thresholds in deposited energy, float64: over the gain."""
        gain = torch.as_tensor(self.gain, dtype=torch.float64, device=device)
        thresholds = thresholds.to(device, torch.float64)
        if gain.ndim and thresholds.ndim > 1:
            shapes = {"gain": tuple(gain.shape), "thresholds_kev": tuple(thresholds.shape[:-1])}
            _broadcast("gain, thresholds_kev", *shapes.values())
        return thresholds / gain[..., None]

    def _bin_spectra(self, given: Tensor, like: Tensor) -> Tensor:
        above = self._response(like.device).above(self._scaled(given, like.device))  # (..., E + 1, N)
        return (self.spectrum.weights.to(above) * (above[..., :-1, :] - above[..., 1:, :])).mT.to(like.dtype)

    def _photons_for(self, paths: Tensor) -> Tensor:
        photons = self.photons_as(paths)
        _broadcast("photons", tuple(photons.shape), tuple(paths.shape[:-1]))
        return photons

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_kept": {}}


def _value(part):
    """What tells one value of a parameter from another; None where it is not to be kept anyway."""
    if isinstance(part, Tensor):
        return None if part.requires_grad else (part.dtype, tuple(part.shape), part.detach().cpu().numpy().tobytes())
    return part if isinstance(part, (int, float, str)) or part is None else pickle.dumps(part)


def _broadcast(name: str, given: tuple, other: tuple) -> None:
    try:
        torch.broadcast_shapes(given, other)
    except RuntimeError as error:
        raise ArgumentError(name, f"shape {given}", f"one that fits {other}") from error


def _checked_thresholds(thresholds_kev, num_bins: int | None = None) -> Tensor:
    t = numbers("thresholds_kev", thresholds_kev, at_least=0, finite=False)
    if t.ndim < 1 or t.shape[-1] < 2 or (num_bins is not None and t.shape[-1] != num_bins + 1):
        raise ArgumentError("thresholds_kev", tuple(t.shape), f"(..., {num_bins + 1 if num_bins else 'at least 2'})")
    values = t.detach()
    if contract.somewhere(values[..., 1:] <= values[..., :-1]):
        raise ArgumentError("thresholds_kev", values.flatten()[: t.shape[-1]].tolist(), "ascending energies >= 0 [keV]")
    return t


def virtual_monoenergetic(densities: Tensor, materials, energy_kev: float) -> Tensor:
    """Linear attenuation [1/mm] at one energy: sum_k a_k f_k / 10, densities a (M, ...) [g/cm3] of basis materials."""
    energy_kev = contract.number("energy_kev", energy_kev, at_least=TABLES_KEV[0], at_most=TABLES_KEV[1])
    contract.tensor("densities", densities)
    if densities.ndim < 1 or len(densities) != len(materials):
        raise ArgumentError("densities", tuple(densities.shape), f"({len(materials)}, ...): one for each material")
    f = torch.stack([mass_attenuation(m, energy_kev) for m in materials]).to(densities)
    return 0.1 * torch.tensordot(f, densities, dims=1)
