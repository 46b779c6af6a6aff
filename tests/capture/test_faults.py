"""Captured steps and errors, interrupts, threads, copies: an ordinary step's behaviour, whole or not at all."""

from __future__ import annotations

import copy
import os
import pickle
import random
import signal
import threading
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fluxmagic import SGD, NotFinite, Run, back, capture, param, train
from fluxmagic.layers import testmode
from fluxmagic.optimise import Optimiser
from tests.capture.programs import Trained, batches, make

WARM = 24


def warm(name: str = "batchnorm", **options: Any) -> tuple[Trained, Any]:
    """A captured step that is being replayed."""
    made = make(name, **options)
    step = capture(made.net.loss, made.opt)
    for batch in batches(made.net, WARM):
        step(*batch)
    assert step.report.replayed > 0
    return made, step


def ordinary(name: str) -> Trained:
    """The same net after as many ordinary steps."""
    made = make(name)
    train(made.net.loss, batches(made.net, WARM), made.opt)
    return made


def faulty(x: np.ndarray, y: np.ndarray) -> dict[str, tuple[Any, Any]]:
    """Batches that an ordinary step refuses, or computes differently."""
    nan, inf = x.copy(), x.copy()
    nan[1, 2], inf[0, 0] = np.nan, np.inf
    high, low = y.copy(), y.copy()
    high[2], low[2] = 4, -1
    return {
        "NaN": (nan, y),
        "infinite": (inf, y),
        "huge": (x * np.float32(1e30), y),
        "a label too large": (x, high),
        "a label below 0": (x, low),
        "too wide": (np.ones((12, 7), np.float32), y),
        "too few labels": (x, y[:5]),
        "no rows": (x[:0], y[:0]),
        "text": ("x", y),
    }


@pytest.fixture(scope="module", params=["relus", "batchnorm", "all_layers"])
def pair(request: pytest.FixtureRequest) -> tuple[Trained, Any, Trained]:
    """A net with its captured step, and the net that takes the same steps without: to compile takes a second."""
    return *warm(request.param), ordinary(request.param)


@pytest.mark.parametrize("fault", faulty(np.ones((12, 6), np.float32), np.zeros(12, int)))
def test_a_faulty_batch_raises_what_an_ordinary_step_raises_and_changes_the_same(pair: Any, fault: str) -> None:
    made, step, other = pair
    x, y = made.net.batch(np.random.default_rng(9), 12)
    replayed = step.report.replayed
    good = [(x, y)] * 4  # one at least is replayed, and others are verified
    for k, batch in enumerate([*good, faulty(x, y)[fault], *good]):
        errors, number = [], step.report.steps + 1
        for take in (step, lambda *batch: train(other.net.loss, [batch], other.opt)):
            try:
                take(*batch)
                errors.append(None)
            except (NotFinite, ValueError, TypeError) as e:
                errors.append((type(e), str(e).replace(f"step {number}", "step 1")))
        assert errors[0] == errors[1]
        assert made.everything() == other.everything()
        assert k < 3 or step.report.replayed > replayed


