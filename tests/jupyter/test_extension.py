"""Help, completion, configuration, loading and unloading."""

from __future__ import annotations

import re

import pytest
from IPython.core.completer import provisionalcompleter

from fluxmagic.jupyter.commands import COMMANDS
from fluxmagic.jupyter.options import TRAIN
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from tests.jupyter.cells import DATA, LOSS


@pytest.fixture
def user_optimiser():
    class Eigen(Optimiser):
        """Made up."""

        κ = Hyper(0.25, "how <far>", low=0.0, high=2.0, scale="log")

        def step(self, δ, s):
            return self.κ * δ

    yield Eigen
    del OPTIMISERS["Eigen"]


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
        ("%%train x in d --from r", ["run"], ["--reset"]),
        ("%train ", ["status", "set", "swap", "rewind"], []),
        ("%train s", ["status", "stop", "step", "set", "swap", "save"], ["rewind"]),
        ("%train swap M", ["Momentum"], ["SGD"]),
        ("%train set b", ["beta1=", "beta2="], ["ρ="]),
        ("%train swap Momentum r", ["rho="], ["β1="]),
        ("%train status --name r", ["run"], []),
        ("%train compare r", ["run"], []),
    ],
)
def test_tab_offers_options_commands_and_their_values(shell, line, offers, not_offered):
    shell(f"%%train {DATA}\n{LOSS}")
    found = complete(shell, line)
    assert set(offers) <= set(found)
    assert not set(not_offered) & set(found)


def test_every_option_and_command_is_in_help_and_completion(shell):
    options, commands = shell("%%train?"), shell("%train?")
    offered = set(complete(shell, "%%train x in d --"))
    for name, row in TRAIN.rows.items():
        assert f"--{name} {row.value}".rstrip() in options
        assert row.help in options
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
