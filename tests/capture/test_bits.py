"""A captured step has the bits of the ordinary one: weights, state of the optimiser, statistics, generators, losses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from fluxmagic import Run, capture, train
from fluxmagic.optimise import OPTIMISERS, cosine
from tests.capture.programs import NETS, Trained, batches, make

STEPS = 40
DIALS: dict[str, dict[str, Any]] = {
    "decay": {"decay": 0.01},
    "clip": {"clip": 0.05},
    "clipnorm": {"clipnorm": 0.2},
    "weightdecay": {"weightdecay": 0.01},
    "all": {"decay": 0.01, "clip": 0.5, "clipnorm": 0.7, "weightdecay": 0.01},
    "schedule": {"η": cosine(0.05, 50)},
}
Turn = Callable[[Any, int], None]


def trained(
    name: str, steps: int, captured: bool, turn: Turn = lambda opt, k: None, **options: Any
) -> tuple[Trained, Any]:
    """Train a net, all steps ordinary ones or all captured; `turn(opt, k)` is called before step k."""
    made = make(name, **options)
    step = capture(made.net.loss, made.opt) if captured else None
    for k, batch in enumerate(batches(made.net, steps)):
        turn(made.opt, k)
        if step is None:
            train(made.net.loss, [batch], made.opt, cb=made.losses.append)
        else:
            made.losses.append(step(*batch))
    return made, step


def check(name: str, steps: int, turn: Turn = lambda opt, k: None, **options: Any) -> Any:
    """Train both ways, compare all bits; return the report."""
    ordinary, _ = trained(name, steps, False, turn, **options)
    captured, step = trained(name, steps, True, turn, **options)
    assert captured.losses == ordinary.losses
    assert captured.everything() == ordinary.everything()
    report = step.report
    assert report.replayed + report.verified + report.ordinary + report.recorded == steps
    return report


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
def test_every_net_has_the_same_bits_and_is_replayed(name: str, dtype: str) -> None:
    kinds = list(OPTIMISERS)
    optimiser = kinds[list(NETS).index(name) % len(kinds)]
    report = check(name, STEPS, dtype=dtype, optimiser=optimiser)
    if name != "embedding":  # rows that are chosen by the batch
        assert report.reason is None
        assert report.replayed > STEPS // 3
        assert report.verified >= 3


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser_has_the_same_bits(optimiser: str) -> None:
    report = check("relus", STEPS, optimiser=optimiser)
    assert report.reason is None
    assert report.replayed > STEPS // 3


@pytest.mark.parametrize("dial", DIALS)
@pytest.mark.parametrize("optimiser", ["SGD", "ADAMW"])
def test_every_dial_acts_as_in_ordinary_steps(dial: str, optimiser: str) -> None:
    report = check("sigmoids", STEPS, optimiser=optimiser, **DIALS[dial])
    assert report.replayed > STEPS // 3


def turn_every_dial(opt: Any, k: int) -> None:
    """Turn one dial after the other in mid-course."""
    turns = {
        20: ("η", 0.02),
        25: ("β1", 0.5),
        30: ("clip", 0.1),
        35: ("decay", 0.1),
        40: ("clip", None),
        45: ("decay", 0),
    }
    if k in turns and turns[k][0] in opt.hypers:
        setattr(opt, *turns[k])


@pytest.mark.parametrize("name", ["relus", "batchnorm", "linear"])
def test_dials_turned_in_mid_course_act_at_once(name: str) -> None:
    report = check(name, STEPS, turn_every_dial)
    assert report.reason is None
    assert report.replayed > STEPS // 3


def test_train_and_run_capture_with_the_same_bits() -> None:
    ordinary, _ = trained("all_layers", STEPS, False)
    for drive in (
        lambda m, data: train(m.net.loss, data, m.opt, cb=m.losses.append, capture=True),
        lambda m, data: m.losses.extend(drive_run(m, data)),
    ):
        captured = make("all_layers")
        drive(captured, list(batches(captured.net, STEPS)))
        assert captured.everything() == ordinary.everything()


def drive_run(made: Trained, data: list[Any]) -> list[float]:
    run = Run(made.net.loss, data, made.opt, capture=True)
    run.train()
    return list(run.history["loss"])


def long(steps: int = 1500) -> None:
    """Train every net in both dtypes, with every optimiser and every dial in turn; print what was replayed."""
    kinds = list(OPTIMISERS)
    for k, (dtype, name) in enumerate(product(("float32", "float64"), NETS)):
        optimiser = kinds[k % len(kinds)]
        print(
            f"{name:20} {dtype} {optimiser:9} {check(name, steps, turn_every_dial, dtype=dtype, optimiser=optimiser)}"
        )
    for dial, optimiser in product(DIALS, kinds):
        if dial != "schedule" or optimiser != "ADADelta":
            print(f"{dial:20} {optimiser:9} {check('relus', 300, optimiser=optimiser, **DIALS[dial])}")
