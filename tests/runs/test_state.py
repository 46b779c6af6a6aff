"""The state of training: captured, restored, parked and pickled."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest

from fluxmagic.optimise import cosine
from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.runs.control import Control, Request
from fluxmagic.runs.cursor import DataCursor
from tests.runs.problems import X, Y, network


def bits(state):
    """The bits of a state's values, optimisers and place."""
    s = state.capture()
    values = [a.tobytes() for arrays in s.values for a in arrays]
    kept = [a.tobytes() for o in s.optimisers.values() for arrays in o.state["arrays"].values() for a in arrays]
    return values, kept, s.step, s.position, s.active, [str(g) for g in s.generators]


@pytest.mark.parametrize("parked", [False, True])
def test_a_state_can_be_pickled(parked):
    run, _ = network("ADAM", data=[(X, Y), (X[:9], Y[:9])])
    run.step(2)
    run.swap("Momentum", η=cosine(0.01, 8))
    run.step(3)
    if parked:
        run.branch("b").step(2)
        assert run.training.parked is not None
    expected = bits(run.training)
    assert bits(pickle.loads(pickle.dumps(run.training))) == expected
    run.step()
    assert bits(run.training) != expected


def test_restore_returns_to_what_was_captured():
    run, _ = network()
    run.step(3)
    before, s = bits(run.training), run.training.capture()
    run.step(4)
    run.training.restore(s)
    assert bits(run.training) == before


def test_the_columns_of_a_history_have_one_length_while_the_run_trains():
    run, _ = network()
    run.step(3)
    h = run.history
    run.step(4)
    assert {len(h[k]) for k in h} == {3}
    assert {len(run.history[k]) for k in h} == {7}


def test_threads_get_the_boundary_in_their_order():
    control, order = Control(lambda kind, values: None), []

    def work(i):
        with control:
            order.append(i)

    with control:
        threads = []
        for i in range(5):
            threads.append(threading.Thread(target=work, args=(i,)))
            threads[-1].start()
            while control.waiting <= i:
                pass
        assert control.attention
    for t in threads:
        t.join()
    assert (order, control.waiting, control.attention) == ([0, 1, 2, 3, 4], 0, [])


def test_requests_are_applied_in_order_and_an_error_reaches_the_caller():
    applied = []

    def apply(kind, values):
        applied.append((kind, dict(values)))
        if values["x"] < 0:
            raise ValueError("x is negative")

    control = Control(apply)
    control.submit(Request("set", {"x": 1}))
    with pytest.raises(ValueError, match="x is negative"):
        control.submit(Request("set", {"x": -1}))
    control.in_batch = True
    control.submit(Request("set", {"x": 2}))
    control.submit(Request("pause"))
    assert (len(applied), control.halt, control.pending("set")) == (2, "", [{"x": 2}])
    control.in_batch = False
    with control:
        assert (applied[-1], control.halt) == (("set", {"x": 2}), "pause")


def test_after_an_error_of_the_data_its_generator_goes_on_from_where_it_was():
    rng, fails = np.random.default_rng(3), [False]

    class Data:
        def __iter__(self):
            for i in rng.permutation(4):
                if fails.pop():
                    raise OSError("the disk")
                fails.append(False)
                yield int(i)

    cursor, guard = DataCursor(Data()), InterruptGuard()
    cursor.generators = [rng]
    first = [cursor.next(guard)]
    cursor.position = 1
    fails[:] = [True]
    with pytest.raises(OSError, match="the disk"):
        cursor.next(guard)
    fails[:] = [False]
    rng.normal()  # dropout draws from it too
    state = rng.bit_generator.state
    first += [cursor.next(guard) for _ in range(3)]
    assert sorted(first) == [0, 1, 2, 3]
    assert rng.bit_generator.state == state
