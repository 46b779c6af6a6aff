"""When a step is taken both ways; all that it changes, copied, put back and compared to the bit."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter, sleep

from fluxmagic.capture.calls import Program
from fluxmagic.capture.report import Report
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.step import zero_grads

__all__ = ["Schedule", "StepState", "taken_back"]

PAUSE_EVERY = 0.02  # seconds


class Schedule:
    """Verifications at growing distances, `longest` at most; of a run the `last` step too, where it is known."""

    def __init__(self, report: Report, longest: int) -> None:
        self.longest = longest
        self.last: int | None = None
        self._report = report
        self._checked = 0  # replayed steps at the last verification
        self._gap = 1  # steps from there to the next one
        self._paused = 0.0  # when other threads were let in

    @property
    def n_unverified(self) -> int:
        """Steps that were replayed since the last verification."""
        return self._report.replayed - self._checked

    def plan(self, step: int) -> None:
        """Let steps be replayed after this one, up to the next that is verified."""
        left = math.inf if self.last is None else self.last - step - 1
        self._report.due = min(self._checked + self._gap - 1, self._report.replayed + left)

    def verify_next(self) -> None:
        """Take the next step both ways."""
        self._gap = 1

    def verified(self, again: bool) -> None:
        """Note a verification: of a program for the first time, or again."""
        self._gap = min(2 * self._gap, self.longest) if again else 2
        self._checked = self._report.replayed

    def let_others_in(self) -> None:
        """Give the interpreter up for 60 µs, 0.3 % of the time, where other threads may wait for it.

        Such a thread asks for it after 5 ms in which it was not given up.  The calls of NumPy in a verification give it
        up for less than 1 µs, in which the thread seldom gets it, and its 5 ms begin anew.
        """
        if threading.active_count() > 1 and perf_counter() > self._paused + PAUSE_EVERY:
            sleep(1e-6)
            self._paused = perf_counter()


class StepState:
    """Parameters, states of optimisers, arrays that the program writes, and generators, as they are now."""

    def __init__(self, program: Program, opts: Sequence[Optimiser]) -> None:
        self._opts = [(opt, opt.copy_state()) for opt in opts]
        self._arrays = [(a, a.copy()) for a in program.written_externals]
        self._generators = [(rng, rng.bit_generator.state) for rng in program.generators]

    def restore(self) -> None:
        """Put it back."""
        for opt, saved in self._opts:
            opt.restore_state(saved)
        for a, copy in self._arrays:
            a[...] = copy
        for rng, state in self._generators:
            rng.bit_generator.state = state

    def parts(self) -> Iterator[tuple[str, object]]:
        """Yield the names of all parts, and what is compared of them."""
        for opt, ((arrays, _), n, numbers) in self._opts:
            names = [f"{k} of {opt.name}" for k in ("parameters", *opt.state) for _ in opt.memory.flat.segments]
            yield from zip(names, (a.tobytes() for a in arrays), strict=True)
            yield f"numbers of {opt.name}", repr((n, numbers))
        yield from (("running statistics", a.tobytes()) for _, a in self._arrays)
        yield from (("a generator", repr(state)) for _, state in self._generators)

    def difference(self, other: StepState) -> str | None:
        """Name the first part that differs."""
        pairs = zip(self.parts(), other.parts(), strict=True)
        return next((name for (name, a), (_, b) in pairs if a != b), None)


@contextmanager
def taken_back(program: Program, opts: Sequence[Optimiser]) -> Iterator[None]:
    """Put all back that a step within it changes."""
    before = StepState(program, opts)
    try:
        yield
    finally:
        before.restore()
        zero_grads(opts)
