"""Random programs that change Python's state between their steps: no wrong weight in any history of a run."""

from __future__ import annotations

import random
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from fluxmagic import Dropout, Run, param
from fluxmagic.optimise import OPTIMISERS
from tests.capture.hidden import hidden, hide

STEPS = 120
Term = Callable[[Any, Any, Any], Any]
"""Of the batch's x, the prediction and the loss so far: the new loss."""
Setter = Callable[[float], object]


class Model:
    """An object with attributes of all kinds."""

    kind = 1.0

    def __init__(self) -> None:
        self.number, self.flag, self.array = 1.0, True, np.ones(3, np.float32)
        self.inner = types.SimpleNamespace(number=1.0)


def closed_over(W: Any) -> tuple[Term, Setter]:
    n = 1.0

    def turn(v: float) -> None:
        nonlocal n
        n = v

    return (lambda x, h, l: l * n), turn


def attribute(path: str) -> Callable[[], tuple[Term, Setter]]:
    def make(W: Any) -> tuple[Term, Setter]:
        m = Model()
        at = m.inner if path == "inner" else m
        return (lambda x, h, l: l * at.number), lambda v: setattr(at, "number", v)

    return make


def of_a_class(W: Any) -> tuple[Term, Setter]:
    cls = type("Own", (Model,), {})
    m = cls()
    return (lambda x, h, l: l * m.kind), lambda v: setattr(cls, "kind", v)


def flag(W: Any) -> tuple[Term, Setter]:
    m = Model()
    return (lambda x, h, l: l * 2 if m.flag else l), lambda v: setattr(m, "flag", v > 1.5)


def entry(W: Any) -> tuple[Term, Setter]:
    d = {"n": 1.0}
    return (lambda x, h, l: l * d["n"]), lambda v: d.update(n=v)


def length(W: Any) -> tuple[Term, Setter]:
    xs = [1.0]

    def turn(v: float) -> None:
        xs[:] = [1.0] * int(v * 3)

    return (lambda x, h, l: l * len(xs)), turn


def element(W: Any) -> tuple[Term, Setter]:
    xs = [[1.0], 2.0]

    def turn(v: float) -> None:
        xs[0] = [v]

    return (lambda x, h, l: l * xs[0][0]), turn


def array(replace: bool) -> Callable[[], tuple[Term, Setter]]:
    def make(W: Any) -> tuple[Term, Setter]:
        m = Model()

        def turn(v: float) -> None:
            if replace:
                m.array = np.full(3, v, np.float32)
            else:
                m.array[...] = v

        return (lambda x, h, l: l + (h * m.array).mean()), turn

    return make


def formula(W: Any) -> tuple[Term, Setter]:
    a = np.ones(3, np.float32)
    return (lambda x, h, l: l + (h * np.sqrt(a + 1)[None, :] ** 2).mean()), lambda v: np.copyto(a, v)


def in_a_tuple(W: Any) -> tuple[Term, Setter]:
    xs = (np.ones(3, np.float32), 1)
    return (lambda x, h, l: l + (h * xs[0]).mean()), lambda v: np.copyto(xs[0], v)


def kept_by_a_library(W: Any) -> tuple[Term, Setter]:
    return (lambda x, h, l: l * (hidden() / 8)), lambda v: hide(int(8 * v))


def function(W: Any) -> tuple[Term, Setter]:
    m = types.SimpleNamespace(f=np.tanh)
    return (lambda x, h, l: l + m.f(h).mean()), lambda v: setattr(m, "f", np.tanh if v < 1.5 else np.sin)


def default(W: Any) -> tuple[Term, Setter]:
    def term(x: Any, h: Any, l: Any, n: float = 1.0) -> Any:
        return l * n

    return term, lambda v: setattr(term, "__defaults__", (v,))


def branch(W: Any) -> tuple[Term, Setter]:
    m = Model()
    return (lambda x, h, l: l if x.mean() > m.number - 1.4 else l * 3), lambda v: setattr(m, "number", v)


def drop(W: Any) -> tuple[Term, Setter]:
    d = Dropout(0.4, rng=1)
    return (lambda x, h, l: l + d(h).mean()), lambda v: setattr(d, "p", 0.2 * v)


def value(W: Any) -> tuple[Term, Setter]:
    return (lambda x, h, l: l * float(abs(x[0, 0]))), lambda v: None


def weights(W: Any) -> tuple[Term, Setter]:
    return (lambda x, h, l: l + 1e-3 * (W**2).sum()), lambda v: None


TERMS: dict[str, Callable[[Any], tuple[Term, Setter]]] = {
    f.__name__: f
    for f in (
        *(
            closed_over,
            of_a_class,
            flag,
            entry,
            length,
            element,
            formula,
            in_a_tuple,
            kept_by_a_library,
            function,
            default,
            branch,
            drop,
            value,
            weights,
        ),
    )
}
TERMS |= {"own": attribute("own"), "inner": attribute("inner"), "replaced": array(True), "in place": array(False)}


UNSEEN = {"kept_by_a_library"}
UNSEEN_VALUES = [1.0 + k / 8 for k in range(64)]
"""What changes and changes back between two verifications is not found: here each value is another one."""


def history(seed: int, captured: bool) -> tuple[list[float], bytes, Any]:
    """Train a random program: its losses, the weights at its end, the run."""
    choose = random.Random(seed)
    rng = np.random.default_rng(seed)
    W = param(rng.standard_normal((4, 3)).astype(np.float32))
    parts, setters = [], []
    names = choose.sample(sorted(TERMS), choose.randint(1, 4))
    if UNSEEN.intersection(names):  # a change that is seen ends a program, whose last steps are then not verified
        names = [name for name in names if name in UNSEEN | {"value", "weights"}]
    for name in names:
        term, turn = TERMS[name](W)
        parts.append(term)
        values = UNSEEN_VALUES if name in UNSEEN else [1.0, 2.0]
        setters.append((turn, choose.choice([7, 23, 40, 61]), choose.randint(0, 40), values))

    def loss(x: Any, y: Any) -> Any:
        h = x @ W
        l = ((h - y) ** 2).mean()
        for part in parts:
            l = part(x, h, l)
        return l

    def data() -> Iterator[Any]:
        rng = np.random.default_rng(seed)
        for k in range(STEPS):
            for turn, every, shift, values in setters:
                turn(values[(k + shift) // every % len(values)])
            n = 5 if k % 11 == 10 else 9
            yield rng.standard_normal((n, 4), np.float32), rng.standard_normal((n, 3), np.float32)

    kind = choose.choice(["SGD", "ADAM", "Momentum", "RMSProp"])
    run = Run(loss, data, OPTIMISERS[kind]([W], 1e-3), model=parts, capture=captured)
    run.train()
    return list(run.history["loss"]), W.data.tobytes(), run


def compare(seed: int) -> Any:
    """Fail unless both histories are one; return the captured run."""
    ordinary, captured = history(seed, False), history(seed, True)
    assert captured[0] == ordinary[0], seed
    assert captured[1] == ordinary[1], seed
    return captured[2]


@pytest.mark.parametrize("seed", range(20))
def test_no_wrong_weight_stays_in_a_history(seed: int) -> None:
    compare(seed)


def long(programs: int = 500) -> None:
    """Compare many programs; print how many had something that only verification has found."""
    found = sum(len(compare(seed).events) > 0 for seed in range(programs))
    print(f"{programs} programs, 0 wrong; {found} with steps that were taken again")
