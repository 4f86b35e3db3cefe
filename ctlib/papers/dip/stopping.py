"""When to stop a deep image prior without knowing the truth: rules on a recorded trajectory."""

from collections.abc import Sequence

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.papers.dip.fit import Fit


def stop_at_discrepancy(energy: Sequence[float], sigma: float) -> int:
    """First step with E <= sigma^2, the discrepancy principle; the last step if that is never reached.

    energy  mean squared residual per observed entry
    sigma   standard deviation of the noise in x0
    """
    energy, sigma = contract.numbers("energy", energy), contract.number("sigma", sigma, at_least=0, at_most=1e100)
    if not energy:
        raise ArgumentError("energy", "an empty list", "the energies of a fit")
    return next((t for t, e in enumerate(energy) if e <= sigma**2), len(energy) - 1)


def stop_at_variance(variance: Sequence[float], patience: int = 50, burn_in: int = 20) -> int:
    """Step of the first minimum of the moving variance that stands for `patience` steps, {cite}`wang2023early`.

    While structure is fitted the output settles; when the noise begins to be fitted it moves again.
    """
    variance = contract.numbers("variance", variance)
    patience, burn_in = contract.count("patience", patience, 1), contract.count("burn_in", burn_in)
    best = burn_in
    if len(variance) <= burn_in:
        raise ArgumentError("variance", f"{len(variance)} steps", f"more than burn_in = {burn_in}")
    for t in range(burn_in, len(variance)):
        if variance[t] < variance[best]:
            best = t
        if t - best >= patience:
            break
    return best


def stop_at_held_out(held_out: Sequence[float], patience: int = 100, window: int = 11) -> int:
    """Step with the least held-out energy (running mean over `window`) that stands for `patience` steps."""
    held_out = contract.numbers("held_out", held_out)
    patience, window = contract.count("patience", patience, 1), contract.count("window", window, 1)
    if not held_out:
        raise ArgumentError("held_out", "an empty list", "the energies of a fit with held-out entries")
    half = window // 2
    smooth = [sum(s) / len(s) for s in (held_out[max(0, t - half) : t + half + 1] for t in range(len(held_out)))]
    best = 0
    for t, value in enumerate(smooth):
        if value < smooth[best]:
            best = t
        if t - best >= patience:
            break
    return best


def stops_of(fits: Sequence[Fit], sigmas: Sequence[float], tuned: int) -> dict[str, list[int]]:
    """{rule: stopping steps, one a fit}; sigmas: of the noise; tuned: what was best on another body."""
    return {
        "discrepancy": [stop_at_discrepancy(f.energy, s) for f, s in zip(fits, sigmas, strict=True)],
        "variance": [stop_at_variance(f.variance) for f in fits],
        "held-out": [stop_at_held_out(f.held_out) for f in fits],
        "tuned": [tuned] * len(fits),
    }
