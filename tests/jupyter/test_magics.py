"""The magics, in a shell in this process."""

from __future__ import annotations

import os
import re
import weakref

import numpy as np
import pytest
from IPython.core.completer import provisionalcompleter

from fluxmagic import Run
from fluxmagic.optimise import OPTIMISERS, Hyper, NotFinite, Optimiser

LOSS = "logitcrossentropy(model(x), y)"
DATA = "x, y in batches(X, Y, 20)"


def weights(shell):
    from fluxmagic import params

    return [p.data.copy() for p in params(shell["model"])]


def same(some, others):
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


# -- training ------------------------------------------------------------------------------------------------


def test_a_cell_trains_what_its_loss_depends_on(shell):
    before = weights(shell)
    shell(f"%%train {DATA} --epochs 30 --η 0.01\n{LOSS}")
    run = shell["run"]
    assert isinstance(run, Run)
    assert (run.opt_name, run.state, run.steps, run.epochs) == ("ADAM", "done", 90, 30)
    assert not any(np.array_equal(a, b) for a, b in zip(before, weights(shell)))
    assert run.history["loss"][-3:].mean() < run.history["loss"][:3].mean() / 2
    assert {id(p) for p in run.params} == {id(p) for layer in shell["model"] for p in (layer.W, layer.b)}


def test_the_cell_gives_the_same_bits_as_the_run_that_it_stands_for(shell):
    shell("start = [p.data.copy() for p in params(model)]")
    shell(f"%%train {DATA} --opt Momentum --η 0.05 --ρ 0.5 --epochs 3 --seed 7\n{LOSS}")
    trained = weights(shell)
    shell("loadparams(model, start)")
    shell(
        "Run(lambda x, y: logitcrossentropy(model(x), y), lambda: batches(X, Y, 20), Momentum, seed=7, epochs=3,"
        " hypers={'η': 0.05, 'ρ': 0.5}).train()"
    )
    assert same(trained, weights(shell))


def test_names_stay_bound_to_the_last_batch_and_the_body_runs_in_the_namespace(shell):
    shell("seen = []")
    shell(
        f"%%train {DATA} --valid X, Y --metric n=len(x)\n"
        "seen.append(len(x))\nz = model(x)\nimport math as m\nlogitcrossentropy(z, y)"
    )
    assert shell["seen"] == [20, 60, 20, 20, 60]  # --valid is tried before the first step
    assert shell["x"].shape == (20, 4)
    assert shell["z"].shape == (20, 2)
    assert shell["m"].pi > 3
    assert shell["run"].last_check["n"] == 60


def test_validation_leaves_no_name_behind(shell):
    shell("%%train x, y in [(X[:3], Y[:3])] --valid X, Y\nif len(x) > 3: big = 1\n" + LOSS)
    assert "big" not in shell
    assert len(shell["x"]) == 3


def test_a_batch_is_bound_as_for_would_bind_it(shell):
    shell("W = param([1.0, 2.0])")
    shell("%%train pair in zip(X[:3, :2])\n(W * pair[0]).sum()")
    assert type(shell["pair"]) is tuple
    shell("%%train pair, in zip(X[:3, :2]) --valid X[:, :2],\n(W * pair).sum()")
    assert shell["pair"].shape == (2,)
    shell("%%train (a, b), *c in [((1.0, 2.0), 3.0, 4.0)]\n(W * a).sum() + b")
    assert (shell["a"], shell["b"], shell["c"]) == (1.0, 2.0, [3.0, 4.0])
    shell("%%train row in X[:, :2]\n(W * row).sum()")
    assert shell["row"].shape == (2,)
    shell("box = {}")
    shell("%%train box['x'] in X[:, :2]\n(W * box['x']).sum()")
    assert shell["box"]["x"].shape == (2,)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "x, y in batches(frame, 32)",
            "x, y in batches of one array, whose rows would be bound: give one for each name",
        ),
        ("x, y in batches(frame, 2)", "batches of one array"),  # two rows were bound, one to each name
        ("x, y in (X, Y)", "[(X, Y)] is one batch, batches(X, Y, 32) several"),
        ("x, y in (X[:2], X[:2])", "[(X, Y)] is one batch"),
        ("x, y in frame", "a DataFrame, which gives the names of its columns: name its columns, batches(df['a'], df["),
        ("x in frame", "a DataFrame"),
    ],
)
def test_rows_or_columns_that_would_be_bound_to_names_are_refused(shell, line, says):
    shell("import pandas as pd\nframe = pd.DataFrame({'ab': [1.0, 2.0, 3.0], 'cd': [1.0, 2.0, 3.0]})\nx = y = 'mine'")
    before = weights(shell)
    error = shell.fails(f"%%train {line}\nlogitcrossentropy(model(X), Y)")
    assert type(error).__name__ == "UsageError"
    assert says in str(error)
    assert same(before, weights(shell))
    assert (shell["x"], shell["y"]) == ("mine", "mine")
    assert "run" not in shell


def test_a_single_name_with_a_comma_takes_batches_that_are_no_tuples(shell):
    shell("W = param(np.ones(4))")
    for body in ("(W * x).sum()", "z = W * x\nz.sum()"):
        shell(f"%%train x, in batches(X, size=20) --valid X,\n{body}")
        assert shell["x"].shape == (20, 4)


@pytest.mark.parametrize("body", ["(W * locals()['x']).sum()", "(W * vars()['x']).sum()", "(W * eval('x')).sum()"])
def test_a_loss_may_look_around(shell, body):
    shell("W = param(np.ones(4))")
    shell(f"%%train x in X\n{body}")
    assert shell["run"].steps == len(shell["X"])


@pytest.mark.parametrize("body", ["((W - x) ** 2).sum()", "δ = W - x\n(δ**2).sum()"])
def test_what_the_loss_does_not_name_is_not_the_runs(shell, body):
    shell("W = param(np.ones(4))\nother, norm = np.random.default_rng(7), BatchNorm(4)")
    shell(f"%%train x in list(X) --valid X --opt SGD\n{body}")
    before = shell["other"].random()
    shell["run"].rewind(3)
    assert shell["run"].training.buffers == []
    assert shell["other"].random() != before


def test_data_is_evaluated_afresh_at_the_start_of_every_epoch(shell):
    shell("made = []\ndef data():\n    made.append(run.epoch)\n    yield X[:5], Y[:5]")
    shell(f"%%train x, y in data() --epochs 3\n{LOSS}")
    assert shell["made"] == [1, 2, 3]


