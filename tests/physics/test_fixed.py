"""Models, spectra and detectors do not change behind their users' backs: no assignment, and nothing stale."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.physics import Detector, SpectralModel, Spectrum

pytest.importorskip("xraylib")

from ctlib.decompose import decompose_mle

BOX = ((-5, 35), (-5, 10))
HEIGHTS = (10.0, 30.0, 45.0, 70.0, 90.0)


def f64(values, **options):
    return torch.tensor(values, dtype=torch.float64, **options)


def spectrum(weights=(1.0, 2.0, 3.0, 1.5)):
    return Spectrum(f64([20.0, 40.0, 55.0, 75.0, 90.0]), weights)


def detectors():
    g = torch.Generator().manual_seed(0)
    table = torch.rand(4, 5, generator=g, dtype=torch.float64)
    return {
        "ideal": Detector.ideal(),
        "silicon": Detector.silicon(**{k: f64(v) for k, v in SILICON.items()}),
        "czt": Detector.czt(**{k: f64(v) for k, v in CZT.items()}),
        "tabulated": Detector.tabulated(f64(HEIGHTS), table, "linear", f64([30.0, 50.0, 65.0, 80.0])),
    }


SILICON = {"depth_mm": 30.0, "dead_mm": 0.2, "pitch_mm": 0.5, "cloud_mm": 0.02, "noise_kev": 2.0, "rescatter": 0.4}
CZT = {"depth_mm": 2.0, "pitch_mm": 0.3, "cloud_mm": 0.018, "noise_kev": 2.5, "escape": 0.4}


def build(detector="silicon", **options):
    given = {"thresholds_kev": f64([25.0, 42.0, 60.0, 85.0]), "photons": f64(1e4), "gain": f64(1.01)}
    return SpectralModel(spectrum(), ("water", "calcium"), detectors()[detector], **given | options)


PATHS = f64([[5.0, 0.2], [12.0, 0.7]])


def used(model):
    """After a first call of everything that a model keeps something for."""
    model(PATHS)
    model(PATHS.float())
    decompose_mle(model, model(PATHS), BOX, return_info=True)
    return model


def fresh(model):
    """A new model of the same values."""
    detector = dataclasses.replace(model.detector, **{
        k: v.detach().clone() if isinstance(v, torch.Tensor) else v for k, v in vars(model.detector).items()
    })  # fmt: skip
    return SpectralModel(
        Spectrum(model.spectrum.edges_kev.clone(), model.spectrum.weights.clone()), model.materials, detector,
        *(torch.as_tensor(t).detach().clone() for t in (model.thresholds_kev, model.photons, model.gain)),
    )  # fmt: skip


def same(one, other):
    torch.testing.assert_close(one(PATHS), other(PATHS), rtol=1e-13, atol=0)
    torch.testing.assert_close(one(PATHS.float()), other(PATHS.float()))
    torch.testing.assert_close(one.bin_spectra(), other.bin_spectra(), rtol=1e-13, atol=0)
    counts = other(PATHS)
    results = [decompose_mle(m, counts, BOX, return_info=True)[0] for m in (one, other)]
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


TENSORS = {
    "thresholds": ("silicon", lambda m: m.thresholds_kev),
    "gain": ("silicon", lambda m: m.gain),
    "photons": ("silicon", lambda m: m.photons),
    "weights": ("silicon", lambda m: m.spectrum.weights),
    **{f"silicon {k}": ("silicon", lambda m, k=k: getattr(m.detector, k)) for k in SILICON},
    **{f"czt {k}": ("czt", lambda m, k=k: getattr(m.detector, k)) for k in CZT},
    **{f"table {k}": ("tabulated", lambda m, k=k: getattr(m.detector, k)) for k in ("heights_kev", "density")},
}
EDITS = {
    "in place": lambda t: t.mul_(1.02),
    "one element": lambda t: t.view(-1)[:1].mul_(1.03),
    "behind autograd": lambda t: t.data.mul_(1.02),
    "as an array": lambda t: t.numpy().__imul__(1.02),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("what", TENSORS)
def test_what_is_written_into_a_tensor_counts_at_the_next_call(what, edit):
    kind, tensor = TENSORS[what]
    model = used(build(kind))
    before = model(PATHS)
    EDITS[edit](tensor(model)[:1] if what == "weights" else tensor(model))
    if what == "weights":
        tensor(model).div_(tensor(model).sum())
    assert not torch.equal(model(PATHS), before)
    same(model, fresh(model))


@pytest.mark.parametrize("name", ["spectrum", "materials", "detector", "thresholds_kev", "photons", "gain"])
def test_a_model_takes_no_assignment_and_names_the_way(name):
    model = used(build())
    before = model(PATHS)
    with pytest.raises(ArgumentError, match=rf"{name}: .*\.replace\({name}=") as caught:
        setattr(model, name, getattr(build(), name))
    assert caught.value.argument == name
    with pytest.raises(ArgumentError, match="new_name"):
        model.new_name = 1
    with pytest.raises(ArgumentError, match=name):
        delattr(model, name)
    assert torch.equal(model(PATHS), before)


def test_adding_in_place_to_an_attribute_raises_and_is_not_stale():
    model = used(build())
    with pytest.raises(ArgumentError, match="thresholds_kev"):
        model.thresholds_kev += 1
    same(model, fresh(model))


def test_derived_values_are_copies():
    model = used(build())
    before = model(PATHS)
    model.bin_spectra().zero_()
    model.attenuation.zero_()
    model.energies_kev.zero_()
    assert torch.equal(model(PATHS), before)
    for name in ("energies_kev", "attenuation"):
        with pytest.raises(ArgumentError, match=name):
            setattr(model, name, torch.zeros(2))


@pytest.mark.parametrize(
    "changes",
    [
        {"gain": 1.05}, {"photons": f64([3e3, 2e4])}, {"thresholds_kev": (21, 44, 62, 80)},
        {"detector": Detector.ideal()}, {"spectrum": spectrum((1.0, 1.0, 1.0, 1.0))},
        {"materials": ("water", "iodine")},
    ],
    ids=lambda c: next(iter(c)),
)  # fmt: skip
def test_replace_is_a_new_model(changes):
    model = used(build())
    before, changed = model(PATHS), model.replace(**changes)
    given = {"spectrum": spectrum(), "materials": ("water", "calcium"), "detector": detectors()["silicon"],
             "thresholds_kev": model.thresholds_kev, "photons": model.photons, "gain": model.gain}  # fmt: skip
    assert torch.equal(changed(PATHS), SpectralModel(**given | changes)(PATHS))
    assert not torch.equal(changed(PATHS), before)
    assert torch.equal(model(PATHS), before)


def test_replace_names_what_it_does_not_know():
    with pytest.raises(ArgumentError, match="gian"):
        build().replace(gian=1.02)


def test_spectra_and_detectors_take_no_assignment():
    s = spectrum()
    with pytest.raises(ArgumentError, match=r"weights: .*replace"):
        s.weights = torch.ones(4)
    with pytest.raises(ArgumentError, match="edges_kev"):
        s.edges_kev += 1
    for detector in detectors().values():
        for name in vars(detector):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(detector, name, 1.0)


def test_a_spectrum_is_not_that_of_arrays_which_change_later():
    edges, weights = np.array([20.0, 30.0, 40.0]), torch.ones(2, dtype=torch.float64)
    s = Spectrum(edges, weights)
    edges += 5
    weights[0] = 9
    assert s == Spectrum([20.0, 30.0, 40.0], [0.5, 0.5])


def test_equal_spectra_are_equal_and_hash_alike():
    assert spectrum() == spectrum((2.0, 4.0, 6.0, 3.0))
    assert hash(spectrum()) == hash(spectrum((2.0, 4.0, 6.0, 3.0)))
    others = spectrum((1.0, 1.0, 1.0, 1.0)), Spectrum([20, 40, 55, 75, 91], (1.0, 2.0, 3.0, 1.5))
    assert len({spectrum(), *others}) == 3
    assert spectrum() != "a spectrum"
    assert Spectrum.tungsten(70) == Spectrum.tungsten(np.float32(70))
    weights = f64([1.0, 2.0, 3.0, 1.5]).requires_grad_()
    assert spectrum(weights) == spectrum()
    assert "4 bins" in repr(spectrum(weights))


@pytest.mark.parametrize("kind", ["ideal", "silicon", "czt", "tabulated"])
@pytest.mark.parametrize("how", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_models_detectors_and_spectra(kind, how):
    model = used(build(kind))
    again = how(model)
    assert torch.equal(again(PATHS), model(PATHS))
    assert again.detector == model.detector
    assert again.spectrum == model.spectrum
    assert how(model.spectrum) == model.spectrum
    if how is not copy.copy:
        model.gain.mul_(1.1)
        assert not torch.equal(again(PATHS), model(PATHS))


def test_a_tensor_that_wants_a_gradient_stays_live():
    """An optimizer changes it in place; the model sees the new value and gives a gradient each time."""
    noise, gain = f64(2.0).requires_grad_(), f64([1.0, 1.01]).requires_grad_()
    weights = f64([1.0, 2.0, 3.0, 1.5]).requires_grad_()
    model = SpectralModel(spectrum(weights), ("water", "calcium"), Detector.silicon(noise_kev=noise),
                          (25, 42, 60, 85), gain=gain)  # fmt: skip
    optimizer, seen = torch.optim.SGD([noise, gain, weights], lr=1e-2), []
    for _ in range(3):
        optimizer.zero_grad()
        counts = model(PATHS)
        seen.append(counts.detach())
        counts.square().sum().backward()
        optimizer.step()
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    detector = Detector.silicon(noise_kev=noise.item())
    given = spectrum(weights.detach().clone()), ("water", "calcium"), detector, (25, 42, 60, 85)
    expected = SpectralModel(*given, gain=gain.detach())
    torch.testing.assert_close(model(PATHS), expected(PATHS))
    assert model.requires_grad
    assert not model.replace(spectrum=spectrum(), detector=Detector.silicon(), gain=1.0).requires_grad


def through(weights, change=lambda s: s):
    return SpectralModel(change(spectrum(weights)), ("water", "iodine"), Detector.silicon(), (25, 42, 60, 85))(PATHS)


CHANGES = {
    "none": lambda s: s,
    "filtered": lambda s: s.filtered({"Al": 2.0}),
    "rebinned": lambda s: s.rebinned(35.0),
    "trimmed": lambda s: s.trimmed(),
    "split": lambda s: s.split([33.0, 60.0]),
    "all": lambda s: s.split([33.0]).filtered({"Cu": 0.1, "Al": 1.0}).trimmed().rebinned(25.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_of_a_spectrum_get_their_gradient(change):
    weights = f64([1.0, 2.0, 3.0, 1.5]).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: through(w, CHANGES[change]), (weights,))


@pytest.mark.parametrize("change", CHANGES)
def test_two_backward_passes_through_one_model(change):
    weights = f64([1.0, 2.0, 3.0, 1.5]).requires_grad_()
    model = SpectralModel(CHANGES[change](spectrum(weights)), ("water", "iodine"), Detector.ideal(), (25, 42, 60, 85))
    gradients = []
    for _ in range(2):
        weights.grad = None
        model(PATHS).square().sum().backward()
        gradients.append(weights.grad)
    assert torch.equal(*gradients)
    assert float(gradients[0].abs().max()) > 0
    assert float((gradients[0] @ weights).detach()) == pytest.approx(0, abs=1e-12)  # the scale does not matter
