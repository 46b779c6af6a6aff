"""A `%%train` cell: batches, the values of options, what is trained and kept."""

from __future__ import annotations

import os
import re
import weakref

import numpy as np
import pytest

from fluxmagic import Run
from tests.jupyter.cells import DATA, LOSS, same_arrays, weights


def test_a_cell_trains_what_its_loss_depends_on(shell):
    before = weights(shell)
    shell(f"%%train {DATA} --epochs 30 --η 0.01\n{LOSS}")
    run = shell["run"]
    assert isinstance(run, Run)
    assert (run.opt_name, run.state, run.steps, run.epochs) == ("ADAM", "done", 90, 30)
    assert not any(np.array_equal(a, b) for a, b in zip(before, weights(shell)))
    assert run.history["loss"][-3:].mean() < run.history["loss"][:3].mean() / 2
    assert {id(p) for p in run.params} == {id(p) for layer in shell["model"] for p in (layer.W, layer.b)}


def test_a_cell_and_the_run_that_it_makes_give_the_same_bits(shell):
    shell("start = [p.data.copy() for p in params(model)]")
    shell(f"%%train {DATA} --opt Momentum --η 0.05 --ρ 0.5 --epochs 3 --seed 7\n{LOSS}")
    trained = weights(shell)
    shell("loadparams(model, start)")
    shell(
        "Run(lambda x, y: logitcrossentropy(model(x), y), lambda: batches(X, Y, 20), Momentum, seed=7, epochs=3,"
        " hypers={'η': 0.05, 'ρ': 0.5}).train()"
    )
    assert same_arrays(trained, weights(shell))


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
    assert shell["run"].last_evaluation["n"] == 60


def test_validation_binds_no_names(shell):
    shell("%%train x, y in [(X[:3], Y[:3])] --valid X, Y\nif len(x) > 3: big = 1\n" + LOSS)
    assert "big" not in shell
    assert len(shell["x"]) == 3


def test_a_batch_is_bound_as_in_a_for_loop(shell):
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


def test_a_single_name_with_a_comma_takes_arrays_as_batches(shell):
    shell("W = param(np.ones(4))")
    for body in ("(W * x).sum()", "z = W * x\nz.sum()"):
        shell(f"%%train x, in batches(X, size=20) --valid X,\n{body}")
        assert shell["x"].shape == (20, 4)


@pytest.mark.parametrize("body", ["(W * locals()['x']).sum()", "(W * vars()['x']).sum()", "(W * eval('x')).sum()"])
def test_a_loss_may_read_the_namespace_by_locals_vars_and_eval(shell, body):
    shell("W = param(np.ones(4))")
    shell(f"%%train x in X\n{body}")
    assert shell["run"].steps == len(shell["X"])


@pytest.mark.parametrize("body", ["((W - x) ** 2).sum()", "δ = W - x\n(δ**2).sum()"])
def test_rewind_leaves_objects_that_the_loss_does_not_name(shell, body):
    shell("W = param(np.ones(4))\nother, norm = np.random.default_rng(7), BatchNorm(4)")
    shell(f"%%train x in list(X) --valid X --opt SGD\n{body}")
    before = shell["other"].random()
    shell["run"].rewind(3)
    assert shell["run"].training.buffers == []
    assert shell["other"].random() != before


def test_data_is_evaluated_at_the_start_of_every_epoch(shell):
    shell("made = []\ndef data():\n    made.append(run.epoch)\n    yield X[:5], Y[:5]")
    shell(f"%%train x, y in data() --epochs 3\n{LOSS}")
    assert shell["made"] == [1, 2, 3]


def test_values_are_expressions_and_ipython_expands_no_braces_or_dollars(shell):
    shell("lr, n = 0.4, 1; d = {'{lr}': X, '$n': Y}")
    shell("%%train x, y in batches(d['{lr}'], d['$n'], 20) --opt SGD --η lr/4 --epochs n+1 # --epochs 5\n" + LOSS)
    run = shell["run"]
    assert (run.values["η"], run.epochs) == (0.1, 2)


def test_greek_and_ascii_names_are_the_same_hyper_parameters(shell):
    shell(f"%%train {DATA} --beta1 0.5 --ϵ 1e-6\n{LOSS}")
    assert (shell["run"].values["β1"], shell["run"].values["ε"]) == (0.5, 1e-6)


def test_a_function_is_a_schedule(shell):
    shell(f"%%train {DATA} --opt SGD --η lambda n: 0.1 / (n + 1)\n{LOSS}")
    assert shell["run"].history["η"].tolist() == [0.1, 0.05, 0.1 / 3]


def test_a_user_s_optimiser_has_options(shell):
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


def test_params_names_what_is_trained(shell):
    before = weights(shell)
    shell(f"%%train {DATA} --params model[1]\n{LOSS}")
    moved = [not np.array_equal(a, b) for a, b in zip(before, weights(shell))]
    assert moved == [False, False, True, True]


def test_a_parameter_after_the_first_batch_is_an_error_that_names_params(shell):
    shell("V = param(1.0); n = 0")
    error = shell.fails(f"%%train {DATA}\nn += 1\nl = {LOSS}\nl if n < 2 else l * V")
    assert "--params" in str(error)


def test_validation_and_metrics_are_in_the_history(shell):
    shell(f"%%train {DATA} --epochs 2 --valid X, Y --metric acc=accuracy(model(x), y) --metric half=0.5\n{LOSS}")
    history = shell["run"].history
    assert np.isfinite(history["valid"]).tolist() == [False, False, True] * 2
    assert history["half"][-1] == 0.5
    assert history["acc"][-1] == shell["accuracy"](shell["model"](shell["X"]).data, shell["Y"])


def test_name_is_the_variable_and_the_name_of_the_run(shell):
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


def test_the_script_of_a_run_has_the_cell_s_body(shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shell(f"%%train {DATA} --name fit\nz = model(x)\n%time logitcrossentropy(z, y)")
    code = shell("%train code --name fit")
    assert "    z = model(x)\n    return logitcrossentropy(z, y)" in code
    assert "return zip(batches(X, Y, 20))" in code
    compile(code, "script", "exec")
    assert code.startswith("# The run is saved in fit.npz\n")
    assert os.listdir() == ["fit.npz"]


def test_a_script_never_overwrites_the_file_of_another_run(shell, tmp_path, monkeypatch):
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


def test_the_summary_says_that_a_metric_without_validation_data_is_of_one_batch(shell):
    assert "n 20 (of the last batch alone)\n" in shell(f"%%train {DATA} --metric n=len(x)\n{LOSS}")
    told = shell(f"%%train {DATA} --metric n=len(x) --patience 1 --η 9 --epochs 9\n{LOSS}")
    assert "the weights are those of epoch" in told
    assert "n 20 (of the last batch alone)" in told
    assert "alone" not in shell(f"%%train {DATA} --metric n=len(x) --valid X, Y\n{LOSS}")


def test_a_backslash_continues_the_first_line(shell):
    shell(f"%%train {DATA} \\\n    --epochs 2 \\\n    --opt SGD\nz = model(x)\nlogitcrossentropy(z, y)")
    run = shell["run"]
    assert (run.steps, run.opt_name) == (6, "SGD")
    shown = shell.shows(f"%%train {DATA} \\\n --epochs 2\nz = model(x)\n1 / 0")
    assert re.search(r"-+> *4 1 / 0", shown)


def test_a_cell_keeps_no_graph_alive(shell):
    shell(f"%%train {DATA}\nz = model(x)\n{LOSS}")
    z = weakref.ref(shell["z"])
    shell("del z")
    assert z() is None
