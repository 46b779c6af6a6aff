"""`%%sweep`: the line, its errors, and what a cell leaves."""

import numpy as np
import pytest
from IPython.core.completer import provisionalcompleter

from fluxmagic import Sweep
from tests.jupyter.cells import DATA, LOSS, same_arrays, weights
from tests.sweep.problems import bits


def run(shell, line, loss=LOSS):
    printed = shell(f"%%sweep {line}\n{loss}")
    return shell["sweep"], printed


def test_lists_are_swept_and_the_weights_stay(shell):
    before = weights(shell)
    sweep, printed = run(shell, f"{DATA} --opt [Momentum, ADAM] --η [0.01, 0.1] --ρ (.5, .9) --epochs 2 --valid X, Y")
    assert isinstance(sweep, Sweep)
    assert (len(sweep), sweep.counts, sweep.name) == (6, {"done": 6}, "sweep")
    assert same_arrays(weights(shell), before)
    assert "6 trials: 2 × opt, 2 × η, 2 × ρ (not ADAM)" in printed
    assert "sweep: done, 6 trials in" in printed
    assert f"validation loss {sweep.ranking[0][0]:.4g}" in printed
    shell("sweep.best.take()")
    assert not same_arrays(weights(shell), before)


def test_a_trial_is_the_run_of_a_train_cell(shell):
    rest = "--opt ADAM --epochs 2 --seed 4 --metric acc=accuracy(model(x), y) --valid X, Y"
    sweep, _ = run(shell, f"{DATA} --η [0.01, 0.02] {rest}")
    trial = bits(sweep[1])
    shell(f"%%train {DATA} --η 0.02 {rest}\n{LOSS}")
    assert bits(shell["run"]) == trial
    assert sweep[1].history["acc"].tobytes() == shell["run"].history["acc"].tobytes()


def test_epochs_and_steps_can_be_swept_and_a_number_is_fixed(shell):
    sweep, _ = run(shell, f"{DATA} --epochs [1, 2] --η 0.01")
    assert [t.step for t in sweep.trials] == [3, 6]
    assert list(sweep.grid.axes) == ["epochs"]
    sweep, _ = run(shell, "--steps range(2, 5) --η 0.01", "((model[0].W - 1) ** 2).sum()")
    assert [t.step for t in sweep.trials] == [2, 3, 4]


def test_distributions_are_ours_whatever_the_namespace_holds(shell):
    shell("loguniform = uniform = None")
    sweep, _ = run(shell, f"{DATA} --opt Momentum --η loguniform(1e-3, 0.1) --ρ uniform(0.5, 0.9) --samples 4 --seed 1")
    assert len(sweep) == 4
    assert all(0.5 <= p["ρ"] <= 0.9 and 1e-3 <= p["η"] <= 0.1 for p in sweep.grid.points)


def test_a_class_of_the_namespace_and_a_list_of_it_are_optimisers(shell):
    shell("class Mine(SGD):\n    pass\nboth = [Mine, 'ADAM']")
    sweep, _ = run(shell, f"{DATA} --opt [Mine, SGD] --η [0.1]")
    assert [t.spec.cls.__name__ for t in sweep.trials] == ["Mine", "SGD"]
    sweep, _ = run(shell, f"{DATA} --opt both")
    assert [t.spec.cls.__name__ for t in sweep.trials] == ["Mine", "ADAM"]


