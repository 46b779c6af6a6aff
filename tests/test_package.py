"""What the package exports, and what importing it costs."""

import builtins
import copy
import inspect
import pickle
import re
import subprocess
import sys

import pytest

import fluxmagic
import fluxmagic.layers
import fluxmagic.optimise
import fluxmagic.tracker
from fluxmagic.jupyter.pictures import comparison
from fluxmagic.lazy import LazyMethod

CONTRACT = """
    param back gradient
    Chain Dense Diagonal Dropout LayerNorm BatchNorm testmode
    σ sigmoid tanh relu leakyrelu elu gelu swish softplus logσ identity softmax logsoftmax
    mse mae crossentropy logitcrossentropy binarycrossentropy logitbinarycrossentropy
    params loadparams batches onehot accuracy binaryaccuracy
    SGD Momentum Nesterov ADAM RMSProp ADAGrad ADADelta AdaMax AMSGrad NADAM ADAMW
    cosine exponential onecycle
    landscapes train capture NotFinite Run Race Sweep Panel Curve compare save_params load_params predict
"""


def test_all_lists_the_names_of_the_contract():
    assert set(fluxmagic.__all__) - {"logsigmoid"} == set(CONTRACT.split())


def test_a_star_import_binds_the_names_of_all():
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
    from fluxmagic.greek import ascii_name

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
    assert run_python(script) == "[]\n"


def test_importing_it_loads_no_part_of_numpy_that_is_slow_to_import():
    script = "import sys, fluxmagic; print(sorted({'numpy.random', 'numpy.typing'} & set(sys.modules)))"
    assert run_python(script) == "[]\n"


def test_what_records_steps_is_loaded_by_the_first_step_that_is_captured():
    script = (
        "import sys; from fluxmagic import *; step = 'fluxmagic.capture.step'; W = param(1.0); opt = SGD([W], 0.1);"
        "Run(lambda x: W * x, [1.0], opt).train(); print(step in sys.modules);"
        "print(capture(lambda x: W * x, opt)(1.0), step in sys.modules)"
    )
    assert run_python(script) == "False\n0.9 True\n"


def run_python(script):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


ALONE = """
import sys

class Missing:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] not in sys.stdlib_module_names | {"fluxmagic", "numpy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def test_a_star_import_needs_numpy_alone_and_other_names_say_what_they_need():
    script = (
        ALONE
        + """
from fluxmagic import *
m = Chain(Dense(2, 1))
predict(m, [[1.0, 2.0]])
run = Run(lambda x: mse(m(x), [[0.0]]), [([[1.0, 2.0]],)], ADAM(params(m)))
run.train()
assert not isinstance(run, Panel) and not isinstance(run, Curve)
for use in (lambda: Panel(run), lambda: Curve(run), lambda: compare(run)):
    try:
        use()
    except ImportError as error:
        print(error)
"""
    )
    lines = run_python(script).splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        f"{name} needs IPython, ipywidgets and matplotlib: pip install ipython ipywidgets matplotlib"
        for name in ("Panel", "Curve", "compare")
    ]


def test_a_star_import_loads_nothing_heavy():
    script = """
import sys
from fluxmagic import *
assert not isinstance(3, Panel) and not issubclass(int, Curve)
heavy = {"IPython", "ipywidgets", "matplotlib", "pandas", "scipy", "sklearn", "traitlets", "ipykernel"}
print(sorted(heavy & {m.partition(".")[0] for m in sys.modules}))
"""
    assert run_python(script) == "[]\n"


@pytest.mark.parametrize("name", ["Panel", "Curve"])
def test_a_lazy_class_behaves_like_the_real_class(name):
    import pydoc

    late = getattr(fluxmagic, name)
    real = late.real
    assert real.__module__.startswith("fluxmagic.jupyter.")
    assert inspect.isclass(late)
    assert late.__name__ == real.__name__
    assert late.__doc__ == real.__doc__
    assert inspect.signature(late) == inspect.signature(real)
    assert set(dir(real)) <= set(dir(late))
    text = pydoc.render_doc(late, renderer=pydoc.plaintext)
    assert real.__doc__.splitlines()[0] in text
    assert late | None  # in an annotation
    assert pickle.loads(pickle.dumps(late)) is copy.deepcopy(late) is late

    W = fluxmagic.param(1.0)
    run = fluxmagic.Run(lambda x: W * x, [1.0], fluxmagic.SGD([W], 0.1))
    made = late(run)
    assert type(made) is real
    assert isinstance(made, late)
    assert not isinstance(run, late)
    assert issubclass(real, late)

    class Mine(late):
        def extra(self):
            return super().__repr__()

    mine = Mine(run)
    assert isinstance(mine, (real, late))
    assert issubclass(Mine, late)
    assert mine.extra()
    with pytest.raises(AttributeError):
        late.nothing


def test_compare_has_the_signature_of_jupyter_s_compare():
    assert inspect.signature(fluxmagic.compare) == inspect.signature(comparison.compare)
    with pytest.raises(TypeError, match="compare takes runs, and was given none"):
        fluxmagic.compare()


def test_dir_shows_public_names_only():
    shown = set(dir(fluxmagic))
    assert set(fluxmagic.__all__) | {"seed", "state", "stop", "throttle", "tracker", "layers", "optimise"} <= shown
    modules = {"tracker", "layers", "optimise", "runs", "jupyter"}
    assert {n for n in shown if not n.startswith("__")} - set(fluxmagic.__all__) >= {
        "seed",
        "state",
        "stop",
        "throttle",
    }
    assert not shown & {"Any", "annotations", "TYPE_CHECKING", "LazyClass", "lazy", "greek", "table", "absent"}
    assert all(hasattr(getattr(fluxmagic, n), "__path__") for n in modules & shown)
    assert all(hasattr(fluxmagic, name) for name in shown)


def test_the_package_s_help_names_the_ways_in_and_where_to_find_what():
    told = fluxmagic.__doc__
    for words in (
        "%%train x, y in batches",
        "Panel(loss",
        "train(loss",
        "Run(loss",
        "Saving",
        "Schedules",
        "Comparing",
    ):
        assert words in told
    named = re.findall(r"`(?:Run\.|run\.)?([a-z_]+)`", told)
    owners = (fluxmagic, fluxmagic.Run)
    assert {"save_params", "load_params", "save", "load", "as_code", "cosine", "onecycle", "predict"} <= set(named)
    assert all(any(hasattr(owner, name) for owner in owners) for name in named)


def test_the_version_is_a_version():
    assert [part.isdigit() for part in fluxmagic.__version__.split(".")] == [True] * 3


def test_a_lazy_method_imports_its_module_at_the_first_access_and_binds(tmp_path, monkeypatch):
    (tmp_path / "words.py").write_text("def split(word, at=' '):\n    'Cut a word.'\n    return word.split(at)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "words", raising=False)

    class Word(str):
        parts = LazyMethod("words", "split")
        unknown = LazyMethod("words", "no_such_name")

    word = Word("one two")
    assert "words" not in sys.modules
    assert word.parts() == ["one", "two"]
    assert Word.parts is sys.modules["words"].split
    assert inspect.getdoc(word.parts) == "Cut a word."
    assert str(inspect.signature(word.parts)) == "(at=' ')"
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = word.unknown
