"""A run as a script: executed in a fresh process it ends in the same bits."""

from __future__ import annotations

import ast
import hashlib
import math
import re
import textwrap
from contextlib import suppress

import numpy as np
import pytest

import fluxmagic
from fluxmagic import NotFinite, params
from fluxmagic.optimise import cosine, exponential
from fluxmagic.runs.script import CellSource
from tests.runs.processes import printed

TRANSFORM = pytest.importorskip("IPython").core.inputtransformer2.TransformerManager().transform_cell

EXPERIMENT = """
import numpy as np
import fluxmagic
from fluxmagic import *
fluxmagic.seed(7)
X = np.random.default_rng(0).normal(size=(22, 4)).astype(np.float32)
Y = np.sin(X[:, :1])
model = Chain(Dense(4, 6, tanh), BatchNorm(6), Dropout(0.3), Dense(6, 1))
data = batches(X, Y, 5)
count = 0
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
    """Execute a script in a fresh process; return the bits and the number of steps there."""
    ast.parse(script)
    ending = """
import hashlib
from experiment import model
print(hashlib.sha256(b"".join(p.data.tobytes() for p in params(model))).hexdigest(), run.steps)
"""
    return printed(script + ending, cwd=tmp_path).splitlines()[-1].split()


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


def test_a_script_after_a_rewind_and_a_branch_has_the_present_line_only(tmp_path):
    space = experiment(tmp_path)
    run = fluxmagic.Run(space["loss"], space["data"], "ADAM", epochs=4, seed=3)
    run.step(9)
    run.rewind(5)
    branch = run.branch("other", "SGD", η=0.3)
    branch.train()
    branch.save(tmp_path / "b")
    assert execute(tmp_path, branch.as_code(path="b")) == [bits(space["model"]), "20"]


def test_a_script_expects_rejected_steps_and_restores_the_best_weights(tmp_path):
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
        lambda x, y: space["loss"](x, y) if not fluxmagic.layers.training_mode.is_evaluating() else next(losses),
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
    assert run.record.rejected
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


class Shell:
    """The part of IPython that the cells below need."""

    def __init__(self, space):
        self.space = space

    def run_line_magic(self, name, line):
        try:
            return eval(line, self.space)
        except SyntaxError:
            exec(line, self.space)

    def system(self, command):
        pass


@pytest.mark.parametrize(
    ("names", "data", "body"),
    [
        ("x, y", "batches(X, Y, 5)", "mse(model(x), y)"),
        ("x, y", "data", "# as ever\nscale = 2\n(scale *\n loss(x, y))\n"),
        ("x, (y)", "data", "l = loss(x, y); l * 2"),
        ("x, [y]", "[(x, [y]) for x, y in data]", "η = 1; mse(model(x), y) * η"),
        ("cell_loss, cell_data", "data", "loss(cell_loss, cell_data)"),
        ("x, y", "data", 'text = """a\n  b\n"""; n = len(text)\n# end\nloss(x, y) * n + len(f"""\n {n}\n""")\n\n'),
        ("x, y", "data", '    text = """\n    a"""\n    loss(x, y) * len(text)'),
        ("x, y", "data", 't = \'a\\\nb\'; u = b"""\n"""\nif t:\n    \'\\x0c\'\nloss(x, y) * len(t + str(u))'),
        ("x, y", "data", "count += 1\nloss(x, y) * count"),
        ("x, y", "data", "scale: float = 2\nimport math as m\nloss(x, y) * scale * m.e"),
        ("x, y", "data", TRANSFORM("!true\n%time l = loss(x, y)\n%time l * 2")),
        ("pair", "[(x, y) for x, y in data]", "loss(*pair)"),
        ("batch, *_", "[[x, y, 1] for x, y in data]", "loss(batch, _[0])"),
        ("x, y", "[np.stack([x[:, :1], y]) for x, y in data]", "mse(model(x @ np.ones((1, 4), np.float32)), y)"),
        ("x", "(X[:5], X[5:10])", "mse(model(x), Y[:5])"),
    ],
    ids=[
        *("plain", "lines", "semicolon", "targets", "names", "strings", "indented", "backslash", "count", "annotated"),
        *("magics", "pair", "starred", "array", "tuple"),
    ],
)
def test_a_script_of_a_cell_has_its_body_and_ends_in_the_same_bits(tmp_path, names, data, body):
    space = experiment(tmp_path)
    space["get_ipython"] = lambda: Shell(space)
    tree = ast.parse(textwrap.dedent(body))
    last = tree.body.pop().value
    before = tree
    target = compile(f"{names} = batch", "names", "exec")
    parts = [compile(before, "body", "exec"), compile(ast.Expression(last), "value", "eval")]

    def cell(batch):
        space["batch"] = batch
        exec(target, space)
        exec(parts[0], space)
        return eval(parts[1], space)

    model = space["model"]
    run = fluxmagic.Run(cell, lambda: zip(eval(data, space)), "ADAM", epochs=2, seed=3, model={"model": model})
    run.source = CellSource(names, data, body)
    run.step(4)
    run.set(η=0.05)
    run.train()
    run.save(tmp_path / "run.npz")
    assert execute(tmp_path, run.as_code())[0] == bits(model)


def test_the_docstring_of_a_script_describes_the_run(tmp_path):
    space = experiment(tmp_path)
    run = fluxmagic.Run(space["loss"], space["data"], "SGD", name="first", hypers={"η": 0.1})
    run.step(2)
    run.set(η=0.2)
    code = run.as_code("lab.mine", tmp_path / "a.npz")
    assert code.startswith('"""Run \'first\': SGD, 2 steps, 1 turn.')
    assert "from lab.mine import data, loss, model" in code
    assert str(tmp_path / "a.npz") in code
    assert re.search(r"fluxmagic \d+\.\d+\.\d+ \(numerics \d+\)", code)
    assert math.isclose(float(code.split("run.set(η=")[1].split(")")[0]), 0.2)


