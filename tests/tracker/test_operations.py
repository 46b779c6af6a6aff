"""What holds for every operation in the table of cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fluxmagic import back, gradient, param
from fluxmagic.tracker import Tracked, gradcheck, hook
from tests.tracker.cases import CASES, Case

# the same examples in every run: one in some 10⁵ random numbers is so near a kink that differences are wrong there
few = settings(max_examples=6, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
every = pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])


def total(y: Any) -> Any:
    """A scalar in which errors do not cancel."""
    if isinstance(y, (tuple, list)):
        return sum(total(part) * k for k, part in enumerate(y, 1))
    return np.sum(np.sin(y))


def close(a: Any, b: Any, rtol: float) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=rtol, atol=rtol, equal_nan=True)


@every
@few
@given(st.data())
def test_first_order(case: Case, data: Any) -> None:
    xs, options = data.draw(case.inputs)
    assert gradcheck(lambda *xs: total(case.function(*xs, **options)), *xs, atol=1e-5)


@every
@few
@given(st.data())
def test_parameters_collect_what_gradient_gives(case: Case, data: Any) -> None:
    xs, options = data.draw(case.inputs)
    ps = [param(x) for x in xs]  # their gradients may be written straight into their buffers
    back(total(case.function(*ps, **options)))
    for p, δ in zip(ps, gradient(lambda *xs: total(case.function(*xs, **options)), *xs), strict=True):
        assert close(p.grad, δ, rtol=1e-9)


@every
@few
@given(st.data())
def test_second_order_along_a_line(case: Case, data: Any) -> None:
    xs, options = data.draw(case.inputs)
    rng = np.random.default_rng(0)
    directions = [rng.standard_normal(x.shape) for x in xs]

    def slope(t: Any) -> Any:
        δs = gradient(
            lambda *xs: total(case.function(*xs, **options)), *(x + t * v for x, v in zip(xs, directions, strict=True))
        )
        return sum(np.sum(np.sin(δ + k)) for k, δ in enumerate(δs))

    assert gradcheck(slope, 0.0, rtol=1e-4, atol=1e-4)


def parts(y: Any) -> list[Any]:
    return [p for part in y for p in parts(part)] if isinstance(y, (tuple, list)) else [y]


@every
@few
@given(st.data())
def test_value_is_numpys_bit_for_bit(case: Case, data: Any) -> None:
    xs, options = data.draw(case.inputs)
    kind = data.draw(st.sampled_from([np.float64, np.float32]))
    xs = [x.astype(kind) for x in xs]
    expected = parts(case.function(*xs, **options))
    found = parts(case.function(*map(param, xs), **options))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        b = np.asarray(b)
        assert isinstance(a, Tracked)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert np.array_equal(a.data, b, equal_nan=True)


@every
@few
@given(st.data())
def test_gradient_of_float32_is_float32(case: Case, data: Any) -> None:
    xs, options = data.draw(case.inputs)

    singles = [x.astype(np.float32) for x in xs]
    widened = any(p.dtype != np.float32 for p in parts(case.function(*singles, **options)))  # by NumPy's own rules
    passing: list[Any] = []

    def note(Δ: Any) -> Any:
        passing.append(Δ.dtype)
        return Δ

    def f(*xs: Any) -> Any:
        return total(case.function(*(hook(note, x) for x in xs), **options))

    found = gradient(f, *singles)
    assert widened or set(passing) <= {np.dtype(np.float32)}
    for a, b in zip(found, gradient(f, *xs), strict=True):
        assert a.dtype == np.float32
        assert close(a, b, rtol=2e-3)


LAYOUTS = {
    "transposed": lambda x: x.T.copy().T,
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x,
    "reversed": lambda x: np.flip(np.flip(x).copy()),
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape) if x.ndim and x.size else x,
    "read-only": lambda x: np.broadcast_to(x, x.shape),
}


@every
@few
@given(st.data())
def test_memory_layout_changes_nothing(case: Case, data: Any) -> None:
    xs, options = data.draw(case.inputs)
    laid = [LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)))](x) for x in xs]
    straight = [np.array(x, order="C") for x in laid]
    before = [x.copy() for x in laid]

    def f(*xs: Any) -> Any:
        return total(case.function(*xs, **options))

    if any(x.size and (x == x.flat[0]).all() and x.size > 1 for x in laid) and case.name in ("std", ".std, ddof"):
        return  # no spread, no slope
    for a, b in zip(gradient(f, *laid), gradient(f, *straight), strict=True):
        assert close(a, b, rtol=1e-10)
    assert all(np.array_equal(a, b) for a, b in zip(laid, before, strict=True))
