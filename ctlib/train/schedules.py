"""A learning rate that rises exponentially and is then halved again and again, {cite}`ronchetti2020`."""

from ctlib.contract import count, number


def warm_up_rate(step: int, peak: float, start: float = 1e-6, rise: int = 5000, halve: int = 80_000) -> float:
    """Learning rate of a step, {eq}`gtr-rate`.

        peak (start / peak)^(1 - t / rise)   for t < rise,    peak / 2^floor((t - rise) / halve)   from then on

    start  > 0: the paper's rise "from 0" cannot be exponential
    rise   steps of the rise, 0 for none;  halve  steps between halvings, 0 for never
    """
    step, rise, halve = count("step", step), count("rise", rise), count("halve", halve)
    peak = number("peak", peak, above=0)
    start = number("start", start, above=0, at_most=peak)
    if step < rise:
        return peak * (start / peak) ** (1 - step / rise)
    return peak * 0.5 ** ((step - rise) // halve) if halve else peak
