"""Several processes, one training: the group, the replicas, and batch normalization over the whole batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ctlib.contract import tensor


def rank_and_size() -> tuple[int, int]:
    """(number of this process, number of processes); (0, 1) without a group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextmanager
def process_group() -> Iterator[str]:
    """Join the group that torchrun describes in the environment, if any; gives this process's device.

    gloo between CPUs, nccl between CUDA devices, one device a process.
    """
    local, size = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    cuda = torch.cuda.is_available()
    device = f"cuda:{local}" if cuda else "cpu"
    if size == 1:
        yield device
        return
    dist.init_process_group("nccl" if cuda else "gloo", device_id=torch.device(device) if cuda else None)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def replicate(net: nn.Module) -> nn.Module:
    """The network as one of the group's replicas, gradients averaged; the network itself without a group."""
    if rank_and_size()[1] == 1:
        return net
    whole_batch_norm(net)
    cuda = next(net.parameters()).is_cuda
    return nn.parallel.DistributedDataParallel(
        net, device_ids=[next(net.parameters()).device] if cuda else None, broadcast_buffers=False
    )


def average(value: Tensor) -> Tensor:
    """Mean of a detached tensor over the processes."""
    size = rank_and_size()[1]
    tensor("value", value)
    if size == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / size


class WholeBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization whose mean and variance are those of the batches of all processes together.

        y = (x - m) / sqrt(v + eps) w + b,    m, v over B, Y, X and the processes

    torch has this for CUDA alone; the sum here is differentiable, on gloo too. Evaluation is unchanged.
    """

    def forward(self, x: Tensor) -> Tensor:
        size = rank_and_size()[1]
        if not self.training or size == 1:
            return super().forward(x)
        from torch.distributed.nn.functional import all_reduce

        sums = torch.stack([x.sum((0, 2, 3)), (x * x).sum((0, 2, 3))])
        num = size * x.numel() // x.shape[1]
        mean, square = all_reduce(sums) / num
        var = (square - mean * mean).clamp_min(0)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_((var * (num / (num - 1))).to(self.running_var), self.momentum)
        scale = self.weight * torch.rsqrt(var + self.eps)
        return (x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]


def whole_batch_norm(net: nn.Module) -> nn.Module:
    """Turn every BatchNorm2d of a network into a `WholeBatchNorm2d`, in place; weights and statistics stay."""
    for m in net.modules():
        if type(m) is nn.BatchNorm2d:
            m.__class__ = WholeBatchNorm2d
    return net
