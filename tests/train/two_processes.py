"""Trains and writes its weights: torchrun --nproc_per_node=2 two_processes.py OUT STEPS [STOP]; 3 where it stops."""

import sys

import torch

from ctlib.papers.hqinet.network import make_hqinet
from ctlib.train import Settings, fit, process_group, rank_and_size, save_checkpoint

SMALL = {"stem": 4, "mids": (2, 3), "blocks": (1, 1), "aspp": 4, "rates": (1,), "low": 2, "decoder": 4}


def weights(steps, path=None, stop=None):
    """Best weights and curves after some steps in float64, where rounding is all that may differ."""
    torch.set_num_threads(1)
    x = torch.rand(10, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = make_hqinet(0, **SMALL).double()

    def fetch(indices, seeds):
        noise = torch.stack(
            [torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds]
        )
        return x[indices] + 0.1 * noise, x[indices, 1:2]

    def watch(run):
        if run.step == stop:
            sys.exit(3)

    settings, validate = Settings(steps, 4, 0.1, seed=2), lambda net: (net(x) - x[:, 1:2] - 1).abs().mean()
    options = {"path": path, "every": 2, "callback": watch, "validate": validate, "validate_every": 1}
    run = fit(net, lambda a, b: (a - b).abs().mean(), fetch, len(x), settings, **options)
    return {"net": net.state_dict(), **run.history}


if __name__ == "__main__":
    with process_group():
        result = weights(int(sys.argv[2]), sys.argv[1] + ".ckpt", *map(int, sys.argv[3:]))
        if rank_and_size()[0] == 0:
            save_checkpoint(sys.argv[1], result)