def test_values_are_expressions_in_the_namespace_and_braces_and_dollars_are_left_alone(shell):
    shell("lr, n = 0.4, 1; d = {'{lr}': X, '$n': Y}")
    shell("%%train x, y in batches(d['{lr}'], d['$n'], 20) --opt SGD --η lr/4 --epochs n+1 # --epochs 5\n" + LOSS)
    run = shell["run"]
    assert (run.values["η"], run.epochs) == (0.1, 2)


def test_greek_and_ascii_names_are_the_same_dials(shell):
    shell(f"%%train {DATA} --beta1 0.5 --ϵ 1e-6\n{LOSS}")
    assert (shell["run"].values["β1"], shell["run"].values["ε"]) == (0.5, 1e-6)


def test_a_schedule_is_a_function(shell):
    shell(f"%%train {DATA} --opt SGD --η lambda n: 0.1 / (n + 1)\n{LOSS}")
    assert shell["run"].history["η"].tolist() == [0.1, 0.05, 0.1 / 3]


def test_a_class_of_ones_own_is_an_optimiser_with_options(shell):
    shell(
        "from fluxmagic.optimise import Optimiser, Hyper\n"
        "class _Sign(Optimiser):\n"
        "    'Steps of one size.'\n"
        "    κ = Hyper(0.01, 'size', scale='log')\n"
        "    def step(self, δ, s):\n"
        "        return self.κ * np.sign(δ)"
    )
    before = weights(shell)
    shell(f"%%train {DATA} --opt _Sign --kappa 0.5\n{LOSS}")
    moved = np.abs(weights(shell)[0] - before[0])
    assert shell["run"].values["κ"] == 0.5
    assert set(np.round(moved, 3).ravel().tolist()) <= {0.0, 0.5, 1.0, 1.5}


def test_only_the_parameters_that_are_named_are_trained(shell):
    before = weights(shell)
    shell(f"%%train {DATA} --params model[1]\n{LOSS}")
    moved = [not np.array_equal(a, b) for a, b in zip(before, weights(shell))]
    assert moved == [False, False, True, True]


def test_a_parameter_that_turns_up_later_is_an_error_that_names_params(shell):
    shell("V = param(1.0); n = 0")
    error = shell.fails(f"%%train {DATA}\nn += 1\nl = {LOSS}\nl if n < 2 else l * V")
    assert "--params" in str(error)


def test_validation_and_metrics_are_in_the_history(shell):
    shell(f"%%train {DATA} --epochs 2 --valid X, Y --metric acc=accuracy(model(x), y) --metric half=0.5\n{LOSS}")
    history = shell["run"].history
    assert np.isfinite(history["valid"]).tolist() == [False, False, True] * 2
    assert history["half"][-1] == 0.5
    assert history["acc"][-1] == shell["accuracy"](shell["model"](shell["X"]).data, shell["Y"])


def test_until_knows_metrics_by_name(shell):
    shell(f"%%train {DATA} --epochs 9 --metric seen=run.steps --until seen > 5\n{LOSS}")
    assert (shell["run"].steps, shell["run"].state) == (6, "stopped")


def test_patience_ends_the_run_and_puts_the_best_weights_back(shell):
    shell(f"%%train {DATA} --epochs 50 --opt SGD --η 30 --valid X, Y --patience 2\n{LOSS}")
    run = shell["run"]
    checks = run.history["valid"][np.isfinite(run.history["valid"])]
    assert run.epoch < 50
    assert len(checks) - 1 - int(checks.argmin()) == 2
    now = float(shell["logitcrossentropy"](shell["model"](shell["X"]), shell["Y"]))
    assert now == pytest.approx(checks.min(), rel=1e-5)


def test_the_run_gets_the_name_that_is_asked_for(shell):
    shell(f"%%train {DATA} --name first\n{LOSS}")
    assert shell["first"].name == "first"
    assert "run" not in shell


def test_a_seed_repeats_the_order_of_the_data(shell):
    shell("start = [p.data.copy() for p in params(model)]")
    for name in ("a", "b"):
        shell("loadparams(model, start)")
        shell(f"%%train {DATA} --seed 3 --name {name}\n{LOSS}")
    assert np.array_equal(shell["a"].history["loss"], shell["b"].history["loss"])


def test_summary_and_progress_are_printed(shell):
    printed = shell(f"%%train {DATA} --epochs 2\n{LOSS}")
    assert "run: ADAM (η 0.001, β1 0.9" in printed
    assert "2 epochs, 6 steps in" in printed
    assert re.search(r"loss \S+ → \S+, best \S+ \(epoch 2\)", printed)


