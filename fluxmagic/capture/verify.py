"""All that a step changes, copied, put back and compared to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fluxmagic.capture.calls import Program
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.step import zero_grads

__all__ = ["StepState", "taken_back"]


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
