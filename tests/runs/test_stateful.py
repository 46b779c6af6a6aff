"""Whatever is done to a run, in whatever order: it can be replayed, and any step of it come back to."""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fluxmagic import NotFinite
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
    """`was` has for every run what it was after each of its steps, before anything was turned there."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []
        self.was: dict[int, list] = {}

    @initialize(opt=st.sampled_from(NAMES), sized=st.booleans(), instance=st.booleans())
    def start(self, opt, sized, instance):
        data = None if sized else lambda: ((X[i : i + 5], Y[i : i + 5]) for i in range(0, 20, 5))
        run, m = network(opt, data, epochs=1000, snapshot_bytes=3000)
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
        if run._snapshots.start is not None:
            step = data.draw(st.integers(0, run.steps))
            run.rewind(step)
            del self.was[id(run)][step + 1 :]
            assert arrays(run) == self.was[id(run)][step]
            assert all(e.step < step for e in run.events)

    @precondition(lambda self: len(self.runs) < 3)
    @rule(i=st.integers(0, 5))
    def branch(self, i):
        run = self.runs[i % len(self.runs)]
        if run._snapshots.start is not None:
            new = run.branch(f"b{len(self.runs)}")
            self.runs.append(new)
            self.was[id(new)] = list(self.was[id(run)])

    @rule(i=st.integers(0, 5))
    def replay(self, i):
        run = self.runs[i % len(self.runs)]
        if run._snapshots.start is not None:
            run.step(0)
            before = arrays(run)
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
