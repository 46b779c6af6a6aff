"""Errors and interrupts of a cell: tracebacks, losses that are not finite, Ctrl-C."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fluxmagic.optimise import NotFinite
from tests.jupyter.cells import DATA, LOSS


def test_an_error_in_the_body_points_at_the_users_line(shell):
    shown = shell.shows(f"%%train {DATA}\n\nz = model(x)\nlogitcrossentropyy(z, y)\n")
    assert "----> 4 logitcrossentropyy(z, y)" in shown
    assert "NameError: name 'logitcrossentropyy' is not defined" in shown
    number = len(shell.ip.history_manager.input_hist_raw) - 1
    assert f"Cell In[{number}], line 4" in shown
    assert "train_step" not in shown


def test_tracebacks_have_the_line_below_blank_lines_and_in_functions_of_the_body(shell):
    shown = shell.shows(f"\n\n%%train {DATA}\n\n\ndef f(v):\n    return v.no_such_thing\nf(model(x))")
    assert "----> 7     return v.no_such_thing" in shown
    assert "----> 8 f(model(x))" in shown


def test_an_error_in_the_data_points_at_the_magics_line(shell):
    assert re.search(r"----> 1 %%train x, y in batchess\(X", shell.shows(f"%%train x, y in batchess(X, Y, 2)\n{LOSS}"))


def test_code_of_the_line_has_its_position_in_the_cell(shell):
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
def test_an_error_names_the_part_of_the_batch_with_nan(shell, line, where):
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


def test_an_interrupt_finishes_the_batch_and_keeps_the_run(shell):
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