def test_the_run_can_be_made_into_a_script_with_the_cells_body(shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shell(f"%%train {DATA} --name fit\nz = model(x)\n%time logitcrossentropy(z, y)")
    code = shell("%train code --name fit")
    assert "    z = model(x)\n    return logitcrossentropy(z, y)" in code
    assert "return zip(batches(X, Y, 20))" in code
    compile(code, "script", "exec")
    assert code.startswith("# The run is saved in fit.npz\n")
    assert os.listdir() == ["fit.npz"]


def test_the_file_beside_a_script_is_never_another_run_s(shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.npz").write_text("mine")
    (tmp_path / "run-2.npz").symlink_to("nothing")
    shell(f"%%train {DATA}\n{LOSS}")
    assert "# The run is saved in run-3.npz" in shell("%train code")
    assert "# The run is saved in run-3.npz" in shell("%train code")
    shell(f"%%train {DATA}\n{LOSS}")
    assert "# The run is saved in run-4.npz" in shell("%train code")
    shell("%train load run-3.npz")
    assert "'run-3.npz'" in shell("%train code")
    assert (tmp_path / "run.npz").read_text() == "mine"
    assert sorted(os.listdir()) == ["run-2.npz", "run-3.npz", "run-4.npz", "run.npz"]


# -- again ---------------------------------------------------------------------------------------------------


def test_running_the_cell_again_goes_on_from_the_weights_with_a_new_run_and_says_so(shell):
    first = shell(f"%%train {DATA} --epochs 2\n{LOSS}")
    assert "goes on" not in first
    before = shell["run"]
    again = shell(f"%%train {DATA}\n{LOSS}")
    assert "goes on from weights trained by `run`, 6 steps" in again
    assert shell["run"] is not before
    assert (shell["run"].steps, shell["run"].opt.n) == (3, 3)


def test_a_model_that_was_made_anew_was_trained_by_nobody(shell):
    shell(f"%%train {DATA}\n{LOSS}")
    shell("model = Chain(Dense(4, 8, relu), Dense(8, 2))")
    assert "goes on" not in shell(f"%%train {DATA}\n{LOSS}")


def test_it_says_who_trained_the_weights_under_whatever_name(shell):
    shell(f"%%train {DATA} --name first\n{LOSS}")
    assert "trained by `first`, 3 steps" in shell(f"%%train {DATA} --name second\n{LOSS}")


def test_reset_starts_from_the_weights_that_the_run_started_from(shell):
    start = weights(shell)
    shell(f"%%train {DATA} --seed 1\n{LOSS}")
    first, trained = shell["run"], weights(shell)
    printed = shell(f"%%train {DATA} --seed 1 --reset\n{LOSS}")
    assert "starts from the weights that `run` started from" in printed
    assert same(trained, weights(shell))
    assert np.array_equal(first.history["loss"], shell["run"].history["loss"])
    shell["run"].rewind(0)
    assert same(start, weights(shell))


def test_a_run_that_was_reset_keeps_its_own_weights(shell):
    shell(f"%%train {DATA} --seed 1\n{LOSS}")
    trained = weights(shell)
    shell("first = run")
    shell(f"%%train {DATA} --reset --opt SGD --η 1\n{LOSS}")
    assert not same(trained, weights(shell))
    shell["first"].rewind(3)
    assert same(trained, weights(shell))


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
    assert same(in_one, weights(shell))


def test_resume_takes_what_the_line_says_now(shell):
    shell(f"%%train {DATA}\n{LOSS}")
    shell(f"%%train {DATA} --resume --opt SGD --η 0.5 --valid X, Y\n2 * {LOSS}")
    run = shell["run"]
    assert [tuple(e) for e in run.events] == [(3, "opt", "ADAM", "SGD"), (3, "η", 0.1, 0.5)]
    assert np.isnan(run.history["β1"]).tolist() == [False] * 3 + [True] * 3
    assert "valid" in run.history
    assert run.history["loss"][3] > 1.0


def test_a_broken_off_epoch_is_finished_and_then_come_the_further_ones(shell):
    shell("n = 0")
    shell.fails(f"%%train {DATA} --epochs 5\nn += 1\nif n == 5: raise KeyboardInterrupt\n{LOSS}")
    assert (shell["run"].steps, shell["run"].epoch, shell["run"].state) == (4, 2, "paused")
    shell(f"%%train {DATA} --resume --epochs 2\n{LOSS}")
    assert (shell["run"].steps, shell["run"].epochs) == (12, 4)


# -- what is wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--opt adam", r"--opt adam: there is no such optimiser \(did you mean ADAM\?\); there are .*SGD, .*ADAM"),
        ("--opt model", "--opt model: that is not a class of optimisers"),
        ("--opt Optimiser", "there is no such optimiser|not a class of optimisers"),
        ("--epoch 3", r"there is no --epoch \(did you mean --epochs\?\); there are --opt, .*--η"),
        ("--opt SGD --ρ 0.5", "SGD has no --ρ; it has η, decay"),
        ("--opt SGD --beta1 0.5", "SGD has no --beta1; it has η, decay"),
        ("--η -1", "--η -1: η = -1 is out of range: 0 ≤ η"),
        ("--β1 1", "--β1 1: β1 = 1 is out of range: 0 ≤ β1 < 1"),
        ("--η 'fast'", "--η 'fast': η is a number"),
        ("--η lr", "--η lr: NameError: name 'lr' is not defined"),
        ("--η 1 +", "--η 1 \\+: invalid syntax"),
        ("--η lambda n: -1", "--η lambda n: -1: η = -1 is out of range"),
        ("--η 1 --η 2", "--η is given twice"),
        ("--η 1 --eta 2", "ADAM: η is given twice"),
        ("--η", "--η needs a value"),
        ("--epochs", "--epochs needs a value: --epochs N"),
        ("--epochs 0", "--epochs 0: give a whole number, 1 or more, not 0"),
        ("--epochs 2.5", "--epochs 2.5: give a whole number"),
        ("--epochs True", "--epochs True: give a whole number"),
        ("--patience 0", "--patience 0: give a whole number"),
        ("--seed -1", "--seed -1: give a whole number, 0 or more"),
        ("--valid X", "--valid X: 1 for 2 names, `x, y`"),
        ("--valid X, Y, Y", "3 for 2 names"),
        ("--valid X, Y[:5]", "different lengths: 60, 5"),
        ("--valid 5", "not a int"),
        ("--valid 5, 5", "--valid 5, 5: "),
        ("--valid zip(X, Y)", "a generator can be gone through once"),
        ("--valid Z, Y", "NameError: name 'Z' is not defined"),
        ("--metric accuracy(model(x), y)", "name=EXPR"),
        ("--metric a=1 --metric a=2", "--metric a is given twice"),
        ("--metric loss=1", "the history has a column of that name"),
        ("--metric opt=1", "the history has a column of that name"),
        ("--metric η=1", "the history has a column of that name"),
        ("--metric a=1 +", "--metric a 1 \\+: invalid syntax"),
        ("--until 1 +", "--until 1 \\+: invalid syntax"),
        ("--params X", "--params X: params\\(\\) found no parameter"),
        ("--name 2x", "--name 2x: give the name of a variable"),
        ("--name class", "--name class: give the name of a variable"),
        ("--name model", "--name model: the cell uses that variable"),
        ("--name x", "--name x: the cell uses that variable"),
        ("--resume 3", "--resume takes no value, and was given 3"),
        ("--no-panel no", "--no-panel takes no value"),
        ("--resume --reset", "--resume and --reset say where the run starts: give one of them"),
        ("--resume --name other", "`other` is not a run that has taken a step"),
    ],
)
def test_a_wrong_option_is_one_line_and_nothing_has_changed(shell, options, says):
    shell(f"%%train {DATA}\n{LOSS}")
    run, before, n = shell["run"], weights(shell), shell["run"].opt.n
    names = {k for k in shell.ip.user_ns if not k.startswith("_")}
    assert re.search(says, shell.refuses(f"%%train {DATA} {options}\nmark = 1\n{LOSS}"))
    assert shell["run"] is run
    assert (run.steps, run.opt.n, run.epochs, run.state) == (3, n, 1, "done")
    assert same(before, weights(shell))
    assert {k for k in shell.ip.user_ns if not k.startswith("_")} == names


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("l = 1", "the cell's last statement has to be an expression, the loss, not `l = 1`"),
        ("for i in x:\n    i", "the loss, not `for i in x:`"),
        ("# nothing", "but the cell is empty"),
        ("\n", "but the cell is empty"),
    ],
)
def test_a_body_that_ends_with_no_expression_is_refused(shell, body, says):
    assert says in shell.refuses(f"%%train {DATA}\n{body}")
    assert "run" not in shell


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--seed 4", "`run` was seeded with None when it began"),
        ("--params model[0]", "other parameters than --params"),
        ("--β1 2", "out of range"),
    ],
)
def test_what_cannot_be_resumed_is_one_line_and_nothing_has_changed(shell, options, says):
    shell(f"%%train {DATA}\n{LOSS}")
    before, loss = weights(shell), shell["run"].loss
    assert says in shell.refuses(f"%%train {DATA} --resume {options}\n{LOSS}")
    assert same(before, weights(shell))
    assert (shell["run"].loss, shell["run"].epochs, shell["run"].events) == (loss, 1, [])


