"""`%%race`: the line, its errors, and what a cell leaves."""

import re

import numpy as np
import pytest

from fluxmagic import Race, landscapes
from fluxmagic.optimise import OPTIMISERS
from tests.jupyter.cells import DATA, LOSS, same_arrays, weights
from tests.race.problems import valley
from tests.race.test_race import alone

VALLEY = "--steps 60 --opt SGD --η 0.001 --opt Momentum --η 0.0002 --ρ 0.9 --opt Momentum --η 0.0002 --ρ 0.99"


@pytest.fixture
def rosenbrock(shell):
    shell("w = param([-1.2, 1.0])")
    return shell


def keys(shell, line, loss=LOSS):
    shell(f"%%race {line}\n{loss}")
    return list(shell["race"].runs)


def test_each_opt_begins_a_contestant_with_the_dials_after_it(rosenbrock):
    shell = rosenbrock
    assert keys(shell, VALLEY, "landscapes.rosenbrock(w)") == ["SGD", "Momentum ρ 0.9", "Momentum ρ 0.99"]
    race = shell["race"]
    assert isinstance(race, Race)
    assert (race.state, race.steps, race.name) == ("done", 60, "race")
    assert shell["w"].data.tolist() == landscapes.rosenbrock.start.tolist()
    for run, (opt, hypers) in zip(
        race, [("SGD", {"η": 0.001}), *(("Momentum", {"η": 0.0002, "ρ": ρ}) for ρ in (0.9, 0.99))], strict=True
    ):
        other = alone(valley, opt, hypers, steps=60)
        other.train()
        assert run.path.tolist() == other.path.tolist()


def test_contestants_of_a_cell_end_in_the_bits_of_train(shell):
    shell("start = [p.data.copy() for p in params(model)]")
    shell(f"%%race {DATA} --epochs 3 --seed 7 --opt ADAM --η 0.01 --opt Momentum --ρ 0.5 --η 0.05\n{LOSS}")
    ended = {}
    for key in ("ADAM", "Momentum"):
        shell["race"][key].take()
        ended[key] = weights(shell)
        shell("loadparams(model, start)")
    for key, dials in (("ADAM", "--η 0.01"), ("Momentum", "--ρ 0.5 --η 0.05")):
        shell("loadparams(model, start)")
        shell(f"%%train {DATA} --epochs 3 --seed 7 --opt {key} {dials}\n{LOSS}")
        assert same_arrays(ended[key], weights(shell))


def test_a_dial_before_the_first_opt_goes_to_those_that_have_it_and_an_own_one_beats_it(shell):
    shell(
        f"%%race {DATA} --eta 0.03 --ρ 0.8 --opt SGD --opt Momentum --opt Nesterov --η 0.01 --rho 0.5 --opt ADAM\n"
        + LOSS
    )
    values = [(run.values["η"], run.values.get("ρ")) for run in shell["race"]]
    assert values == [(0.03, None), (0.03, 0.8), (0.01, 0.5), (0.03, None)]


def test_any_other_option_counts_for_all_wherever_it_stands(shell):
    shell(
        f"%%race {DATA} --opt SGD --epochs 2 --valid X, Y --opt ADAM --metric acc=accuracy(model(x), y) --η 0.02 "
        f"--name mine --seed 4\n{LOSS}"
    )
    race = shell["mine"]
    assert [run.epochs for run in race] == [2, 2]
    assert [run.last_evaluation.keys() for run in race] == [{"valid", "acc"}] * 2
    assert race[1].values["η"] == 0.02
    assert race.seed == 4
    assert "race" not in shell


def test_the_first_line_may_go_on_and_values_are_expressions(shell):
    shell("lr = 0.1")
    shell(f"%%race {DATA} --opt SGD --η lr/2 \\\n   --opt SGD --η=lr*2  # the larger one\n{LOSS}")
    assert list(shell["race"].runs) == ["SGD η 0.05", "SGD η 0.2"]


def test_patience_ends_one_alone(rosenbrock):
    shell = rosenbrock
    shell(
        "%%race --steps 300 --patience 20 --opt SGD --η 0.0005 --opt Momentum --η 0.0002 --ρ 0.99\n"
        "landscapes.rosenbrock(w)"
    )
    assert shell["race"].waiting == {"SGD": "done", "Momentum": "ended"}


