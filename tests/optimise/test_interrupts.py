"""Interrupts of training loops: the batch ends, no update is torn, the right handler is called."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from fluxmagic import (
    SGD,
    Run,
    param,
    train,
)
from fluxmagic.optimise.interrupts import InterruptGuard


def test_an_interrupt_lets_the_batch_end_and_then_leaves_train():
    W, before = param(1.0), signal.getsignal(signal.SIGINT)

    def loss(x):
        if x == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return W * 1.0

    seen = []
    with pytest.raises(KeyboardInterrupt):
        train(loss, [1, 2, 3], SGD([W], 0.1), cb=lambda: seen.append(float(W)))
    assert seen == pytest.approx([0.9, 0.8])
    assert W.grad == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_stops_at_once_and_clears_the_gradients():
    W = param(1.0)

    def loss(x):
        l = W * 1.0
        if x == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return l

    with pytest.raises(KeyboardInterrupt):
        train(loss, [1, 2, 3], SGD([W], 0.1))
    assert W.data == pytest.approx(0.9)
    assert W.grad == 0


def test_an_interrupt_in_the_last_batch_is_not_lost():
    W = param(1.0)

    def loss(x):
        os.kill(os.getpid(), signal.SIGINT)
        return W * 1.0

    with pytest.raises(KeyboardInterrupt):
        train(loss, [1], SGD([W], 0.1))
    assert W.data == pytest.approx(0.9)


def test_train_in_another_thread_leaves_signals_alone():
    from concurrent.futures import ThreadPoolExecutor

    W = param(1.0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(train, lambda x: W * x, [1.0], SGD([W], 0.1)).result()
    assert W.data == pytest.approx(0.9)


def press_at(number, W):
    """A loss that is interrupted in the batch of that number."""

    def loss(x):
        if x == number:
            os.kill(os.getpid(), signal.SIGINT)
        return W * 1.0

    return loss


def test_an_interrupt_goes_to_the_handler_that_was_there_before():
    W, heard = param(1.0), []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append((number, float(W))))
    try:
        train(press_at(2, W), [1, 2, 3], SGD([W], 0.1))
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [(signal.SIGINT, pytest.approx(0.8))]  # when the batch was done
    assert W.data == pytest.approx(0.7)  # it did not end the loop


def test_in_a_task_an_interrupt_cancels_the_task_and_raises_nothing_in_the_event_loop():
    W, ended = param(1.0), []

    async def main():
        try:
            train(press_at(2, W), [1, 2, 3], SGD([W], 0.1))
        except BaseException as error:
            ended.append(type(error))
            raise

    with pytest.raises(KeyboardInterrupt):  # what asyncio.run makes of it
        asyncio.run(main())
    assert ended == [asyncio.CancelledError]
    assert W.data == pytest.approx(0.8)


def test_an_interrupt_in_the_turn_of_a_task_belongs_to_whoever_awaits():
    W, ended = param(1.0), []
    run = Run(press_at(20, W), range(100_000), SGD([W], 0.0))

    async def trained():
        while run.steps < 200:
            run.advance(0.0)
            await asyncio.sleep(0)
        ended.append("trained")

    async def waiting():
        task = asyncio.create_task(trained())
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
        await task

    asyncio.run(waiting())
    assert ended == ["cancelled", "trained"]
    assert run.state == "running"


def test_an_awaited_run_that_is_interrupted_pauses():
    W = param(1.0)
    run = Run(press_at(20, W), range(100_000), SGD([W], 0.0))

    async def main():
        await run

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert run.state == "paused"


def test_an_interrupt_of_a_loop_within_a_loop_ends_both():
    W, V, seen = param(1.0), param(1.0), []

    def outer(x):
        train(press_at(2, V), [1, 2, 3], SGD([V], 0.1), cb=lambda: seen.append(float(V)))
        return W * 1.0

    with pytest.raises(KeyboardInterrupt):
        train(outer, [1, 2], SGD([W], 0.1))
    assert seen == pytest.approx([0.9, 0.8])
    assert W.data == 1.0
    with pytest.raises(KeyboardInterrupt):  # in a turn of a run within a loop: when the turn is over
        train(lambda x: Run(press_at(2, V), [1, 2, 3], SGD([V], 0.1)).advance(1.0) or W * 1.0, [1, 2], SGD([W], 0.1))
    assert W.data == pytest.approx(0.9)


@pytest.mark.skipif(os.name != "posix", reason="signals between processes")
@pytest.mark.parametrize("opt", ["ADAM", "Mine"])
def test_ctrl_c_from_outside_never_leaves_an_update_half_done(opt):
    """Every element gets the same gradient: after an update that was whole all are equal."""
    script = """
        import sys
        import numpy as np
        from fluxmagic import ADAM, param, train
        from fluxmagic.optimise import Optimiser
        class Mine(Optimiser):
            state = ("m",)
            def step(self, δ, s):
                s.m = 0.9 * s.m + δ
                return 1e-4 * s.m
        W = param(np.ones(300_000))
        def data():
            print("going", flush=True)
            while True:
                yield 1.0
        try:
            train(lambda x: (W * x).sum(), data(), OPT([W]))
        except KeyboardInterrupt:
            print("interrupted", len(np.unique(W.data)), W.grad.any(), W.data[0] < 1)
            sys.exit(0)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script).replace("OPT", opt)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "going\n"
        try:
            child.wait(0.5)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert out == "interrupted 1 False True\n", err


@pytest.mark.parametrize(("presses", "shielded", "raised"), [(1, False, 0), (2, False, 1), (2, True, 0), (3, True, 1)])
def test_a_second_interrupt_waits_where_it_is_shielded_and_a_third_does_not(presses, shielded, raised):
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with InterruptGuard() as guard, guard.shield(shielded):
            for _ in range(presses):
                os.kill(os.getpid(), signal.SIGINT)
            assert (guard.presses, len(heard)) == (presses, raised)
        assert len(heard) == raised + 1  # the deferred one
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_block_exposed_within_a_shield_is_shielded_again_afterwards():
    guard = InterruptGuard()
    with guard.shield():
        with guard.shield(False):
            assert not guard.shielded
        assert guard.shielded
    assert not guard.shielded
