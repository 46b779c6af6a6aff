"""A run, a race and a sweep that are awaited."""

from __future__ import annotations

import asyncio

import pytest

from fluxmagic import Race, Run, Sweep, param


def endless(kind):
    W = param([4.0, -2.0])
    loss, n = (lambda: (W * W).sum()), 10**8
    match kind:
        case "run":
            return Run(loss, None, "SGD", steps=n)
        case "race":
            return Race(loss, None, [W], ["SGD", "ADAM"], steps=n)
        case _:
            return Sweep(loss, None, [W], {"η": [0.01, 0.1]}, steps=n)


async def interrupted(training, end):
    """Await training, and end it by a function of the task once it runs."""
    task = asyncio.ensure_future(training)
    while training.state != "running":
        await asyncio.sleep(0)
    end(task)
    await task


@pytest.mark.parametrize("kind", ["run", "race", "sweep"])
def test_a_pause_ends_the_wait_and_the_training_is_paused(kind):
    training = endless(kind)
    asyncio.run(interrupted(training, lambda task: training.pause()))
    assert training.state == "paused"
    assert not training.finished


@pytest.mark.parametrize(("kind", "state"), [("run", "paused"), ("race", "paused"), ("sweep", "stopped")])
def test_a_wait_that_is_cancelled_ends_as_an_interrupt_does(kind, state):
    training = endless(kind)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(interrupted(training, lambda task: task.cancel()))
    assert training.state == state
