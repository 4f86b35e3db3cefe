"""The trainings of this paper are the loops one would write by hand, bit by bit, and go on after an interruption."""

import math
from functools import partial

import pytest
import torch

from ctlib.nets.seeded import seeded
from ctlib.papers.pcct.proxy import ProxyDecomposition, relative_jacobian
from ctlib.papers.pcct.scatter_net import ScatterNet, cross_loss, direct_loss, scatter_ratio
from ctlib.papers.pcct.training import fit_proxy, fit_scatter_net

pytestmark = pytest.mark.usefixtures("one_thread")

G = torch.Generator().manual_seed(0)
SAMPLES = (torch.rand(50, 4, generator=G) + 0.1, torch.rand(50, 2, generator=G), torch.rand(50, 2, 4, generator=G))
TOTAL = torch.rand(8, 2, 3, 16, generator=G) + 0.1
SCATTER = 0.2 * TOTAL.flip(-1)
IMAGES = torch.rand(8, 2, 3, 16, generator=G)
TRAIN, VALIDATE = torch.tensor([1, 2, 3, 5, 7]), torch.tensor([0, 4])  # the last batch of an epoch has one scan
CROSS = partial(cross_loss, decompose=lambda c: -c.log(), reconstruct=lambda p: p.cumsum(-1) / 10)
LOSSES = {"direct": (direct_loss, SCATTER), "cross": (CROSS, IMAGES)}


def proxy():
    return seeded(3, ProxyDecomposition, torch.full((4,), 2.0), torch.zeros(2), torch.tensor([2.0, 1.0]), width=8)


def scatter_net():
    return seeded(3, ScatterNet, 2, (4, 4), ndim=1, last_stride=1)


def equal(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_the_proxy_is_trained_by_adam_with_a_cosine(beta):
    net, source, losses = proxy(), torch.Generator().manual_seed(5), []
    optimizer = torch.optim.Adam(net.parameters(), 3e-3, fused=True)
    size = net.high - net.low
    for step in range(20):
        chosen = torch.randint(50, (8,), generator=source)
        counts, paths, jacobian = (t[chosen] for t in SAMPLES)
        found, slope = relative_jacobian(net, counts)
        values = ((found - paths) / size).square().sum(-1)
        loss = (values + beta * ((slope - jacobian) / size[:, None]).square().sum((-2, -1))).mean()
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 + math.cos(math.pi * step / 20)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    other = proxy()
    run = fit_proxy(other, SAMPLES, 20, 5, beta, batch=8)
    assert run.history["loss"] == losses
    assert equal(net, other)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_scatter_network_is_that_of_the_epoch_with_the_least_validation_loss(kind):
    loss, target = LOSSES[kind]
    net, order = scatter_net(), torch.Generator().manual_seed(5)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-2, fused=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.1)
    least, kept, at = math.inf, None, []
    for _ in range(6):
        net.train()
        for part in TRAIN[torch.randperm(5, generator=order)].split(2):
            optimizer.zero_grad()
            loss(scatter_ratio(net, TOTAL[part]), TOTAL[part], target[part]).backward()
            optimizer.step()
        schedule.step()
        net.eval()
        with torch.no_grad():
            each = [float(loss(scatter_ratio(net, TOTAL[v]), TOTAL[v], target[v])) for v in VALIDATE.split(1)]
            at.append(sum(each) / len(each))
        if at[-1] < least:
            least, kept = at[-1], {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(kept)
    other = scatter_net()
    run = fit_scatter_net(other, loss, TOTAL, target, TRAIN, VALIDATE, 6, 2e-2, 5)
    assert run.history["validation"] == at
    assert least == min(at)
    assert equal(net, other)
    assert not other.training


def test_a_scatter_training_goes_on_bit_by_bit_with_its_best_weights(tmp_path):
    """Stopped after the checkpoint of step 9, behind an epoch that may have been the best."""

    class Stop(Exception):
        pass

    whole, net, calls, left = (
        scatter_net(),
        scatter_net(),
        [],
        [17],
    )  # of the 11 steps before, and 6 validations of 3 epochs

    def loss(ratio, counts, target):
        calls.append(ratio)
        if len(calls) == left[0]:
            raise Stop
        return direct_loss(ratio, counts, target)

    args = (TOTAL, SCATTER, TRAIN, VALIDATE, 6, 2e-2, 5)
    least = fit_scatter_net(whole, direct_loss, *args).history["validation"]
    with pytest.raises(Stop):
        fit_scatter_net(net, loss, *args, path=tmp_path / "c", every=9)
    left[0], resumed = 0, scatter_net()
    run = fit_scatter_net(resumed, loss, *args, path=tmp_path / "c", every=9)
    assert run.history["validation"] == least
    assert len(calls) == 17 + 9 + 2 * 3
    assert equal(whole, resumed)
