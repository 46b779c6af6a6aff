"""How long a cell trains: --steps, --until, --patience."""

from __future__ import annotations

import numpy as np
import pytest

from fluxmagic.runs.loss_map import LossMap
from tests.jupyter.cells import DATA, LOSS


def test_until_reads_metrics_by_name(shell):
    shell(f"%%train {DATA} --epochs 9 --metric seen=run.steps --until seen > 5\n{LOSS}")
    assert (shell["run"].steps, shell["run"].state) == (6, "stopped")


def test_patience_ends_the_run_and_puts_the_best_weights_back(shell):
    shell(f"%%train {DATA} --epochs 50 --opt SGD --η 30 --valid X, Y --patience 2\n{LOSS}")
    run = shell["run"]
    checks = run.history["valid"][np.isfinite(run.history["valid"])]
    assert run.epoch < 50
    assert len(checks) - 1 - int(checks.argmin()) == 2
    now = float(shell["logitcrossentropy"](shell["model"](shell["X"]), shell["Y"]))
    assert now == pytest.approx(checks.min(), rel=1e-5)


def test_until_reads_loss_epoch_and_step(shell):
    told = shell(f"%%train {DATA} --epochs 9 --until loss < 100 and epoch == 2 and step == 6\n{LOSS}")
    assert "stopped in epoch 2 of 9 by until, 6 steps" in told
    assert (shell["run"].state, shell["run"].steps) == ("stopped", 6)


@pytest.mark.parametrize(("line", "body"), [("--steps 3", "(w ** 2).sum()"), ("--steps 3", "z = w ** 2\nz.sum()")])
def test_the_loss_without_a_batch_is_mapped_aside_and_its_names_come_back(shell, line, body):
    shell("w = param([3.0, 4.0])\nz = 'mine'")
    shell(f"%%train {line} --opt SGD --η 0\n{body}")
    shell("z = 'mine'")
    losses = LossMap(shell["run"])
    losses.hold(shell["run"].path)
    losses.finish()
    assert np.isfinite(losses.grid.z).all()
    assert shell["z"] == "mine"


def test_steps_is_the_number_of_steps_of_a_loss_without_a_batch(shell):
    shell("w = param([3.0, 4.0])")
    printed = shell("%%train --steps 40 --opt SGD\n(w ** 2).sum()")
    run = shell["run"]
    assert (run.steps, run.state) == (40, "done")
    assert run.history["loss"][0] == 25.0
    assert "epoch" not in printed
    shell("%%train --steps 4 --opt SGD\nz = w ** 2\nz.sum()")
    assert shell["run"].steps == 4
    shell("%%train --steps 3 --resume\nz = w ** 2\nz.sum()")
    assert shell["run"].steps == 7
    shell("%%train --steps 400 --patience 3 --opt SGD --η 0\n(w ** 2).sum()")
    assert shell["run"].steps == 4
    shell("%%train --steps 400 --until step == 5 --opt SGD\n(w ** 2).sum()")
    assert shell["run"].steps == 5
    code = shell["run"].as_code()
    compile(code, "script", "exec")
    assert "global" not in code
    assert "steps, " in shell("%train status")


def test_steps_end_a_run_with_data_in_mid_epoch(shell):
    shell(f"%%train {DATA} --steps 7\n{LOSS}")
    assert (shell["run"].steps, shell["run"].state) == (7, "done")
    shell(f"%%train {DATA} --resume --steps 2\n{LOSS}")
    assert shell["run"].steps == 9
    shell(f"%%train {DATA} --resume --epochs 1\n{LOSS}")
    assert shell["run"].steps == 12
