"""One way through a loss and its reverse pass: two equal recordings become a function of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fluxmagic import generators
from fluxmagic.capture import guards, native
from fluxmagic.capture.calls import Call, Program, Ref
from fluxmagic.capture.plan import plan
from fluxmagic.capture.reach import Place
from fluxmagic.capture.recording import Recorder
from fluxmagic.capture.text import Writer
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.tracker import Param

__all__ = ["CannotReplay", "LossProgram", "Recording", "build"]


class CannotReplay(Exception):
    """Why a step cannot be replayed."""


@dataclass
class Recording:
    """What the recording of a step gave.

    Attributes
    ----------
    recorder : Recorder
    result : int or None
        The value of the loss; None if it follows from nothing that was recorded.
    unreached : list of Param
        Parameters that the loss does not depend on.
    places : list of Place
        What the loss can reach.
    """

    recorder: Recorder
    result: int | None
    unreached: list[Param]
    places: list[Place]


@dataclass
class LossProgram:
    """A program, and its functions.

    Attributes
    ----------
    program : Program
    compute : callable
        Of the batch's parts: the loss, and the gradients in their places; None, with nothing changed, if this step is
        another one.
    finish : callable or None
        Makes the effects, after `compute`.
    places : list of Place
        What `compute` looks at.
    is_machine_code : bool
        No line of `compute` calls NumPy.
    compiled : bool
        As far as possible it is machine code.
    verified : bool
        A replayed step has been an ordinary one to the bit.
    """

    program: Program
    places: list[Place]
    compute: Callable[..., float | None] = field(init=False)
    finish: Callable[[], None] | None = None
    is_machine_code: bool = False
    compiled: bool = False
    verified: bool = False

    def write(self, batch: Sequence[object], opts: Sequence[Optimiser], compiled: bool) -> None:
        """Write the functions, for batches of this kind and parameters as they are now: Python, or machine code."""
        params = list(dict.fromkeys(p for opt in opts for p in opt.params))
        # what is compiled adds places of its own, which hold nothing where NumPy is called
        program = replace(self.program, buffers=dict(self.program.buffers))
        writer = Writer(program)
        arguments, lines, layouts = guards.of_batch(writer, batch, compiled)
        lines += [*guards.of_places(writer, self.places), *guards.of_parameters(writer, params)]
        states = []
        default = generators.as_generator() if self.program.generators else None
        for rng in self.program.generators:
            if rng is default:  # which a run replaces by its own
                lines.append(
                    f"if {writer.name(generators.as_generator)}() is not {writer.name(rng, 'rng')}: return None"
                )
            bits = writer.name(rng.bit_generator, "bits")
            states.append((f"{bits}.state", f"state_{bits}"))
        # small enough to be updated without a copy
        flats = [opt.memory.flat for opt in opts]
        limits = [(δ, flat.limit / len(flat.segments)) for flat in flats for _, δ in flat.segments]
        body = native.write(writer, program.calls, layouts, limits, compiled)
        self.compiled, self.is_machine_code, self.verified = compiled, not writer.lines, False
        if states:  # what is drawn for a step that turns out to be another one is put back
            lines += [f"{before} = {now}" for now, before in states]
            lines += ["done = False", "try:", *(f"    {line}" for line in body), "    done = True", "    return value"]
            lines += ["finally:", "    if not done:", *(f"        {now} = {before}" for now, before in states)]
        else:
            lines += [*body, "return value"]
        self.compute = writer.function("compute", arguments, lines)
        if self.program.effects:
            self.finish = writer.function("finish", (), writer.write(self.program.effects))

    @property
    def source(self) -> str:
        """Its text."""
        functions = (self.compute, self.finish)
        return "\n\n".join(getattr(f, "source", "") for f in functions if f is not None)


def build(recording: Recording, batch: Sequence[object], opts: Sequence[Optimiser], compiled: bool) -> LossProgram:
    """Make the program of a recording that another one has confirmed; its calls of NumPy, or machine code.

    Raises
    ------
    CannotReplay
        If it writes where a replayed step must not.
    """
    recorder = recording.recorder
    params = list(dict.fromkeys(p for opt in opts for p in opt.params))
    if len(recording.places) > guards.MOST_PLACES:
        n, most = len(recording.places), guards.MOST_PLACES
        raise CannotReplay(f"the loss can reach {n:,} values, and at most {most} are looked at in every step")
    effects = _effects(recorder, params)
    for p in recording.unreached:
        gradient = Ref(recorder.external(p.gradient).number)
        recorder.calls.append(Call("set", "__setitem__", (..., np.zeros((), p.dtype)), target=gradient))
    # effects come last, when nothing can fail any more
    calls = [c for c in recorder.calls if c not in effects] + effects
    program = plan(calls, recorder.values, recorder.inputs, recording.result)
    program.effects = [c for c in program.calls if c in effects]
    program.calls = [c for c in program.calls if c not in effects]
    made = LossProgram(program, recording.places)
    made.write(batch, opts, compiled)
    return made


def _effects(recorder: Recorder, params: Sequence[Param]) -> list[Call]:
    """Return the writes to arrays that are neither results nor gradients."""
    own, gradients = {id(p.value) for p in params}, {id(p.gradient) for p in params}
    effects: list[Call] = []
    for c in recorder.calls:
        roots = {recorder.values[n].root for n in c.read}
        for e in effects:
            if e.target is not None and recorder.values[e.target.number].root in roots and c.target is None:
                raise CannotReplay(f"{e.line} writes into an array from outside, and {c.line} reads it afterwards")
        if c.target is None:
            continue
        root = recorder.values[recorder.values[c.target.number].root]
        if root.source == "input":
            raise CannotReplay(f"{c.line} writes into the batch")
        if id(root.array) in own:
            raise CannotReplay(f"{c.line} writes into a parameter")
        if root.source == "external" and id(root.array) not in gradients:
            effects.append(c)
    return effects
