"""Every operation of the tracker in a captured step: the same bits as in an ordinary one, or refused with a reason."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fluxmagic import SGD, NotFinite, capture, param, train
from fluxmagic.capture import machine_code
from tests.tracker.cases import CASES, Case
from tests.tracker.test_operations import total

STEPS = 4  # two are recorded, one is verified, one replayed


def outcome(step: Any, batch: tuple[Any, ...], ps: list[Any]) -> Any:
    """The loss of a step and the weights behind it, or the error."""
    try:
        return step(*batch), [p.data.tobytes() for p in ps]
    except (NotFinite, TypeError, ValueError) as error:
        return type(error), str(error), [p.data.tobytes() for p in ps]


def same_bits(case: Case, xs: Any, options: Any, dtype: str) -> str:
    """Take a few steps both ways, compare, and say whether the captured one was replayed, or why not."""
    rng = np.random.default_rng(0)
    factors = [[rng.uniform(0.96, 1.04, x.shape).astype(dtype) for x in xs] for _ in range(STEPS)]
    ways = []
    for captured in (False, True):
        ps = [param(x.astype(dtype)) for x in xs]

        def loss(*batch: Any, ps: Any = ps, function: Any = case.function) -> Any:
            return total(function(*(p * f for p, f in zip(ps, batch)), **options))

        opt, seen = SGD(ps, 1e-6), []
        if captured:
            step = capture(loss, opt)
        else:

            def step(*batch: Any, loss: Any = loss, opt: Any = opt, seen: Any = seen) -> float:
                train(loss, [batch], opt, cb=seen.append)
                return float(seen[-1])

        ways.append([outcome(step, tuple(batch), ps) for batch in factors])
    ordinary, found = ways
    assert repr(found) == repr(ordinary), case.name
    if step.report.reason is not None:
        return str(step.report.reason)
    return "replayed" if step.report.replayed else "ordinary"


def compare(case: Case, examples: int) -> Counter[str]:
    """Compare on drawn inputs, in both dtypes; count the outcomes."""
    counts: Counter[str] = Counter()

    @settings(max_examples=examples, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def on(data: Any) -> None:
        xs, options = data.draw(case.inputs)
        for dtype in ("float32", "float64"):
            counts[same_bits(case, xs, options, dtype)] += 1

    on()
    return counts


REFUSED = {
    *("where", "piecewise", "piecewise, one condition", "piecewise, overlapping"),
    *("log, where", "multiply, where", "add of a number, where"),
    *(f"linalg.lstsq {what}" for what in ("(4, 2)", "(2, 4)", "(3, 3)", "for a vector", "of less than full rank")),
}
"""They look at values: NumPy's own code does in `where=` and `piecewise`, and `lstsq` gives a rank."""


@pytest.mark.parametrize(("k", "case"), list(enumerate(CASES)), ids=[c.name for c in CASES])
def test_an_operation_has_the_same_bits_in_a_captured_step(k: int, case: Case) -> None:
    # to compile takes as long as all else; `python -m tests.stress` does for each
    in_numpy_alone = mock.patch.object(machine_code, "has_compiler", return_value=False)
    with in_numpy_alone if k % 12 else nullcontext():
        counts = compare(case, 1)
    assert counts["replayed"] == sum(counts.values()) or case.name in REFUSED, counts


def long(examples: int = 5) -> None:
    """Compare every operation on more inputs; print the outcomes."""
    counts: Counter[str] = Counter()
    for case in CASES:
        counts.update(compare(case, examples))
    for reason, n in counts.most_common():
        print(f"{n:6}  {reason}")
