"""Where the run of a cell starts: new, --reset, --from, --resume."""

from __future__ import annotations

import numpy as np
import pytest

from tests.jupyter.cells import DATA, LOSS, same_arrays, weights


def test_a_second_execution_is_a_new_run_from_the_present_weights_and_says_so(shell):
    first = shell(f"%%train {DATA} --epochs 2\n{LOSS}")
    assert "goes on" not in first
    before = shell["run"]
    again = shell(f"%%train {DATA}\n{LOSS}")
    assert "goes on from weights trained by `run`, 6 steps" in again
    assert shell["run"] is not before
    assert (shell["run"].steps, shell["run"].opt.n) == (3, 3)


def test_a_new_model_has_no_earlier_run(shell):
    shell(f"%%train {DATA}\n{LOSS}")
    shell("model = Chain(Dense(4, 8, relu), Dense(8, 2))")
    assert "goes on" not in shell(f"%%train {DATA}\n{LOSS}")


def test_the_message_names_the_run_that_trained_the_weights(shell):
    shell(f"%%train {DATA} --name first\n{LOSS}")
    assert "trained by `first`, 3 steps" in shell(f"%%train {DATA} --name second\n{LOSS}")


def test_reset_starts_from_the_weights_that_the_run_started_from(shell):
    start = weights(shell)
    shell(f"%%train {DATA} --seed 1\n{LOSS}")
    first, trained = shell["run"], weights(shell)
    printed = shell(f"%%train {DATA} --seed 1 --reset\n{LOSS}")
    assert "starts from the weights that `run` started from" in printed
    assert same_arrays(trained, weights(shell))
    assert np.array_equal(first.history["loss"], shell["run"].history["loss"])
    shell["run"].rewind(0)
    assert same_arrays(start, weights(shell))


def test_a_run_that_was_reset_keeps_its_own_weights(shell):
    shell(f"%%train {DATA} --seed 1\n{LOSS}")
    trained = weights(shell)
    shell("first = run")
    shell(f"%%train {DATA} --reset --opt SGD --η 1\n{LOSS}")
    assert not same_arrays(trained, weights(shell))
    shell["first"].rewind(3)
    assert same_arrays(trained, weights(shell))


def test_reset_without_a_run_before_begins_one(shell):
    shell(f"%%train {DATA} --reset\n{LOSS}")
    assert shell["run"].steps == 3


def test_resume_goes_on_with_steps_and_optimiser_state(shell):
    shell("start = [p.data.copy() for p in params(model)]")
    shell(f"%%train {DATA} --seed 5 --epochs 4 --name whole\n{LOSS}")
    in_one = weights(shell)
    shell("loadparams(model, start)")
    shell(f"%%train {DATA} --seed 5 --epochs 1\n{LOSS}")
    run = shell["run"]
    printed = shell(f"%%train {DATA} --resume --epochs 3\n{LOSS}")
    assert "goes on with `run`, after step 3" in printed
    assert shell["run"] is run
    assert (run.steps, run.opt.n, run.epochs, run.state) == (12, 12, 4, "done")
    assert same_arrays(in_one, weights(shell))


def test_resume_takes_what_the_line_says_now(shell):
    shell(f"%%train {DATA}\n{LOSS}")
    shell(f"%%train {DATA} --resume --opt SGD --η 0.5 --valid X, Y\n2 * {LOSS}")
    run = shell["run"]
    assert [tuple(e) for e in run.events] == [(3, "opt", "ADAM", "SGD"), (3, "η", 0.1, 0.5)]
    assert np.isnan(run.history["β1"]).tolist() == [False] * 3 + [True] * 3
    assert "valid" in run.history
    assert run.history["loss"][3] > 1.0


def test_resume_finishes_an_interrupted_epoch_before_the_further_ones(shell):
    shell("n = 0")
    shell.fails(f"%%train {DATA} --epochs 5\nn += 1\nif n == 5: raise KeyboardInterrupt\n{LOSS}")
    assert (shell["run"].steps, shell["run"].epoch, shell["run"].state) == (4, 2, "paused")
    shell(f"%%train {DATA} --resume --epochs 2\n{LOSS}")
    assert (shell["run"].steps, shell["run"].epochs) == (12, 4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--seed 4", "`run` was seeded with None when it began"),
        ("--params model[0]", "other parameters than --params"),
        ("--β1 2", "out of range"),
    ],
)
def test_a_resume_that_does_not_fit_is_refused_in_one_line_and_nothing_changes(shell, options, says):
    shell(f"%%train {DATA}\n{LOSS}")
    before, loss = weights(shell), shell["run"].loss
    assert says in shell.refuses(f"%%train {DATA} --resume {options}\n{LOSS}")
    assert same_arrays(before, weights(shell))
    assert (shell["run"].loss, shell["run"].epochs, shell["run"].events) == (loss, 1, [])


