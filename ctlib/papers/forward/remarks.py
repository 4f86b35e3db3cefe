"""What the numbers of the chapter say, in sentences: cases for `ledger.say`, the first that holds is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Cases = tuple[tuple[bool, str] | str, ...]


def flats(fano: float) -> Cases:
    """Of the variance of the flats over their mean."""
    measured = f"Were every count one photon, flats would vary by as much as they count; the ratio is {fano:.2f}"
    return (
        (abs(fano - 1) > 0.1, f"{measured}: a count here is not a photon, and its noise has to be measured."),
        f"{measured}: a count here is about one photon.",
    )


def projection(to_center: float, to_average: float) -> Cases:
    """Of the projection error [%] against the central ray and against the average over a cell."""
    told = f"errs by {to_average:.2f} % at 256 pixels and by {to_center:.2f} % against the central ray"
    return (
        (
            to_average < 0.7 * to_center,
            f"Against what a detector measures, the cell average, Joseph's method {told}: linear "
            "interpolation blurs by about one cell, as the cell itself does.",
        ),
        f"Against the cell average Joseph's method {told}.",
    )


def views(psnr: Mapping[tuple[str, float], float]) -> Cases:
    """Of the PSNR of the parallel beam by share of the rule's views, with 1/4, 1/2, 1 and 2 among them."""
    lost = {share: psnr["parallel", 2] - psnr["parallel", share] for share in (0.25, 0.5, 1)}
    beyond = "Too few views alias into streaks; views beyond the rule add nothing but dose."
    safe = "The rule is safe rather than sharp: it guards the rim of the field, which this head leaves empty."
    return (
        (lost[0.25] > 0.5 and lost[0.5] < 0.3, f"{beyond} {safe}"),
        (lost[0.5] > 0.3 and lost[1] < 0.3, beyond),
        (lost[1] < 0.3, "Neither a quarter of the rule's views loses much, nor do more of them gain."),
        "Views beyond the rule still improve this image.",
    )


def discs(middle: float, outer: float) -> Cases:
    """Of the shares of their peaks that FDK returns of the middle and of the outermost of thin discs."""
    return (
        (
            outer < middle,
            f"Of thin discs the outermost returns {100 * outer:.0f} % of its peak and the middle one "
            f"{100 * middle:.0f} %: no ray of the circle runs along it.",
        ),
        "FDK returns the outermost of thin discs no worse than the middle one.",
    )


def low_dose(synthetic: float, measured: float, noise_share: float) -> Cases:
    """Of the error of TV over that of FBP on both bodies, and of how much of its square is noise on the person."""
    lost = "TV has less error than FBP on the body made of ellipses, and not on the person"
    return (
        (
            synthetic < measured < 1,
            "TV has less error than FBP on both bodies, and gains more on the one made of "
            "ellipses: flat regions are what it assumes, and people have fewer of them.",
        ),
        (
            max(synthetic, measured) < 1,
            "TV has less error than FBP on both bodies, and gains no less on the measured one.",
        ),
        (
            synthetic < 1 and noise_share > 0.8,
            f"{lost}, where {100 * noise_share:.0f} % of its squared error is noise: the weight that suits another "
            "person is too small for this one.",
        ),
        (synthetic < 1, f"{lost}."),
        "TV does not have less error than FBP on the body made of ellipses.",
    )


def few_views(head: float, measured: float) -> Cases:
    """Of what TV gains over FBP [dB] for the head and for the measured body."""
    return (
        (
            head > measured > 0,
            "TV gains more over FBP for the head, whose gradient is sparse, than for the body.",
        ),
        (
            min(head, measured) > 0,
            "TV gains much over FBP on both, and no less on the measured body, whose gradient is not "
            "sparse: with so few views FBP is no rival, and how much one gains over it says little.",
        ),
        "TV does not gain over FBP on both.",
    )


def ranges(tunings: Mapping[str, object]) -> Cases:
    """Whether a setting of {body: Tuning} was best at the end of its range, where a wider one may hold a better."""
    ends = [f"{m} on the {k} body" for k, t in tunings.items() for m in ("SIRT", "TV") if t.at_edge(m)]
    inside = "Every best setting lies inside the range that was tried."
    return ((not ends, inside), f"At the end of the range tried, so that more may be gained: {', '.join(ends)}.")


def semi_convergence(cgls: Sequence[float], sirt: Sequence[float]) -> Cases:
    """Of the steps after which CGLS and SIRT have the least error, one number a noise seed."""
    best = [f"{min(k)} to {max(k)}" if min(k) < max(k) else f"{k[0]}" for k in (cgls, sirt)]
    told = f"CGLS is best after {best[0]} steps, SIRT after {best[1]}"
    return ((max(cgls) < min(sirt), f"{told}: the faster solver reaches the noise sooner too."), f"{told}.")