def test_seeds_halving_max_and_a_name(shell):
    line = f"{DATA} --η [0.001, 0.01, 0.1] --epochs 3 --seeds 2 --seed 7 --halving 3 --valid X, Y --name s"
    shell(f"%%sweep {line} --metric acc=accuracy(model(x), y) --max acc\n{LOSS}")
    sweep = shell["s"]
    assert {t.spec.seed for t in sweep.trials} == {7, 8}
    assert sweep.counts == {"done": 2, "stopped early": 4}
    assert sweep.sign < 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--opt SGD --opt ADAM", "--opt is given 2 times: give a list, --opt [SGD, ADAM]"),
        ("--opt [SGD, ADMA]", "ADMA: unknown optimiser (did you mean"),
        ("--opt SGD --ρ [.5]", "SGD has no --ρ"),
        ("--η []", "η: an empty list; give at least one value"),
        ("--η [0.1, -1]", "η = -1 is out of range: 0 ≤ η (entry 1 of 2)"),
        ("--η loguniform(1e-3, 1)", "η is a distribution: say how many points to draw, samples=N"),
        ("--η [1] --samples 3", "samples counts draws from loguniform(a, b) or uniform(a, b), and no dial has one"),
        ("--η np.linspace(1, 2, 400) --decay np.arange(400)", "the grid has 160,000 points"),
        ("--seed [1, 2]", "--seed [1, 2]: give a whole number, 0 or more, not [1, 2]"),
        ("--max acc", "acc ranks the points, and is none of loss"),
        ("--epochs 2 --steps 3", "--epochs and --steps say when the run ends: give one of them"),
        ("--lr [0.1]", "there is no --lr: here it is --η"),
        ("--resume", "there is no --resume"),
        ("--on 0", "on is a number of processes"),
        ("--timeout -1", "timeout is a positive number of seconds, not -1"),
        ("--timeout [3]", "timeout is a positive number of seconds, not [3]"),
        ("--halving 1", "--halving 1: give a whole number, 2 or more"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_has_changed(shell, line, words):
    before = weights(shell)
    message = shell.refuses(f"%%sweep {DATA} {line}\n{LOSS}")
    assert words in message
    assert "sweep" not in shell
    assert same_arrays(weights(shell), before)


def test_data_that_can_be_gone_through_once_is_refused(shell):
    shell("once = iter([(X, Y)])")
    assert "every trial does" in shell.refuses(f"%%sweep x, y in once --η [0.1]\n{LOSS}")


def test_a_failing_first_step_leaves_no_sweep(shell):
    error = shell.fails(f"%%sweep {DATA} --η [0.1, 0.2]\nlogitcrossentropy(nothing(x), y)")
    assert isinstance(error, NameError)
    assert "sweep" not in shell


def test_the_code_of_a_cell_travels_to_processes(shell):
    pytest.importorskip("cloudpickle")
    pytest.importorskip("loky")
    shell("def helper(v):\n    return scale * model(v)\nscale = np.float32(2)")
    line = f"{DATA} --η [0.01, 0.1] --epochs 2 --seed 3 --valid X, Y --metric acc=accuracy(model(x), y) --until valid<0"
    loss = "scores = helper(x)\nlogitcrossentropy(scores, y)"
    here, _ = run(shell, line, loss)
    there, _ = run(shell, f"{line} --on 2", loss)
    assert there.counts == {"done": 2}
    assert [bits(r) for r in there] == [bits(r) for r in here]
    assert np.array_equal(there.table["acc"], here.table["acc"])


def test_help_and_words_of_the_magic(shell):
    printed = shell("%%sweep?\n") if False else shell.ip.find_cell_magic("sweep").getdoc()
    assert "--halving N" in printed
    assert "--samples N" in printed
    assert "--resume" not in printed


def test_train_map_makes_a_sweep_around_the_run_and_find_draws_its_test(shell):
    shell(f"%%train {DATA} --opt Momentum --η 0.01 --ρ 0.9 --epochs 2\n{LOSS}")
    before, dials = weights(shell), dict(shell["run"].values)
    printed = shell("%train map η rho --steps 3")
    sweep = shell["run_map"]
    assert (len(sweep), sweep.counts, sweep.around) == (81, {"done": 81}, shell["run"])
    assert "run map: done, 81 trials in" in printed
    shell("%train map η --steps 2")
    assert list(shell["run_map"].grid.axes) == ["η"]
    assert "η" in shell("%train find eta --steps 40")
    assert same_arrays(weights(shell), before)
    assert shell["run"].values == dials
    assert shell.refuses("%train map η gamma").startswith("Momentum has no dial gamma")
    assert "one dial" in shell.refuses("%train find η ρ")
    assert "20 or more" in shell.refuses("%train find η --steps 3")
    assert "needs more" in shell.refuses("%train map")


def test_what_find_and_again_give_has_a_picture(shell):
    shell(f"%%train {DATA} --opt SGD --η 0.01 --epochs 4 --seed 1\n{LOSS}")
    shell("found = run.find(steps=60, low=1e-4)")
    png, size = shell["found"]._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert size == {"width": 900}
    shell("run.rewind(6); run.set(η=0.3); run.train(); luck = run.again(seeds=4)")
    assert shell["luck"]._repr_png_()[0].startswith(b"\x89PNG")


def test_tab_offers_options_and_dials_of_sweeps(shell):
    shell(f"%%train {DATA} --opt Momentum --epochs 1\n{LOSS}")

    def offered(text):
        with provisionalcompleter():
            return {c.text for c in shell.ip.Completer.completions(text, len(text))}

    assert {"--halving", "--seeds", "--samples"} <= offered(f"%%sweep {DATA} --")
    assert "--ρ" in offered(f"%%sweep {DATA} --opt [SGD, Momentum] --")
    assert {"η", "ρ"} <= offered("%train map ")
    assert {"map", "find"} <= offered("%train ")