def test_resume_over_another_model_is_refused(shell):
    shell(f"%%train {DATA}\n{LOSS}")
    shell("model = Chain(Dense(4, 2))")
    assert "was the model made anew?" in shell.refuses(f"%%train {DATA} --resume\n{LOSS}")


def test_weights_that_another_run_is_training_are_refused(shell):
    shell("loss = lambda x, y: logitcrossentropy(model(x), y)")
    shell("other = Run(loss, batches(X, Y, 20), SGD(params(model)), epochs=9, name='other')")
    shell(f"%%train {DATA} --epochs 2\n{LOSS}")
    shell["other"].step()
    shell["other"].state = "running"
    before = weights(shell)
    for options in ("", "--resume"):
        refused = shell.refuses(f"%%train {DATA} {options}\n{LOSS}")
        assert refused == "these weights are being trained by `other`: pause or stop it first"
    assert same_arrays(before, weights(shell))
    assert shell["run"].epochs == 2
    shell["other"].state = "paused"
    shell(f"%%train {DATA} --resume\n{LOSS}")


def test_reset_restores_the_oldest_known_start_of_the_weights(shell):
    start = weights(shell)
    shell(f"%%train {DATA} --name first\n{LOSS}")
    shell(f"%%train {DATA} --name second\n{LOSS}")
    shell("del first")
    printed = shell(f"%%train {DATA} --name third --reset --opt SGD --η 0\n{LOSS}")
    assert "starts from the weights that `first` started from" in printed
    assert same_arrays(start, weights(shell))


def test_from_starts_where_the_named_run_started(shell):
    shell(f"%%train {DATA} --name first\n{LOSS}")
    middle = weights(shell)
    shell(f"%%train {DATA} --name second\n{LOSS}")
    end = weights(shell)
    printed = shell(f"%%train {DATA} --from second --opt SGD --η 0\n{LOSS}")
    assert "starts from the weights that `second` started from" in printed
    assert same_arrays(middle, weights(shell))
    assert "--from fourth: no run is called fourth; there are first" in shell.refuses(
        f"%%train {DATA} --from fourth\n{LOSS}"
    )
    assert "one of them" in shell.refuses(f"%%train {DATA} --from second --reset\n{LOSS}")
    shell("W = param(np.ones(4))")
    assert "other parameters" in shell.refuses("%%train x in X --from second\n(W * x).sum()")
    shell("second.rewind(second.steps)")
    assert same_arrays(end, weights(shell))


def test_the_message_says_that_weights_were_changed_by_hand(shell):
    shell(f"%%train {DATA} --name sgd --opt SGD\n{LOSS}")
    shell("model[0].W.data[...] = 0.5")
    printed = shell(f"%%train {DATA}\n{LOSS}")
    assert "weights that were changed after `sgd` had trained them" in printed
    assert "goes on from weights trained by `run`, 3 steps" in shell(f"%%train {DATA}\n{LOSS}")
    shell("%train step 2")
    shell("%train rewind 1")
    assert "goes on from weights trained by `run`, 1 step" in shell(f"%%train {DATA}\n{LOSS}")


@pytest.mark.parametrize("option", ["--reset", "--from first"])
def test_a_refused_cell_with_reset_or_from_leaves_the_weights(shell, option):
    shell(f"%%train {DATA} --name first\n{LOSS}")
    shell(f"%%train {DATA} --name second\n{LOSS}")
    shell("model[0].W.data[...] += 1")
    before = weights(shell)
    error = shell.fails(f"%%train {DATA} {option} --metric a='high'\n{LOSS}")
    assert "--metric a: TypeError" in str(error)
    assert same_arrays(before, weights(shell))
    shell.fails(f"%%train {DATA} {option}\n1 / 0")
    assert same_arrays(before, weights(shell))
