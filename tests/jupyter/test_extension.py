"""Help, completion, configuration, loading and unloading."""

from __future__ import annotations

import re

import pytest
from IPython.core.completer import provisionalcompleter

from fluxmagic.jupyter.magics.commands import COMMANDS
from fluxmagic.jupyter.magics.options import TRAIN
from fluxmagic.jupyter.magics.values import hyper_names
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from tests.jupyter.cells import DATA, LOSS


@pytest.fixture
def user_optimiser():
    class Eigen(Optimiser):
        """Made up."""

        κ = Hyper(0.25, "how <far>", low=0.0, high=2.0, scale="log")

        def step(self, δ, s):
            return self.κ * δ

    return Eigen


def test_optimisers_lists_all_that_is_registered(shell, user_optimiser):
    printed = shell("%optimisers")
    for name in OPTIMISERS:
        assert re.search(rf"^{name} ", printed, re.M)
    assert re.search(r"^Eigen +κ +kappa +0\.25 +0 ≤ κ ≤ 2 +how <far>$", printed, re.M)
    assert re.search(r"^ADAM +η +eta +0\.001 +0 ≤ η +learning rate$", printed, re.M)
    assert re.search(r"^all +decay", printed, re.M)


def test_the_table_is_html_too(shell, user_optimiser):
    shell("table = %optimisers Eigen")
    html = shell["table"]._repr_html_()
    assert "<th" in html
    assert "how &lt;far&gt;" in html
    assert "SGD" not in html


def test_help_lists_what_is_registered_at_the_moment(shell, user_optimiser):
    printed = shell("%%train?")
    assert "NAMES in EXPR" in printed
    assert re.search(r"Eigen +κ 0\.25", printed)
    for option in ("--opt", "--epochs", "--valid", "--metric", "--until", "--patience", "--params", "--seed"):
        assert option in printed
    assert "--name" in printed
    assert "--resume" in printed
    del OPTIMISERS["Eigen"]
    assert "Eigen" not in shell("%%train?")
    OPTIMISERS["Eigen"] = user_optimiser
    assert "rewind N" in shell("%train?")


def complete(shell, cell):
    """Complete a cell at its end: whole words."""
    with provisionalcompleter():
        found = list(shell.ip.Completer.completions(cell, len(cell)))
    return [re.split(r"[\s=\[,]", cell[: c.start])[-1] + c.text for c in found]


@pytest.mark.parametrize(
    ("line", "offers", "not_offered"),
    [
        ("%%train x in d --", ["--opt", "--epochs", "--η", "--eta", "--β1", "--no-panel"], ["--ρ"]),
        ("%%train x in d -", ["--opt", "--epochs"], ["--ρ"]),
        ("%%train x in d --opt SGD --", ["--η", "--valid"], ["--β1", "--opt"]),
        ("%%train x in d --opt Momentum --r", ["--rho", "--resume", "--reset"], ["--β1"]),
        ("%%train x in d --eta 1 --e", ["--epochs"], ["--eta"]),
        ("%%train x in d --eta 1 --", ["--epochs"], ["--eta", "--η"]),
        ("%%train x in d --metric a=1 --m", ["--metric"], []),
        ("%%train x in d \\\n  --epochs 3 \\\n  --opt SGD --", ["--η", "--valid"], ["--β1", "--opt", "--epochs"]),
        ("%%train x in d --epochs 3 ", ["--opt", "--η"], ["--epochs"]),
        ("%%train x, y in batches(X, Y, 32) ", ["--opt", "--η"], ["X"]),
        ("%%train x in d --resume ", ["--opt", "--η"], ["--resume"]),
    ],
)
def test_tab_offers_the_options_that_fit_and_nothing_else(shell, line, offers, not_offered):
    shell(f"%%train {DATA}\n{LOSS}")
    found = complete(shell, line)
    assert set(offers) <= set(found)
    assert not set(not_offered) & set(found)
    assert all(name.startswith("--") for name in found)


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("%%train x in d --ep", ["--epochs", "--epsilon"]),
        ("%%train x in d --opt ", [*OPTIMISERS]),
        ("%%train x in d --opt=", [*OPTIMISERS]),
        ("%%train x in d --opt AD", ["ADAM", "ADAGrad", "ADADelta", "ADAMW"]),
        ("%%train x in d --opt=ADAMW", ["ADAMW"]),
        ("%%train x in d --from r", ["run"]),
        ("%%race --opt SGD --η 1 --opt Mom", ["Momentum"]),
        ("%%race --opt SGD --eta 1 --opt Momentum --e", ["--eta", "--epochs"]),
        ("%%race --opt SGD --eta 1 --e", ["--epochs"]),
        ("%%sweep x in d --opt [SGD, Mom", ["Momentum"]),
        ("%%sweep x in d --opt [SGD, Momentum] --rh", ["--rho"]),
        ("%%sweep x in d --opt SGD --rh", []),
        ("%train ", [*COMMANDS]),
        ("%train st", ["status", "stop", "step"]),
        ("x = 1\n%train st", ["status", "stop", "step"]),
        ("%train swap ", [*OPTIMISERS]),
        ("%train swap M", ["Momentum"]),
        ("%train set ", [f"{name}=" for name in hyper_names(OPTIMISERS["ADAM"])]),
        ("%train set b", ["beta1=", "beta2="]),
        ("%train set eta=1 e", ["epsilon="]),
        ("%train set --name other r", ["rho="]),
        ("%train swap Momentum r", ["rho="]),
        ("%train branch new M", ["Momentum"]),
        ("%train branch new Momentum r", ["rho="]),
        ("%train status --name ", ["run", "other"]),
        ("%train compare ", ["run", "other"]),
        ("%train compare run ", ["other"]),
        ("%train compare run --", ["--log", "--name"]),
        ("%train stop ", ["--name"]),
        ("%train code --", ["--name"]),
    ],
)
def test_tab_offers_exactly_what_fits(shell, line, offers):
    shell(f"%%train {DATA}\n{LOSS}")
    shell(f"%%train {DATA} --opt Momentum --name other\n{LOSS}")
    assert sorted(complete(shell, line)) == sorted(offers)


