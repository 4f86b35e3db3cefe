"""Known bugs of other toolkits: what users of them reported in public, one test a thread, by repository and number.

Each test does here what the report did there and asks for the right value.
"""

import math
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from dicom_writer import write_ct, write_series
from minibook import command, miniature, without_figure

from ctlib import metrics
from ctlib.book.runner.run import run_key
from ctlib.data.dicom import read_ct_series, read_ct_slice
from ctlib.data.images import load_slice
from ctlib.errors import ArgumentError, CtlibError, DataError
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.linop import dot_test
from ctlib.phantoms import Ellipsoids
from ctlib.projector import Projector
from ctlib.recon import fbp
from ctlib.train import Settings, fit

MU = 0.02  # attenuation of the disc in every reconstruction below [1/mm]
VOLUME = Volume((96, 96), 2.0)
PLACE = (12.0, -8.0)  # its center in (x, y): off the axis, so that no error cancels


def disc(radius_mm=50.0, ndim=2):
    center = np.array([[*PLACE, 0.0][:ndim]])
    return Ellipsoids(np.array([MU]), center, np.full((1, ndim), radius_mm), np.zeros(1))


def inside(volume=VOLUME, radius_mm=40.0):
    y, x = (torch.as_tensor(volume.axis(i).copy()) for i in (-2, -1))
    return torch.hypot(y[:, None] - PLACE[1], x[None, :] - PLACE[0]) < radius_mm


def fan(angles, num_cols=220, offset_mm=0.0):
    return FanBeam(VOLUME, len(angles), num_cols, 2.0, source_origin_mm=400.0, source_detector_mm=700.0,
                   angles=tuple(angles), detector_offset_mm=offset_mm)  # fmt: skip


def turn(num_views, of=2 * math.pi, start=0.0):
    return start + of * np.arange(num_views) / num_views


