"""How X-rays become numbers; nothing here knows who inverts them."""

from ctlib.physics.counts import (
    expected_counts,
    line_integral_variance,
    line_integrals_from_counts,
    quantise,
    transmission_counts,
)

__all__ = [
    "expected_counts",
    "line_integral_variance",
    "line_integrals_from_counts",
    "quantise",
    "transmission_counts",
]
