"""Faults for real: signals at random moments, to child processes.

FLUXMAGIC_TRIES says how often each is tried.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest

import fluxmagic
from fluxmagic import Run, params
from fluxmagic.optimise.interrupts import InterruptGuard
from tests.runs.problems import line, network
from tests.runs.processes import child, printed

TRIES = int(os.environ.get("FLUXMAGIC_TRIES", "10"))

# One run, whose path is known, is interrupted again and again, each time at another moment.
INTERRUPTED = """
import hashlib, sys
from tests.runs.problems import network
run, _ = network(%r, epochs=10**9)
run.step()
def bits():
    return hashlib.sha256(b"".join(p.data.tobytes() for p in run.params)).hexdigest()
for line in sys.stdin:
    before = run.steps
    try:
        print("go", flush=True)
        if line == "train\\n":
            run.train()
        elif line == "step\\n":
            run.step(10**9)
        else:
            while True:
                run.advance(0.01)
    except KeyboardInterrupt:
        h = run.history
        print(run.steps, run.state, len(h["loss"]), len(h["seconds"]), bits(), flush=True)
"""

# The path, undisturbed.
CALM = """
import hashlib, sys
from tests.runs.problems import network
run, _ = network(%r, epochs=10**9)
run.step()
for line in sys.stdin:
    run.step(int(line) - run.steps)
    print(hashlib.sha256(b"".join(p.data.tobytes() for p in run.params)).hexdigest(), flush=True)
"""


@pytest.mark.parametrize("opt", ["ADAM", "Momentum"])
def test_an_interrupt_at_any_moment_leaves_the_run_on_its_path(opt):
    rng = random.Random(0)
    with child(INTERRUPTED % opt) as disturbed, child(CALM % opt) as calm:
        for i in range(TRIES):
            disturbed.stdin.write(["train\n", "step\n", "advance\n"][i % 3])
            assert disturbed.stdout.readline() == "go\n"
            time.sleep(rng.uniform(0.001, 0.03))
            disturbed.send_signal(signal.SIGINT)
            steps, state, losses, seconds, bits = disturbed.stdout.readline().split()
            between_turns = state == "running" and i % 3 == 2  # it came while no turn of `advance` was taken
            assert state == "paused" or between_turns
            assert (losses, seconds) == (steps, steps)
            calm.stdin.write(f"{steps}\n")
            assert calm.stdout.readline().strip() == bits
        disturbed.stdin.close()
        calm.stdin.close()
    assert disturbed.returncode == 0


TWICE = """
import os, signal, sys, time
import numpy as np
from fluxmagic import Run, param
from fluxmagic.optimise import SGD

where = sys.argv[1]
W = param(np.zeros(4))

def twice():
    global where
    if run.steps == 2 and where:
        where = ""
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
        print("went on", flush=True)

class Twice(SGD):
    def constants(self):
        if sys.argv[1] == "update":
            twice()
        return super().constants()

def loss(x):
    if sys.argv[1] == "loss":
        twice()
    return (W - x).sum()

def data():
    for _ in range(5):
        if sys.argv[1] == "data":
            twice()
        yield 1.0

run = Run(loss, data, "Twice", hypers={"η": 1.0})
try:
    run.train(cb=lambda: sys.argv[1] == "callback" and twice())
except KeyboardInterrupt:
    print(run.steps, run.state, W.data.tolist())
run.train()
print(run.steps, run.state, W.data.tolist())
"""


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("loss", ["2 paused [-2.0, -2.0, -2.0, -2.0]"]),
        ("update", ["went on", "3 paused [-3.0, -3.0, -3.0, -3.0]"]),
        ("callback", ["2 paused [-2.0, -2.0, -2.0, -2.0]"]),
        ("data", ["2 paused [-2.0, -2.0, -2.0, -2.0]"]),
    ],
)
def test_a_second_interrupt_stops_at_once_but_for_an_update(where, shown):
    assert printed(TWICE, where).splitlines() == [*shown, "5 done [-5.0, -5.0, -5.0, -5.0]"]


@pytest.mark.parametrize("leave", ["end", "error", "stop", "pause", "interrupt"])
def test_the_handler_is_back_on_every_way_out(leave):
    before = signal.getsignal(signal.SIGINT)
    run, _ = line(epochs=2)
    handlers = []

    def callback():
        handlers.append(signal.getsignal(signal.SIGINT))
        match leave:
            case "error":
                raise LookupError
            case "stop":
                fluxmagic.stop()
            case "pause":
                run.pause()
            case "interrupt":
                os.kill(os.getpid(), signal.SIGINT)

    expected = {"error": LookupError, "interrupt": KeyboardInterrupt}.get(leave)
    if expected:
        with pytest.raises(expected):
            run.train(cb=callback)
    else:
        run.train(cb=callback)
    assert signal.getsignal(signal.SIGINT) is before
    assert all(h is not before for h in handlers)
    assert run.state == {"end": "done", "error": "failed", "stop": "stopped"}.get(leave, "paused")


def test_the_guard_is_installed_once_for_a_loop(monkeypatch):
    calls = []
    run, _ = line(epochs=5)
    enter = InterruptGuard.__enter__
    monkeypatch.setattr(InterruptGuard, "__enter__", lambda self: calls.append(1) or enter(self))
    run.train()
    assert (len(calls), run.steps) == (1, 20)


def test_outside_the_main_thread_handlers_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    run, _ = line(epochs=3)
    seen = []
    worker = threading.Thread(target=lambda: run.train(cb=lambda: seen.append(signal.getsignal(signal.SIGINT))))
    worker.start()
    worker.join()
    assert set(seen) == {before}
    assert run.state == "done"


# It saves a run over and over, of growing length, and acknowledges each save.
SAVES = """
from tests.runs.problems import network
run, _ = network(epochs=10**9)
while True:
    run.step()
    run.save("run.npz")
    print(run.steps, flush=True)
"""


def test_a_kill_at_any_moment_while_saving_leaves_a_whole_file_and_loses_no_save_that_was_acknowledged(tmp_path):
    rng = random.Random(1)
    for _ in range(TRIES):
        with child(SAVES, cwd=tmp_path) as saver:
            acknowledged = int(saver.stdout.readline())
            time.sleep(rng.uniform(0.0, 0.02))
            saver.kill()
            more = [l for l in saver.stdout.read().splitlines(keepends=True) if l.endswith("\n")]
            acknowledged = int(more[-1]) if more else acknowledged
        like, m = network()
        run = Run.load(tmp_path / "run.npz", like.loss, like.data, params(m))
        assert run.steps in (acknowledged, acknowledged + 1)
    run.step()
    run.save(tmp_path / "run.npz")
    assert os.listdir(tmp_path) == ["run.npz"]  # those that were killed have left nothing that stays
