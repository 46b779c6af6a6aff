"""Each guard of a program: what trips it, and that the step is then the ordinary one."""

from __future__ import annotations

import functools
import types

import numpy as np
import pytest

import fluxmagic
from fluxmagic import (
    ADAM,
    SGD,
    Chain,
    Dense,
    Dropout,
    NotFinite,
    capture,
    logitcrossentropy,
    mse,
    param,
    params,
    testmode,
)
from fluxmagic.optimise.step import train_step
from tests.capture.problems import Problem, bits, classifier


class Box:
    scale = 1.0

    def __init__(self):
        self.factor = 1.0

    def change(self, x):
        return x * self.factor * self.scale


class Slotted:
    __slots__ = ("factor",)

    def __init__(self):
        self.factor = 1.0


MODULE = types.ModuleType("constants_of_a_user")
MODULE.factor = 1.0
GLOBAL = 1.0


def compare(make, change, steps=40, at=20, before=lambda k, p: None):
    """Train captured and ordinarily with the same change in mid-course; return the captured step."""
    ends, step = [], None
    for is_captured in (True, False):
        p = make()
        losses = []
        step = capture(p.loss, p.opt) if is_captured else step
        for k, d in enumerate(p.data[:steps]):
            if k == at:
                change(p)
            if is_captured:
                losses.append(step(*d))
            else:
                with np.errstate(all="ignore"):
                    losses.append(train_step(p.loss, d, [p.opt], 5, fluxmagic.optimise.InterruptGuard()))
        ends.append((losses, bits(p)))
    assert ends[0] == ends[1]
    return step


def make_scaled(read, **parts):
    """A problem whose loss is scaled by what `read()` gives."""

    def make():
        p = classifier(40)
        loss = p.loss
        return p._replace(loss=lambda x, y: loss(x, y) * np.float32(read()))

    return make


def test_a_captured_number_that_is_rebound_trips_the_guard():
    global GLOBAL
    GLOBAL = 1.0

    def change(p):
        global GLOBAL
        GLOBAL = 2.0

    step = compare(make_scaled(lambda: GLOBAL), lambda p: change(p))
    assert step.report.ways == 1  # the program of the old value is gone
    assert step.report.recorded == 4