KINDS: dict[str, Any] = {
    "float64": lambda x: x.astype(np.float64),
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "list": lambda x: x.tolist(),
    "int": lambda x: np.round(x).astype(np.int64),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_layouts_and_dtypes_of_the_batch_give_the_ordinary_bits(kind: str) -> None:
    (made, step), other = warm("relus"), ordinary("relus")
    for k, (x, y) in enumerate(batches(made.net, 30)):
        batch = (KINDS[kind](x) if k % 3 else x, y)
        made.losses.append(step(*batch))
        train(other.net.loss, [batch], other.opt, cb=other.losses.append)
    assert made.everything() == other.everything()


def test_a_program_of_one_shape_does_not_stand_for_another() -> None:
    (made, step), other = warm("relus"), ordinary("relus")
    rng = np.random.default_rng(1)
    for rows in [1, 2, 3, 5, 8, 13, 21, 34, *range(40, 60)] * 4:  # more shapes than programs
        batch = made.net.batch(rng, rows)
        made.losses.append(step(*batch))
        train(other.net.loss, [batch], other.opt, cb=other.losses.append)
    assert made.everything() == other.everything()
    assert "kinds of batches" in step.report.reason


def test_numpy_set_to_raise_is_obeyed() -> None:
    made, step = warm("relus")
    x, y = made.net.batch(np.random.default_rng(9), 12)
    before = made.everything()
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        step(x * np.float32(1e30), y)
    assert made.everything() == before
    step(x, y)


def test_test_mode_is_seen() -> None:
    (made, step), other = warm("dropout"), ordinary("dropout")
    for k, batch in enumerate(batches(made.net, 30, seed=1)):
        for m in (made, other):
            testmode(m.net.model, 10 <= k < 20)
        made.losses.append(step(*batch))
        train(other.net.loss, [batch], other.opt, cb=other.losses.append)
    assert made.everything() == other.everything()


def test_gradients_from_before_are_treated_as_in_train() -> None:
    ends = []
    for captured in (False, True):
        made = make("operators")
        W = made.net.model[0]

        def add(l: float, W: Any = W, made: Trained = made) -> None:
            if len(made.losses) % 10 == 9:
                back((W * 2).sum())

        train(made.net.loss, batches(made.net, 40), made.opt, cb=[made.losses.append, add], capture=captured)
        ends.append(made.everything())
    assert ends[1] == ends[0]


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies_of_what_a_step_was_captured_from_go_on_by_themselves(way: Any) -> None:
    made, step = warm("batchnorm")
    opt = way(made.opt)
    for batch in batches(made.net, 12, seed=1):
        step(*batch)
    assert opt.n == WARM
    assert made.opt.n == WARM + 12


def test_a_run_with_captured_steps_is_saved_and_goes_on_with_the_same_bits(tmp_path: Any) -> None:
    ends = []
    for captured in (False, True):
        made = make("all_layers")
        run = Run(made.net.loss, list(batches(made.net, 60)), made.opt, capture=captured, model=made.net.model)
        for _ in range(40):
            run.step()
        run.save(tmp_path / "run.npz")
        run.train()
        run.rewind(25)
        run.set(η=0.02)
        run.train()
        made.losses = list(run.history["loss"])
        ends.append(made.everything())
    assert ends[1] == ends[0]


def test_two_threads_each_with_its_own_step() -> None:
    expected = {}
    for name in ("relus", "batchnorm"):
        made = make(name)
        train(made.net.loss, batches(made.net, 120), made.opt, cb=made.losses.append)
        expected[name] = made.everything()
    found: dict[str, Any] = {}

    def work(name: str) -> None:
        made = make(name)
        train(made.net.loss, batches(made.net, 120), made.opt, cb=made.losses.append, capture=True)
        found[name] = made.everything()

    threads = [threading.Thread(target=work, args=(name,)) for name in expected]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == expected


def test_one_step_called_from_two_threads_loses_no_update() -> None:
    W = param(np.zeros(3, np.float32))
    step = capture(lambda x: ((W - x) ** 2).sum() * 0 + W.sum(), SGD([W], 1.0))
    x = np.zeros(3, np.float32)
    for _ in range(WARM):
        step(x)
    errors = []

    def work() -> None:
        for _ in range(100):
            try:
                step(x)
            except RuntimeError as error:  # a step in progress may be refused, not torn
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert W.data.tolist() == [-(WARM + 200 - len(errors))] * 3


def interrupt(times: int, seed: int = 0) -> int:
    """Interrupt training at random; compare with as many uninterrupted steps.  The number of torn steps."""
    rng, torn = random.Random(seed), 0
    names = ["relus", "batchnorm", "dropout", "linear"]
    for k in range(times):
        name = names[k % len(names)]
        made = make(name)
        pool = list(batches(made.net, 40))

        def endless(made: Trained = made, pool: Any = pool) -> Any:
            while True:
                yield pool[made.opt.n % 40]

        timer = threading.Timer(rng.uniform(0.03, 0.08), os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            if k % 3 == 0:
                train(made.net.loss, endless(), made.opt, capture=True)
            elif k % 3 == 1:
                step = capture(made.net.loss, made.opt)
                for batch in endless():
                    step(*batch)
            else:
                Run(made.net.loss, endless, made.opt, capture=True).train()
        timer.join()
        same = make(name)
        opt = same.opt
        train(same.net.loss, (pool[k % 40] for k in range(made.opt.n)), opt)
        made.losses = same.losses = []
        torn += made.everything() != same.everything()
    return torn


def test_an_interrupt_tears_no_step() -> None:
    assert interrupt(6) == 0


def test_an_interrupt_within_the_update_of_a_step_without_a_loop_waits_for_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin, interrupts = Optimiser.begin_outside, False

    def interrupted(opt: Optimiser) -> bool:
        if interrupts:
            os.kill(os.getpid(), signal.SIGINT)
        return begin(opt)

    monkeypatch.setattr(Optimiser, "begin_outside", interrupted)
    made, step = warm("relus")
    other = make("relus")
    data = list(batches(made.net, WARM + 3))
    interrupts = True
    with pytest.raises(KeyboardInterrupt):
        step(*data[WARM])
    interrupts = False
    for batch in data[WARM + 1 :]:
        step(*batch)
    train(other.net.loss, data, other.opt)
    assert step.report.replayed > WARM // 2
    assert made.everything() == other.everything()


def test_an_interrupt_within_the_loss_of_a_step_without_a_loop_waits_for_its_end_and_a_second_one_does_not() -> None:
    for presses in (1, 2):
        made, other = make("batchnorm"), make("batchnorm")
        batch = next(batches(made.net, 1))
        taken = []

        def loss(*batch: Any, made: Trained = made, presses: int = presses, taken: list[int] = taken) -> Any:
            l = made.net.loss(*batch)
            for _ in range(presses):
                os.kill(os.getpid(), signal.SIGINT)
            taken.append(1)
            return l

        step = capture(loss, made.opt)
        with pytest.raises(KeyboardInterrupt):
            step(*batch)
        assert bool(taken) == (presses == 1)
        train(other.net.loss, [batch] * made.opt.n, other.opt)
        assert made.opt.n == (presses == 1)
        if presses == 1:
            assert made.everything() == other.everything()


def test_an_optimiser_over_the_same_parameters_made_later_is_seen() -> None:
    ends = []
    for captured in (False, True):
        made = make("relus")
        step = capture(made.net.loss, made.opt)
        for k, batch in enumerate(batches(made.net, 60)):
            if k == 30:
                other = SGD(made.opt.params[:2], 0.01)
            if k > 30 and k % 10 == 0:
                train(made.net.loss, [batch], other)
                made.opt.clear()
            elif captured:
                made.losses.append(step(*batch))
            else:
                train(made.net.loss, [batch], made.opt, cb=made.losses.append)
        ends.append(made.everything())
    assert ends[1] == ends[0]


def test_the_state_of_the_optimiser_may_be_loaded_between_steps() -> None:
    ends = []
    for captured in (False, True):
        made = make("relus", optimiser="ADAM")
        step = capture(made.net.loss, made.opt)
        for k, batch in enumerate(batches(made.net, 60)):
            if k == 20:
                kept = made.opt.state_dict()
            if k == 40:
                made.opt.load_state_dict(kept)
            if captured:
                made.losses.append(step(*batch))
            else:
                train(made.net.loss, [batch], made.opt, cb=made.losses.append)
        ends.append(made.everything())
    assert ends[1] == ends[0]


def test_the_report_and_the_source_say_what_was_done() -> None:
    _, step = warm("relus")
    report = step.report
    assert (report.recorded, report.reason) == (4, None)  # two steps of either length of batch
    assert report.replayed + report.verified + report.ordinary + report.recorded == WARM
    assert repr(step) == f"CapturedStep({report})"
    assert "def " in step.source
    compile(step.source, "program", "exec")


def test_verification_comes_at_growing_distances() -> None:
    made = make("linear")
    step = capture(made.net.loss, made.opt)
    at = []
    for k, batch in enumerate(batches(made.net, 700), 1):
        before = step.report.verified
        step(*batch)
        if step.report.verified > before:
            at.append(k)
    assert at[:4] == [3, 5, 9, 17]
    assert max(b - a for a, b in pairwise(at)) <= 256
    assert len(at) < 20


def test_interrupts_go_where_they_went_once_no_captured_step_is_left() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    W = param(1.0)
    first, second = (capture(lambda x: W * x, SGD([W], 0.1)) for _ in range(2))
    first(1.0)
    second(1.0)
    del first
    second(1.0)
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    del second
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
