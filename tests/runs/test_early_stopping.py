"""The best epoch's weights are put back when a run ends, and going on ends in the bits of one longer run."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import threading

import numpy as np
import pytest

from fluxmagic import NotFinite, Run, batches, param
from tests.runs.problems import X, Y, arrays, everything, line, network
from tests.runs.processes import printed

nan = math.nan


def ended(**options):
    """A run whose validation loss is smallest after its second epoch, with all that is hard to repeat."""
    valid = iter([9.0, 5.0, 3.0, 4.0, 6.0, 7.0, 8.0, 8.5, 9.0, 9.0])  # the first is tried before the first step
    run, m = network(**{"valid": (X, Y), "patience": 2, "epochs": 8, **options})
    loss = run.loss
    run.loss = lambda x, y: next(valid) if len(x) > 5 else loss(x, y)
    return run, m


def longer(steps, **options):
    """Give what such a run has after n steps, if nothing is ever put back."""
    run, _ = network(**{"epochs": 8, **options})
    run.step(steps)
    return arrays(run)


def test_weights_and_statistics_of_the_best_epoch_are_put_back_at_the_end():
    run, _ = ended()
    run.train()
    assert (run.state, run.steps, run.best) == ("stopped", 20, ("valid", 3.0, 2, 10))
    assert arrays(run) == longer(10)


def test_going_on_ends_in_the_bits_of_one_longer_run():
    run, _ = ended()
    run.train()
    run.patience = None
    run.step(7)
    assert arrays(run) == longer(27)
    run.replay()
    assert arrays(run) == longer(27)
    run.rewind(20)
    assert arrays(run) == longer(20)


@pytest.mark.parametrize("how", ["epochs", "patience", "until", "stop", "stop while paused", "interrupt", "keep_best"])
def test_however_a_run_ends_the_best_weights_are_put_back(how):
    options = {"epochs": 4, "patience": 9}
    if how == "until":
        options = {"until": lambda run: run.epoch == 5}
    run, _ = ended(**options)
    if how == "stop":
        run.train(cb=lambda: run.steps == 17 and run.stop())
    elif how == "stop while paused":
        run.step(17)
        run.stop()
        assert run.state == "stopped"
    elif how == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            run.train(cb=lambda: run.steps == 17 and os.kill(os.getpid(), signal.SIGINT))
    elif how == "keep_best":
        run.step(17)
        run.keep_best()
    else:
        run.train()
    assert arrays(run) == longer(10)
    assert run.steps in (17, 20)


def test_a_pause_an_error_and_an_end_before_the_first_epoch_put_nothing_back():
    run, _ = ended()
    run.train(cb=lambda: run.steps == 13 and run.pause())
    assert arrays(run) == longer(13)
    loss, run.loss = run.loss, lambda x, y: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run.train()
    assert arrays(run) == longer(13)
    run.loss = lambda x, y: loss(x, y) * math.inf
    with pytest.raises(NotFinite), np.errstate(all="ignore"):
        run.train()
    run, _ = ended()
    run.train(cb=lambda: run.steps == 4 and run.stop())
    assert arrays(run) == longer(4)


def test_without_patience_and_until_nothing_is_put_back():
    run, _ = ended(patience=None, epochs=4)
    run.train()
    run.keep_best()
    assert arrays(run) == longer(20)


def test_zero_steps_change_nothing():
    run, _ = ended()
    run.train()
    run.step(0)
    assert (run.state, arrays(run)) == ("stopped", longer(10))


@pytest.mark.parametrize("steps", [20, 3])
def test_a_rewind_a_replay_and_an_undo_repeat_it(steps):
    run, _ = ended()
    run.train()
    run.replay()
    assert arrays(run) == longer(10)
    run.rewind(steps)
    assert arrays(run) == longer(10 if steps == 20 else 3)
    run.replay()
    if steps == 3:
        run.step(2)
        run.undo()
    assert (arrays(run), run.steps) == (longer(10), 20)
    run.replay()
    run.patience = None
    run.step(2)
    assert arrays(run) == longer(22)


def test_best_weights_are_computed_again_where_they_are_not_at_hand():
    run, _ = ended(snapshot_bytes=0)
    run.train()
    run.rewind(12)
    run.early_stopping.resume(None)
    run.stop()
    assert (run.state, arrays(run)) == ("stopped", longer(10))


def test_a_branch_goes_on_from_the_last_step_and_its_parent_keeps_the_best_weights():
    run, _ = ended()
    run.train()
    branch = run.branch("b")
    assert arrays(run) == longer(10)
    branch.patience = None
    branch.step(3)
    assert arrays(branch) == longer(23)
    run.take()
    assert arrays(run) == longer(10)


def test_a_saved_run_has_both_the_best_weights_and_those_of_the_last_step(tmp_path):
    run, m = ended()
    run.train()
    before = everything(run)
    run.save(tmp_path / "run.npz")
    run.rewind(0)
    loaded = Run.load(tmp_path / "run.npz", run.loss, batches(X, Y, 5), run.params, model=m)
    assert everything(loaded) == before
    assert arrays(loaded) == longer(10)
    loaded.save(tmp_path / "again.npz")
    loaded.replay()
    assert arrays(loaded) == longer(10)
    loaded.step(3)
    assert arrays(loaded) == longer(23)


def test_a_script_ends_in_the_best_weights(tmp_path, monkeypatch):
    (tmp_path / "experiment.py").write_text(
        "from tests.runs.problems import network, X, Y\n"
        "run, model = network(valid=(X, Y), until=lambda r: r.epoch == 6, epochs=9, hypers={'η': 0.5})\n"
        "loss, data = run.loss, run.data\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import experiment

    run = experiment.run
    run.train()
    assert run.best.step < run.steps
    run.save("run.npz")
    code = run.as_code("experiment") + "\nimport hashlib\n"
    end = "print(hashlib.sha256(b''.join(p.data.tobytes() for p in run.params)).hexdigest())"
    assert (
        printed(code + end, cwd=tmp_path).strip()
        == hashlib.sha256(b"".join(p.data.tobytes() for p in run.params)).hexdigest()
    )


def test_patience_without_validation_judges_by_means_over_rows():
    W = param(0.0)
    epochs = iter([[(2, 1.0), (1, 4.0)], [(2, 1.9), (1, 2.0)], [(2, 1.0), (1, 4.0)], [(2, 3.0), (1, 3.0)]])
    data = lambda: [np.full(n, v) for n, v in next(epochs)]
    run = Run(lambda x: W * 1.0 + x.mean(), data, "SGD", epochs=4, patience=3, hypers={"η": 0.0})
    run.train()
    assert run.epoch_losses.tolist() == pytest.approx([2.0, 5.8 / 3, 2.0, 3.0])
    assert run.best.epoch == 2


def test_a_validation_loss_that_is_never_finite_runs_out_of_patience():
    run, _ = line(valid=[nan], patience=3, epochs=20)
    run.train()
    assert (run.state, run.epoch, run.best) == ("stopped", 4, None)


def test_a_stop_from_another_thread_puts_the_best_weights_back():
    run, _ = ended(patience=None, until=lambda run: False)
    reached = threading.Event()
    thread = threading.Thread(target=lambda: reached.wait(60) and run.stop())
    thread.start()
    run.train(cb=lambda: run.steps == 12 and (reached.set(), thread.join()))
    assert (run.state, run.steps, arrays(run)) == ("stopped", 12, longer(10))


def test_until_cannot_put_weights_back_and_its_error_is_named():
    run, _ = ended(patience=None, until=lambda run: run.keep_best())
    with pytest.raises(RuntimeError, match="cannot put weights back") as caught:
        run.train()
    assert caught.value.option == "until"
    assert (run.steps, run.state, arrays(run)) == (5, "failed", longer(5))
    run.until = lambda run: run.epoch == 5
    run.train()
    assert arrays(run) == longer(10)
