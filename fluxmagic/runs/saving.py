"""A run as a file and as a script, and from a file."""

from __future__ import annotations

from typing import Any

from fluxmagic.layers.training_mode import is_evaluating
from fluxmagic.runs import ownership, script
from fluxmagic.runs.archive import AnyPath
from fluxmagic.runs.checkpoint import Checkpoint, Loaded
from fluxmagic.runs.lifecycle import Lifecycle
from fluxmagic.runs.problem import MissingLoss

__all__ = ["as_code", "resume", "save"]


def save(life: Lifecycle, path: Any, **about: object) -> None:  # noqa: ANN401
    """Write a run to a file, between two batches; `about` has its id, name and seed."""
    loop, optimisers = life.loop, life.loop.state.optimisers
    start = loop.snapshots.start
    if start is None:
        raise ValueError("the run has not taken a step yet: there is nothing to save")
    if optimisers.cls is None:
        raise TypeError(f"{optimisers.name} is {optimisers.kind}, and only a run with one optimiser can be saved")
    with life.between():
        if life.control.in_batch and loop.state.cursor.tell()[0] >= 0 and not is_evaluating():
            raise RuntimeError("a run cannot be saved by its own loss, in the middle of a step: save it in a callback")
        loop.record_direct_changes()
        problem = loop.problem
        file = Checkpoint.of(
            loop.state,
            loop.record,
            start,
            problem.names(),
            epochs=problem.epochs,
            steps=problem.step_limit,
            state="paused" if life.status == "running" else life.status,
            environment=loop.environment,
            capture=loop.captured.wanted,
            **about,
        )
    file.write(path)


def resume(life: Lifecycle, file: Loaded) -> None:
    """Bring a new run to where the saved one stood."""
    loop, state = life.loop, life.loop.state
    if not isinstance(loop.problem.loss, MissingLoss):
        state.find_parts(loop.problem.roots)
    start, now, shown = file.fit(state, loop.problem.names())
    ownership.acquire(life.owner, file.params)
    file.restore(state, now, shown)
    loop.record = file.record
    loop.record.complete()
    loop.seconds = loop.record.seconds[-1] if loop.record.seconds else 0.0
    loop.environment = file.saved.environment
    loop.snapshots.add(start)
    loop.params_final = loop.problem.strict and state.optimisers.cls is not None
    life.status = file.saved.state


def as_code(life: Lifecycle, path: AnyPath, module: str, name: str | None, cell: script.CellSource | None) -> str:
    """Write the script of a run, between two batches; see `Run.as_code`."""
    with life.between():
        loop = life.loop
        return script.write_script(
            loop.record,
            path,
            module,
            name=name,
            numerics=loop.environment.get("numerics", 1),
            cell=cell,
            has_data=loop.problem.data is not None,
            has_model=loop.problem.model is not None,
            part=script.trained_part(loop.problem.names(), {id(p) for p in loop.state.params}),
        )
