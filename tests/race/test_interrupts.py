"""Interrupts at random moments: every contestant is whole, and the user's values are back.

FLUXMAGIC_TRIES says how often it is tried.
"""

import os
import random
import signal
import time

import pytest

from tests.runs.test_faults import child

TRIES = int(os.environ.get("FLUXMAGIC_TRIES", "9"))

INTERRUPTED = """
import sys
from tests.race.problems import THREE, network, race_on
from tests.race.test_interrupts import digest
problem = network()
race = race_on(problem, THREE, epochs=10**9, seed=1)
start = problem.bits()
for line in sys.stdin:
    try:
        print("go", flush=True)
        if line == "train\\n":
            race.train()
        elif line == "step\\n":
            race.step(10**9)
        else:
            while True:
                race.advance(0.01)
    except KeyboardInterrupt:
        print(problem.bits() == start, race.state, *(f"{run.steps}:{digest(run)}" for run in race), flush=True)
"""

CALM = """
import sys
from fluxmagic import Run
from fluxmagic.optimise import OPTIMISERS
from tests.race.problems import THREE, network
from tests.race.test_interrupts import digest
name, hypers = THREE[%d]
problem = network()
run = Run(problem.loss, problem.data, OPTIMISERS[name](problem.params, **hypers), epochs=10**9, seed=1)
for line in sys.stdin:
    run.step(int(line) - run.steps)
    print(digest(run), flush=True)
"""


def digest(run):
    """Hash weights and running statistics of a run, parked or not."""
    import hashlib

    values, generators = run.training.current
    arrays = b"".join(a.tobytes() for arrays in values for a in arrays)
    return hashlib.sha256(arrays + repr(generators).encode()).hexdigest()


@pytest.mark.parametrize("presses", [1, 2])
def test_an_interrupt_at_any_moment_leaves_every_contestant_on_its_path(presses):
    rng = random.Random(presses)
    with child(INTERRUPTED) as race, child(CALM % 0) as first, child(CALM % 1) as second, child(CALM % 2) as third:
        for i in range(TRIES):
            race.stdin.write(["train\n", "step\n", "advance\n"][i % 3])
            assert race.stdout.readline() == "go\n"
            time.sleep(rng.uniform(0.001, 0.03))
            for _ in range(presses):
                race.send_signal(signal.SIGINT)
            back, state, *contestants = race.stdout.readline().split()
            between_turns = state == "running" and i % 3 == 2
            before_a_step = state == "ready" and all(c.startswith("0:") for c in contestants)
            assert state == "paused" or between_turns or before_a_step
            assert back == "True"
            for alone, contestant in zip((first, second, third), contestants, strict=True):
                steps, bits = contestant.split(":")
                alone.stdin.write(f"{steps}\n")
                assert alone.stdout.readline().strip() == bits
        for process in (race, first, second, third):
            process.stdin.close()
    assert race.returncode == 0