NAMES = [
    'x"""; __import__("os").system("touch PWNED"); """',
    'a" * 3',
    "C:\\users\\new\\N{x}",
    "\n\r\x0c\u2028import os",
    "\udc80",
    "ends in \\",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_and_a_path_are_literals_in_a_script(tmp_path, name):
    space = experiment(tmp_path)
    run = fluxmagic.Run(space["loss"], space["data"], "SGD", name=name)
    run.step(2)
    tree = ast.parse(run.as_code(path=name))
    kinds = [type(n).__name__ for n in tree.body]
    assert kinds == ["Expr", "ImportFrom", "ImportFrom", "Assign", "Expr", "Expr"]
    assert isinstance(tree.body[0].value, ast.Constant)
    assert tree.body[3].value.args[0].value == name
    if name.isprintable():
        assert repr(name) in tree.body[0].value.value


@pytest.mark.parametrize("module", ["a; import os", "", "a.", "../x", "import"])
def test_a_module_that_is_not_a_name_is_refused(tmp_path, module):
    space = experiment(tmp_path)
    run = fluxmagic.Run(space["loss"], space["data"], "SGD")
    run.step()
    with pytest.raises(ValueError, match="module is the name of a module, as import takes it, not"):
        run.as_code(module)


def test_a_script_has_numbers_of_python(tmp_path):
    space = experiment(tmp_path)
    run = fluxmagic.Run(space["loss"], space["data"], "SGD", epochs=9)
    run.step()
    run.set(η=exponential(np.float64(0.25), np.float32(0.5), every=np.int64(3)))
    run.step()
    run.set(η=np.float32(0.5), clip=1)
    code = run.as_code()
    assert "run.set(η=exponential(first=0.25, factor=0.5, every=3))" in code
    assert "run.set(η=0.5)\nrun.set(clip=1.0)" in code


@pytest.mark.parametrize("with_model", [True, False])
def test_a_script_names_the_parameters_of_a_run_that_trains_some_of_them(tmp_path, with_model):
    space = experiment(tmp_path)
    model = space["model"]
    some = [model[0].W, model[3].b]
    run = fluxmagic.Run(
        space["loss"], space["data"], fluxmagic.SGD(some, 0.1), seed=3, model=model if with_model else None
    )
    run.step(4)
    run.save(tmp_path / "run.npz")
    assert execute(tmp_path, run.as_code()) == [bits(model), "4"]


def test_two_own_schedules_have_two_names(tmp_path):
    space = experiment(tmp_path, "η_schedule_2 = eta_schedule_2 = lambda n: 0.02 / (1 + n)\n")
    run = fluxmagic.Run(space["loss"], space["data"], "SGD", epochs=4, seed=1, hypers={"η": space["η_schedule"]})
    run.step(4)
    run.set(η=space["η_schedule_2"])
    run.step(4)
    run.set(η=space["η_schedule"])
    run.step(2)
    run.save(tmp_path / "run.npz")
    script = run.as_code()
    assert 'schedules={"η": [eta_schedule, eta_schedule_2]}' in script
    assert execute(tmp_path, script) == [bits(space["model"]), "10"]


def test_a_cell_that_cannot_be_a_function_is_refused(tmp_path):
    space = experiment(tmp_path)
    run = fluxmagic.Run(space["loss"], space["data"], "SGD")
    run.step()
    run.source = CellSource("x, y", "data", "from math import *\nloss(x, y)")
    with pytest.raises(ValueError, match=r"written as a function of a script: import \* only allowed"):
        run.as_code()
