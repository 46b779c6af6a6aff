"""The commands of `%train`."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fluxmagic.jupyter.magics import commands
from tests.jupyter.cells import DATA, LOSS, same_arrays, weights


def test_a_run_is_found_by_its_own_name_and_a_panel_by_its_variable(shell):
    shell(f"%%train {DATA}\n{LOSS}")
    shell("mine = Run(lambda x: (W * x).sum(), [X[0]], SGD([W := param(np.ones(4))]), name='other')")
    shell("p = Panel(Run(lambda x: (W * x).sum(), [X[0]] * 5, SGD([W]), name='shown'))")
    assert "other:" in shell("%train status --name other")
    assert "other:" in shell("%train status --name mine")
    shell("%train step 2 --name p")
    assert shell["p"].run.steps == 2
    assert "there are run, mine, p" in shell.refuses("%train status --name third")


def test_status_says_what_the_run_is(shell):
    shell(f"%%train {DATA} --opt SGD --epochs 2\n{LOSS}")
    assert shell("%train") == shell("%train status") == shell("%train status --name run")
    assert "run: SGD (η 0.1)\n2 epochs, 6 steps" in shell("%train status")


def test_a_run_at_the_end_of_a_cell_is_its_repr_in_a_terminal(shell):
    shell(f"%%train {DATA} --opt SGD\n{LOSS}")
    assert "Run('run', SGD, done, epoch 1/1, 3 steps)\n" in shell("run")


def test_set_changes_hyper_parameters(shell):
    shell("lr = 0.4")
    shell(f"%%train {DATA} --opt SGD --epochs 2\n{LOSS}")
    shell("%train set η=lr/4, clip=2*lr  # now")
    assert shell["run"].events == [(6, "clip", np.inf, 0.8)]
    shell("%train set eta = 0.5 clip=None")
    assert (shell["run"].values["η"], shell["run"].values["clip"]) == (0.5, np.inf)


def test_swap_changes_the_optimiser(shell):
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
    assert "Comparison(run: ADAM, other: ADAM → SGD, turned)" in shell("%train compare run other")


def test_runs_are_compared_on_a_logarithmic_axis(shell, monkeypatch):
    shell(f"%%train {DATA}\n{LOSS}")
    shown = []
    monkeypatch.setattr(commands, "display", shown.append)
    shell("%train compare run run")
    shell("%train compare run run --log")
    assert [c.figure.axes[0].get_yscale() for c in shown] == ["linear", "log"]


def test_a_long_list_of_runs_is_cut(shell):
    shell(f"%%train {DATA}\n{LOSS}")
    shell("for i in range(20): globals()[f'r{i}'] = run")
    told = shell.refuses("%train status --name third")
    assert told == "no run is called third; there are run, r0, r1, r2, r3, r4, r5, r6 and 13 more"


def test_a_name_that_several_runs_have_is_refused(shell):
    shell("runs = [Run(lambda x: (W * x).sum(), [1.0], SGD([W := param(1.0)]), name='same') for _ in range(2)]")
    shell("a, b = runs")
    assert "2 runs are called same" in shell.refuses("%train status --name same")


def test_a_saved_run_is_loaded_with_its_weights_and_history(shell, tmp_path, monkeypatch):
    shell(f"%%train {DATA}\n{LOSS}")
    run, trained = shell["run"], weights(shell)
    path = tmp_path / "a run.flux"
    shell(f"%train save {path}")
    shell("loadparams(model, [0 * p.data for p in params(model)])")
    shell(f"%train load '{path}'")
    assert shell["run"] is not run
    assert same_arrays(trained, weights(shell))
    assert np.array_equal(shell["run"].history["loss"], run.history["loss"])
    monkeypatch.chdir(tmp_path)
    assert "model(x)" in shell("%train code")


def test_load_takes_the_schedules_of_the_run_of_that_name(shell, tmp_path):
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
        ("statuss", r"unknown command \(did you mean status\?\); there are status, stop"),
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
        ("compare run other", "no run is called other; there are run"),
        ("status --name other", "no run is called other"),
        ("status --opt SGD", "%train status has no --opt; it has --name"),
        ("compare run --log 3", "--log takes no value, and was given 3"),
        ("compare run --size 3", "%train compare has no --size; it has --log, --name"),
        ("status --name", "--name needs a value"),
        ("resume", "run has done its 1 epoch: %%train --resume adds some"),
        ("status --name run --name run", "--name is given twice"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line_and_nothing_changes(shell, line, says):
    shell(f"%%train {DATA}\n{LOSS}")
    run, before = shell["run"], weights(shell)
    assert re.search(says, shell.refuses(f"%train {line}"))
    assert shell["run"] is run
    assert (run.steps, run.events, run.opt_name) == (3, [], "ADAM")
    assert same_arrays(before, weights(shell))


def test_a_command_without_a_run_says_how_to_make_one(shell):
    assert "no run is called run: %%train makes one" in shell.refuses("%train status")


def test_an_error_in_the_loss_keeps_its_traceback_in_a_command(shell):
    shell("n = 0")
    shell(f"%%train {DATA} --epochs 2 \nn += 1\n{LOSS}")
    shell("run.epochs = 9; model = None")
    assert "TypeError: 'NoneType' object is not callable" in shell.shows("%train step")
