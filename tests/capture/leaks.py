"""Losses that reach beyond their batch and parameters, and what changes between their steps.

Each entry makes a loss and a function that is called before each step with its number.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
import io
import itertools
import json
import math
import os
import pickle
import random
import tempfile
import time
import types
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fluxmagic import ADAM, SGD, Chain, Dense, Dropout, back, param, train
from fluxmagic.layers import testmode
from fluxmagic.tracker import data, update
from tests.capture.hidden import hidden, hide

Loss = Callable[..., Any]
Between = Callable[[int], object]


class Leak(NamedTuple):
    """A loss of which part lies outside.

    `reason` is a part of the message with which it has to be refused; None: it may be captured, if it is right.
    """

    name: str
    make: Callable[[Any], tuple[Loss, Between]]
    reason: str | None


LEAKS: list[Leak] = []
UNSEEN: list[Leak] = []
"""What changes here is found by verification at the latest."""


STAGES = [1.0, 2.0, 3.0, 4.0] + [4.0] * 60
SCALES = [np.full(6, s, np.float32) for s in STAGES]


def mse(W: Any, x: Any, y: Any) -> Any:
    return ((x @ W - y) ** 2).mean()


def quiet(k: int) -> None:
    """Change nothing between steps."""


def leak(reason: str | None = None) -> Callable[[Callable[[Any], Any]], None]:
    """Add a function that makes the loss, or the loss and what happens between steps."""

    def add(make: Callable[[Any], Any]) -> None:
        def both(W: Any) -> tuple[Loss, Between]:
            made = make(W)
            return made if isinstance(made, tuple) else (made, quiet)

        LEAKS.append(Leak(make.__name__, both, reason))

    return add


def unseen(make: Callable[[Any], Any]) -> None:
    UNSEEN.append(Leak(make.__name__, make, None))


# -- values that are read out ----------------------------------------------------------------------------------------


def read(name: str, look: Callable[[Any, Any], object], reason: str = "") -> None:
    """Add a loss that looks at its batch or value, and does nothing with what it sees."""

    def make(W: Any) -> tuple[Loss, Between]:
        def loss(x: Any, y: Any) -> Any:
            l = mse(W, x, y)
            look(x, l)
            return l

        return loss, quiet

    LEAKS.append(Leak(f"reads by {name}", make, reason))


read("float", lambda x, l: float(l), "float")
read("int", lambda x, l: int(l), "int")
read("complex", lambda x, l: complex(x[0, 0]))
read("item", lambda x, l: l.data.item(), "item")
read("a format", lambda x, l: f"{l:.3f}", "reads a value")
read("repr", lambda x, l: repr(l))
read("str of an array", lambda x, l: str(x))
read("tolist", lambda x, l: x.tolist())
read("asarray", lambda x, l: np.asarray(x).sum())
read("np.array of a list", lambda x, l: np.array([x[0], x[1]]))
read("math", lambda x, l: math.exp(x[0, 0]))
read("round", lambda x, l: round(float(x[0, 0]), 2))
read("pickle", lambda x, l: pickle.dumps(x))
read("deepcopy", lambda x, l: copy.deepcopy(x))
read("np.save", lambda x, l: np.save(io.BytesIO(), x))
read("json", lambda x, l: json.dumps(l.data.tolist()))
read("tobytes", lambda x, l: x.tobytes())
read("a range", lambda x, l: range(int(abs(x).sum())))


@leak("")
def a_number_of_the_batch_is_a_factor(W):
    return lambda x, y: mse(W, x, y) * float(x[0, 0])


@leak("")
def an_index_by_a_value(W):
    return lambda x, y: mse(W, x, y) + x[int(abs(x[0, 0])) % 3].sum()


@leak("")
def the_loss_is_kept_as_a_float(W):
    seen = []

    def loss(x, y):
        l = mse(W, x, y)
        seen.append(float(l))
        return l

    return loss


# -- branches --------------------------------------------------------------------------------------------------------


@leak()
def a_branch_on_a_mean(W):
    return lambda x, y: mse(W, x, y) if x.mean() > 0 else 2 * mse(W, x, y)


@leak()
def a_branch_on_the_loss(W):
    def loss(x, y):
        l = mse(W, x, y)
        return l if l > 1 else l * l

    return loss


@leak()
def a_loop_on_a_value(W):
    def loss(x, y):
        while np.abs(x).max() > 2:
            x = x / 2
        return mse(W, x, y)

    return loss


@leak()
def several_branches(W):
    def loss(x, y):
        l = mse(W, x, y)
        for k in range(6):
            if x[k, 0] > 0 and y[k, 0] < 0.5:
                l = l + k
        return l

    return loss


@leak()
def a_branch_on_the_shape(W):
    return lambda x, y: mse(W, x, y) if len(x) > 6 else mse(W, x * 2, y)


@leak()
def an_assertion(W):
    def loss(x, y):
        assert x.min() > -100
        return mse(W, x, y)

    return loss


@leak()
def rows_chosen_by_a_mask(W):
    return lambda x, y: mse(W, x[x[:, 0] > 0], y[x[:, 0] > 0])


@leak()
def rows_of_nonzero(W):
    def loss(x, y):
        (rows,) = np.nonzero(x[:, 0] > -0.5)
        return mse(W, x[rows], y[rows])

    return loss


@leak()
def a_sum_over_unique_values(W):
    return lambda x, y: mse(W, x, y) * len(np.unique(np.sign(x)))


@leak()
def sorted_rows(W):
    return lambda x, y: mse(W, np.sort(x, axis=0), y)


@leak()
def an_error_that_is_caught(W):
    def loss(x, y):
        try:
            if x.mean() > 0.1:
                raise RuntimeError
            return mse(W, x, y)
        except RuntimeError:
            return mse(W, x + 1, y)

    return loss


@leak()
def any_and_all(W):
    return lambda x, y: mse(W, x, y) if (x > 2.2).any() or not (y < 2).all() else mse(W, x, y) * 3


@leak()
def a_value_in_a_list(W):
    return lambda x, y: mse(W, x, y) if 0.0 in np.round(x) else mse(W, x, y) * 3


@leak()
def maximum_of_two_scalars(W):
    return lambda x, y: max(mse(W, x, y), mse(W, x * 0.5, y))


# -- counting and keeping --------------------------------------------------------------------------------------------

_count = 0


@leak("changes")
def counts_in_a_closure(W):
    n = 0

    def loss(x, y):
        nonlocal n
        n += 1
        return mse(W, x, y) * n

    return loss


@leak("changes")
def counts_in_a_global(W):
    global _count
    _count = 0

    def loss(x, y):
        global _count
        _count += 1
        return mse(W, x, y) * (1 + _count % 3)

    return loss


@leak("changes")
def counts_in_a_list(W):
    n = [0]

    def loss(x, y):
        n[0] += 1
        return mse(W, x, y) * n[0]

    return loss


@leak("changes")
def counts_in_a_dict(W):
    n = {"calls": 0}

    def loss(x, y):
        n["calls"] += 1
        return mse(W, x, y) * n["calls"]

    return loss


@leak("changes")
def counts_in_an_attribute(W):
    class Model:
        calls = 0

        def __call__(self, x, y):
            self.calls += 1
            return mse(W, x, y) * self.calls

    return Model()


@leak("")
def counts_in_a_class(W):
    class Model:
        calls = 0

    def loss(x, y):
        Model.calls += 1
        return mse(W, x, y) * Model.calls

    return loss


@leak("")
def counts_in_an_attribute_of_itself(W):
    def loss(x, y):
        loss.calls += 1
        return mse(W, x, y) * loss.calls

    loss.calls = 0
    return loss


@leak("")
def counts_by_an_iterator(W):
    n = itertools.count(1)
    return lambda x, y: mse(W, x, y) * next(n)


@leak("")
def counts_by_a_generator(W):
    numbers = (k * 0.5 for k in range(1000))
    return lambda x, y: mse(W, x, y) * next(numbers)


@leak("")
def keeps_its_last_output(W):
    kept = {}

    def loss(x, y):
        h = x @ W
        before, kept["h"] = kept.get("h"), data(h).mean()
        l = ((h - y) ** 2).mean()
        return l if before is None else l * (1 + before**2)

    return loss


@leak("changes")
def appends_its_output(W):
    seen = []

    def loss(x, y):
        seen.append(data(x @ W))
        return mse(W, x, y) * len(seen)

    return loss


@leak("")
def appends_to_a_deque(W):
    seen = collections.deque(maxlen=5)

    def loss(x, y):
        seen.append(1)
        return mse(W, x, y) * len(seen)

    return loss


@leak("")
def adds_to_a_set(W):
    seen = set()

    def loss(x, y):
        seen.add(len(seen))
        return mse(W, x, y) * len(seen)

    return loss


@leak("")
def pops_from_a_list(W):
    left = [float(k) for k in range(1000)]
    return lambda x, y: mse(W, x, y) * left.pop()


@leak()
def keeps_an_average_in_an_array(W):
    mean = np.zeros(6, np.float32)

    def loss(x, y):
        mean[...] = 0.9 * mean + 0.1 * x.mean(0)
        return mse(W, x, y)

    return loss


@leak()
def reads_the_average_that_it_keeps(W):
    mean = np.zeros(6, np.float32)

    def loss(x, y):
        mean[...] = 0.9 * mean + 0.1 * x.mean(0)
        return mse(W, x - mean, y)

    return loss


@leak()
def writes_into_the_batch(W):
    def loss(x, y):
        x *= 1.5
        return mse(W, x, y)

    return loss


@leak("")
def writes_into_a_parameter(W):
    def loss(x, y):
        W.data[0] *= 0.99
        return mse(W, x, y)

    return loss


@leak()
def a_cache(W):
    @functools.lru_cache
    def scale(n):
        return n * 0.1

    return lambda x, y: mse(W, x, y) * scale(len(x))


# -- random numbers --------------------------------------------------------------------------------------------------


@leak("generator")
def draws_from_numpys_global_generator(W):
    return lambda x, y: mse(W, x + 0.1 * np.random.standard_normal(x.shape).astype(np.float32), y)


@leak("generator")
def draws_from_pythons_generator(W):
    return lambda x, y: mse(W, x, y) * (1 + random.random())


@leak("")
def draws_from_a_generator_of_its_own(W):
    rng = np.random.default_rng(0)
    return lambda x, y: mse(W, x + 0.1 * rng.standard_normal(x.shape).astype(np.float32), y)


@leak("")
def draws_from_a_generator_of_pythons(W):
    rng = random.Random(0)
    return lambda x, y: mse(W, x, y) * (1 + rng.random())


@leak("")
def draws_from_a_random_state(W):
    rng = np.random.RandomState(0)
    return lambda x, y: mse(W, x + 0.1 * rng.standard_normal(x.shape).astype(np.float32), y)


@leak()
def dropout(W):
    drop = Dropout(0.5, rng=0)
    return lambda x, y: mse(W, drop(x), y)


@leak()
def a_dropout_whose_share_changes(W):
    drop = Dropout(0.5, rng=0)
    return (lambda x, y: mse(W, drop(x), y)), lambda k: k == 20 and setattr(drop, "p", 0.1)


# -- what lies elsewhere, and changes between steps ------------------------------------------------------------------

_scale: Any = 1.0
_module = types.ModuleType("settings_of_a_user")
_module.scale = 1.0  # type: ignore[attr-defined]


@leak()
def a_global_number(W):
    def turn(k):
        global _scale
        _scale = STAGES[k // 10]

    return (lambda x, y: mse(W, x, y) * _scale), turn


@leak()
def an_attribute_of_a_module(W):
    return (lambda x, y: mse(W, x, y) * _module.scale), lambda k: setattr(_module, "scale", STAGES[k // 10])


def _as_it_is(x: Any) -> Any:
    return x


_helper: Any = _as_it_is


@leak()
def a_global_function_that_is_replaced(W):
    def turn(k):
        global _helper
        _helper = _as_it_is if k < 20 else np.tanh

    return (lambda x, y: mse(W, _helper(x), y)), turn


@leak()
def a_closed_over_number(W):
    λ = 1.0

    def turn(k):
        nonlocal λ
        λ = STAGES[k // 10]

    return (lambda x, y: mse(W, x, y) * λ), turn


@leak()
def an_attribute_of_an_object(W):
    at = types.SimpleNamespace(inner=types.SimpleNamespace(λ=1.0))
    return (lambda x, y: mse(W, x, y) * at.inner.λ), lambda k: setattr(at.inner, "λ", STAGES[k // 10])


@leak()
def an_attribute_of_a_class(W):
    class Settings:
        λ = 1.0

    return (lambda x, y: mse(W, x, y) * Settings.λ), lambda k: setattr(Settings, "λ", STAGES[k // 10])


@leak()
def a_slot(W):
    class Settings:
        __slots__ = ("λ",)

    s = Settings()
    s.λ = 1.0
    return (lambda x, y: mse(W, x, y) * s.λ), lambda k: setattr(s, "λ", STAGES[k // 10])


@leak()
def a_field_of_a_dataclass(W):
    @dataclasses.dataclass
    class Settings:
        λ: float = 1.0

    s = Settings()
    return (lambda x, y: mse(W, x, y) * s.λ), lambda k: setattr(s, "λ", STAGES[k // 10])


@leak()
def a_property(W):
    class Settings:
        _λ = 1.0
        λ = property(lambda self: self._λ * 2)

    s = Settings()
    return (lambda x, y: mse(W, x, y) * s.λ), lambda k: setattr(s, "_λ", STAGES[k // 10])


@leak()
def an_entry_of_a_dict(W):
    s = {"λ": 1.0}
    return (lambda x, y: mse(W, x, y) * s["λ"]), lambda k: s.update(λ=STAGES[k // 10])


@leak()
def an_element_of_a_list(W):
    s = [1.0, [1.0]]

    def turn(k):
        s[1][0] = STAGES[k // 10]

    return (lambda x, y: mse(W, x, y) * s[1][0]), turn


@leak()
def the_length_of_a_list(W):
    s = [1.0]
    return (lambda x, y: mse(W, x, y) * len(s)), lambda k: k % 10 == 9 and s.append(1.0)


@leak()
def a_default_argument(W):
    def loss(x, y, λ=1.0):
        return mse(W, x, y) * λ

    return loss, lambda k: setattr(loss, "__defaults__", (STAGES[k // 10],))


@leak()
def a_partial(W):
    parts = [1.0]

    def scaled(λ, x, y):
        return mse(W, x, y) * λ[0]

    def turn(k):
        parts[0] = STAGES[k // 10]

    return functools.partial(scaled, parts), turn


@leak()
def a_bound_method_of_an_object_that_changes(W):
    class Model:
        λ = 1.0

        def loss(self, x, y):
            return mse(W, x, y) * self.λ

    m = Model()
    return m.loss, lambda k: setattr(m, "λ", STAGES[k // 10])


@leak()
def code_that_is_replaced(W):
    def scale(x):
        return x

    def other(x):
        return x * 2

    codes = scale.__code__, other.__code__
    return (lambda x, y: scale(mse(W, x, y))), lambda k: setattr(scale, "__code__", codes[k >= 20])


@leak()
def a_method_that_is_replaced(W):
    class Model:
        def f(self, x):
            return x

    m, methods = Model(), (Model.f, lambda self, x: x * 2)
    return (lambda x, y: mse(W, m.f(x), y)), lambda k: setattr(Model, "f", methods[k >= 20])


@leak()
def an_array_in_a_closure(W):
    a = np.ones(6, np.float32)

    def turn(k):
        a[...] = 1 + k // 10

    return (lambda x, y: mse(W, x * np.sqrt(a), y)), turn


@leak()
def an_array_in_an_attribute(W):
    s = types.SimpleNamespace(a=np.ones(6, np.float32))

    def turn(k):
        s.a *= 1 + (k % 10 == 9)

    return (lambda x, y: mse(W, x * s.a, y)), turn


@leak()
def an_array_that_is_replaced(W):
    s = types.SimpleNamespace(a=np.ones(6, np.float32))
    return (lambda x, y: mse(W, x * s.a, y)), lambda k: setattr(s, "a", SCALES[k // 10])


@leak()
def an_array_in_a_list(W):
    s = [np.ones(6, np.float32)]

    def turn(k):
        s[0][k % 6] += 1

    return (lambda x, y: mse(W, x * s[0], y)), turn


@leak()
def a_number_read_from_an_array(W):
    a = np.ones(3)

    def turn(k):
        a[1] = 1 + k // 10

    return (lambda x, y: mse(W, x, y) * float(a[1])), turn


@leak()
def the_batch_is_one_array_refilled(W):
    return lambda x, y: mse(W, x, y)


@leak()
def weights_assigned_between_steps(W):
    def turn(k):
        if k % 10 == 9:
            W.data[...] = W.data * 0.5

    return (lambda x, y: mse(W, x, y)), turn


@leak()
def a_gradient_looked_at_between_steps(W):
    return (lambda x, y: mse(W, x, y)), lambda k: k % 10 == 9 and W.grad.sum()


@leak()
def a_layer_that_is_replaced(W):
    m = Chain(Dense(6, 6, np.tanh, rng=0), Dense(6, 6, rng=1))

    def turn(k):
        if k == 20:
            m[0].σ = np.sin

    return (lambda x, y: mse(W, m(x).data, y)), turn


@leak()
def test_mode_between_steps(W):
    drop = Dropout(0.5, rng=0)
    return (lambda x, y: mse(W, drop(x), y)), lambda k: testmode(drop, 10 <= k < 20)


@leak()
def a_parameter_of_no_optimiser(W):
    V = param(np.ones((6, 3), np.float32))

    def turn(k):
        V.data[...] = 1 + k // 10
        V.zero_grad()

    return (lambda x, y: mse(W, x, y) + ((x @ V) * 1e-3).mean()), turn


@leak("")
def the_clock(W):
    return lambda x, y: mse(W, x, y) + 1e-300 * time.time()


@leak("")
def a_name_of_its_own(W):
    return lambda x, y: mse(W, x, y) + 1e-300 * uuid.uuid4().int


# -- what nothing can see --------------------------------------------------------------------------------------------


@leak()
def an_array_in_a_tuple(W):
    s = (np.ones(6, np.float32),)

    def turn(k):
        s[0][...] = 1 + k // 15

    return (lambda x, y: mse(W, x * s[0], y)), turn


@leak("read_text")
def a_file(W):
    path = Path(tempfile.mkdtemp()) / "scale"
    path.write_text("1.0")

    def turn(k):
        path.write_text(str(1.0 + k // 4))

    return (lambda x, y: mse(W, x, y) * float(path.read_text())), turn


@leak("calls")
def the_environment(W):
    def turn(k):
        os.environ["FLUXMAGIC_TEST_SCALE"] = str(1.0 + k // 4)

    turn(0)
    return (lambda x, y: mse(W, x, y) * float(os.environ["FLUXMAGIC_TEST_SCALE"])), turn


@leak("a bytearray")
def a_byte_array(W):
    s = bytearray(b"1")

    def turn(k):
        s[:] = str(1 + k // 4).encode()

    return (lambda x, y: mse(W, x, y) * int(s)), turn


@unseen
def what_a_library_keeps(W):
    def turn(k):
        hide(1 + k // 15)

    turn(0)
    return (lambda x, y: mse(W, x, y) * hidden()), turn


# -- what is not there before the first step, and what NumPy calls ---------------------------------------------------


@leak()
def a_function_of_a_library_that_is_replaced(W):
    originals = math.lgamma, np.sinc

    def replace(k):
        changed = k % 10 < 5
        math.lgamma = (lambda x: 2.0) if changed else originals[0]
        np.sinc = (lambda x: x) if changed else originals[1]

    return (lambda x, y: mse(W, np.sinc(x), y) * math.lgamma(3.5)), replace


class _Slotted:
    __slots__ = ("n",)


class _Bare:
    pass


def counts_in(name: str, make: Callable[[], Any]) -> None:
    """Add a loss that counts its steps in an attribute which is not there before the first."""

    def counter(W: Any) -> Loss:
        owner = make()

        def loss(x: Any, y: Any) -> Any:
            owner.n = getattr(owner, "n", 0) + 1
            return mse(W, x, y) * owner.n

        return loss

    counter.__name__ = f"counts in {name}"
    leak("changes")(counter)


counts_in("a slot", _Slotted)
counts_in("an object", _Bare)
counts_in("a class", lambda: type("Fresh", (), {}))
counts_in("a module", lambda: types.ModuleType("fresh"))
counts_in("a function", lambda: lambda: 0)


@leak("changes")
def counts_in_a_cell_that_is_bound_late(W):
    def loss(x, y):
        nonlocal n
        try:
            n += 1
        except NameError:
            n = 1
        return mse(W, x, y) * n

    if W is None:
        n = 0
    return loss


@leak("changes")
def counts_in_a_global_that_is_not_there(W):
    names: dict[str, Any] = {"mse": mse, "W": W}
    exec(
        "def loss(x, y):\n    global n\n    try:\n        n += 1\n    except NameError:\n        n = 1\n"
        "    return mse(W, x, y) * n",
        names,
    )
    return names["loss"]


@leak("SystemRandom")
def the_generator_of_the_system(W):
    rng = random.SystemRandom()
    return lambda x, y: mse(W, x, y) * (1 if rng else 0)


@leak("AttributeError")
def a_batch_that_gets_another_shape(W):
    def loss(x, y):
        x.shape = (x.size,)
        x.shape = (x.size // 6, 6)
        return mse(W, x, y)

    return loss


@leak()
def an_attribute_that_a_module_makes_up(W):
    lazy = types.ModuleType("lazy")
    lazy.__getattr__ = lambda name: warnings.warn(f"lazy.{name} will go", FutureWarning, stacklevel=2)
    return lambda x, y: mse(W, x, y) * (1 if lazy else x.nothing), quiet


class _Clock:
    """Reads the clock where NumPy asks it for an index or a product."""

    def __index__(self):
        return 0 if time.perf_counter() else 1

    def __rmul__(self, x):
        return x * (1.0 if time.perf_counter() else 2.0)


@leak("IndexError")  # NumPy makes one of what ends the call of the clock
def an_index_that_reads_the_clock(W):
    at = _Clock()
    return lambda x, y: mse(W, x, y) + x[at].sum()


@leak("perf_counter()")
def an_array_of_objects_that_read_the_clock(W):
    return lambda x, y: mse(W, (x * np.array([_Clock()] * 6, object)).astype(np.float32), y)


@leak("perf_counter()")
def a_function_of_the_users_that_numpy_calls(W):
    def look(x):
        return x if time.perf_counter() else 0.0

    return lambda x, y: mse(W, np.frompyfunc(look, 1, 1)(x).astype(np.float32), y)


# -- parameters that another optimiser, or nothing, trains -----------------------------------------------------------


def trains(name: str, change: Callable[[Any], Callable[[Any], object]], reason: str) -> None:
    """Add a loss that changes a parameter of its own before it reads its value."""

    def make(W: Any) -> tuple[Loss, Between]:
        V = param(np.float32(1.0))
        act = change(V)

        def loss(x: Any, y: Any) -> Any:
            act(x)
            return mse(W, x, y) * V.data

        return loss, quiet

    LEAKS.append(Leak(name, make, reason))


def squared(V: Any) -> Any:
    return (V - 2.0) ** 2


def update_by_hand(V: Any) -> None:
    back(squared(V))
    update(V, -0.01 * V.grad)


def descent(V: Any) -> Any:
    return lambda: update(V, -0.01 * V.grad)


trains("trains within", lambda V: lambda x: train(lambda d: squared(V), [1, 2], descent(V)), "calls train()")
trains("makes an optimiser", lambda V: lambda x: (back(squared(V)), SGD([V], 0.01)()), "makes an optimiser")
trains("update", lambda V: lambda x: update_by_hand(V), "")
trains("writes data", lambda V: lambda x: np.add(V.data, 0.01, out=V.data), "the loss changes V")
trains("assigns data", lambda V: lambda x: setattr(V, "data", V.data + np.float32(0.01)), "")
trains("sets a gradient", lambda V: lambda x: back(squared(V)), "the loss changes V")


@leak("")
def calls_an_optimiser(W):
    V = param(np.float32(1.0))
    opts = {}

    def loss(x, y):
        back(squared(V))
        opts[0]()
        return mse(W, x, y) * V.data

    return loss, lambda k: opts.setdefault(0, ADAM([V], 0.01))