def reconstructed(geometry, **options):
    """The disc's values in the plane of the orbit, from exact data."""
    ndim = len(geometry.volume.shape)
    x = fbp(Projector(geometry), disc(ndim=ndim).line_integrals(geometry, rays_per_bin=4), **options)
    plane = x if ndim == 2 else x[len(x) // 2]
    return plane[inside(geometry.volume)]


def assert_value(found, tolerance=0.01):
    """Mean to a third of the tolerance, every pixel to three times it."""
    assert abs(float(found.mean()) / MU - 1) < tolerance / 3
    assert float((found / MU - 1).abs().max()) < 3 * tolerance


def test_odlgroup_odl_824():
    """A fan beam over half a turn and the fan's angle, not over a whole turn, lacks its weights."""
    span = math.pi + 2 * math.atan(220 / 700)
    assert_value(reconstructed(fan(np.linspace(0.3, 0.3 + span, 220))))


def test_tomographicimaging_cil_1399():
    """The same for FDK."""
    volume = Volume((8, 96, 96), 2.0)
    angles = tuple(np.linspace(0, math.pi + 2 * math.atan(220 / 700), 220))
    cone = ConeBeam(volume, 220, 220, 2.0, num_rows=16, source_origin_mm=400.0, source_detector_mm=700.0, angles=angles)
    ball = Ellipsoids(np.array([MU]), np.array([[*PLACE, 0.0]]), np.array([[50.0, 50.0, 400.0]]), np.zeros(1))
    x = fbp(Projector(cone), ball.line_integrals(cone, rays_per_bin=2))
    assert_value(x[3:5, inside()].flatten(), tolerance=0.015)


def test_cern_tigre_743():
    """A whole turn with slightly uneven steps is taken for a short scan."""
    angles = turn(180) + np.random.default_rng(0).uniform(-0.2, 0.2, 180) * (2 * math.pi / 180)
    assert_value(reconstructed(fan(angles)))


def test_tomographicimaging_cil_1400():
    """Views that were taken twice, and steps of two sizes, count by the angle they cover."""
    angles = np.concatenate([turn(120), turn(120)[:40], turn(120)[80:100] + 2 * math.pi / 240])
    assert_value(reconstructed(fan(angles)))


def test_rtkconsortium_rtk_974():
    """The first and last views of a short scan get weight zero, as if they had not been taken."""
    span = math.pi + 2 * math.atan(220 / 700)
    geometry = fan(np.linspace(0, span, 200))
    A, y = Projector(geometry), disc().line_integrals(geometry, rays_per_bin=4)
    for view in (0, -1):
        changed = y.clone()
        changed[view] = 0.0
        assert float((fbp(A, changed) - fbp(A, y)).abs().max()) > 1e-6 * MU


def test_cern_tigre_151():
    """A detector displaced by a quarter of its width: bright rings and a wrong center."""
    assert_value(reconstructed(fan(turn(360), num_cols=150, offset_mm=50.0)))


def test_cern_tigre_778():
    """Weights of a displaced detector on a short scan, where no opposite view exists, shade one side in silence."""
    geometry = fan(np.linspace(0, math.pi + 2 * math.atan(150 / 700), 220), num_cols=150, offset_mm=50.0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            reconstructed(geometry)
        except ArgumentError as error:
            assert "detector_offset_mm" in str(error)  # noqa: PT017
        else:
            assert any("detector_offset_mm" in str(w.message) for w in told)
    calibrated = fan(np.linspace(0, math.pi + 2 * math.atan(221 / 700), 220), offset_mm=0.7)  # covers both sides
    assert_value(reconstructed(calibrated))


def test_llnl_leap_97():
    """A detector narrower than the object: the values inside are wrong, and nothing says so."""
    geometry = fan(turn(240), num_cols=60)
    with pytest.warns(UserWarning, match=r"(?i)truncat"):
        reconstructed(geometry)


def test_llnl_leap_40():
    """A quarter of a turn is not enough for FBP; an image that means nothing is returned as if it were."""
    geometry = fan(turn(90, of=math.pi / 2))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            reconstructed(geometry)
        except CtlibError as error:
            assert "angles" in str(error)  # noqa: PT017
        else:
            assert any("angles" in str(w.message) for w in told)


def test_tomographicimaging_cil_1332():
    """Projections of a detector's integers give an image of zeros."""
    geometry = fan(turn(60))
    with pytest.raises(ArgumentError, match=r"y: got .*uint16"):
        fbp(Projector(geometry), torch.ones(geometry.sino_shape).to(torch.uint16))


def test_tomographicimaging_cil_1340():
    """The scale of FBP is wrong where voxels are not the bin's width over the magnification."""
    volume = Volume((64, 64), 3.0)
    geometry = FanBeam(volume, 240, 240, 2.0, source_origin_mm=400.0, source_detector_mm=700.0)
    assert_value(reconstructed(geometry), tolerance=0.015)


def test_llnl_leap_25():
    """FBP stops the gradient."""
    geometry = fan(turn(60))
    y = disc().line_integrals(geometry).requires_grad_()
    fbp(Projector(geometry), y).square().sum().backward()
    assert bool(y.grad.abs().sum() > 0)


@pytest.mark.parametrize("backend", Projector.backends())
def test_matteo_ronchetti_torch_radon_30(backend):
    """At 0 and 90 degrees, rays through the pixels' centers must give sums over rows and columns exactly."""
    geometry = ParallelBeam(Volume((16, 16)), 4, 16, 1.0, angles=(0.0, math.pi / 2, math.pi, 3 * math.pi / 2))
    x = torch.rand(16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = torch.stack([x.sum(0), x.sum(1).flip(0), x.sum(0).flip(0), x.sum(1)])
    tolerance = 1e-5 if backend == "astra" else 1e-12
    assert torch.allclose(Projector(geometry, backend)(x), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("backend", Projector.backends())
def test_llnl_leap_167(backend):
    """A volume with other strides is read as if it were contiguous."""
    A = Projector(ParallelBeam(Volume((12, 20)), 7, 24, 1.0), backend)
    x = torch.rand(20, 12, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).permute(2, 1, 0)
    assert not x.is_contiguous()
    assert torch.equal(A(x), A(x.contiguous()))
    flipped = x.flip(-1)
    assert torch.equal(A(flipped), A(flipped.clone(memory_format=torch.contiguous_format)))


def test_matteo_ronchetti_torch_radon_16():
    """backward() after the sinogram's axes were permuted."""
    A = Projector(ParallelBeam(Volume((12, 12)), 7, 16, 1.0))
    x = torch.rand(3, 12, 12, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(16, 3, 7, dtype=torch.float64)
    (A(x).permute(2, 0, 1) * weight).sum().backward()
    assert torch.allclose(x.grad, A.T(weight.permute(1, 2, 0)), rtol=1e-12, atol=1e-12)


def test_llnl_leap_46():
    """Back-projection is not differentiable."""
    A = Projector(fan(turn(20)))
    assert dot_test(A, torch.Generator().manual_seed(0)) < 1e-12
    y = torch.rand(A.range_shape, dtype=torch.float64, requires_grad=True)
    x = torch.rand(A.domain_shape, dtype=torch.float64)
    (A.T(y) * x).sum().backward()
    assert torch.allclose(y.grad, A(x), rtol=1e-12, atol=1e-12)


def test_flatironinstitute_pytorch_finufft_95():
    """vmap, jvp and jacrev refuse a hand-written autograd.Function."""
    A = Projector(ParallelBeam(Volume((6, 6)), 4, 9, 1.0))
    x = torch.rand(5, 6, 6, dtype=torch.float64)
    assert torch.allclose(torch.func.vmap(A)(x), A(x))
    assert torch.allclose(torch.func.jvp(A, (x[0],), (x[1],))[1], A(x[1]))
    assert torch.allclose(torch.func.jacrev(A)(x[0]).flatten(2) @ x[1].flatten(), A(x[1]))


def test_lightning_ai_torchmetrics_2787():
    """The difference of two uint8 images wraps around: 27.88 dB instead of 7.80."""
    g = torch.Generator().manual_seed(0)
    a, b = ((torch.rand(20, 30, generator=g) * 255).to(torch.uint8) for _ in range(2))
    for mask in (None, torch.ones(20, 30, dtype=torch.bool)):
        exact = 10 * math.log10(255**2 / float((a.double() - b.double()).square().mean()))
        assert float(metrics.psnr(a, b, data_range=255, mask=mask)) == pytest.approx(exact, rel=1e-6)


def test_nipy_nibabel_1099(tmp_path):
    """Two NIfTI files of one patient, stored left to right and right to left, are taken as they are stored."""
    nibabel = pytest.importorskip("nibabel")
    hu = np.random.default_rng(0).integers(-900, 900, (6, 5, 3)).astype(np.int16)  # (x, y, z), to the right and front
    for name, array, x in (("one", hu, -1.0), ("other", hu[::-1], 1.0)):
        affine = np.diag([x, 1.0, 2.0, 1.0])
        affine[0, 3] = 0.0 if name == "one" else -5.0
        nibabel.Nifti1Image(array, affine).to_filename(tmp_path / f"{name}.nii.gz")
    one, other = (load_slice(tmp_path / f"{name}.nii.gz", index=1, unit="HU").image for name in ("one", "other"))
    assert torch.equal(one, other)
    assert torch.equal(one, torch.from_numpy(np.ascontiguousarray(hu[:, ::-1, 1].T.astype(np.float32))))


def test_simpleitk_simpleitk_1205(tmp_path):
    """A rescale slope other than one is lost where a series is read."""
    stored = write_series(tmp_path / "series", RescaleSlope="2.5", RescaleIntercept="-1000")
    exact = torch.from_numpy(stored.astype(np.float32)) * 2.5 - 1000
    assert torch.equal(read_ct_series(tmp_path / "series").volume, exact.clamp_min(-1000))


def test_diagnijmegen_rse_panimg_126(tmp_path):
    """One frame of another orientation in the folder of a series turns the volume, or stands in it."""
    stored = write_series(tmp_path / "series", count=5)
    odd = np.full((6, 5), 77, np.uint16)
    write_ct(tmp_path / "series" / "odd.dcm", odd, z=1.5, ImageOrientationPatient=["1", "0", "0", "0", "0", "-1"])
    exact = torch.from_numpy(stored.astype(np.float32)) - 1024
    assert torch.equal(read_ct_series(tmp_path / "series").volume, exact.clamp_min(-1000))


def test_notmatthancock_pylidc_32(tmp_path):
    """Slope and intercept are not applied."""
    stored = np.array([[0, 24], [1024, 2024]], np.uint16)
    assert read_ct_slice(write_ct(tmp_path / "a.dcm", stored)).image.tolist() == [[-1000, -1000], [0, 1000]]


def test_broadinstitute_cromwell_3044(tmp_path):
    """A stored result is served although an input changed: here two files of one name in two folders."""
    project, data = miniature(tmp_path / "book"), tmp_path / "data"
    for folder in "ab":
        (data / folder).mkdir(parents=True)
        (data / folder / "1-01.dcm").write_bytes(b"same")
    keys = [run_key(project, "01-alpha", {"name": str(data)}, "ci")]
    (data / "a" / "1-01.dcm").write_bytes(b"else")
    keys.append(run_key(project, "01-alpha", {"name": str(data)}, "ci"))
    (data / "a" / "1-01.dcm").write_bytes(b"same")
    assert keys[0] != keys[1]
    assert run_key(project, "01-alpha", {"name": str(data)}, "ci") == keys[0]


def test_sifiveinc_wake_427(tmp_path):
    """A file that the step could read got another name, and the stored result is served."""
    project, data = miniature(tmp_path / "book"), tmp_path / "data"
    data.mkdir()
    (data / "in.txt").write_text("1")
    before = run_key(project, "01-alpha", {"name": str(data)}, "ci")
    (data / "in.txt").rename(data / "in2.txt")
    assert run_key(project, "01-alpha", {"name": str(data)}, "ci") != before


@pytest.mark.parametrize(("words", "told"), [(["-p", "n", "-1e3"], "n"), (["-p", "n=-1e3"], "n")])
def test_python_cpython_105712(tmp_path, words, told):
    """A negative number with an exponent is taken for an option: "expected 2 arguments"."""
    call = command(miniature(tmp_path), "run", "01-alpha", *words)
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "-1" in done.stderr
    assert "argument" not in done.stderr


def test_nteract_papermill_316(tmp_path):
    """A path is looked for beside the notebook, not where the command was given."""
    project = miniature(tmp_path / "book")
    project.source("01-alpha").write_text(without_figure(project.source("01-alpha").read_text()))
    (tmp_path / "exams").mkdir()
    (tmp_path / "exams" / "a.txt").write_text("1")
    call = [*command(project, "run", "01-alpha", "-p", "name", "exams/none.txt")]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    call = [*command(project, "run", "01-alpha", "-p", "name", "exams/a.txt")]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


PROJECT = """
import torch
from ctlib.geometry import ParallelBeam, Volume
from ctlib.projector import Projector
A = Projector(ParallelBeam(Volume((8, 8)), 4, 12, 1.0))
print(float(A(torch.ones(8, 8)).sum()))
"""


def test_numba_numba_4908(tmp_path):
    """No folder for the compiled loops: "cannot cache function ...: no locator available"."""
    pytest.importorskip("numba")
    env = os.environ | {"NUMBA_CACHE_DIR": "/proc/no/such", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", PROJECT], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_scverse_fast_array_utils_179():
    """A forked worker that computes in parallel, after its parent did, is ended by OpenMP."""
    code = PROJECT + (
        "import os\nchild = os.fork()\nif not child:\n    print(float(A(torch.ones(8, 8)).sum()), flush=True)\n"
        "    os._exit(0)\nprint(os.waitpid(child, 0)[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    first, second, status = done.stdout.split()
    assert first == second
    assert status == "0"


def test_polymathicai_the_well_77(tmp_path):
    """After a stop the learning rate starts anew, and the training goes elsewhere."""
    data = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))

    def trained(path, stop=None):
        net = torch.nn.Linear(3, 1)
        torch.nn.init.constant_(net.weight, 0.1)
        torch.nn.init.zeros_(net.bias)

        def stopped(run):
            if run.step == stop:
                raise KeyboardInterrupt

        settings = Settings(steps=20, batch=4, lr=0.1, schedule="cosine", seed=0)
        fetch = lambda indices, seeds: (data[indices], data[indices].sum(1, keepdim=True))  # noqa: E731
        fit(net, torch.nn.functional.mse_loss, fetch, 12, settings, path, every=1, callback=stopped)
        return net.weight.detach()

    whole = trained(tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts.pt", stop=9)
    assert torch.equal(trained(tmp_path / "parts.pt"), whole)


def test_pytorch_torchtitan_809(tmp_path):
    """A checkpoint of other data is continued as if it were one's own."""

    def trained(data):
        net = torch.nn.Linear(3, 1)
        torch.nn.init.zeros_(net.weight)
        fetch = lambda indices, seeds: (data[indices], data[indices].sum(1, keepdim=True))  # noqa: E731
        fit(net, torch.nn.functional.mse_loss, fetch, 12, Settings(steps=3, batch=4, lr=0.1, seed=0), tmp_path / "a.pt")

    trained(torch.ones(12, 3))
    with pytest.raises(DataError, match=r"a\.pt"):
        trained(torch.full((12, 3), 2.0))
