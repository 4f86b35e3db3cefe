"""Precision by name: what "auto" stands for, and the layout that belongs to half precision."""

import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError, DataError
from ctlib.train import Settings, fit
from ctlib.train.precision import Precision, chosen

X = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def processor(monkeypatch, *has):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(("avx2", *has), True), raising=False)


@pytest.mark.parametrize(("has", "name"), [("avx512_bf16", "bf16"), ("amx_bf16", "bf16"), ("avx512_f", "float32")])
def test_auto_is_half_precision_where_the_processor_computes_in_it(has, name, monkeypatch):
    processor(monkeypatch, has)
    assert chosen("auto", "cpu") == Precision("auto", torch.device("cpu")).name == name
    assert [chosen(n, "cpu") for n in ("float32", "bf16", "fp16")] == ["float32", "bf16", "fp16"]


def test_a_processor_that_says_nothing_computes_in_single(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert chosen("auto", "cpu") == "float32"


@pytest.mark.parametrize(("has", "name"), [(True, "bf16"), (False, "float32")])
def test_a_gpu_is_asked_without_emulation(has, name, monkeypatch):
    asked = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: asked.append(including_emulation) or has
    )
    assert chosen("auto", "cuda:0") == name
    assert asked == [False]


def test_an_unknown_name_is_refused():
    with pytest.raises(ArgumentError, match="name"):
        chosen("int8", "cpu")


def trained(precision, path=None):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    fetch = lambda i, s: (X[i], X[i, :1])  # noqa: E731
    run = fit(net, nn.functional.mse_loss, fetch, 4, Settings(5, 2, 0.01, precision=precision), path)
    return net, run


def test_auto_trains_as_what_it_stands_for_and_a_checkpoint_knows_which(tmp_path, monkeypatch):
    processor(monkeypatch, "avx512_bf16")
    net, run = trained("auto", tmp_path / "c")
    assert run.history == trained("bf16", tmp_path / "c")[1].history
    assert net[0].weight.stride() == net[0].weight.contiguous(memory_format=torch.channels_last).stride()
    assert net[0].weight.dtype == torch.float32
    processor(monkeypatch)
    assert trained("auto")[1].history == trained("float32")[1].history != run.history
    assert trained("float32")[0][0].weight.is_contiguous()
    with pytest.raises(DataError, match=r"settings.precision: is 'bf16', this training has 'float32'"):
        trained("auto", tmp_path / "c")


def test_volumes_train_in_half_precision_too():
    """Channels last is the name of a layout of images; a network of volumes keeps its own."""
    net = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 1, 3, padding=1))
    volumes = torch.rand(2, 1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    fetch = lambda i, s: (volumes[i], volumes[i])  # noqa: E731
    run = fit(net, nn.functional.mse_loss, fetch, 2, Settings(3, 2, 0.01, precision="bf16"))
    assert len(run.history["loss"]) > 0
    assert net[0].weight.is_contiguous()
