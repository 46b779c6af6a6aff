"""The update of an optimiser as a program of its own: a swapped optimiser leaves the loss's program as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from fluxmagic.capture.calls import Program
from fluxmagic.capture.compiled_update import CompiledUpdate
from fluxmagic.capture.plan import plan
from fluxmagic.capture.recording import Leak, Recorder
from fluxmagic.capture.text import Writer, indent
from fluxmagic.optimise.memory import Block
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.tracker.node import ids

__all__ = ["rule_program", "write_update"]


def rule_program(opt: Optimiser) -> Program | None:
    """Record the rule of an optimiser on copies of its arrays; None if it has to be called.

    The program writes into the optimiser's own arrays; its constants are the read-only arrays of `opt.blocks`.
    """
    if not opt.plain or not opt.n:  # the constants have their arrays from the first update on
        return None
    recorder, real = Recorder(), dict[int, np.ndarray]()
    with suppress(Leak, Exception), np.errstate(all="ignore"), recorder.recording():
        for s, numbers in opt.blocks:
            fields: dict[str, Any] = {}
            for name, a in vars(s).items():
                fields[name] = recorder.external(a.copy())
                real[fields[name].number] = a
            block = Block(fields)
            np.subtract(block.p, opt.step(block.δ, block, *map(recorder.external, numbers)), block.p)
        if recorder.reason is None:
            for number, a in real.items():
                recorder.values[number].array = a
            return plan(recorder.calls, recorder.values, [], None)
    return None


def _compiled_calls(opt: Optimiser) -> list[Callable[[], None]]:
    """Return what an update of `opt.blocks` is, see `CompiledUpdate.calls`; empty if it has to be done otherwise."""
    if not opt.plain or not opt.n or not opt.compile_update():  # its numbers have their places from the first update on
        return []
    update = opt.subtract_steps
    return update.calls(opt.step, opt.blocks) if isinstance(update, CompiledUpdate) else []


def write_update(writer: Writer, opts: Sequence[Optimiser], compiled: bool) -> tuple[Writer, list[str]]:
    """Write the update of parameters, with gradients that are checked, after what a writer has written.

    Returns the writer that goes on; it has no lines where NumPy is not called but by an optimiser's own `update`.
    """
    body: list[str] = []
    writer = Writer(Program([], [], [], None), writer)
    for opt in opts:
        calls = _compiled_calls(opt) if compiled else []
        program = None if calls else rule_program(opt)
        update = writer.name(opt.update, "update", (id(opt), "update"))
        if calls:
            lines = [f"{writer.name(call, 'loop')}()" for call in calls]
        elif program is not None:
            writer = Writer(program, writer)
            lines = writer.write(program.calls)
        else:
            body.append(f"{update}()")
            continue
        begin = writer.name(opt.begin_outside, "begin", (id(opt), "begin"))
        end = writer.name(opt.end_outside, "end", (id(opt), "end"))
        body += [f"if {begin}():", *indent([*lines, *_mark_updated(writer, opt), f"{end}()"]), f"else: {update}()"]
    return writer, body


def _mark_updated(writer: Writer, opt: Optimiser) -> list[str]:
    """Write what `mark_updated` does; of gradients that are not shown nothing is left, 8 % of the smallest step."""
    if any(p.grad_exposed for p in opt.params):
        return [f"{writer.name(opt.memory.flat.mark_updated, 'mark', (id(opt), 'mark'))}()"]
    stale = " = ".join(f"{writer.name(p, 'p')}.updated" for p in opt.params)
    return [f"{stale} = {writer.name(next)}({writer.name(ids, 'ids')})"]