def test_tab_says_what_it_offers(shell):
    shell(f"%%train {DATA}\n{LOSS}")
    with provisionalcompleter():
        for cell, what in (("%%train x in d --ep", "option"), ("%train set b", "dial"), ("%train swap M", "name")):
            assert {c.type for c in shell.ip.Completer.completions(cell, len(cell))} == {what}


def test_tab_offers_files_for_a_path(shell, tmp_path):
    (tmp_path / "a run.npz").touch()
    (tmp_path / "b").mkdir()
    assert complete(shell, f"%train load {tmp_path}/") == [f"{tmp_path}/a run.npz", f"{tmp_path}/b/"]


def test_tab_in_the_body_is_python_s(shell):
    found = complete(shell, f"%%train {DATA} --\nlogitcross")
    assert "logitcrossentropy" in found
    assert "--opt" not in complete(shell, f"%%train {DATA}\nx --")


def test_tab_still_turns_a_letter_s_name_into_the_letter(shell):
    shell("eta = 3")
    with provisionalcompleter():
        cell = "%%train x in d --valid \\eta"
        assert "η" in [c.text for c in shell.ip.Completer.completions(cell, len(cell))]


def test_every_option_and_command_is_in_help_and_completion(shell):
    options, commands = shell("%%train?"), shell("%train?")
    offered = set(complete(shell, "%%train x in d --"))
    for name, row in TRAIN.rows.items():
        assert f"--{name} {row.value}".rstrip() in options
        assert row.help in options
        assert f"[{row.default}]" in options or name in ("steps", "reset", "from")
        assert f"--{name}" in offered
    assert set(COMMANDS) <= set(complete(shell, "%train "))
    for word, command in COMMANDS.items():
        assert f"    {word} {command.arguments}".rstrip() in commands
        assert command.help in commands


@pytest.mark.parametrize(("name", "words"), [(name, row.words) for name, row in TRAIN.rows.items() if row.words])
def test_the_names_of_an_option_in_other_libraries_lead_to_it(shell, name, words):
    for word in words.split():
        assert f"there is no --{word}: here it is --{name}" in shell.refuses(f"%%train {DATA} --{word} 1\n{LOSS}")


def test_values_are_completed_as_python(shell):
    shell("validation = np.zeros(3)")
    assert complete(shell, "%%train x in d --valid valid") == ["validation"]
    assert complete(shell, "%%train x in valid") == ["validation"]
    assert complete(shell, "%%train x in d --epochs validation.nby") == ["validation.nbytes"]
    assert complete(shell, "%train set η=valid") == ["validation"]
    assert "shuffle=" in complete(shell, "%%train x in batches(X, shuf")
    assert not any(name.startswith("%") for name in complete(shell, "%%train x in d --valid "))


def test_help_says_the_defaults_also_those_that_config_sets(shell):
    assert "[ADAM]" in shell("%%train?")
    shell("%config FluxMagics.opt = 'SGD'")
    shell("%config FluxMagics.epochs = 7")
    printed = shell("%%train?")
    assert re.search(r"--opt NAME .*\[SGD\]", printed)
    assert re.search(r"--epochs N .*\[7\]", printed)
    assert re.search(r"^    ADAM +η 0.001, β1 0.9, β2 0.999", printed, re.M)


def test_config_sets_the_defaults(shell):
    assert "FluxMagics.opt=<Unicode>" in shell("%config FluxMagics")
    shell("%config FluxMagics.opt = 'SGD'")
    shell("%config FluxMagics.epochs = 2")
    shell(f"%%train {DATA} --η 0.2\n{LOSS}")
    assert (shell["run"].opt_name, shell["run"].epochs) == ("SGD", 2)
    shell("%config FluxMagics.opt = 'SDG'")
    assert "FluxMagics.opt SDG: unknown optimiser (did you mean SGD?)" in shell.refuses(f"%%train {DATA}\n{LOSS}")


def state(ip):
    manager = ip.magics_manager
    return (
        {kind: set(table) for kind, table in manager.magics.items()},
        set(manager.registry),
        [type(c).__name__ for c in ip.configurables],
        [m.matcher_identifier for m in ip.Completer.custom_matchers],
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


def test_reloading_adds_nothing_twice(shell):
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
