"""A run as a script: executed in a fresh process it ends in the same bits."""

from __future__ import annotations

import ast
import hashlib
import math
import os
import subprocess
import sys
from contextlib import suppress

import pytest

import fluxmagic
from fluxmagic import NotFinite, params
from fluxmagic.optimise import cosine
from fluxmagic.runs.code import Source

ROOT = os.path.dirname(os.path.dirname(fluxmagic.__file__))

EXPERIMENT = """
import numpy as np
import fluxmagic
from fluxmagic import *
fluxmagic.seed(7)
X = np.random.default_rng(0).normal(size=(22, 4)).astype(np.float32)
Y = np.sin(X[:, :1])
model = Chain(Dense(4, 6, tanh), BatchNorm(6), Dropout(0.3), Dense(6, 1))
data = batches(X, Y, 5)
η_schedule = eta_schedule = lambda n: 0.01 / (1 + n)

def loss(x, y):
    return mse(model(x), y)
"""


def bits(model):
    return hashlib.sha256(b"".join(p.data.tobytes() for p in params(model))).hexdigest()


def experiment(tmp_path, more=""):
    (tmp_path / "experiment.py").write_text(EXPERIMENT + more)
    space = {"__name__": "experiment"}
    exec(compile(EXPERIMENT + more, "experiment.py", "exec"), space)
    return space


def execute(tmp_path, script):
    """In a fresh process; hands back what `bits` says there."""
    ast.parse(script)
    ending = """
import hashlib
from experiment import model
print(hashlib.sha256(b"".join(p.data.tobytes() for p in params(model))).hexdigest(), run.steps)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script + ending],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr + script
    return done.stdout.split()


@pytest.mark.parametrize("with_model", [True, False])
def test_a_script_ends_in_the_same_bits(tmp_path, with_model):
    space = experiment(tmp_path)
    model = space["model"] if with_model else None
    run = fluxmagic.Run(space["loss"], space["data"], "ADAM", epochs=4, seed=3, model=model, name="first")
    run.set(η=0.02)
    run.step(4)
    run.set(β1=0.8, clip=1.0)
    run.step(3)
    run.swap("Momentum", ρ=0.5)
    run.set(η=cosine(0.1, 9))
    run.step(4)
    run.swap("ADAM")
    run.set(clip=None, η=space["η_schedule"])
    run.train()
    run.set(η=0.5)
    run.save(tmp_path / "run.npz")
    script = run.as_code()
    assert 'run.swap("Momentum")\n' in script
    assert "run.set(η=cosine(first=0.1, steps=9, last=0.0))" in script
    assert execute(tmp_path, script) == [bits(space["model"]), "20"]


def test_a_script_after_a_rewind_and_a_branch_is_of_what_is_left(tmp_path):
    space = experiment(tmp_path)
    run = fluxmagic.Run(space["loss"], space["data"], "ADAM", epochs=4, seed=3)
    run.step(9)
    run.rewind(5)
    branch = run.branch("other", "SGD", η=0.3)
    branch.train()
    branch.save(tmp_path / "b")
    assert execute(tmp_path, branch.as_code(path="b")) == [bits(space["model"]), "20"]


def test_a_script_refuses_what_was_refused_and_puts_back_the_best(tmp_path):
    space = experiment(
        tmp_path,
        """
inner = loss
def loss(x, y):
    return inner(x, y) * (float("nan") if x[0, 0] == X[3, 0] else 1.0)
""",
    )
    losses = iter([5.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    run = fluxmagic.Run(
        lambda x, y: space["loss"](x, y) if not fluxmagic.layers.mode.is_testing() else next(losses),
        space["data"],
        "Momentum",
        epochs=9,
        seed=3,
        valid=(space["X"], space["Y"]),
        patience=2,
    )
    while run.state not in ("stopped", "done"):
        with suppress(NotFinite):
            run.train()
    assert run._record.refused
    run.save(tmp_path / "run.npz")
    script = run.as_code()
    assert "with suppress(NotFinite):" in script
    assert script.endswith(f"run.put_back({run.best.step})  # the best weights\n")
    assert execute(tmp_path, script)[0] == bits(space["model"])
    run.patience = None
    run.put_back(4)
    run.step(2)
    run.save(tmp_path / "run.npz")
    script = run.as_code()
    assert "run.put_back(4)  # the best weights\nrun.step(2)" in script
    assert execute(tmp_path, script)[0] == bits(space["model"])


@pytest.mark.parametrize(
    ("names", "data", "body"),
    [
        ("x, y", "batches(X, Y, 5)", "mse(model(x), y)"),
        ("x, y", "data", "# as ever\nscale = 2\n(scale *\n loss(x, y))\n"),
        ("x, (y)", "data", "l = loss(x, y); l * 2"),
        ("x, [y]", "[(x, [y]) for x, y in data]", "η = 1; mse(model(x), y) * η"),
        ("cell_loss, cell_data", "data", "loss(cell_loss, cell_data)"),
    ],
    ids=["plain", "lines", "semicolon", "targets", "names"],
)
def test_a_cell_s_script_has_its_body_and_ends_in_the_same_bits(tmp_path, names, data, body):
    space = experiment(tmp_path)
    last = ast.parse(body.strip()).body[-1].value
    before = ast.Module(ast.parse(body.strip()).body[:-1], [])
    target = compile(f"{names} = batch", "names", "exec")
    parts = [compile(before, "body", "exec"), compile(ast.Expression(last), "value", "eval")]

    def cell(*batch):
        space["batch"] = batch
        exec(target, space)
        exec(parts[0], space)
        return eval(parts[1], space)

    model = space["model"]
    run = fluxmagic.Run(cell, lambda: eval(data, space), "ADAM", epochs=2, seed=3, model={"model": model})
    run.source = Source(names, data, body)
    run.step(4)
    run.set(η=0.05)
    run.train()
    run.save(tmp_path / "run.npz")
    assert execute(tmp_path, run.as_code())[0] == bits(model)


def test_a_script_says_what_it_is(tmp_path):
    space = experiment(tmp_path)
    run = fluxmagic.Run(space["loss"], space["data"], "SGD", name="first", hypers={"η": 0.1})
    run.step(2)
    run.set(η=0.2)
    code = run.as_code("lab.mine", tmp_path / "a.npz")
    assert code.startswith('"""Run \'first\': SGD, 2 steps, 1 turn.')
    assert "from lab.mine import data, loss, model" in code
    assert str(tmp_path / "a.npz") in code
    assert math.isclose(float(code.split("run.set(η=")[1].split(")")[0]), 0.2)
