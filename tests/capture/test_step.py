"""A captured step has the bits of the ordinary one, and says how it was taken."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import fluxmagic
from fluxmagic import ADAM, SGD, BatchNorm, Dropout, capture, param, relu, train
from fluxmagic.capture import step as step_module
from fluxmagic.capture import verify
from fluxmagic.optimise import OPTIMISERS
from tests.capture.hidden import hidden, hide
from tests.capture.problems import assert_same_bits, bits, captured, classifier, linear_regression, regression


@pytest.mark.parametrize("make", [linear_regression, classifier, regression])
def test_a_captured_step_has_the_bits_of_the_ordinary_one(make):
    report = assert_same_bits(make).report
    assert (report.recorded, report.ordinary, report.reason) == (2, 0, None)


def test_steps_3_5_9_17_and_33_are_verified():
    step, _, _ = captured(linear_regression(40))
    assert (step.report.verified, step.report.replayed) == (5, 33)


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_every_optimiser_updates_in_the_same_bits(name):
    step = assert_same_bits(lambda: classifier(40, OPTIMISERS[name]))
    assert step.report.replayed > 30


@pytest.mark.parametrize("opt", [SGD, ADAM])
def test_the_source_of_a_step_is_its_program(opt):
    step, _, _ = captured(classifier(5, opt))
    assert "def step(x0, x1):" in step.source


def test_a_program_is_compiled_after_a_hundred_replayed_steps(monkeypatch):
    pytest.importorskip("llvmlite")
    monkeypatch.setattr(step_module, "COMPILE_AFTER", 100)
    assert assert_same_bits(lambda: classifier(128)).report.compile_seconds == 0
    report = assert_same_bits(lambda: classifier(400)).report
    assert report.compile_seconds > 0
    assert report.reason is None
    assert report.replayed > 370


def test_a_tight_loop_lets_other_threads_in_when_a_step_is_verified(monkeypatch):
    pauses = []
    monkeypatch.setattr(verify, "sleep", pauses.append)
    p = linear_regression(600)
    step, done = capture(p.loss, p.opt), threading.Event()
    for batch in p.data[:300]:
        step(*batch)
    assert not pauses
    other = threading.Thread(target=done.wait)
    other.start()
    for batch in p.data[300:]:  # the 513th step is verified
        step(*batch)
    done.set()
    other.join()
    assert len(pauses) == 1


def test_another_thread_gets_on_within_some_thousand_steps():
    p = linear_regression(600)
    step, turns, n = capture(p.loss, p.opt), [], 0
    for batch in p.data:
        step(*batch)

    def take_turns():
        while len(turns) < 20:
            time.sleep(1e-4)
            turns.append(n)

    other = threading.Thread(target=take_turns)
    other.start()
    while other.is_alive():
        step(*p.data[0])
        n += 1
        assert n < 2_000_000
    assert len(turns) == 20


def test_train_is_verified_at_its_end():
    hide(1)
    p = linear_regression(40)

    def change(l):
        hide(2 if p.opt.n == 35 else hidden())  # the next verification would come after step 65

    loss = p.loss
    with pytest.warns(RuntimeWarning, match="a replayed step and an ordinary one differ"):
        train(lambda x, y: loss(x, y) * hidden(), p.data, p.opt, cb=change, capture=True)
    assert p.opt.n == 40


@pytest.mark.parametrize("end", ["all", "stop"])
def test_the_verification_at_the_end_leaves_everything_as_it_is(end):
    ends = []
    for capture_it in (False, True):
        p = classifier(60, ADAM, BatchNorm(8, relu), Dropout(0.2))
        losses = []

        def note(l, losses=losses):
            losses.append(l)
            if end == "stop" and len(losses) == 48:
                fluxmagic.stop()

        train(p.loss, p.data, p.opt, cb=note, capture=capture_it)
        ends.append((losses, bits(p), p.opt.n))
    assert ends[0] == ends[1]


def test_a_loss_that_copies_its_parameters_is_refused():
    ends = []
    for capture_it in (False, True):
        W, copied = param(np.ones(3)), np.zeros(3)

        def loss(x, W=W, copied=copied):
            copied[...] = W.data
            return ((W - x) ** 2).sum()

        opt, losses = SGD([W], 0.1), []
        step = capture(loss, opt) if capture_it else None
        for k in range(20):
            losses.append(step(float(k % 3))) if step else train(loss, [float(k % 3)], opt, cb=losses.append)
        ends.append((losses, W.data.tobytes(), copied.tobytes()))
    assert ends[0] == ends[1]
    assert "copies what the update changes" in step.report.reason
