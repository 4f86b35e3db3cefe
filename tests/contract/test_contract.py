"""Every public function of ctlib, tried with what people really pass: the right number or one typed error.

The functions are found by `public.discovered`, their valid calls are in `examples`; see `public` for the form.
"""

import inspect
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "devices"))
import mutations
import oracle
import public
from stand_in import stand_in

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]

WALKED = sorted(public.collected("EXAMPLES"))


def annotation(call, name) -> str:
    parameters = inspect.signature(call).parameters
    found = parameters.get(name)
    return "" if found is None or found.annotation is found.empty else str(found.annotation)


def optional(call, name) -> bool:
    parameters = inspect.signature(call).parameters
    return name in parameters and (parameters[name].default is None or "None" in annotation(call, name))


def whole(call, name, value) -> bool:
    """Whether a count is asked for."""
    said = annotation(call, name)
    return isinstance(value, int) and not isinstance(value, bool) and "float" not in said


def tried(name):
    """Argument -> its mutations, for every tensor and number of the example."""
    call, kwargs = public.example(name)
    of = {n: list(mutations.of(n, v, whole(call, n, v), optional(call, n))) for n, v in kwargs.items() if n != "out"}
    return {n: several for n, several in of.items() if several}


def allowed(name, argument, mutation) -> bool:
    entries = public.collected("ALLOW").get(name, {})
    return mutation in entries or f"{argument}: {mutation}" in entries


def judge(name, changed):
    """The call with these arguments exchanged; a random stream is made anew for every call."""

    def clean(values):
        call, kwargs = public.example(name)
        return oracle.outcome(call, kwargs | values)

    call, kwargs = public.example(name)
    oracle.judge(call, kwargs, changed, clean)


def test_every_public_function_has_an_example_or_a_reason():
    names = public.discovered()
    missing = [n for n in names if n not in public.collected("EXAMPLES") and not public.skipped(n)]
    skipped = [n for n in names if n not in public.collected("EXAMPLES") and public.skipped(n)]
    print(f"\n{len(names)} public functions: {len(names) - len(missing) - len(skipped)} walked, {len(skipped)} skipped")
    assert not missing, f"{len(missing)} without an example:\n" + "\n".join(missing)


def test_no_entry_is_stale():
    assert [n for n in WALKED if not callable(public.resolve(n)) and not isinstance(public.resolve(n), property)] == []
    for what in ("SKIP", "ALLOW"):
        names = {*public.discovered(), *WALKED}
        assert [p for p in public.collected(what) if not any(public.fnmatch(n, p) for n in names)] == [], what
    assert [n for n in WALKED if n in public.collected("SKIP")] == []


@pytest.mark.parametrize("name", WALKED)
def test_an_example_is_a_valid_call_and_gives_the_same_twice(name):
    results = [oracle.outcome(*public.example(name)) for _ in range(2)]
    assert not isinstance(results[0], Exception), results[0]
    assert oracle.equal(*results, 1e-12)
    assert tried(name), "no tensor and no number among the arguments"


@pytest.mark.parametrize("name", WALKED)
def test_one_unusual_argument(name):
    wrong = []
    for argument, several in tried(name).items():
        for m in several:
            if allowed(name, argument, m.name):
                continue
            try:
                judge(name, {argument: m})
            except oracle.Foreign as error:
                wrong.append(f"{argument}: {m.name}: {error}")
    if wrong:
        pytest.fail(f"{len(wrong)} of {name}\n" + "\n".join(wrong), pytrace=False)


@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
@pytest.mark.parametrize("name", WALKED)
def test_two_unusual_arguments(name, data):
    of = tried(name)
    if len(of) < 2:
        return
    first, second = data.draw(st.lists(st.sampled_from(sorted(of)), min_size=2, max_size=2, unique=True))
    changed = {argument: data.draw(st.sampled_from(of[argument])) for argument in (first, second)}
    if not any(allowed(name, argument, m.name) for argument, m in changed.items()):
        judge(name, changed)


@pytest.mark.parametrize("name", WALKED)
def test_tensors_on_two_devices(name):
    """One argument on another device than the others: one error, or the number of the plain call."""
    if torch.cuda.is_available():
        pytest.skip("the stand-in device is for machines without a GPU")
    _, kwargs = public.example(name)
    tensors = [n for n, v in kwargs.items() if isinstance(v, torch.Tensor)]
    with stand_in() as device:
        for argument in tensors if len(tensors) > 1 else ():
            if not allowed(name, argument, "device"):
                value = public.example(name)[1][argument]
                judge(name, {argument: mutations.Mutation("device", value.to(device), "same", value)})
