"""Options of `%%train` that are refused, and the names that a line may read."""

from __future__ import annotations

import re

import pytest

from fluxmagic.optimise import Hyper, Optimiser
from tests.jupyter.cells import DATA, LOSS, same_arrays, weights


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "x, y in batches(frame, 32)",
            "x, y in batches of one array, whose rows would be bound: give one for each name",
        ),
        ("x, y in batches(frame, 2)", "batches of one array"),  # two rows were bound, one to each name
        ("x, y in batches(X, Y, Y, 32)", "x, y in batches of 3 arrays: give one for each name, batches(X, Y, 32)"),
        ("x, y in (X, Y)", "[(X, Y)] is one batch, batches(X, Y, 32) several"),
        ("x, y in (X[:2], X[:2])", "[(X, Y)] is one batch"),
        ("x, y in frame", "a DataFrame, which gives the names of its columns: name its columns, batches(df['a'], df["),
        ("x in frame", "a DataFrame"),
    ],
)
def test_data_that_would_bind_rows_or_columns_is_refused(shell, line, says):
    shell("import pandas as pd\nframe = pd.DataFrame({'ab': [1.0, 2.0, 3.0], 'cd': [1.0, 2.0, 3.0]})\nx = y = 'mine'")
    before = weights(shell)
    error = shell.fails(f"%%train {line}\nlogitcrossentropy(model(X), Y)")
    assert type(error).__name__ == "UsageError"
    assert says in str(error)
    assert same_arrays(before, weights(shell))
    assert (shell["x"], shell["y"]) == ("mine", "mine")
    assert "run" not in shell


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--opt adam", r"--opt adam: unknown optimiser \(did you mean ADAM\?\); there are .*SGD, .*ADAM"),
        (
            "--opt SGD, ADAM",
            r"give one optimiser\.  Each contestant of %%race has an --opt of its own, --opt SGD --opt A",
        ),
        ("--opt [SGD, ADAM]", r"%%sweep takes a list, \[SGD, ADAM\]"),
        ("--opt SGD ADAM", "give one optimiser"),
        ("--opt model", "--opt model: that is not a class of optimisers"),
        ("--opt Optimiser", "unknown optimiser|not a class of optimisers"),
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
        ("--speed 0", "--speed 0: give steps a second, above 0, or max, not 0"),
        ("--speed 'fast'", "--speed 'fast': give steps a second"),
        ("--speed float('nan')", "give steps a second"),
        ("--resume 3", "--resume takes no value, and was given 3"),
        ("--no-panel no", "--no-panel takes no value"),
        ("--resume --reset", "--resume and --reset say where the run starts: give one of them"),
        ("--resume --name other", "`other` is not a run that has taken a step"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line_and_nothing_changes(shell, options, says):
    shell(f"%%train {DATA}\n{LOSS}")
    run, before, n = shell["run"], weights(shell), shell["run"].opt.n
    names = {k for k in shell.ip.user_ns if not k.startswith("_")}
    assert re.search(says, shell.refuses(f"%%train {DATA} {options}\nmark = 1\n{LOSS}"))
    assert shell["run"] is run
    assert (run.steps, run.opt.n, run.epochs, run.state) == (3, n, 1, "done")
    assert same_arrays(before, weights(shell))
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
def test_a_body_that_does_not_end_with_an_expression_is_refused(shell, body, says):
    assert says in shell.refuses(f"%%train {DATA}\n{body}")
    assert "run" not in shell


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
def test_a_line_that_reads_a_name_bound_by_training_is_refused(shell, line, body, says):
    shell("z = Y\nx, y, m = X[:1], Y[:1], model\ndef given(): return batches(X, Y, 32)\ndef f(): return z")
    shell(
        "class Pairs:\n    def __iter__(self): yield X, Y\n    def epoch(self): return self._once()\n"
        "    def _once(self): return [(X, Y)]\npairs = Pairs()"
    )
    before = weights(shell)
    assert says in shell.refuses(f"%%train {line}\n{body}")
    assert same_arrays(before, weights(shell))
    assert "run" not in shell


def test_a_method_that_the_line_does_not_call_may_read_a_name_bound_by_training(shell):
    shell("class Pairs:\n    def epoch(self): return [(X, Y)]\n    def show(self): return x\npairs = Pairs()")
    shell(f"%%train x, y in pairs.epoch()\n{LOSS}")
    assert shell["run"].steps == 1


def test_names_in_a_class_of_the_body_are_not_bound_by_training(shell):
    shell(f"%%train x, y in batches(X, Y, 32)\nclass A:\n    X = 1\n{LOSS}")
    assert shell["run"].steps


def test_a_generator_is_refused_for_several_epochs(shell):
    shell("pairs = iter([(X, Y)] * 3)")
    before = weights(shell)
    says = shell.refuses(f"%%train x, y in pairs --epochs 2\n{LOSS}")
    assert "the data pairs: a list_iterator can be gone through once, and there are 2 epochs" in says
    assert same_arrays(before, weights(shell))
    assert "run" not in shell
    shell(f"%%train x, y in pairs\n{LOSS}")
    assert shell["run"].steps == 3


def test_a_comprehension_of_the_line_may_use_a_batch_s_name_and_a_metric_may_read_it(shell):
    shell("x = X")
    shell(f"%%train x, y in batches(*[x for x in (X, Y)], size=20) --valid X, Y --metric n=len(x)\n{LOSS}")
    assert shell["run"].last_evaluation["n"] == 60


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--metric acc=m(x)", "--metric acc: NameError: name 'm' is not defined"),
        ("--metric acc='high'", "--metric acc: TypeError: "),
        ("--metric acc=x", "--metric acc: TypeError: "),
        ("--until los < 0.1", "--until: NameError: name 'los' is not defined"),
        ("--valid X", "--valid X: 1 for 2 names"),
        ("--valid [X, Y, X]", "--valid"),
        ("--valid [X, Y]", "--valid [X, Y]: a list gives batches, each of these arrays one: leave the brackets out"),
        ("--valid X[:, :2], Y", "--valid: "),
    ],
)
@pytest.mark.parametrize("valid", ["", "--valid X, Y "])
def test_options_are_tried_before_the_first_step(shell, options, says, valid):
    before = weights(shell)
    valid = "" if "--valid" in options else valid
    error = shell.fails(f"%%train {DATA} {valid}{options}\n{LOSS}")
    assert type(error).__name__ == "UsageError"
    assert says in str(error)
    assert "\n" not in str(error)
    assert same_arrays(before, weights(shell))
    assert "run" not in shell


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
def test_steps_with_options_about_epochs_are_refused(shell, line, says):
    shell("w = param([3.0, 4.0])")
    assert says in shell.refuses(f"%%train {line}\n(w ** 2).sum()")
    assert "run" not in shell


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
        ("--opt torch.optim.Adam", "did you mean ADAM?"),
    ],
)
def test_an_option_of_another_library_is_refused_with_the_name_here(shell, options, says):
    told = shell.refuses(f"%%train {DATA} {options}\n{LOSS}")
    assert says in told
    assert "--clip" not in told.partition(";")[0]


@pytest.mark.parametrize(
    ("last", "says"),
    [("loss.backward()", "end the cell with the loss itself, loss"), ("opt.step()", "%%train updates by itself")],
)
def test_a_call_that_ends_a_step_in_another_library_is_refused(shell, last, says):
    assert says in shell.refuses(f"%%train {DATA}\nloss = {LOSS}\n{last}")


def test_a_hyper_parameter_named_like_an_option_is_refused_with_both_meanings(shell):
    class Own(Optimiser):
        """Mine."""

        steps = Hyper(3.0, "how far to look", low=1.0)

        def step(self, δ, s):
            return δ

    told = shell.refuses(f"%%train {DATA} --opt Own\n{LOSS}")
    assert "how far to look" in told
    assert "end after N steps" in told