def test_a_run_is_not_resumed_over_another_model(shell):
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
    assert same(before, weights(shell))
    assert shell["run"].epochs == 2
    shell["other"].state = "paused"
    shell(f"%%train {DATA} --resume\n{LOSS}")


def test_reset_goes_back_to_the_oldest_known_start_whatever_the_runs_name(shell):
    start = weights(shell)
    shell(f"%%train {DATA} --name first\n{LOSS}")
    shell(f"%%train {DATA} --name second\n{LOSS}")
    shell("del first")
    printed = shell(f"%%train {DATA} --name third --reset --opt SGD --η 0\n{LOSS}")
    assert "starts from the weights that `first` started from" in printed
    assert same(start, weights(shell))


def test_from_starts_where_the_named_run_started(shell):
    shell(f"%%train {DATA} --name first\n{LOSS}")
    middle = weights(shell)
    shell(f"%%train {DATA} --name second\n{LOSS}")
    end = weights(shell)
    printed = shell(f"%%train {DATA} --from second --opt SGD --η 0\n{LOSS}")
    assert "starts from the weights that `second` started from" in printed
    assert same(middle, weights(shell))
    assert "name of a run" in shell.refuses(f"%%train {DATA} --from nobody\n{LOSS}")
    assert "one of them" in shell.refuses(f"%%train {DATA} --from second --reset\n{LOSS}")
    shell("W = param(np.ones(4))")
    assert "other parameters" in shell.refuses("%%train x in X --from second\n(W * x).sum()")
    shell("second.rewind(second.steps)")
    assert same(end, weights(shell))


def test_weights_that_were_set_by_hand_are_not_said_to_be_trained(shell):
    shell(f"%%train {DATA} --name sgd --opt SGD\n{LOSS}")
    shell("model[0].W.data[...] = 0.5")
    printed = shell(f"%%train {DATA}\n{LOSS}")
    assert "weights that were changed after `sgd` had trained them" in printed
    assert "goes on from weights trained by `run`, 3 steps" in shell(f"%%train {DATA}\n{LOSS}")
    shell("%train step 2")
    shell("%train rewind 1")
    assert "goes on from weights trained by `run`, 1 step" in shell(f"%%train {DATA}\n{LOSS}")


# -- what the line may name ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "body", "says"),
    [
        (
            "X, Y in batches(X, Y, 32) --epochs 3",
            "logitcrossentropy(model(X), Y)",
            "reads X, and `X, Y` is bound",
        ),
        ("x, y in batches(X, z, 32)", "z = model(x)\nlogitcrossentropy(z, y)", "reads z, and the cell's body binds it"),
        ("x, y in [(a, Y) for a in [x]]", LOSS, "reads x"),
        ("x, y in (lambda: [(X, y)])()", LOSS, "reads y"),
        ("X, y in given()", "logitcrossentropy(model(X), y)", "the data given(): reads X"),
        ("x, y in batches(X, Y, 32) --valid x, Y", LOSS, "--valid x, Y: reads x"),
        (
            "x, y in batches(X, Y, 32) --params m",
            f"m = model\n{LOSS}",
            "reads m, and the cell's body binds",
        ),
        ("x, y in batches(X, Y, 32) --metric a=accuracy(z, y)", f"z = model(x)\n{LOSS}", "which only the cell's body"),
        ("x, y in batches(X, Y, 32) --metric a=f()", f"z = model(x)\n{LOSS}", "write the expression out"),
        ("x, y in batches(X, z, 32)", f"any((z := y) is x for _ in [1])\n{LOSS}", "the cell's body binds it"),
        ("x, y in batches(X, z, 32)", f"def f():\n    global z\n    z = y\n{LOSS}", "the cell's body binds it"),
        ("x, y in batches(X, z, 32)", f"del z\n{LOSS}", "the cell's body binds it"),
        ("X, y in Pairs()", "logitcrossentropy(model(X), y)", "the data Pairs(): reads X"),
        ("X, y in pairs", "logitcrossentropy(model(X), y)", "the data pairs: reads X"),
        ("X, y in pairs.epoch()", "logitcrossentropy(model(X), y)", "the data pairs.epoch(): reads X"),
    ],
)
def test_the_line_does_not_read_what_training_binds(shell, line, body, says):
    shell("z = Y\nx, y, m = X[:1], Y[:1], model\ndef given(): return batches(X, Y, 32)\ndef f(): return z")
    shell(
        "class Pairs:\n    def __iter__(self): yield X, Y\n    def epoch(self): return self._once()\n"
        "    def _once(self): return [(X, Y)]\npairs = Pairs()"
    )
    before = weights(shell)
    assert says in shell.refuses(f"%%train {line}\n{body}")
    assert same(before, weights(shell))
    assert "run" not in shell


def test_a_method_that_the_line_does_not_call_may_read_what_training_binds(shell):
    shell("class Pairs:\n    def epoch(self): return [(X, Y)]\n    def show(self): return x\npairs = Pairs()")
    shell(f"%%train x, y in pairs.epoch()\n{LOSS}")
    assert shell["run"].steps == 1


def test_a_class_in_the_body_binds_what_is_its_own(shell):
    shell(f"%%train x, y in batches(X, Y, 32)\nclass A:\n    X = 1\n{LOSS}")
    assert shell["run"].steps


def test_a_generator_is_refused_before_the_first_of_several_epochs(shell):
    shell("pairs = iter([(X, Y)] * 3)")
    before = weights(shell)
    says = shell.refuses(f"%%train x, y in pairs --epochs 2\n{LOSS}")
    assert "the data pairs: a list_iterator can be gone through once, and there are 2 epochs" in says
    assert same(before, weights(shell))
    assert "run" not in shell
    shell(f"%%train x, y in pairs\n{LOSS}")
    assert shell["run"].steps == 3


