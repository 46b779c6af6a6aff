"""Captured steps in machine code: what becomes of a program, and what is left out."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest

from fluxmagic import SGD, capture, param
from fluxmagic.capture import inner_loops, machine_code
from fluxmagic.capture.inner_loops import Operand
from tests.capture.test_bits import check, trained

native = pytest.importorskip("fluxmagic.capture.native")
STEPS = 24


@pytest.mark.parametrize("name", ["linear", "sigmoids", "layernorm", "batchnorm", "gradient_penalty", "embedding"])
def test_numpy_alone_has_the_same_bits(name):
    with mock.patch.object(machine_code, "has_compiler", return_value=False):
        report = check(name, STEPS)
        _, step = trained(name, STEPS, True)
    assert report.replayed > STEPS // 3
    assert report.compile_seconds == 0
    assert "piece" not in step.source


@pytest.mark.parametrize("name", ["linear", "operators", "sigmoids", "attention", "two_classes"])
def test_a_step_of_a_small_model_is_one_piece(name):
    _, step = trained(name, 12, True)
    programs = step.source.split("def step")[1:]
    assert programs
    for program in programs:
        assert program.count("piece") == 1
        assert ".dot" not in program
    assert step.report.compile_seconds > 0


@pytest.mark.parametrize("f", [lambda x: x.squeeze(), lambda x: x * 2, np.abs, lambda x: np.std(x, axis=0)])
def test_gradients_that_are_no_products_are_written(f):
    p = param(np.random.default_rng(0).standard_normal((2, 3)))
    step = capture(lambda x: np.sum(np.sin(f(p * x))), SGD([p], 0.01))
    for k in range(5):
        step(np.full((2, 3), 1 + k / 10))
    assert step.report.reason is None
    assert "piece" in step.source


@pytest.mark.parametrize("power", [2, 3, 4, 0.5, 1.5, -1, -2.5])
@pytest.mark.parametrize("shape", [(), (3, 2), (37,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_keep_numpys_bits(power, shape, dtype):
    rng = np.random.default_rng(0)
    p = param(rng.uniform(0.5, 2, shape).astype(dtype))
    step = capture(lambda x: ((p * x) ** power).sum() + np.power(p * x, power).sum(), SGD([p], 1e-6))
    for _ in range(12):
        step(np.asarray(rng.uniform(0.9, 1.1, shape), dtype))
    assert (step.report.reason, step.report.is_compilable) == (None, True)
    assert step.report.verified > 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_of_two_arrays_keep_numpys_bits_at_the_edges(dtype):
    exponents = np.array([0, -0.0, 1, 2, 3, 0.5, -1, 1e-30, 17, 1.5, 2.5], dtype)
    p = param(np.linspace(0.25, 3, 11).astype(dtype))
    step = capture(lambda x: np.power(p, x).sum() + np.power(x * x + 2, p).sum(), SGD([p], 1e-9))
    for k in range(12):
        step(exponents * dtype(1 + k / 8))
    assert (step.report.reason, step.report.is_compilable) == (None, True)
    assert step.report.verified > 1
    assert "piece" in step.source


def test_where_tables_are_not_as_expected_all_is_left_to_numpy():
    with mock.patch.object(inner_loops, "are_as_expected", return_value=False):
        _, step = trained("relus", 12, True)
    assert "piece" not in step.source
    assert step.report.replayed > 0


def test_counts_that_differ_are_not_as_expected():
    assert inner_loops.are_as_expected()

    class Odd:
        nin, nout, nargs, ntypes, __name__ = 3, 1, 4, 99, "add"

    with mock.patch.object(inner_loops, "np", mock.Mock(add=Odd(), matmul=np.matmul, exp=np.exp, maximum=np.maximum)):
        assert not inner_loops.are_as_expected.__wrapped__()


def test_a_loop_with_other_bits_stays_a_call_of_numpy(monkeypatch):
    def wrong(ufunc, operands, out):
        return inner_loops.product(*operands, out) if len(operands) == 2 else real(np.positive, operands, out)

    real = inner_loops.elementwise
    monkeypatch.setattr(inner_loops, "elementwise", wrong)
    monkeypatch.setattr(native, "_agreed", {})
    report = check("sigmoids", STEPS)  # σ takes an exponential
    assert report.replayed > STEPS // 3


LAYOUTS = {
    "C": lambda a: np.ascontiguousarray(a),
    "Fortran": np.asfortranarray,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "rows apart": lambda a: np.repeat(a, 2, axis=0)[::2],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
def test_products_have_the_bits_of_dot(left, right, dtype):
    rng = np.random.default_rng(0)
    for m, k, n in [(1, 3, 2), (5, 7, 4), (32, 64, 10), (33, 1, 17), (4, 9, 1)]:
        a = LAYOUTS[left](rng.standard_normal((m, k)).astype(dtype))
        b = LAYOUTS[right](rng.standard_normal((k, n)).astype(dtype))
        out = np.empty((m, n), dtype)
        for invocation in inner_loops.product(Operand(a), Operand(b), Operand(out)):
            invocation.run()
        assert out.tobytes() == np.dot(a, b).tobytes()


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("ufunc", [np.add, np.maximum, np.minimum])
def test_reductions_have_numpys_bits(ufunc, axis):
    for shape in [(3, 4, 5), (40, 7, 33), (2, 1, 300)]:
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        expected = np.asarray(ufunc.reduce(x, axis))
        out = np.empty(expected.shape, np.float32)
        try:
            invocations = inner_loops.reduction(ufunc, Operand(x), axis, Operand(out), np.zeros((), np.float32))
        except KeyError:
            assert axis == 1  # in the midst
            continue
        for invocation in invocations:
            invocation.run()
        assert out.tobytes() == expected.tobytes()
