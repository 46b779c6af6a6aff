"""Losses that read a number from a place of each kind, which changes for two steps and changes back."""

from __future__ import annotations

import array
import builtins
import collections
import contextvars
import ctypes
import dataclasses
import functools
import io
import itertools
import queue
import random
import threading
import types
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tests.capture.leaks import Between, Loss, leak, mse

Reader = Callable[[], Any]
Writer = Callable[[float], object]
MODULE = types.ModuleType("numbers_of_a_user")


def reads(reason: str | None, make: Callable[[], tuple[Reader, Writer]]) -> Callable[[], tuple[Reader, Writer]]:
    """Add a loss that multiplies by what a reader gives."""

    def both(W: Any) -> tuple[Loss, Between]:
        read, write = make()
        write(1.0)
        return (lambda x, y: mse(W, x, y) * np.mean(read())), lambda k: write(2.0 if k in (11, 12, 20, 21) else 1.0)

    both.__name__ = make.__name__
    leak(reason)(both)
    return make


def kind(reason: str | None = None) -> Callable[[Callable[[], tuple[Reader, Writer]]], Any]:
    """Add a function that makes a reader and a writer; with a reason, the loss has to be refused."""
    return lambda make: reads(reason, make)


def item(owner: Any, key: Any = 0) -> Writer:
    return lambda v: owner.__setitem__(key, v)


@kind("a array")
def an_array_of_pythons():
    a = array.array("d", [1.0])
    return (lambda: a[0]), item(a)


@kind("100 items")
def a_long_list():
    a = [1.0] * 100
    return (lambda: a[50]), item(a, 50)


@kind()
def a_list_in_a_deque():
    a = collections.deque([[1.0]])
    return (lambda: a[0][0]), item(a[0])


@kind("a mappingproxy")
def a_proxy():
    d = {"s": 1.0}
    proxy = types.MappingProxyType(d)
    return (lambda: proxy["s"]), item(d, "s")


@kind("a builtin_function_or_method")
def a_bound_method():
    d = {"s": 1.0}
    get = d.get
    return (lambda: get("s")), item(d, "s")


@kind("a ContextVar")
def a_context_variable():
    c = contextvars.ContextVar("c", default=1.0)
    return (lambda: c.get()), c.set


@kind("a _local")
def what_a_thread_keeps():
    local = threading.local()
    return (lambda: local.s), lambda v: setattr(local, "s", v)


@kind("a c_double")
def a_number_of_c():
    c = ctypes.c_double()
    return (lambda: c.value), lambda v: setattr(c, "value", v)


@kind("a memoryview")
def a_memory_view():
    a = np.ones(1)
    view = memoryview(a)
    return (lambda: view[0]), item(a)


@kind("a ReferenceType")
def a_weak_reference():
    class Own:
        s = 1.0

    own = Own()
    ref = weakref.ref(own)
    return (lambda: ref().s), lambda v: setattr(own, "s", v)


@kind("a _lru_cache_wrapper")
def a_cache_that_is_cleared():
    own = SimpleNamespace(s=1.0)
    cached = functools.lru_cache(lambda: own.s)

    def write(v):
        own.s = v
        cached.cache_clear()

    return (lambda: cached()), write


@kind("iterator")
def an_iterators_method():
    numbers = itertools.cycle([1.0] * 9 + [2.0])
    return (lambda: next(numbers)), lambda v: None


@kind("a method-wrapper")
def a_bound_method_of_an_iterator():
    following = itertools.cycle([1.0] * 9 + [2.0]).__next__
    return (lambda: following()), lambda v: None


@kind("a builtin_function_or_method")
def a_bound_draw():
    draw = random.Random(0).random
    return (lambda: 1.0 if draw() < 0.9 else 2.0), lambda v: None


@kind("a Queue")
def a_queue():
    numbers = queue.Queue[float]()
    return (lambda: numbers.get()), lambda v: [numbers.put(v) for _ in range(2)]


@kind("calls globals()")
def a_global_by_its_name():
    return (lambda: globals()["NUMBER"]), lambda v: globals().update(NUMBER=v)


@kind("calls getattr()")
def an_attribute_of_a_module_by_its_name():
    names = ["number"]
    return (lambda: getattr(MODULE, names[0])), lambda v: setattr(MODULE, "number", v)


@kind()
def a_name_among_the_builtins():
    return (lambda: NUMBER_OF_A_USER), lambda v: setattr(builtins, "NUMBER_OF_A_USER", v)  # noqa: F821


@kind()
def the_order_of_a_dict():
    d = {"a": 1.0, "b": 2.0}

    def write(v):
        if next(iter(d.values())) != v:
            first = next(iter(d))
            d[first] = d.pop(first)

    return (lambda: next(iter(d.values()))), write


@kind()
def tuples_in_a_set():
    s = {(1, 1.0)}

    def write(v):
        s.clear()
        s.add((1, v))

    return (lambda: 1.0 if (1, 1.0) in s else 2.0), write


@kind()
def keyword_defaults_that_are_replaced():
    def read(*, s=1.0):
        return s

    return read, lambda v: setattr(read, "__kwdefaults__", {"s": v})


@kind()
def an_attribute_of_a_base():
    base = type("Base", (), {"s": 1.0})
    own = type("Own", (base,), {})
    return (lambda: own.s), lambda v: setattr(base, "s", v)


@kind()
def the_class_of_an_object():
    class One:
        def read(self):
            return 1.0

    class Two:
        def read(self):
            return 2.0

    own = One()
    return (lambda: own.read()), lambda v: setattr(own, "__class__", One if v == 1 else Two)


@kind("the loss can read")
def an_attribute_of_a_float():
    class Number(float):
        s = 1.0

    own = Number(1.0)
    return (lambda: own.s), lambda v: setattr(own, "s", v)


@kind()
def a_slot_with_an_array():
    @dataclasses.dataclass(slots=True)
    class Own:
        s: Any

    own = Own(np.ones(3))
    return (lambda: np.sqrt(own.s)), lambda v: own.s.fill(v)


@kind()
def an_array_in_a_named_tuple():
    class Own(NamedTuple):
        s: Any

    own = Own(np.ones(3))
    return (lambda: np.sqrt(own.s)), lambda v: own.s.fill(v)


@kind()
def an_array_of_a_class():
    class Own:
        s = np.ones(3)

    return (lambda: np.sqrt(Own.s)), lambda v: Own.s.fill(v)


@kind("the loss can read")
def an_array_of_objects():
    a = np.array([1.0, None], object)
    return (lambda: a[0]), item(a)


@kind("the loss can read")
def a_masked_array():
    a = np.ma.masked_array(np.ones(3), [0, 0, 1])
    return (lambda: float(a.sum())), lambda v: a.data.fill(v)


@kind("the loss can read")
def a_text_buffer():
    text = io.StringIO("1")

    def write(v):
        text.seek(0)
        text.write(str(int(v)))

    return (lambda: float(text.getvalue())), write


@leak("on plain arrays the loss does something else")
def the_type_of_the_batch(W):
    return lambda x, y: mse(W, x, y) * (1.0 if type(x) is np.ndarray else 2.0)


@leak("changes")
def the_type_of_the_batch_and_a_counter(W):
    n = [0]

    def loss(x, y):
        n[0] += 1
        return mse(W, x, y) * (n[0] if type(x) is np.ndarray else 100)

    return loss


@leak("calls print()")
def changes_before_output(W):
    own, rng = SimpleNamespace(), np.random.default_rng(0)

    def loss(x, y):
        own.n = getattr(own, "n", 0) + rng.random()
        print(end="")
        return mse(W, x, y) * own.n

    return loss