def test_the_line_may_use_a_name_of_its_own_and_a_metric_the_batch(shell):
    shell("x = X")
    shell(f"%%train x, y in batches(*[x for x in (X, Y)], size=20) --valid X, Y --metric n=len(x)\n{LOSS}")
    assert shell["run"].last_check["n"] == 60


def test_the_summary_says_that_a_metric_without_validation_data_is_of_one_batch(shell):
    assert "n 20 (of the last batch alone)\n" in shell(f"%%train {DATA} --metric n=len(x)\n{LOSS}")
    told = shell(f"%%train {DATA} --metric n=len(x) --patience 1 --η 9 --epochs 9\n{LOSS}")
    assert "the weights are those of epoch" in told
    assert "n 20 (of the last batch alone)" in told
    assert "alone" not in shell(f"%%train {DATA} --metric n=len(x) --valid X, Y\n{LOSS}")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--metric acc=m(x)", "--metric acc: NameError: name 'm' is not defined"),
        ("--metric acc='high'", "--metric acc: TypeError: "),
        ("--metric acc=x", "--metric acc: TypeError: "),
        ("--until los < 0.1", "--until: NameError: name 'los' is not defined"),
        ("--valid X", "--valid X: 1 for 2 names"),
        ("--valid [X, Y, X]", "--valid"),
        ("--valid [X, Y]", "--valid [X, Y]: a list gives batches, each of these arrays one: leave the brackets away"),
        ("--valid X[:, :2], Y", "--valid: "),
    ],
)
@pytest.mark.parametrize("valid", ["", "--valid X, Y "])
def test_what_options_name_is_tried_before_the_first_step(shell, options, says, valid):
    before = weights(shell)
    valid = "" if "--valid" in options else valid
    error = shell.fails(f"%%train {DATA} {valid}{options}\n{LOSS}")
    assert type(error).__name__ == "UsageError"
    assert says in str(error)
    assert "\n" not in str(error)
    assert same(before, weights(shell))
    assert "run" not in shell


@pytest.mark.parametrize("option", ["--reset", "--from first"])
def test_a_cell_that_is_refused_leaves_the_weights_also_if_it_was_to_start_elsewhere(shell, option):
    shell(f"%%train {DATA} --name first\n{LOSS}")
    shell(f"%%train {DATA} --name second\n{LOSS}")
    shell("model[0].W.data[...] += 1")
    before = weights(shell)
    error = shell.fails(f"%%train {DATA} {option} --metric a='high'\n{LOSS}")
    assert "--metric a: TypeError" in str(error)
    assert same(before, weights(shell))
    shell.fails(f"%%train {DATA} {option}\n1 / 0")
    assert same(before, weights(shell))


def test_until_sees_loss_epoch_and_step(shell):
    told = shell(f"%%train {DATA} --epochs 9 --until loss < 100 and epoch == 2 and step == 6\n{LOSS}")
    assert "stopped in epoch 2 of 9 by until, 6 steps" in told
    assert (shell["run"].state, shell["run"].steps) == ("stopped", 6)


# -- steps ---------------------------------------------------------------------------------------------------


def test_a_loss_without_a_batch_is_computed_so_many_times(shell):
    shell("w = param([3.0, 4.0])")
    printed = shell("%%train --steps 40 --opt SGD\n(w ** 2).sum()")
    run = shell["run"]
    assert (run.steps, run.state) == (40, "done")
    assert run.history["loss"][0] == 25.0
    assert "epoch" not in printed
    shell("%%train --steps 4 --opt SGD\nz = w ** 2\nz.sum()")
    assert shell["run"].steps == 4
    shell("%%train --steps 3 --resume\nz = w ** 2\nz.sum()")
    assert shell["run"].steps == 7
    shell("%%train --steps 400 --patience 3 --opt SGD --η 0\n(w ** 2).sum()")
    assert shell["run"].steps == 4
    shell("%%train --steps 400 --until step == 5 --opt SGD\n(w ** 2).sum()")
    assert shell["run"].steps == 5
    code = shell["run"].as_code()
    compile(code, "script", "exec")
    assert "global" not in code
    assert "steps, " in shell("%train status")


def test_with_data_steps_end_the_run_in_mid_epoch(shell):
    shell(f"%%train {DATA} --steps 7\n{LOSS}")
    assert (shell["run"].steps, shell["run"].state) == (7, "done")
    shell(f"%%train {DATA} --resume --steps 2\n{LOSS}")
    assert shell["run"].steps == 9
    shell(f"%%train {DATA} --resume --epochs 1\n{LOSS}")
    assert shell["run"].steps == 12


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--steps 4 --epochs 2", "--epochs and --steps say when the run ends: give one of them"),
        ("--steps 4 --valid X, Y", "--valid is evaluated after an epoch"),
        ("--steps 4 --metric a=1", "--metric is evaluated after an epoch"),
        ("--steps 0", "1 or more"),
        (f"{DATA} --steps 4 --epochs 2", "--epochs and --steps say when the run ends: give one of them"),
        ("range(100)", "say _ in range(100), or --steps 100"),
        ("batches(X, Y, 32)", "say x, y in batches(X, Y, 32)"),
    ],
)
def test_steps_and_epochs_are_one_or_the_other(shell, line, says):
    shell("w = param([3.0, 4.0])")
    assert says in shell.refuses(f"%%train {line}\n(w ** 2).sum()")
    assert "run" not in shell


# -- the words of other libraries, and lines that go on ------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--lr 0.1", "here it is --η"),
        ("--learning-rate 0.1", "here it is --η"),
        ("--learning_rate 0.1", "here it is --η"),
        ("--momentum 0.9", "here it is --ρ, of Momentum"),
        ("--opt Momentum --momentum 0.9", "here it is --ρ"),
        ("--betas (0.9, 0.99)", "here it is --β1 and --β2"),
        ("--wd 0.1", "here it is --weightdecay"),
        ("--val X, Y", "here it is --valid"),
        ("--optimizer ADAM", "here it is --opt"),
        ("--opt Adam", "did you mean ADAM?"),
        ("--opt AdamW", "did you mean ADAMW?"),
    ],
)
def test_words_of_other_libraries_lead_to_ours(shell, options, says):
    told = shell.refuses(f"%%train {DATA} {options}\n{LOSS}")
    assert says in told
    assert "--clip" not in told.partition(";")[0]


