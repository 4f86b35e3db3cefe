"""Networks for the mean and the spread of line integrals given readings, and the one both are distilled into."""

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.nets.blocks import batch

SMALLEST = 1e-3  # standard deviation of a line integral [1]: below it, log sigma means nothing


def reading_features(log: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """What networks see of readings: their logarithm, and mean and log-deviation from the table, (..., 3, V, U).

    log        line integrals (..., V, U) from the readings alone
    mu, sigma  (mu0(r), sigma0(r)) of the exact table of single readings
    """
    log, mu, sigma = torch.broadcast_tensors(*contract.together(("V", "U"), log=log, mu=mu, sigma=sigma))
    return torch.stack([log, mu, sigma.clamp_min(SMALLEST).log()], -3)


class MeanNet(nn.Module):
    """mu(r) = mu0(r) + body(features): (B, 3, V, U) -> (B, V, U). Starts as the table where body starts at 0."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, features: Tensor) -> Tensor:
        batch("features", features, self, 3, "V", "U")
        return features[:, 1] + self.body(features)[:, 0]


class SpreadNet(nn.Module):
    """sigma(r) = exp(max(log sigma0(r) + body(features), log smallest)): (B, 3, V, U) -> (B, V, U)."""

    def __init__(self, body: nn.Module, smallest: float = SMALLEST):
        super().__init__()
        self.body, self.smallest = body, contract.number("smallest", smallest, above=0, at_most=1e30)

    def forward(self, features: Tensor) -> Tensor:
        batch("features", features, self, 3, "V", "U")
        return (features[:, 2] + self.body(features)[:, 0]).exp().clamp_min(self.smallest)


class PosteriorNet(nn.Module):
    """mu(r) and sigma(r) from one network of two channels, the student of both: (B, 3, V, U) -> (B, 2, V, U)."""

    def __init__(self, body: nn.Module, smallest: float = SMALLEST):
        super().__init__()
        self.body, self.smallest = body, contract.number("smallest", smallest, above=0, at_most=1e30)

    def forward(self, features: Tensor) -> Tensor:
        batch("features", features, self, 3, "V", "U")
        mu, log_sigma = (features[:, 1:3] + self.body(features)[:, :2]).unbind(1)
        return torch.stack([mu, log_sigma.exp().clamp_min(self.smallest)], 1)
