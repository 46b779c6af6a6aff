"""Errors and interrupts of a cell: tracebacks, losses that are not finite, Ctrl-C."""

from __future__ import annotations

import re
import sys
import traceback

import numpy as np
import pytest
from IPython.core.ultratb import FormattedTB

from fluxmagic.jupyter.magics.tracebacks import error_with_place
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


WRONG_WIDTH = f"%%train {DATA}\nz = model(x[:, :2])\nlogitcrossentropy(z, y)"
MODES = FormattedTB().valid_modes


@pytest.fixture
def xmode(shell):
    def use(mode):
        shell(f"%xmode {mode}")

    yield use
    shell("%xmode Context")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (WRONG_WIDTH, "takes input of width 4"),  # raised by the package itself
        (f"%%train {DATA}\nz = model(x)\nlogitcrossentropyy(z, y)", "name 'logitcrossentropyy' is not defined"),
        (f"%%train {DATA}\n{LOSS} + np.linalg.inv(np.zeros((2, 2)))[0, 0]", "Singular matrix"),
        (f"%%train {DATA}\n{LOSS} / 0", "step 1: the loss is"),
        (f"%%train x, y in given()\n{LOSS}", "name 'given' is not defined"),
        ("%train step 3", "'NoneType' object is not callable"),
        ("Panel(run).wait()", "'NoneType' object is not callable"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_traceback_has_no_frame_of_the_package_in_any_mode(shell, xmode, mode, cell, says):
    if not cell.startswith("%%"):
        shell(f"%%train {DATA} --epochs 2\n{LOSS}")
        shell("run.epochs = 9; model = None")
    xmode(mode)
    shown = shell.shows(cell)
    assert says in shown
    assert not re.search(r"fluxmagic/|fluxmagic\\|interactiveshell|run_cell_magic|train_step|contextlib", shown)


def test_the_package_s_own_frame_at_the_end_is_cut_and_the_user_s_line_is_the_last(shell):
    shown = shell.shows(WRONG_WIDTH)
    assert "----> 2 z = model(x[:, :2])" in shown
    assert shown.count("Cell In[") == 1
    frames = [frame.lineno for frame in traceback.extract_tb(sys.last_value.__traceback__)]
    assert frames == [2]  # the traceback itself, for %debug and %tb
    assert "takes input of width 4" in shell("%tb")


def test_the_user_s_functions_between_frames_of_the_package_are_shown(shell):
    shell("def half(z):\n    return half_of(z)\nmodel = Chain(Dense(4, 2), half)")
    shown = shell.shows(f"%%train {DATA}\n{LOSS}")
    assert "return half_of(z)" in shown
    assert f"----> 2 {LOSS}" in shown
    assert "chain.py" not in shown


def test_what_a_library_raises_for_the_user_s_own_call_is_shown(shell):
    assert "linalg" in shell.shows(f"%%train {DATA}\n{LOSS} + np.linalg.inv(np.zeros((2, 2)))[0, 0]")


def test_the_errors_that_an_error_follows_from_are_cut_too(shell):
    shell(
        "def f(x):\n    try:\n        return model(x[:, :2])\n"
        "    except ValueError as e:\n        raise KeyError(1) from e"
    )
    shown = shell.shows(f"%%train {DATA}\nlogitcrossentropy(f(x), y)")
    assert "direct cause" in shown
    assert "return model(x[:, :2])" in shown
    assert "dense.py" not in shown


def test_the_errors_in_a_group_are_cut_too(shell):
    shell(
        "def f(x):\n    try:\n        return model(x[:, :2])\n"
        "    except ValueError as e:\n        raise ExceptionGroup('both', [e, KeyError('k')])"
    )
    group = shell.fails(f"%%train {DATA}\nlogitcrossentropy(f(x), y)")
    traces = [traceback.extract_tb(e.__traceback__) for e in (group, *group.exceptions)]
    assert [[frame.lineno for frame in frames][-2:] for frames in traces] == [[2, 5], [3], []]
    assert not any("fluxmagic" in frame.filename for frames in traces for frame in frames)


def test_a_command_s_traceback_begins_at_the_command(shell):
    shell(f"%%train {DATA} --epochs 2\n{LOSS}")
    shell("run.epochs = 9; model = None")
    shown = shell.shows("n = 1\n%train step 3")
    assert re.search(r"----> 2 get_ipython\(\).run_line_magic\('train', 'step 3'\)", shown)
    assert f"----> 2 {LOSS}" in shown


def test_full_tracebacks_shows_all_frames(shell):
    shell("%config FluxMagics.full_tracebacks = True")
    shown = shell.shows(WRONG_WIDTH)
    for name in ("run_cell_magic", "magics.py", "chain.py", "as_layer_input"):
        assert name in shown


def test_a_script_s_traceback_is_not_touched(shell):
    shown = shell.shows("train(lambda x: model(x[:, :2]).sum(), [(X,)], ADAM(params(model)))")
    assert "as_layer_input" in shown
    assert "train.py" in shown


def test_an_error_in_one_line_has_the_place_in_the_user_s_code(shell):
    shell(f"%%train {DATA} --epochs 2\n{LOSS}")
    number = len(shell.ip.history_manager.input_hist_raw) - 1
    shell("run.epochs = 9; model = None")
    with pytest.raises(TypeError) as caught:
        shell["run"].step()
    said = error_with_place(caught.value, shell.ip)
    assert said == f"TypeError: 'NoneType' object is not callable (Cell In[{number}], line 2)"
    assert error_with_place(KeyError("x"), shell.ip) == "KeyError: 'x'"
    assert error_with_place(KeyboardInterrupt(), None) == "KeyboardInterrupt"


def test_a_batch_that_does_not_fit_the_names_points_at_the_magics_line(shell):
    shown = shell.shows(f"%%train x, y, z in [(X, Y)]\n{LOSS}")
    assert "----> 1 %%train x, y, z in [(X, Y)]" in shown
    assert "not enough values to unpack" in shown


def test_one_name_for_a_batch_of_several_parts_is_explained_where_the_loss_fails(shell):
    says = "Each batch has 2 parts, and x is bound to all of them: x, y in batches(X, Y, 20) gives each a name."
    shown = shell.shows("%%train x in batches(X, Y, 20)\nlogitcrossentropy(model(x), Y[:20])")
    assert "----> 2 logitcrossentropy(model(x), Y[:20])" in shown
    assert shown.count(says) == 1
    assert shell.shows("%%race x in batches(X, Y, 20) --opt SGD --opt ADAM\nmodel(x).sum()").count(says) == 1
    shell("n = 0")
    later = shell.shows("%%train x in batches(X, Y, 20)\nn += 1\nlogitcrossentropy(model(x[0]), x[1 + n // 2])")
    assert "tuple index out of range" in later
    assert says not in later


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