@pytest.mark.parametrize(
    ("last", "says"),
    [("loss.backward()", "end the cell with the loss itself, loss"), ("opt.step()", "%%train updates by itself")],
)
def test_what_ends_a_step_elsewhere_is_no_loss(shell, last, says):
    assert says in shell.refuses(f"%%train {DATA}\nloss = {LOSS}\n{last}")


def test_a_dial_named_like_an_option_is_refused_with_both_meanings(shell):
    class Own(Optimiser):
        """Mine."""

        steps = Hyper(3.0, "how far to look", low=1.0)

        def step(self, δ, s):
            return δ

    try:
        told = shell.refuses(f"%%train {DATA} --opt Own\n{LOSS}")
        assert "how far to look" in told
        assert "end after N steps" in told
    finally:
        del OPTIMISERS["Own"]


def test_a_first_line_that_ends_in_a_backslash_goes_on_in_the_next(shell):
    shell(f"%%train {DATA} \\\n    --epochs 2 \\\n    --opt SGD\nz = model(x)\nlogitcrossentropy(z, y)")
    run = shell["run"]
    assert (run.steps, run.opt_name) == (6, "SGD")
    shown = shell.shows(f"%%train {DATA} \\\n --epochs 2\nz = model(x)\n1 / 0")
    assert re.search(r"-+> *4 1 / 0", shown)


# -- %train finds a run --------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_own_name_and_a_panel_by_its_variable(shell):
    shell(f"%%train {DATA}\n{LOSS}")
    shell("mine = Run(lambda x: (W * x).sum(), [X[0]], SGD([W := param(np.ones(4))]), name='other')")
    shell("p = Panel(Run(lambda x: (W * x).sum(), [X[0]] * 5, SGD([W]), name='shown'))")
    assert "other:" in shell("%train status --name other")
    assert "other:" in shell("%train status --name mine")
    shell("%train step 2 --name p")
    assert shell["p"].run.steps == 2
    assert "--name" in shell.refuses("%train status --name nobody")


def test_an_error_in_the_body_points_at_the_users_line(shell):
    shown = shell.shows(f"%%train {DATA}\n\nz = model(x)\nlogitcrossentropyy(z, y)\n")
    assert "----> 4 logitcrossentropyy(z, y)" in shown
    assert "NameError: name 'logitcrossentropyy' is not defined" in shown
    number = len(shell.ip.history_manager.input_hist_raw) - 1
    assert f"Cell In[{number}], line 4" in shown
    assert "train_step" not in shown


def test_the_line_is_right_below_blank_lines_and_in_functions_of_the_body(shell):
    shown = shell.shows(f"\n\n%%train {DATA}\n\n\ndef f(v):\n    return v.no_such_thing\nf(model(x))")
    assert "----> 7     return v.no_such_thing" in shown
    assert "----> 8 f(model(x))" in shown


def test_an_error_in_the_data_points_at_the_magics_line(shell):
    assert re.search(r"----> 1 %%train x, y in batchess\(X", shell.shows(f"%%train x, y in batchess(X, Y, 2)\n{LOSS}"))


def test_code_of_the_line_has_its_place_in_the_cell_for_the_debugger_and_the_marks_in_tracebacks(shell):
    line = f"%%train {DATA} --seed 1"
    shell(f"{line}\n{LOSS}")
    places = {place for place in shell["run"].data.expr.__code__.co_positions() if place[3]}
    row, _, start, end = max(places, key=lambda place: place[3] - place[2])
    assert (row, line[start:end]) == (1, "batches(X, Y, 20)")


def test_a_batch_that_does_not_fit_the_names_points_at_the_magics_line(shell):
    shown = shell.shows(f"%%train x, y, z in batches(X, Y, 20)\n{LOSS}")
    assert "----> 1 %%train x, y, z in batches(X, Y, 20)" in shown
    assert "not enough values to unpack" in shown


def test_a_syntax_error_points_at_its_line(shell):
    shown = shell.shows(f"%%train {DATA}\nz = model(x)\nz z")
    assert re.search(r"Cell In\[\d+\], line 3\n +z z\n", shown)
    assert "run" not in shell


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("x, y in [(A, B)]", "y has 1 NaN (row 2)"),
        ("x, y in [[A, B]]", "y has 1 NaN (row 2)"),
        ("x in [B]", "x has 1 NaN (row 2)"),
        ("x, in [(B,)]", "x has 1 NaN (row 2)"),
    ],
)
def test_nan_in_a_batch_is_said_by_the_names_of_the_cell(shell, line, where):
    shell("W, y = param(1.0), 0.0; A = np.ones(3); B = np.array([1.0, 1.0, np.nan])")
    assert str(shell.fails(f"%%train {line}\n(W * x + y).sum()")).endswith(f"nothing was updated. {where}")


def test_stop_in_a_cells_body_ends_the_run(shell):
    shell("n = 0")
    shell(f"%%train {DATA} --epochs 5\nn += 1\nif n == 4:\n    fluxmagic.stop()\n{LOSS}")
    assert (shell["run"].state, shell["run"].steps) == ("stopped", 3)


def test_a_run_that_fails_before_its_first_step_leaves_the_one_before(shell):
    shell(f"%%train {DATA}\n{LOSS}")
    run = shell["run"]
    shell.fails(f"%%train {DATA}\nno_such_name")
    assert shell["run"] is run


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_is_raised_and_kept_in_the_history(shell):
    shell("n = 0")
    error = shell.fails(f"%%train {DATA}\nn += 1\n{LOSS} / (n < 3)")
    run = shell["run"]
    assert isinstance(error, NotFinite)
    assert (error.step, run.steps, run.state, run.opt.n) == (3, 3, "failed", 2)
    assert np.isfinite(run.history["loss"]).tolist() == [True, True, False]


def test_a_loss_that_reaches_no_parameter_or_is_no_scalar_is_an_error(shell):
    assert "reaches no parameter" in str(shell.fails(f"%%train {DATA}\n1.0"))
    assert "has to be a scalar" in str(shell.fails(f"%%train {DATA}\nmodel(x)"))


def test_stop_the_loop_by_an_interrupt_keeps_the_run(shell):
    shell("n = 0")
    error = shell.fails(f"%%train {DATA} --epochs 9\nn += 1\nif n == 4: import signal; signal.raise_signal(2)\n{LOSS}")
    assert isinstance(error, KeyboardInterrupt)
    assert (shell["run"].steps, shell["run"].state) == (4, "paused")  # the batch was finished


