"""Whatever is done to a run, in whatever order: it can be replayed, and any step of it come back to."""

from __future__ import annotations

import os
import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fluxmagic import NotFinite, mse
from fluxmagic.optimise import OPTIMISERS, cosine, exponential
from fluxmagic.runs import Run
from tests.runs.problems import X, Y, arrays, everything, network

NAMES = ["SGD", "Momentum", "Nesterov", "ADAM", "RMSProp", "NADAM"]
VALUES = {
    "η": st.sampled_from([0.0, 0.001, 0.02, exponential(0.01, 0.5, every=3), cosine(0.01, 8)]),
    "ρ": st.sampled_from([0.0, 0.5, 0.9]),
    "β1": st.sampled_from([0.0, 0.8, 0.9, 0.99]),
    "β2": st.sampled_from([0.9, 0.99, 0.999]),
    "decay": st.sampled_from([0.0, 0.1]),
    "clipnorm": st.sampled_from([None, 0.1]),
    "weightdecay": st.sampled_from([0.0, 0.01]),
}


class Steering(RuleBasedStateMachine):
    """`was` has for every run what it was after each of its steps, before anything was turned there.

    `left` has the same for the line that undo comes back to, and all that could be seen of the run there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []
        self.was: dict[int, list] = {}
        self.left: dict[int, tuple] = {}

    @initialize(
        opt=st.sampled_from(NAMES),
        data=st.sampled_from(["sized", "unsized", "none"]),
        until=st.sampled_from([None, lambda run: False]),
        steps=st.sampled_from([None, 1000]),
        turns=st.sampled_from([(), [(2, "opt", "", "Momentum"), (5, "decay", 0.0, 0.1), (5, "opt", "", "ADAM")]]),
        seed=st.sampled_from([None, 11]),
    )
    def start(self, opt, data, until, steps, turns, seed):
        sized = data != "unsized"
        self.until, self.stepwise = until, data == "none"
        data = None if sized else lambda: ((X[i : i + 5], Y[i : i + 5]) for i in range(0, 20, 5))
        options = {"epochs": 1000} if steps is None else {"epochs": None, "steps": steps}
        options |= {"snapshot_bytes": 3000, "until": until, "turns": turns, "seed": seed}
        run, m = network(opt, data, **options)
        if self.stepwise:
            options |= {"epochs": None, "steps": 1000}
            run = Run(lambda: mse(m(X), Y), None, opt, **options)
        self.runs.append(run)
        self.was[id(run)] = [arrays_of(m)]

    @rule(i=st.integers(0, 5), n=st.integers(1, 6))
    def step(self, i, n):
        run = self.runs[i % len(self.runs)]
        for _ in range(n):
            try:
                run.step()
            except NotFinite:
                run.recover(η=0.0)
                del self.was[id(run)][run.steps + 1 :]
                self.left.pop(id(run), None)
                break
            self.was[id(run)].append(arrays(run))

    @rule(i=st.integers(0, 5), name=st.sampled_from(sorted(VALUES)), data=st.data(), direct=st.booleans())
    def turn(self, i, name, data, direct):
        run = self.runs[i % len(self.runs)]
        if name in run.values:
            value = data.draw(VALUES[name])
            if direct and run.opt is not None:
                setattr(run.opt, name, value)
            else:
                run.set(**{name: value})

    @rule(i=st.integers(0, 5), name=st.sampled_from(NAMES))
    def swap(self, i, name):
        self.runs[i % len(self.runs)].swap(OPTIMISERS[name])

    @precondition(lambda self: any(r.steps for r in self.runs))
    @rule(i=st.integers(0, 5), data=st.data())
    def rewind(self, i, data):
        run = self.runs[i % len(self.runs)]
        if run.snapshots.start is not None:
            step = data.draw(st.integers(0, run.steps))
            end, kept = run.steps, run.record.kept
            before = self.look(run)
            run.rewind(step)
            if step < end or before[1].events != run.events:
                self.left[id(run)] = before
            del self.was[id(run)][step + 1 :]
            assert arrays(run) == self.was[id(run)][step if step < end or kept is None else kept]
            assert all(e.step < step for e in run.events)

    def look(self, run):
        """All of a run while it is the active one, and with what was turned on its optimiser."""
        run.take()
        run.step(0)
        return list(self.was[id(run)]), everything(run)

    @rule(i=st.integers(0, 5))
    def undo(self, i):
        run = self.runs[i % len(self.runs)]
        if id(run) in self.left:
            before = self.look(run)
            run.undo()
            self.was[id(run)], seen = self.left[id(run)]
            assert everything(run) == seen
            self.left[id(run)] = before

    @rule(i=st.integers(0, 5))
    def restart(self, i):
        run = self.runs[i % len(self.runs)]
        if run.snapshots.start is not None:
            before, dials = self.look(run), (run.opt_name, run.training.optimisers.settings)
            run.restart()
            if len(before[0]) > 1:
                self.left[id(run)] = before
            del self.was[id(run)][1:]
            assert arrays(run) == self.was[id(run)][0]
            assert (run.opt_name, run.training.optimisers.settings) == dials

    @rule(i=st.integers(0, 5))
    def take(self, i):
        run = self.runs[i % len(self.runs)]
        run.take()
        if run.params:
            kept = run.record.kept
            assert arrays(run) == self.was[id(run)][-1 if kept is None else kept]

    @rule(i=st.integers(0, 5))
    def stop(self, i):
        run = self.runs[i % len(self.runs)]
        run.step(0)
        run.stop()
        if run.params:
            best = run.best if self.until is not None else None
            step = run.steps if best is None or best.step == run.steps else best.step - self.stepwise
            assert arrays(run) == self.was[id(run)][step]

    @rule(i=st.integers(0, 5))
    def reload(self, i):
        run = self.runs[i % len(self.runs)]
        if run.snapshots.start is not None:
            was, seen = self.look(run)
            with tempfile.TemporaryDirectory() as folder:
                run.save(f"{folder}/run.npz")
                loaded = Run.load(
                    f"{folder}/run.npz", run.loss, run.data, run.params, until=self.until, snapshot_bytes=3000
                )
            assert everything(loaded) == seen
            self.runs[self.runs.index(run)] = loaded
            self.was[id(loaded)] = was
            self.left.pop(id(loaded), None)

    @precondition(lambda self: len(self.runs) < 3)
    @rule(i=st.integers(0, 5))
    def branch(self, i):
        run = self.runs[i % len(self.runs)]
        if run.snapshots.start is not None:
            new = run.branch(f"b{len(self.runs)}")
            self.left.pop(id(new), None)
            self.runs.append(new)
            self.was[id(new)] = list(self.was[id(run)])

    @rule(i=st.integers(0, 5))
    def replay(self, i):
        run = self.runs[i % len(self.runs)]
        if run.snapshots.start is not None:
            before = self.look(run)[1].arrays
            columns = everything(run).columns
            run.replay()
            assert arrays(run) == before
            assert everything(run).columns == columns

    @invariant()
    def history_has_a_row_for_each_step(self):
        for run in self.runs:
            h = run.history
            assert {len(h[k]) for k in h} == {run.steps}
            assert len(self.was[id(run)]) == run.steps + 1


def arrays_of(m):
    """The bits that `problems.arrays` will have once the run has begun."""
    from fluxmagic import params

    return [p.data.tobytes() for p in params(m)] + [a.tobytes() for a in (m[1].mean, m[1].var)]


TestSteering = Steering.TestCase
TestSteering.settings = settings(
    deadline=None,
    max_examples=int(os.environ.get("FLUXMAGIC_TRIES", "40")),
    stateful_step_count=25,
)
