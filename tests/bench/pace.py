"""The pace of a panel under load: words, pictures, and how soon a turn shows.

`python -m tests.bench.pace [SECONDS] [PROCESSES]` trains in a cell of a kernel of its own, beside so many busy
processes, half as long at rest, and then turns η every three seconds; it reports what a page would have seen.

`python -m tests.bench.pace race [SECONDS] [PROCESSES]` takes 30 steps a second with four contestants over two numbers,
`valley` with one run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from typing import Any

import numpy as np

from tests.jupyter.kernels import Kernel

SETUP = """
import time
import numpy as np
from fluxmagic import *
from fluxmagic.jupyter.driving.loop import run_loop
from fluxmagic.jupyter.driving.views import WidgetView
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(1024, 64)).astype("f"), rng.integers(0, 10, 1024)
model = Chain(Dense(64, 128, relu), Dense(128, 10))
loss = lambda x, y: logitcrossentropy(model(x), y)
run = Run(loss, batches(X, Y, 64), SGD(params(model), 0.01), epochs=10**6)
log, boosts = [], []
"""
VALLEY = """
import time
from fluxmagic import *
from fluxmagic.jupyter.driving.loop import run_loop
from fluxmagic.jupyter.driving.views import WidgetView
w = param([-1.2, 1.0])
loss = lambda: landscapes.rosenbrock(w)
valley = Run(loss, None, SGD([w], 0.0005), steps=10**6)
four = [("SGD", dict(η=0.0005)), ("Momentum", dict(η=0.0002)), ("Nesterov", dict(η=0.0002)), ("ADAM", dict(η=0.005))]
race = Race(loss, None, [w], four, steps=10**6)
log, boosts = [], []
"""
CELL = """
view = WidgetView(run)
view.controls.pace.speed = SPEED
refresh, boost, budget = view.refresh_if_due, view.budget.boost, view.budget
def logged():
    refresh()
    if not log or time.perf_counter() > log[-1][0] + 0.02:
        log.append((time.perf_counter(), budget.drawn, time.process_time()))
def boosted():
    boosts.append(time.perf_counter())
    boost()
view.refresh_if_due, budget.boost = logged, boosted
run_loop(view, get_ipython().kernel)
"""
BOOST = 5.0
TURNS = 20


class Watching(Kernel):
    """A kernel whose pictures and words are timed as they come."""

    def __init__(self, *args: Any) -> None:
        self.frames: list[float] = []
        self.words: list[float] = []
        super().__init__(*args)

    def _hear(self, m: dict[str, Any]) -> None:
        super()._hear(m)
        data = m["content"].get("data", {})
        if m["msg_type"] == "comm_msg" and data.get("method") == "update":
            if ["value"] in data.get("buffer_paths", []):
                self.frames.append(time.perf_counter())
            elif "fluxmagic-words" in str(data["state"].get("value")):
                self.words.append(time.perf_counter())


def shares(log: np.ndarray, boosts: list[float]) -> tuple[float, float]:
    """Give the shares of drawing in the processor's time: at rest, and for five seconds after a turn."""
    at, drawn, used = log.T
    boosted = np.zeros(len(at) - 1, bool)
    for b in boosts:
        boosted |= (at[1:] > b) & (at[:-1] < b + BOOST)
    drawn, used = np.diff(drawn), np.diff(used)
    return drawn[~boosted].sum() / used[~boosted].sum(), drawn[boosted].sum() / used[boosted].sum()


def measure_limited(kernel: Watching, what: str, seconds: float) -> None:
    """Take 30 steps a second for some seconds, and print what was seen, and the share of a core that it took."""
    kernel.run(VALLEY)
    cell = kernel.start(CELL.replace("WidgetView(run)", f"WidgetView({what})").replace("SPEED", "30"))
    kernel.until(lambda: len(kernel.frames) > 3)
    kernel.listen(5.0)  # the map of the loss is computed by then
    begin = time.perf_counter()
    kernel.listen(seconds)
    frames = [b - a for a, b in pairwise(kernel.frames) if a > begin]
    kernel.press("Stop")
    kernel.end(cell)
    log, steps = kernel.value(f"(log, {what}.steps)")
    at, drawn, used = np.array(log)[np.array(log)[:, 0] > log[-1][0] - seconds].T
    seconds = at[-1] - at[0]
    print(f"steps a second: {steps / (log[-1][0] - log[0][0]):.1f}")
    print(f"pictures: {len(frames) / sum(frames):.1f} a second, at most {max(frames):.2f} s apart")
    print(f"of a core: {(used[-1] - used[0]) / seconds:.1%}, drawing {(drawn[-1] - drawn[0]) / seconds:.1%}")


def measure(kernel: Watching, seconds: float) -> None:
    """Train at rest for half of some seconds, turn η twenty times in as many more; print what was seen."""
    kernel.run(SETUP)
    cell = kernel.start(CELL.replace("SPEED", "float('inf')"))
    kernel.until(lambda: len(kernel.frames) > 3)
    begin = time.perf_counter()
    kernel.listen(seconds / 2)
    turned = time.perf_counter()
    answers = []
    for pause in np.random.default_rng(0).uniform(0.8, 1.2, TURNS) * seconds / TURNS:
        kernel.turn("η", 0.01 + 0.001 * (len(answers) % 7))
        told = kernel.told
        kernel.until(lambda told=told: told in kernel.idle)
        heard, before = time.perf_counter(), len(kernel.frames)
        kernel.until(lambda before=before: len(kernel.frames) > before)
        answers.append(kernel.frames[before] - heard)
        kernel.listen(pause)
    kernel.press("Stop")
    kernel.end(cell)
    log, boosts, steps = kernel.value("(log, boosts, run.steps)")
    rest, boosted = shares(np.array(log), boosts)
    print(f"steps a second: {steps / (log[-1][0] - log[0][0]):,.0f}")
    for what, times in (("pictures", kernel.frames), ("words", kernel.words)):
        apart = [b - a for a, b in pairwise(times) if begin < a and b < turned]
        print(f"{what} at rest: {len(apart) / sum(apart):.1f} a second, at most {max(apart):.2f} s apart")
    print(f"drawing: {rest:.1%} at rest, {boosted:.1%} for {BOOST:g} s after a turn")
    print(f"turns that show within 0.5 s: {sum(a <= 0.5 for a in answers)} of {TURNS}; latest {max(answers):.2f} s")


def main(what: str, seconds: float = 60.0, processes: int = 4) -> None:
    """Start busy processes and a kernel; measure; end them."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            kernel = Watching(sys.executable, folder)
            try:
                if what:
                    measure_limited(kernel, what, seconds)
                else:
                    measure(kernel, seconds)
            finally:
                kernel.stop()
    finally:
        for p in busy:
            p.kill()


if __name__ == "__main__":
    given = sys.argv[1:]
    main(given.pop(0) if given and not given[0].isdecimal() else "", *map(int, given))