def test_an_interrupt_puts_the_best_epoch_s_weights_back(shell):
    shell("n = 0")
    code = f"%%train {DATA} --epochs 9 --opt SGD --η 1e-9 --patience 9\nn += 1\n"
    code += f"if n == 8: import signal; signal.raise_signal(2)\nn*1.0 + 0*{LOSS}"
    assert isinstance(shell.fails(code), KeyboardInterrupt)
    run = shell["run"]
    assert (run.steps, run.state, run.best.step, run.record.kept) == (8, "paused", 3, 3)
    run.step()
    assert run.record.kept is None


def test_a_cell_keeps_no_graph_alive(shell):
    shell(f"%%train {DATA}\nz = model(x)\n{LOSS}")
    z = weakref.ref(shell["z"])
    shell("del z")
    assert z() is None


# -- %train --------------------------------------------------------------------------------------------------


def test_status_says_what_the_run_is(shell):
    shell(f"%%train {DATA} --opt SGD --epochs 2\n{LOSS}")
    assert shell("%train") == shell("%train status") == shell("%train status --name run")
    assert "run: SGD (η 0.1)\n2 epochs, 6 steps" in shell("%train status")


def test_dials_are_turned_by_set(shell):
    shell("lr = 0.4")
    shell(f"%%train {DATA} --opt SGD --epochs 2\n{LOSS}")
    shell("%train set η=lr/4, clip=2*lr  # now")
    assert shell["run"].events == [(6, "clip", np.inf, 0.8)]
    shell("%train set eta = 0.5 clip=None")
    assert (shell["run"].values["η"], shell["run"].values["clip"]) == (0.5, np.inf)


def test_optimisers_are_swapped(shell):
    shell(f"%%train {DATA}\n{LOSS}")
    assert "run: Momentum (η 0.01, ρ 0.5)" in shell("%train swap Momentum ρ=0.5")
    assert [tuple(e) for e in shell["run"].events] == [(3, "opt", "ADAM", "Momentum"), (3, "ρ", 0.9, 0.5)]


def test_a_run_is_stepped_paused_resumed_and_stopped(shell):
    shell("run = Run(lambda x, y: logitcrossentropy(model(x), y), batches(X, Y, 20), 'SGD', epochs=4, name='run')")
    assert "epoch 1/4 · step 1/12" in shell("%train step")
    assert "step 3/12" in shell("%train step 1 + 1")
    assert shell("%train pause") == "run is paused\n"
    shell("%train resume")
    assert shell["run"].steps == 12
    assert "has done its 4 epochs" in shell.refuses("%train resume")
    shell("run.epochs = 5")
    shell("%train step")
    assert shell("%train stop") == "run is stopped\n"


def test_a_run_is_rewound_branched_and_compared(shell):
    shell(f"%%train {DATA}\n{LOSS}")
    shell("%train rewind 1")
    assert shell["run"].steps == 1
    assert "other: SGD (η 0.5)" in shell("%train branch other SGD η=0.5 epochs=3")
    assert (shell["other"].epochs, shell["other"].parent) == (3, shell["run"])
    assert "Comparison(run, other)" in shell("%train compare run other")


def test_a_run_goes_into_a_file_and_comes_back(shell, tmp_path, monkeypatch):
    shell(f"%%train {DATA}\n{LOSS}")
    run, trained = shell["run"], weights(shell)
    path = tmp_path / "a run.flux"
    shell(f"%train save {path}")
    shell("loadparams(model, [0 * p.data for p in params(model)])")
    shell(f"%train load '{path}'")
    assert shell["run"] is not run
    assert same(trained, weights(shell))
    assert np.array_equal(shell["run"].history["loss"], run.history["loss"])
    monkeypatch.chdir(tmp_path)
    assert "model(x)" in shell("%train code")


def test_a_run_comes_back_with_the_schedules_of_the_one_that_is_there(shell, tmp_path):
    shell(f"%%train {DATA} --η 'lambda n: 0.1 / (1 + n)'\n{LOSS}".replace("'", ""))
    shell(f"%train save {tmp_path / 'a'}")
    before = shell["run"].events
    shell(f"%train load {tmp_path / 'a'}")
    shell["run"].replay()
    assert shell["run"].events == before
    shell(f"%%train {DATA}\n{LOSS}")
    assert 'Run.load(…, schedules={"η": …})' in shell.refuses(f"%train load {tmp_path / 'a'}")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("statuss", r"there is no such command \(did you mean status\?\); there are status, stop"),
        ("stop now", "%train stop takes nothing more, and was given now"),
        ("set", "%train set needs more: %train set dial=value"),
        ("set η", "dial=value, as in"),
        ("set η=-1", "η=-1: η = -1 is out of range: 0 ≤ η"),
        ("set η=lr", "η=lr: NameError"),
        ("set η=", "η=: SyntaxError"),
        ("set η=1 eta=2", "given twice"),
        ("set κ=1", "ADAM has no κ; it has η, β1"),
        ("swap SGDD", r"did you mean SGD\?"),
        ("swap SGD ρ=1", "SGD has no ρ"),
        ("step 0", "%train step 0: give a whole number"),
        ("rewind 4", r"rewind\(4\): the run has steps 0 … 3"),
        ("rewind", "needs more: %train rewind N"),
        ("branch 2x", "a name for the new run comes first"),
        ("load no/such/file", "No such file"),
        ("save .", "is a folder"),
        ("compare run nobody", "there is no run called nobody: say which one, --name run"),
        ("status --name nobody", "there is no run called nobody"),
        ("status --opt SGD", "%train has no --opt; it has --name"),
    ],
)
def test_a_wrong_command_is_one_line_and_nothing_has_changed(shell, line, says):
    shell(f"%%train {DATA}\n{LOSS}")
    run, before = shell["run"], weights(shell)
    assert re.search(says, shell.refuses(f"%train {line}"))
    assert shell["run"] is run
    assert (run.steps, run.events, run.opt_name) == (3, [], "ADAM")
    assert same(before, weights(shell))


def test_without_a_run_every_command_says_how_to_make_one(shell):
    assert "there is no run called run: %%train makes one" in shell.refuses("%train status")


def test_an_error_in_the_users_loss_keeps_its_traceback_in_commands_too(shell):
    shell("n = 0")
    shell(f"%%train {DATA} --epochs 2 \nn += 1\n{LOSS}")
    shell("run.epochs = 9; model = None")
    assert "TypeError: 'NoneType' object is not callable" in shell.shows("%train step")


