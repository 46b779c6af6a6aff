"""One way through a loss and its reverse pass: two equal recordings become a function of the batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fluxmagic import generators
from fluxmagic.capture import guards
from fluxmagic.capture.calls import Call, Program, Ref
from fluxmagic.capture.plan import plan
from fluxmagic.capture.reach import Place
from fluxmagic.capture.recording import Recorder
from fluxmagic.capture.report import Report
from fluxmagic.capture.text import Writer, indent
from fluxmagic.capture.update import write_update
from fluxmagic.optimise.errors import NotFinite
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.step import zero_grads
from fluxmagic.tracker import Param

__all__ = ["CannotReplay", "LossProgram", "Recording", "Replay", "build"]


class CannotReplay(Exception):
    """Why a step cannot be replayed."""


@dataclasses.dataclass
class Recording:
    """What the recording of a step gave."""

    recorder: Recorder
    result: int | None  # the value of the loss; None if it follows from nothing that was recorded
    unreached: list[Param]  # parameters that the loss does not depend on
    places: list[Place]  # what the loss can reach


Replay = Callable[..., float | None]
"""A whole step of the batch's parts: the loss; None, with nothing changed, if this step is another one."""


class LossProgram:
    """A program, and the function that replays steps."""

    def __init__(self, program: Program, places: list[Place]) -> None:
        self.program = program
        self.places = places  # what the function looks at
        self.step: Replay | None = None  # the function; None until it is finished for the optimisers at hand
        self.source = ""  # its text
        self.compiled = False  # as far as possible it is machine code
        self.verified = False  # a replayed step has been an ordinary one to the bit

    def write(self, batch: Sequence[object], opts: Sequence[Optimiser], compiled: bool) -> None:
        """Write all but the update, for batches of this kind and parameters as they are now."""
        params = list(dict.fromkeys(p for opt in opts for p in opt.params))
        # what is compiled adds places of its own, which hold nothing where NumPy is called
        program = dataclasses.replace(self.program, buffers=dict(self.program.buffers))
        self._writer = writer = Writer(program)
        self._arguments, lines, layouts = guards.of_batch(writer, batch, compiled)
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
        body = _body(writer, program, layouts, limits, compiled)
        if states:  # what is drawn for a step that turns out to be another one is put back
            lines += [f"{before} = {now}" for now, before in states]
            restore = [f"if not done: {now} = {before}" for now, before in states]
            lines += ["done = False", "try:", *indent([*body, "done = True"]), "finally:", *indent(restore)]
        else:
            lines += body
        self._lines, self._effects = lines, writer.write(program.effects)
        self.compiled, self.verified, self.step = compiled, False, None

    def finish(
        self,
        opts: Sequence[Optimiser],
        compiled: bool,
        report: Report,
        quiet: Callable[..., float | None],
        bind: Callable[..., object] | None,
    ) -> None:
        """Write the update behind it, and make the function; `quiet` calls it where NumPy does not warn.

        The function counts its steps in a report, and does nothing once they are due to be taken another way.
        """
        is_numpys = bool(self._writer.lines)
        writer, update = write_update(self._writer, opts, compiled)
        counts, clear = writer.name(report, "report"), writer.name(zero_grads, "clear")
        body = [
            f"if {counts}.replayed >= {counts}.due: return None",
            *("try:", *indent(self._lines), "except Exception: return None"),  # the ordinary step raises it
            *("try:", *indent(update), f"except {writer.name(NotFinite, 'NotFinite')} as error:"),
            f"    error.loss, error.step = value, {counts}.steps + 1",
            f"    {clear}({writer.name(list(opts))})",
            "    raise",
            *self._effects,
            *([] if bind is None else [f"{writer.name(bind, 'bind')}({', '.join(self._arguments)})"]),
            f"{counts}.replayed += 1",
            "return value",
        ]
        step = writer.function("step", self._arguments, body)
        self.source = step.source  # type: ignore[attr-defined]
        self.step = partial(quiet, step) if is_numpys or writer.lines else step


def _body(
    writer: Writer, program: Program, layouts: dict[int, np.ndarray], limits: list[Any], compiled: bool
) -> list[str]:
    """Write the calls, and that the loss is finite and gradients are small: sums of squares within limits."""
    if compiled:
        from fluxmagic.capture import native  # needs llvmlite

        lines, is_checked = native.write(writer, layouts, limits)
        if is_checked:
            return lines
    else:
        lines = writer.write(program.calls)
    assert program.result is not None
    squares = [f"{writer.method(δ, 'dot')}({writer.name(δ, 'a')}) <= {limit!r}" for δ, limit in limits]
    return [
        *lines,
        f"value = {writer.method(Ref(program.result), 'item')}()",
        *(f"if not {test}: return None" for test in (f"{writer.name(math.isfinite, 'isfinite')}(value)", *squares)),
    ]


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
    # effects come last, behind the update, when nothing can fail any more
    calls = [c for c in recorder.calls if c not in effects] + effects
    program = plan(calls, recorder.values, recorder.inputs, recording.result)
    program.effects = [c for c in program.calls if c in effects]
    program.calls = [c for c in program.calls if c not in effects]
    updated = [a for p in params for a in (p.value, p.gradient)]
    for e in program.effects:
        read = [program.buffers[n] for n in e.read if n in program.buffers]
        if any(np.may_share_memory(a, b) for a in read for b in updated):
            raise CannotReplay(f"{e.line} copies what the update changes into an array from outside")
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