def test_the_cell_says_how_each_contestant_fared(rosenbrock):
    said = rosenbrock(
        "%%race --steps 60 --opt SGD --η 0.001 --opt SGD --η 1 --opt ADAM --η 0.05\nlandscapes.rosenbrock(w)"
    )
    assert "race: done, 60 steps of each in " in said
    assert re.search(r"SGD η 0.001  loss 24.2 → [\d.]+\n", said)
    assert re.search(r"SGD η 1      loss 24.2 → diverged at step \d\n", said)
    assert re.search(r"ADAM         loss 24.2 → [\d.]+\n", said)


def test_what_is_trained_may_be_named(shell):
    shell(f"%%race {DATA} --params model[1] --opt SGD --opt ADAM\n{LOSS}")
    assert shell["race"].params == [shell["model"][1].W, shell["model"][1].b]


def test_a_race_starts_where_train_was_told_to_start(shell):
    start = weights(shell)
    shell(f"%%train {DATA} --epochs 2\n{LOSS}")
    trained = weights(shell)
    said = shell(f"%%race {DATA} --opt SGD --opt ADAM\n{LOSS}")
    assert "goes on from weights trained by `run`, 6 steps" in said
    assert same_arrays(weights(shell), trained)
    said = shell(f"%%race {DATA} --reset --opt SGD --opt ADAM\n{LOSS}")
    assert "starts from the weights that `run` started from" in said
    assert same_arrays(weights(shell), start)
    first = shell["race"][0].snapshots.start.values.params
    assert same_arrays(first, start)
    shell["run"].take()
    assert same_arrays(weights(shell), trained)


def test_train_goes_on_from_a_contestant_that_was_taken(shell):
    shell(f"%%race {DATA} --opt SGD --opt ADAM --epochs 2\n{LOSS}")
    assert "goes on" not in shell(f"%%train {DATA} --name a\n{LOSS}")
    shell("race['ADAM'].take()")
    assert "goes on from weights trained by `ADAM`, 6 steps" in shell(f"%%train {DATA} --name b\n{LOSS}")


REFUSED = [
    ("--opt SGD", "%%race takes --opt twice or more, one for each contestant, and was given 1"),
    ("", "%%race takes --opt twice or more, one for each contestant, and was given 0"),
    ("--opt SGD --ρ 0.9 --opt ADAM", "SGD has no --ρ; it has η"),
    ("--ρ 0.9 --opt SGD --opt ADAM", "SGD and ADAM have no --ρ; they have η"),
    ("--opt SGD --zeta 1 --opt ADAM", "there is no --zeta"),
    ("--opt SGD --lr 1 --opt ADAM", "there is no --lr: here it is --η"),
    ("--opt SGD --opt Adam", "--opt Adam: "),
    ("--opt SGD --η -1 --opt ADAM", "--η -1: "),
    ("--opt SGD --η 1 --η 2 --opt ADAM", "--η is given twice"),
    ("--η 1 --η 2 --opt SGD --opt ADAM", "--η is given twice"),
    ("--opt SGD --η 1 --eta 2 --opt ADAM", "twice"),
    ("--epochs 2 --opt SGD --epochs 2 --opt ADAM", "--epochs is given twice"),
    ("--opt SGD --η --opt ADAM", "--η needs a value"),
    ("--opt SGD --opt ADAM --resume", "--resume: a race begins anew; race.extend() and Panel(race) go on"),
    ("--opt SGD --opt ADAM --show X", "--show: a race shows losses, and its weights change hands between steps"),
    ("--opt SGD --opt ADAM --steps 3 --epochs 3", "--epochs and --steps say when the run ends"),
    ("--opt SGD --opt ADAM --valid x", "reads x"),
    ("--opt SGD --opt SGD --η 0.1", "contestants 0 and 1 are alike, SGD with the same dials"),
    ("--opt SGD --opt ADAM --name x", "the cell uses that variable"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED)
def test_a_line_that_cannot_race_is_refused_in_one_line(shell, options, words):
    before = weights(shell)
    assert words in shell.refuses(f"%%race {DATA} {options}\n{LOSS}")
    assert "race" not in shell
    assert same_arrays(before, weights(shell))


def test_data_that_can_be_gone_through_once_is_refused(shell):
    shell("gen = ((x, y) for x, y in batches(X, Y, 20))")
    words = shell.refuses(f"%%race x, y in gen --opt SGD --opt ADAM\n{LOSS}")
    assert "the data gen: a generator can be gone through once, and every contestant does" in words


def test_epochs_without_data_are_refused(rosenbrock):
    words = rosenbrock.refuses("%%race --steps 3 --valid w --opt SGD --opt ADAM\nlandscapes.rosenbrock(w)")
    assert "--valid is evaluated after an epoch" in words
    assert "%%race NAMES in EXPR" in rosenbrock.refuses("%%race --opt SGD --opt ADAM\nlandscapes.rosenbrock(w)")


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        ("np.random.normal()", "NumPy's global generator"),
        ("rng.normal()", "rng, a RandomState"),
        ("noise()", "rng, a RandomState"),
    ],
)
def test_noise_that_contestants_share_is_found_and_nothing_is_left(shell, draw, name):
    before = weights(shell)
    shell("race = 3\nrng = np.random.RandomState(0)\ndef noise(): return rng.normal()")
    error = shell.fails(f"%%race {DATA} --opt SGD --opt ADAM\n{LOSS} + {draw}")
    assert f"draws from {name}" in str(error)
    assert same_arrays(before, weights(shell))


