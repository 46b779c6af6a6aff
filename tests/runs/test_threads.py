"""Several threads ask a run for something at the same moment."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from fluxmagic import Run, param
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from tests.runs.problems import line, network


def wait_for(condition):
    """Wait until something is so; at most a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(1e-4)


def caught(found, f):
    """A thread that calls f, and keeps what it raises, or None."""

    def work():
        try:
            f()
            found.append(None)
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_of_two_threads_that_begin_to_drive_at_the_same_moment_one_is_refused():
    run, _ = line(epochs=2)
    found: list = []
    with run.control:
        threads = [caught(found, lambda: run.train(cb=lambda: wait_for(lambda: found))) for _ in range(2)]
        wait_for(lambda: run.control.waiting == 2)
    for t in threads:
        t.join()
    assert isinstance(found[0], RuntimeError)
    assert "driven already" in str(found[0])
    assert found[1:] == [None]
    assert (run.steps, run.state) == (8, "done")


@pytest.mark.parametrize(("ask", "state"), [("pause", "paused"), ("stop", "stopped")])
def test_what_is_asked_for_before_the_first_step_of_a_train_that_has_begun_counts(ask, state):
    run, _ = line()
    found: list = []
    with run.control:
        thread = caught(found, run.train)
        wait_for(lambda: run.control.waiting)
        getattr(run, ask)()
    thread.join()
    assert (run.steps, run.state, found) == (0, state, [None])
    run.train()
    assert run.state == "done"


class Picky(Optimiser):
    """Its constructor raises."""

    η = Hyper(0.1, "learning rate", scale="log")

    def __init__(self, *args, **hypers):
        raise OSError("no memory on the device")

    def step(self, δ, s):
        return self.η * δ


OPTIMISERS.pop("Picky")


@pytest.mark.parametrize("busy", [True, False])
def test_an_error_of_a_swap_reaches_who_asked_for_it_and_the_run_goes_on(busy):
    W = param(1.0)
    inside, asked = threading.Event(), threading.Event()

    def loss(x):
        if busy and run.steps == 1:
            inside.set()
            asked.wait(60)
        return (W - x) ** 2

    run = Run(loss, [0.0] * 4, "SGD")
    run.step()
    found: list = []
    thread = caught(found, run.train) if busy else None
    if busy:
        inside.wait(60)
    with pytest.raises(OSError, match="no memory on the device"):
        run.swap(Picky)
    asked.set()
    if thread is not None:
        thread.join()
        assert found == [None]
    assert (run.opt_name, run.events) == ("SGD", [])
    run.train()
    assert run.state == "done"


def test_what_fails_when_its_caller_has_gone_on_is_a_warning():
    W = param(1.0)

    def loss(x):
        if run.steps == 1:
            run.set(η=lambda n: 0.1 if n < 2 else -1.0)
        return (W - x) ** 2

    run = Run(loss, [0.0] * 4, "SGD")
    with pytest.warns(RuntimeWarning, match=r"set\(η\) was asked for and has failed: ValueError"):
        run.train()
    assert (run.steps, run.state, run.events) == (4, "done", [])


def test_two_rewinds_at_the_same_moment_are_one_after_the_other():
    run, _ = line(epochs=5)
    for _ in range(20):
        run.step(20 - run.steps)
        found: list = []
        with run.control:
            threads = [caught(found, lambda s=s: run.rewind(s)) for s in (3, 8)]
            wait_for(lambda: run.control.waiting == 2)
        for t in threads:
            t.join()
        assert run.steps == 3
        assert [type(e) for e in found if e is not None] in ([], [ValueError])
        run.replay()


def test_weights_are_not_taken_from_a_run_that_is_being_rewound():
    run, _ = line()
    run.step(4)
    branch = run.branch("b")
    run.take()
    run.snapshots.others.clear()
    inside, tried = threading.Event(), threading.Event()
    loss = run.loss

    def slow(x):
        inside.set()
        tried.wait(60)
        return loss(x)

    run.loss = slow
    found: list = []
    thread = caught(found, lambda: run.rewind(2))
    inside.wait(60)
    for act in (branch.step, branch.take, lambda: branch.rewind(1)):
        with pytest.raises(RuntimeError, match="two runs cannot be active"):
            act()
    tried.set()
    thread.join()
    assert (found, run.steps) == ([None], 2)
    run.loss = loss
    run.replay()
    branch.replay()


def test_a_snapshot_from_another_thread_while_it_trains_is_that_of_a_step():
    run, _ = network(epochs=40)
    was = {}
    stop = threading.Event()
    seen: list = []

    def look():
        while not stop.is_set():
            seen.append(b"".join(a.tobytes() for a in run.snapshot().values()))

    run.step()
    key = lambda: b"".join(p.data.tobytes() for p in run.params)
    was[key()] = 1
    thread = threading.Thread(target=look)
    thread.start()
    run.train(cb=lambda: was.setdefault(key(), run.steps))
    wait_for(lambda: len(seen) > 5)
    stop.set()
    thread.join()
    assert set(seen) <= set(was)


def test_a_class_that_was_defined_again_is_swapped_in_with_an_event():
    def define(factor):
        class Mine(Optimiser):
            """One's own."""

            η = Hyper(0.1, "learning rate", scale="log")

            def step(self, δ, s):
                return factor * self.η * δ

        return Mine

    run, W = line(define(1.0))
    run.step(2)
    again = define(0.5)
    run.swap("Mine", η=0.2)
    assert run.opt_class is again
    assert [e[:2] for e in run.events] == [(2, "opt"), (2, "η")]
    run.step(2)
    np.testing.assert_array_equal(run.history["η"], [0.1, 0.1, 0.2, 0.2])
    before = W.data.copy()
    run.replay()
    np.testing.assert_array_equal(W.data, before)


def test_a_dial_turned_on_the_optimiser_is_in_the_script_and_in_the_file(tmp_path):
    run, W = line(epochs=2)
    run.step(3)
    run.opt.η = 0.05
    assert "run.set(η=0.05)" in run.as_code()
    run.opt.η = 0.06
    run.save(tmp_path / "run.npz")
    loaded = Run.load(tmp_path / "run.npz", run.loss, run.data, [W])
    assert [e.new for e in loaded.events] == [0.05, 0.06]
    loaded.step(2)
    loaded.replay()
