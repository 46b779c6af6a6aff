"""Captured steps of runs: the same history, files, replay; and what a run does where a replayed step was wrong."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fluxmagic import ADAM, SGD, BatchNorm, Dropout, Run, param, params, relu, train
from fluxmagic.jupyter.formatting import summary
from fluxmagic.layers import state
from fluxmagic.optimise import NotFinite
from fluxmagic.tracker import Param
from tests.capture.hidden import hidden, hide
from tests.capture.problems import classifier


def a_run(capture: bool, wrap: Callable[[Any], Any] = lambda loss: loss, **options: Any) -> tuple[Run, Any]:
    hide(1)
    p = classifier(30, ADAM, BatchNorm(8, relu), Dropout(0.2))
    options = {"epochs": 4, "seed": 3, "valid": p.data[:4], **options}
    return Run(wrap(p.loss), list(p.data), "ADAM", capture=capture, **options), p.model


def everything(run: Run, model: Any) -> tuple[Any, ...]:
    arrays = [x.data if isinstance(x, Param) else x for x in state(model) if isinstance(x, (Param, np.ndarray))]
    columns = {k: v for k, v in run.history.items() if k != "seconds"}
    return [a.tobytes() for a in arrays], {k: repr(list(v)) for k, v in columns.items()}, run.events


def with_hidden(loss: Any) -> Any:
    return lambda x, y: loss(x, y) * np.float32(hidden())


def steps(run: Run, model: Any) -> None:
    run.step(40)
    run.set(η=0.01)
    run.step(10)
    run.swap("Momentum")
    run.step(20)
    run.rewind(45)
    run.train()


def test_a_captured_run_has_the_history_and_the_weights_of_an_ordinary_one() -> None:
    ends = []
    for capture in (False, True):
        run, model = a_run(capture)
        steps(run, model)
        ends.append(everything(run, model))
    assert ends[0] == ends[1]
    assert run.captured is not None
    assert run.captured.replayed > 60


def test_a_captured_run_replays_by_ordinary_steps_in_the_same_bits() -> None:
    run, model = a_run(True)
    run.train()
    end = everything(run, model)
    run.replay()
    run.rewind(17)
    run.undo()
    assert everything(run, model) == end


def test_a_file_says_that_the_run_is_captured(tmp_path: Path) -> None:
    run, model = a_run(True)
    run.step(50)
    run.save(tmp_path / "run")
    run.train()
    end = everything(run, model)
    other, copy = a_run(False)
    loaded = Run.load(tmp_path / "run", other.loss, other.data, params(copy), valid=other.valid)
    assert loaded.capture
    loaded.train()
    assert everything(loaded, copy) == end


def test_branches_are_captured() -> None:
    run, _ = a_run(True)
    run.step(5)
    branch = run.branch("other", η=0.1)
    branch.train()
    assert branch.capture
    assert branch.captured is not None
    assert branch.captured.replayed > 50


def test_the_summary_says_how_many_steps_were_replayed_or_why_none() -> None:
    run, _ = a_run(True)
    run.train()
    assert "captured: " in summary(run)
    assert "of 120 steps replayed" in summary(run)
    run, _ = a_run(True, lambda loss: lambda x, y: loss(x, y) * float(x[0, 0] + 1))
    run.train()
    assert "captured: no step replayed: line " in summary(run)
    assert "reads a value: float()" in summary(run)
    run, _ = a_run(False)
    run.train()
    assert "captured" not in summary(run)


def test_a_run_takes_replayed_steps_again_from_the_last_verified_one() -> None:
    run, model = a_run(True, with_hidden)
    run.step(40)
    run.set(η=0.01)
    run.step(2)
    hide(2)  # nothing sees it before the next verification
    run.train()
    assert run.steps == 120
    (event,) = [e for e in run.events if e.name == "capture"]
    first = int(event.old.split()[1])
    assert 1 < first <= 43 <= event.step

    other, copy = a_run(False, with_hidden)
    for k in range(120):
        hide(1 if k + 1 < first else 2)
        if k == 40:
            other.set(η=0.01)
        other.step()
    assert everything(run, model)[:2] == everything(other, copy)[:2]
    assert "differ" in str(run.captured)


def test_evaluations_and_early_stopping_follow_the_steps_that_were_taken_again() -> None:
    run, _ = a_run(True, with_hidden, patience=2)
    run.step(28)
    hide(0)  # a loss of 0 in every later step: no weight changes
    run.step(60)
    assert run.events[0].name == "capture"
    first = int(run.events[0].old.split()[1])
    assert run.history["loss"][first - 1 :].max() == 0
    assert run.epoch_losses[1] == 0


@pytest.mark.parametrize("end", ["step", "stop", "interrupt"])
def test_steps_that_are_wrong_when_a_run_comes_to_rest_are_taken_again(end: str) -> None:
    run, model = a_run(True, with_hidden)
    run.step(40)
    hide(2)  # the next verification would come after step 48

    def halt(l: float) -> None:
        if run.steps == 48:
            run.stop() if end == "stop" else signal.raise_signal(signal.SIGINT)

    if end == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            run.train(cb=halt)
    else:
        run.train(cb=halt) if end == "stop" else run.step(8)
    first = int(run.events[0].old.split()[1])
    assert (run.steps, run.events[0].name) == (48, "capture")
    other, copy = a_run(False, with_hidden)
    for k in range(48):
        hide(1 if k + 1 < first else 2)
        other.step()
    assert everything(run, model)[:2] == everything(other, copy)[:2]


@pytest.mark.parametrize("use", ["save", "branch", "rewind", "snapshot"])
def test_single_steps_that_are_wrong_are_taken_again_before_they_are_used(use: str, tmp_path: Path) -> None:
    run, model = a_run(True, with_hidden)
    for _ in range(48):  # each is a call, after which nothing is verified
        if run.steps == 40:
            hide(2)
        run.step()
    wrong = everything(run, model)
    if use == "save":
        run.save(tmp_path / "run")
        assert Run.load(tmp_path / "run").history["loss"].tolist() == run.history["loss"].tolist()
    elif use == "snapshot":
        run.snapshot()
    else:
        run.branch("other") if use == "branch" else run.rewind(48)
    (event,) = run.events
    first = int(event.old.split()[1])
    assert (run.steps, event.name) == (48, "capture")
    assert everything(run, model) != wrong
    other, copy = a_run(False, with_hidden)
    for k in range(48):
        hide(1 if k + 1 < first else 2)
        other.step()
    assert everything(run, model)[:2] == everything(other, copy)[:2]


def test_a_retaken_step_is_kept_in_the_file(tmp_path: Path) -> None:
    run, _ = a_run(True, with_hidden)
    run.step(42)
    hide(2)
    run.train()
    run.save(tmp_path / "run")
    assert Run.load(tmp_path / "run").events == run.events


def test_train_goes_on_with_ordinary_steps_where_a_replayed_one_was_wrong() -> None:
    hide(1)
    p = classifier(40)

    def change(l: float) -> None:
        hide(2 if p.opt.n == 20 else hidden())

    with pytest.warns(RuntimeWarning, match="a replayed step and an ordinary one differ.*Ordinary steps follow"):
        train(with_hidden(p.loss), p.data, p.opt, cb=change, capture=True)
    assert p.opt.n == 40


def test_the_environment_makes_capture_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUXMAGIC_CAPTURE", "1")
    assert a_run(None)[0].capture  # type: ignore[arg-type]
    assert not a_run(False)[0].capture
    monkeypatch.delenv("FLUXMAGIC_CAPTURE")
    assert not a_run(None)[0].capture  # type: ignore[arg-type]


def test_a_loss_that_is_put_in_place_of_another_is_recorded_anew() -> None:
    run, _ = a_run(True)
    run.step(20)
    other = run.loss
    run.loss = lambda x, y: other(x, y) * 100
    last = run.history["loss"][-1]
    run.step(20)
    assert run.captured is not None
    assert run.captured.recorded >= 2
    assert run.history["loss"][20] > 10 * last


def test_rows_of_short_batches_count_in_the_means_of_a_captured_run() -> None:
    means = []
    for capture in (False, True):
        p = classifier(1)
        ((x, y),) = p.data
        sizes = [4, 4, 4, 2, 4, 4, 3]
        data = [(x[:n].copy(), y[:n].copy()) for n in sizes]
        run = Run(p.loss, data, p.opt, capture=capture, epochs=20)
        run.train()
        assert list(run.record.rows) == sizes * 20
        means.append(run.epoch_losses.tolist())
    assert run.captured is not None
    assert run.captured.replayed > 70
    assert means[0] == means[1]


@pytest.mark.parametrize("kind", [list, lambda parts: parts[0]])
def test_batches_that_are_lists_or_single_arrays_are_replayed(kind: Callable[[Any], Any]) -> None:
    ends = []
    for capture in (False, True):
        W = param(np.ones(3))
        rng = np.random.default_rng(0)
        data = [kind((rng.random((2, 3)), rng.random(2))) for _ in range(30)]
        loss = lambda x, y=0.5, W=W: ((x @ W - y) ** 2).sum()
        run = Run(loss, data, SGD([W], 0.01), capture=capture, epochs=3)
        run.train()
        ends.append((list(run.history["loss"]), W.data.tobytes()))
    assert ends[0] == ends[1]
    assert run.captured is not None
    assert run.captured.replayed > 60


def test_an_update_that_is_refused_leaves_running_statistics_as_they_were() -> None:
    ends = []
    for capture in (False, True):
        p = classifier(40, SGD, BatchNorm(8, relu))
        run = Run(p.loss, list(p.data), p.opt, model=p.model, capture=capture)
        run.step(30)
        p.opt.η = 1e38  # the weights would overflow
        with pytest.raises(NotFinite) as refused:
            run.step(5)
        ends.append((refused.value.step, run.steps, everything(run, p.model)))
    assert ends[0] == ends[1]
