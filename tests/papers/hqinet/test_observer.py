"""Model observers against what is known: matched filters in white noise, whitening in colored noise, no free lunch."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.observer import (
    compare_detectability,
    decisions,
    detectability,
    dog_channels,
    hotelling_template,
)

SIZE = 16


def draw(num, seed, blur=0):
    x = torch.randn(num, SIZE + 2 * blur, SIZE + 2 * blur, generator=torch.Generator().manual_seed(seed)).double()
    return torch.nn.functional.avg_pool2d(x[:, None], 2 * blur + 1, 1)[:, 0] if blur else x


def bump(height=1.0):
    t = torch.arange(SIZE) - SIZE // 2
    return height * torch.exp(-(t[:, None] ** 2 + t[None, :] ** 2) / 8.0).double()


def test_channels_see_no_mean_and_are_rings():
    channels = dog_channels(SIZE, 5)
    assert channels.shape == (5, SIZE, SIZE)
    assert channels.sum((1, 2)).abs().max() < 1e-12
    assert torch.allclose(channels, channels.transpose(1, 2))


def test_the_hotelling_observer_is_the_matched_filter_in_white_noise():
    channels = dog_channels(SIZE, 6, first=0.03)
    present, absent = draw(3000, 0) + bump(), draw(3000, 1)
    template = hotelling_template(present, absent, channels)
    values = [(x * template).sum((1, 2)) for x in (draw(3000, 2) + bump(), draw(3000, 3))]
    basis, _ = torch.linalg.qr(channels.flatten(1).T)
    assert float(detectability(*values)) == pytest.approx(float((basis.T @ bump().flatten()).norm()), rel=0.06)


def test_it_beats_the_observer_that_does_not_whiten_in_colored_noise():
    present, absent = draw(1200, 4, 2) + bump(0.2), draw(1200, 5, 2)
    groups = list(range(1200))
    both = {o: float(detectability(*decisions(present, absent, groups, o))) for o in ("hotelling", "non-prewhitening")}
    assert both["hotelling"] > 1.2 * both["non-prewhitening"]


def test_without_a_lesion_nothing_is_found():
    """Templates never saw the images that they judge: learned on the same ones, d' would be above 1 here."""
    values = decisions(draw(80, 6), draw(80, 7), list(range(80)))
    assert abs(float(detectability(*values))) < 0.5


def test_shares_have_intervals_that_know_the_reference():
    strong = {"full": 1.0, "half": 0.5, "same": 1.0}
    base = draw(400, 8), draw(400, 9)
    values = {k: decisions(base[0] + bump(h), base[1], [i // 4 for i in range(400)]) for k, h in strong.items()}
    found = compare_detectability(values, "full", [i // 4 for i in range(400)], draws=200)
    assert found["full"][1:] == (1.0, 1.0, 1.0)
    assert found["same"][2] == 1.0
    value, share, low, high = found["half"]
    assert low < share < high < 0.7
    assert share == pytest.approx(value / found["full"][0])


def test_bad_input_is_named():
    x = draw(8, 0)
    for argument, call in (
        ("groups", lambda: decisions(x, x, [0] * 8)),
        ("groups", lambda: decisions(x, x, [0, 1])),
        ("present", lambda: hotelling_template(x[:2], x[:2], dog_channels(SIZE, 8))),
        ("observer", lambda: decisions(x, x, range(8), "human")),
        ("reference", lambda: compare_detectability({"a": (x[:, 0, 0], x[:, 0, 0])}, "b", range(8))),
        ("present", lambda: detectability(x[:1, 0, 0], x[:1, 0, 0])),
    ):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert caught.value.argument == argument
