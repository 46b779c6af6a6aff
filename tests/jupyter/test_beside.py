"""What is shown beside the curve: `--show EXPR`, evaluated aside from training."""

from __future__ import annotations

import gc
from weakref import ref

import numpy as np
import pytest

from fluxmagic import SGD, Run, param
from fluxmagic.jupyter.pictures.beside import ShownExpression, evaluate_beside, show_beside, shown_beside
from tests.jupyter.cells import DATA, LOSS, same_arrays, weights


def values(shell, name="run"):
    return [evaluate_beside(shell[name], f) for f in shown_beside(shell[name])]


def test_expressions_of_the_line_are_shown_beside_the_run(shell):
    shell(f"%%train {DATA} --show model[0].W.data.copy() --show 1 + 1\n{LOSS}")
    shown, two = values(shell)
    assert np.array_equal(shown, shell["model"][0].W.data)
    assert two == 2
    shell(f"%%train {DATA}\n{LOSS}")
    assert values(shell) == []


def test_names_are_bound_to_the_validation_data_or_to_the_first_batch_and_restored(shell):
    shell(f"%%train {DATA} --valid X[:7], Y[:7] --show len(x), len(y)\n{LOSS}")
    assert (values(shell), len(shell["x"])) == ([(7, 7)], 20)
    shell(f"%%train {DATA} --seed 1 --show x.copy()\nassert len(x) == 20\n{LOSS}")
    (first,) = values(shell)
    assert np.array_equal(first, values(shell)[0])
    shell("run.rewind(0)")
    shell("%train step")
    assert np.array_equal(first, shell["x"])
    shell("w = param([3.0, 4.0])")
    shell("%%train --steps 3 --name other --show (z := w.data.copy())\n(w ** 2).sum()")
    assert np.array_equal(values(shell, "other")[0], shell["w"].data)


def test_training_is_the_same_with_it_as_without(shell):
    losses = []
    for show in ("", "--show model(x).data.sum() + rng.normal()"):
        shell("fluxmagic.seed(1)\nmodel = Chain(Dense(4, 8, relu), Dropout(0.5), BatchNorm(8), Dense(8, 2))")
        shell(f"%%train {DATA} --seed 1 --epochs 2 {show}\n{LOSS}")
        values(shell)
        shell("run.epochs = 3\nrun.train()")
        losses.append(shell["run"].history["loss"])
    assert len(losses[0]) == 9
    assert np.array_equal(*losses)


def test_it_is_evaluated_in_test_mode_without_prints(shell, capsys):
    shell("drop = Dropout(0.5)")
    shell(f"%%train {DATA} --show print('shown') or drop(np.ones(50)).sum()\n{LOSS}")
    capsys.readouterr()
    assert values(shell) == [50.0]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--show pict", "--show pict: NameError: name 'pict' is not defined"),
        ("--show 1 +", "--show 1 +: invalid syntax"),
        ("--show z", "--show z: reads z, which only the cell's body binds"),
        ("--show", "--show needs a value: --show EXPR"),
        ("--show 1 --show 1/0", "--show 1/0: ZeroDivisionError"),
    ],
)
def test_it_is_tried_before_the_first_step(shell, options, says):
    before = weights(shell)
    assert says in shell.refuses(f"%%train {DATA} {options}\nz = model(x)\nlogitcrossentropy(z, y)")
    assert same_arrays(before, weights(shell))
    assert "run" not in shell
    assert "x" not in shell


def test_a_run_that_goes_on_shows_the_same_or_what_it_is_told_now(shell):
    shell(f"%%train {DATA} --show 1\n{LOSS}")
    shell(f"%%train {DATA} --resume\n{LOSS}")
    assert values(shell) == [1]
    shell(f"%%train {DATA} --resume --show 2\n{LOSS}")
    assert values(shell) == [2]
    shell("%train branch other")
    assert values(shell, "other") == [2]


def test_show_takes_functions():
    W = param(1.0)
    run = Run(lambda x: W * x, [1.0], SGD([W]))
    show_beside(run, lambda: 3)
    assert [f() for f in shown_beside(run)] == [3]
    with pytest.raises(TypeError, match="a function without arguments, or a list of them, not a int"):
        show_beside(run, [lambda: 3, 4])
    assert len(shown_beside(run)) == 1


def test_a_run_is_not_held_by_what_is_shown():
    W = param(1.0)
    run = Run(lambda x: W * x, [1.0], SGD([W]))
    show_beside(run, ShownExpression("x", lambda x: x, reads_batch=True, run=ref(run)))
    there = ref(run)
    del run
    gc.collect()
    assert there() is None
