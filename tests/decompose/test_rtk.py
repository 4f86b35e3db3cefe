"""Agreement with RTK, an independent implementation in C++ of the spectral forward model and its likelihood.

RTK bins a response matrix of pulse heights 1, 2, ... keV between the thresholds and maximizes the Poisson likelihood by
the simplex method, a pixel at a time. It keeps incident spectrum, response and attenuation in single precision, which
makes expected counts differ by up to 1e-7, and the rest in double.

In an environment of its own: `make test-rtk`.
"""

import numpy as np
import pytest
import torch
from deep_silicon import THRESHOLDS

from ctlib.decompose import cramer_rao, decompose_mle, fisher_information
from ctlib.physics import Detector, SpectralModel, Spectrum, linear_attenuation

itk = pytest.importorskip("itk", reason="needs RTK: make test-rtk")
if not hasattr(itk, "RTK"):  # ITK without the remote module, which is an attribute and no name to import
    pytest.skip("needs RTK: make test-rtk", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")  # of ITK's wrapping

HEIGHTS = torch.arange(1.0, 121.0, dtype=torch.float64)  # [keV]; RTK knows no others
FRACTIONAL = (15.3, 33.0, 45.7, 59.25, 120.0)
COUNTS_RTOL = 1e-6  # measured 7e-8
THICKNESS_CM = 1e-5  # measured 8e-7
PIXELS = 500
CASES = {  # second material, thickest water and second material [cm], photons
    "calcium": ("calcium", (25.0, 1.0), 1e6),
    "iodine": ("iodine", (25.0, 0.02), 1e6),  # its K-edge cuts a bin of the spectrum
    "few photons": ("calcium", (25.0, 1.0), 1e5),  # down to two counts in a bin
}


class Rtk:
    """A spectral model as RTK takes it: response (N, P) per keV, attenuation (N, M) [1/cm], thicknesses (P, M) [cm]."""

    def __init__(self, model, response, attenuation_per_cm):
        self.model = model
        self.tables = {
            "InputIncidentSpectrum": model.photons * model.spectrum.weights,
            "DetectorResponse": response.T,
            "MaterialAttenuations": attenuation_per_cm,
        }

    def counts(self, thickness_cm):
        """Expected counts (P, E) of SpectralForwardModelImageFilter, and Cramer-Rao bounds (P, M) [cm2]."""
        none = torch.zeros(len(thickness_cm), self.model.num_bins)
        made = self._filter("SpectralForwardModelImageFilter", thickness_cm, none)
        made.SetComputeCramerRaoLowerBound(True)
        return self._output(made, 0), self._output(made, 2)

    def thicknesses(self, counts, start_cm, runs=2):
        """The estimate (P, M) [cm] of SimplexSpectralProjectionsDecompositionImageFilter, started anew from its own.

        A second run frees the simplex where it has collapsed away from the minimum: 7 pixels of 120,000.
        """
        for _ in range(runs):
            made = self._filter("SimplexSpectralProjectionsDecompositionImageFilter", start_cm, counts)
            start_cm = self._output(made, 0)
        return start_cm

    def _filter(self, name, thickness_cm, counts):
        spectrum = self.tables["InputIncidentSpectrum"].expand(1, len(thickness_cm), -1)  # one for each pixel
        vectors = {"InputDecomposedProjections": thickness_cm, "InputMeasuredProjections": counts}
        images = {key: _image(pixels[None, None], itk.VectorImage[itk.D, 3]) for key, pixels in vectors.items()}
        for key, table in (self.tables | {"InputIncidentSpectrum": spectrum}).items():
            images[key] = _image(table, itk.Image[itk.F, table.ndim])
        made = getattr(itk.RTK, name)[tuple(type(image) for image in images.values())].New()
        for key, image in images.items():
            getattr(made, f"Set{key}")(image)
        thresholds = itk.VariableLengthVector[itk.D](self.model.num_bins + 1)
        for k, value in enumerate(self.model.thresholds_kev.tolist()):
            thresholds[k] = value
        made.SetThresholds(thresholds)
        made.SetNumberOfWorkUnits(1)
        return made

    def _output(self, made, index):
        made.Update()
        return torch.from_numpy(itk.array_from_image(made.GetOutput(index))[0, 0].copy())


def _image(values, kind):
    dtype = np.float64 if kind is itk.VectorImage[itk.D, 3] else np.float32
    return itk.image_from_array(np.ascontiguousarray(values, dtype=dtype), ttype=kind)


@pytest.fixture(scope="module", params=CASES)
def case(request, build, draw):
    """ctlib's model, RTK's, density [g/cm3], random thicknesses [cm] and Poisson counts."""
    second, thickest, photons = CASES[request.param]
    setup = {"materials": ("water", second), "thresholds": FRACTIONAL, "photons": photons, "bin_kev": 1.0}
    bare = build(detector=Detector.ideal(), **setup)
    silicon = Detector.silicon().response(bare.energies_kev, bare.spectrum.widths_kev)
    response = (silicon.above(HEIGHTS - 0.5) - silicon.above(HEIGHTS + 0.5)).T.float().double()
    model = build(detector=Detector.tabulated(HEIGHTS, response, "linear"), **setup)
    density = torch.tensor([m.density for m in model.materials], dtype=torch.float64)
    per_cm = torch.stack([10 * linear_attenuation(m, model.energies_kev) for m in model.materials], 1)
    paths, counts = draw(model, PIXELS, tuple(t * d for t, d in zip(thickest, density.tolist(), strict=True)))
    return model, Rtk(model, response, per_cm), density, paths / density, counts


def bin_models(thresholds):
    """Models of both edge rules on one response that is noise, 64 energies of one photon each, and RTK's of it."""
    response = torch.rand(1, len(HEIGHTS), generator=torch.Generator().manual_seed(3)).double().expand(64, -1)
    spectrum = Spectrum(torch.arange(30.0, 95.0), torch.ones(64))
    linear, cells = (
        SpectralModel(spectrum, ("water", "calcium"), Detector.tabulated(HEIGHTS, response, rule), thresholds, 64.0)
        for rule in ("linear", "histogram")
    )
    return linear, cells, Rtk(linear, response, torch.ones(64, 2))


@pytest.mark.parametrize(
    "thresholds", [THRESHOLDS, FRACTIONAL, (1, 5.5, 20.01, 99.99, 119), (2.75, 60, 64, 101, 119.5)]
)
def test_bins_cut_the_response_by_the_same_rule(build, thresholds):
    """Trapezoids between the pulse heights, cut by the thresholds: equal to rounding."""
    linear, _, rtk = bin_models(thresholds)
    nothing = torch.zeros(1, 2, dtype=torch.float64)
    torch.testing.assert_close(linear(nothing), rtk.counts(nothing)[0], rtol=1e-13, atol=0)


def test_the_other_rule_is_not_rtks(build):
    """Cells around the pulse heights: the same at whole thresholds, where a cell is cut in halves, but not between."""
    nothing, off = torch.zeros(1, 2, dtype=torch.float64), {}
    for thresholds in (THRESHOLDS, FRACTIONAL):
        _, cells, rtk = bin_models(thresholds)
        off[thresholds] = float((cells(nothing) / rtk.counts(nothing)[0] - 1).abs().max())
    assert off[THRESHOLDS] < 1e-13
    assert off[FRACTIONAL] > 1e-3


def test_expected_counts(case):
    model, rtk, density, thickness_cm, _ = case
    expected = model(thickness_cm * density)
    assert expected.min() < 1e-3 * expected.max()
    torch.testing.assert_close(rtk.counts(thickness_cm)[0], expected, rtol=COUNTS_RTOL, atol=0)


def test_cramer_rao_bound(case):
    """RTK inverts the Fisher matrix F in single precision: the rounding grows with the condition number."""
    model, rtk, density, thickness_cm, _ = case
    paths = thickness_cm * density
    bound = cramer_rao(model, paths).diagonal(dim1=-2, dim2=-1) / density**2
    off = (rtk.counts(thickness_cm)[1] / bound - 1).abs().amax(-1)
    condition = torch.linalg.cond(density[:, None] * fisher_information(model, paths) * density)
    assert (off < torch.finfo(torch.float32).eps * condition).all()


def test_most_likely_thicknesses(case):
    model, rtk, density, truth_cm, counts = case
    theirs = rtk.thicknesses(counts, truth_cm.mean(0).expand_as(truth_cm))
    ours = decompose_mle(model, counts) / density
    assert (ours - truth_cm).std(0)[0] > 0.1  # noise has moved the estimates from the truth, which neither has seen
    assert (ours - theirs).abs().max() < THICKNESS_CM
    assert (likelihood_gap(model, counts, ours * density, theirs * density) > -1e-12).all()


@pytest.mark.parametrize("case", ["few photons"], indirect=True)
def test_starved_pixels_may_have_two_minima(case):
    """With fewer than 250 counts in all bins together, the likelihood of a pixel can have a second minimum.

    Both answers are minima: from RTK's answer ctlib does not move. Where the two differ, ctlib's is the lower one.
    """
    model, rtk, density, *_ = case
    g = torch.Generator().manual_seed(0)
    span = torch.tensor([[20.0, 0.8], [5.0, 0.2]], dtype=torch.float64)  # [cm]
    truth_cm = span[0] + span[1] * torch.rand(2000, 2, generator=g, dtype=torch.float64)
    counts = torch.poisson(model(truth_cm * density), generator=g)
    theirs = rtk.thicknesses(counts, truth_cm.mean(0).expand_as(truth_cm))
    stayed = decompose_mle(model, counts, start=theirs * density) / density
    assert (stayed - theirs).abs().max() < THICKNESS_CM
    found = decompose_mle(model, counts)
    differ = (found / density - theirs).abs().amax(-1) > THICKNESS_CM
    assert differ.sum() < 20
    assert (likelihood_gap(model, counts, found, theirs * density) > -1e-9).all()


def likelihood_gap(model, counts, paths, others):
    """Negative log-likelihood (P,) at `others` less that at `paths`, without the cancellation of the two.

    sum_i d_i - gamma_i log(1 + d_i / lambda_i),    d = lambda(others) - lambda(paths)
    """
    change = torch.expm1(-(others - paths) @ model.attenuation.T) * torch.exp(-paths @ model.attenuation.T)
    change = change @ (model.photons * model.bin_spectra())
    return (change - counts * torch.log1p(change / model(paths))).sum(-1)


def test_the_gap_of_two_likelihoods_is_their_difference(case):
    model, _, density, truth_cm, counts = case
    a, b = truth_cm * density, 1.01 * truth_cm * density
    values = [(expected - counts * expected.log()).sum(-1) for expected in (model(a), model(b))]
    torch.testing.assert_close(likelihood_gap(model, counts, a, b), values[1] - values[0], rtol=1e-6, atol=1e-6)
