import pytest
import torch
from agreement import equal
from stand_in import stand_in


@pytest.fixture
def device():
    """The stand-in device, for one test."""
    if torch.cuda.is_available():
        pytest.skip("the stand-in device is for machines without a GPU")
    with stand_in() as name:
        yield name


@pytest.fixture
def agree(device):
    """agree(call, *tensors): the call gives on the device what it gives on the CPU, and leaves it there."""

    def check(call, *tensors):
        found = call(*(t.to(device) for t in tensors))
        equal(found, call(*tensors), device)
        return found

    return check


@pytest.fixture
def rand():
    """Numbers in [0, 1), on the CPU."""

    def draw(*shape, seed=0, dtype=torch.float64):
        return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)

    return draw