# -- the table, help, completion, configuration ----------------------------------------------------------------


@pytest.fixture
def sign_of_ones_own():
    class Eigen(Optimiser):
        """Made up."""

        κ = Hyper(0.25, "how <far>", low=0.0, high=2.0, scale="log")

        def step(self, δ, s):
            return self.κ * δ

    yield Eigen
    del OPTIMISERS["Eigen"]


def test_the_table_lists_names_dials_defaults_and_ranges_of_all_that_is_registered(shell, sign_of_ones_own):
    printed = shell("%optimisers")
    for name in OPTIMISERS:
        assert re.search(rf"^{name} ", printed, re.M)
    assert re.search(r"^Eigen +κ +kappa +0\.25 +0 ≤ κ ≤ 2 +how <far>$", printed, re.M)
    assert re.search(r"^ADAM +η +eta +0\.001 +0 ≤ η +learning rate$", printed, re.M)
    assert re.search(r"^all +decay", printed, re.M)


def test_the_table_is_html_too(shell, sign_of_ones_own):
    shell("table = %optimisers Eigen")
    html = shell["table"]._repr_html_()
    assert "<th" in html
    assert "how &lt;far&gt;" in html
    assert "SGD" not in html


def test_help_is_made_from_what_is_registered_at_that_moment(shell, sign_of_ones_own):
    printed = shell("%%train?")
    assert "NAMES in EXPR" in printed
    assert re.search(r"Eigen +κ 0\.25", printed)
    for option in ("--opt", "--epochs", "--valid", "--metric", "--until", "--patience", "--params", "--seed"):
        assert option in printed
    assert "--name" in printed
    assert "--resume" in printed
    del OPTIMISERS["Eigen"]
    assert "Eigen" not in shell("%%train?")
    OPTIMISERS["Eigen"] = sign_of_ones_own
    assert "rewind N" in shell("%train?")


def complete(shell, line):
    with provisionalcompleter():
        found = list(shell.ip.Completer.completions(line, len(line)))
    return [re.split("[ =]", line[: c.start])[-1] + c.text for c in found]


@pytest.mark.parametrize(
    ("line", "offers", "not_offered"),
    [
        ("%%train x in d --", ["--opt", "--epochs", "--η", "--eta", "--β1", "--no-panel"], ["--ρ"]),
        ("%%train x in d --ep", ["--epochs", "--epsilon"], ["--opt"]),
        ("%%train x in d --opt SGD --", ["--η", "--valid"], ["--β1", "--opt"]),
        ("%%train x in d --opt Momentum --r", ["--rho", "--resume", "--reset"], ["--β1"]),
        ("%%train x in d --eta 1 --e", ["--epochs"], ["--eta"]),
        ("%%train x in d --eta 1 --", ["--epochs"], ["--eta", "--η"]),
        ("%%train x in d --metric a=1 --m", ["--metric"], []),
        ("%%train x in d --opt AD", ["ADAM", "ADAGrad"], ["SGD"]),
        ("%%train x in d --opt=AD", ["ADAM"], ["SGD"]),
        ("%train ", ["status", "set", "swap", "rewind"], []),
        ("%train s", ["status", "stop", "step", "set", "swap", "save"], ["rewind"]),
        ("%train swap M", ["Momentum"], ["SGD"]),
        ("%train set b", ["beta1=", "beta2="], ["ρ="]),
        ("%train swap Momentum r", ["rho="], ["β1="]),
        ("%train status --name r", ["run"], []),
        ("%train compare r", ["run"], []),
    ],
)
def test_tab_offers_what_can_stand_there(shell, line, offers, not_offered):
    shell(f"%%train {DATA}\n{LOSS}")
    found = complete(shell, line)
    assert set(offers) <= set(found)
    assert not set(not_offered) & set(found)


def test_values_are_completed_by_python_as_ever(shell):
    shell("validation = np.zeros(3)")
    assert "validation" in complete(shell, "%%train x in d --valid valid")
    assert "validation" in complete(shell, "%%train x in valid")
    assert any("nbytes" in c for c in complete(shell, "%%train x in d --epochs validation.nby"))


def test_config_sets_the_defaults(shell):
    assert "FluxMagics.opt=<Unicode>" in shell("%config FluxMagics")
    shell("%config FluxMagics.opt = 'SGD'")
    shell("%config FluxMagics.epochs = 2")
    shell(f"%%train {DATA} --η 0.2\n{LOSS}")
    assert (shell["run"].opt_name, shell["run"].epochs) == ("SGD", 2)
    shell("%config FluxMagics.opt = 'SDG'")
    assert "FluxMagics.opt SDG: there is no such optimiser (did you mean SGD?)" in shell.refuses(
        f"%%train {DATA}\n{LOSS}"
    )


# -- loading and unloading -------------------------------------------------------------------------------------


def state(ip):
    manager = ip.magics_manager
    hooks = ip.strdispatchers["complete_command"].strs
    return (
        {kind: set(table) for kind, table in manager.magics.items()},
        set(manager.registry),
        [type(c).__name__ for c in ip.configurables],
        {key: len(list(chain)) for key, chain in hooks.items()},
        {k for k in ip.user_ns if not k.startswith("_")},
        {event: list(callbacks) for event, callbacks in ip.events.callbacks.items()},
        list(ip.ast_transformers),
        list(ip.input_transformers_post),
    )


def test_unloading_removes_all_that_loading_added(bare):
    bare("pass")
    before = state(bare.ip)
    bare("%load_ext fluxmagic")
    assert {"train", "optimisers"} <= set(bare.ip.magics_manager.magics["line"])
    assert "train" in bare.ip.magics_manager.magics["cell"]
    bare("%unload_ext fluxmagic")
    assert state(bare.ip) == before
    assert "not found" in str(bare.fails("%train status"))


def test_reloading_works_and_adds_nothing_twice(shell):
    before = state(shell.ip)
    shell("%reload_ext fluxmagic")
    assert state(shell.ip) == before
    shell(f"%%train {DATA}\n{LOSS}")
    shell("%reload_ext fluxmagic")
    assert "3 steps" in shell("%train")


def test_a_magic_of_the_same_name_comes_back_after_unloading(bare):
    bare.ip.register_magic_function(lambda line: print("mine"), "line", "train")
    bare("%load_ext fluxmagic")
    bare.refuses("%train status")
    bare("%unload_ext fluxmagic")
    assert bare("%train status") == "mine\n"
    del bare.ip.magics_manager.magics["line"]["train"]