def test_an_error_of_the_loss_leaves_the_variable_as_it_was(shell):
    shell("race = 3")
    assert isinstance(shell.fails(f"%%race {DATA} --opt SGD --opt ADAM\n1 / 0"), ZeroDivisionError)
    assert shell["race"] == 3


def test_a_race_over_weights_that_a_panel_trains_is_refused(shell):
    shell(f"%%train {DATA} --epochs 2\n{LOSS}")
    shell("run.extend(); run.advance(0.0)")
    assert "being trained by `run`" in shell.refuses(f"%%race {DATA} --opt SGD --opt ADAM\n{LOSS}")


def test_commands_reach_a_race(rosenbrock):
    shell = rosenbrock
    shell("%%race --steps 30 --opt SGD --η 0.001 --opt ADAM\nlandscapes.rosenbrock(w)")
    assert shell("%train status --name race").startswith("race: done, 30 steps of each")
    shell("race.extend()")
    assert "step 33/60" in shell("%train step 3 --name race")
    assert shell("%train pause --name race") == "race is paused\n"
    shell("%train resume --name race")
    assert shell["race"].steps == 60
    assert shell("%train stop --name race")
    assert "race is a Race: this takes a run, such as one = race[0]" in shell.refuses("%train set η=1 --name race")


def test_help_and_tab_know_the_options(shell):
    said = shell("%%race?")
    assert "Each --opt begins a contestant" in said
    for name in ("--opt NAME", "--epochs N", "--patience N", "--seed N", "--name NAME"):
        assert name in said
    assert "--resume" not in said
    assert all(name in said for name in OPTIMISERS)


def test_a_page_without_input_shows_the_picture_and_the_words(shell, page, monkeypatch):
    shell("w = param([-1.2, 1.0])")
    monkeypatch.setattr(type(shell.ip), "kernel", page.kernel, raising=False)
    shell("%%race --steps 30 --opt SGD --η 0.001 --opt ADAM\nlandscapes.rosenbrock(w)")
    picture, words = (output.data[-1] for output in page.outputs)
    assert picture["image/png"].startswith(b"\x89PNG")
    assert "Race(SGD, ADAM; done" in picture["text/plain"]
    assert words["text/plain"].startswith("race: done, 30 steps of each")
    assert np.array_equal(shell["w"].data, [-1.2, 1.0])


def test_a_race_at_the_end_of_a_cell_shows_its_picture_and_summary(shell, page, monkeypatch):
    shell("w = param([-1.2, 1.0])")
    said = shell("race = Race(lambda: landscapes.rosenbrock(w), None, [w], ['SGD', 'ADAM'], steps=30)\nrace")
    assert said.endswith(": Race(SGD, ADAM; ready, 0/30 steps)\n")
    monkeypatch.setattr(type(shell.ip), "kernel", page.kernel, raising=False)
    shell("race")
    assert [o.data[-1]["text/plain"].split(",")[0] for o in page.outputs] == ["race: ready"]
    shell("race.train()\nrace")
    picture, words = (o.data[-1] for o in page.outputs[1:])
    assert picture["image/png"].startswith(b"\x89PNG")
    assert words["text/plain"].startswith("race: done, 30 steps of each")
