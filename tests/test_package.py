"""What the package exports, and what importing it costs."""

import builtins
import subprocess
import sys

import pytest

import fluxmagic
import fluxmagic.layers
import fluxmagic.optimise
import fluxmagic.tracker

CONTRACT = """
    param back gradient
    Chain Dense Diagonal Dropout LayerNorm BatchNorm testmode
    σ sigmoid tanh relu leakyrelu elu gelu swish softplus logσ identity softmax logsoftmax
    mse mae crossentropy logitcrossentropy binarycrossentropy logitbinarycrossentropy
    params loadparams batches onehot accuracy binaryaccuracy
    SGD Momentum Nesterov ADAM RMSProp ADAGrad ADADelta AdaMax AMSGrad NADAM ADAMW
    train NotFinite Run Panel
"""


def test_all_is_what_the_contract_names():
    assert set(fluxmagic.__all__) - {"logsigmoid"} == set(CONTRACT.split())


def test_all_is_what_a_star_import_brings():
    names = {}
    exec("from fluxmagic import *", names)
    names.pop("__builtins__")
    assert set(names) == set(fluxmagic.__all__)
    assert all(names[k] is getattr(fluxmagic, k) for k in names)


@pytest.mark.parametrize("module", [fluxmagic, fluxmagic.layers, fluxmagic.optimise, fluxmagic.tracker])
def test_all_names_are_there_and_once(module):
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_a_star_import_takes_no_name_that_a_notebook_is_likely_to_use():
    taken = set(fluxmagic.__all__)
    assert not taken & set(dir(builtins))
    assert not taken & {
        "data",
        "grad",
        "update",
        "hook",
        "forward",
        "seed",
        "stop",
        "throttle",
        "state",
        "run",
        "x",
        "y",
    }
    for name in ("seed", "stop", "throttle", "state"):
        assert callable(getattr(fluxmagic, name))
    for name in ("data", "grad", "update", "hook", "forward"):
        assert callable(getattr(fluxmagic.tracker, name))


def test_every_greek_name_has_an_ascii_one():
    from fluxmagic.names import ascii_name

    assert fluxmagic.sigmoid is fluxmagic.σ
    assert fluxmagic.logsigmoid is fluxmagic.logσ
    greek = [n for n in fluxmagic.__all__ if not n.isascii()]
    assert sorted(greek) == ["logσ", "σ"]
    assert [ascii_name(n) for n in ("η", "ρ", "β1", "β2", "ϵ", "ε", "decay")] == [
        "eta", "rho", "beta1", "beta2", "epsilon", "epsilon", "decay",
    ]  # fmt: skip


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fluxmagic' has no attribute 'nothing'"):
        fluxmagic.nothing


def test_importing_it_loads_nothing_of_ipython_widgets_or_matplotlib():
    script = (
        "import sys, fluxmagic, fluxmagic.runs; W = fluxmagic.param(1.0);"
        "fluxmagic.train(lambda x: W * x, [1.0], fluxmagic.ADAM([W]));"
        "heavy = {'IPython', 'ipywidgets', 'matplotlib', 'pandas', 'scipy', 'sklearn', 'traitlets', 'ipykernel'};"
        "print(sorted(heavy & {m.partition('.')[0] for m in sys.modules}))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_the_version_is_a_version():
    assert [part.isdigit() for part in fluxmagic.__version__.split(".")] == [True] * 3
