"""Docstrings: every public name has one, numpydoc can read it, it has the sections that apply, its examples run."""

import doctest
import inspect
import warnings

import numpy as np
import pytest
from numpydoc.docscrape import NumpyDocString

import fluxmagic
import fluxmagic.layers
import fluxmagic.optimise
import fluxmagic.runs
import fluxmagic.tracker
import fluxmagic.tracker.scipy
from fluxmagic.greek import canonical
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from fluxmagic.tracker.operation import Op

MODULES = [fluxmagic, fluxmagic.tracker, fluxmagic.tracker.scipy, fluxmagic.layers, fluxmagic.optimise, fluxmagic.runs]
PUBLIC = {f"{m.__name__}.{name}": getattr(m, name, None) for m in MODULES for name in m.__all__}
PUBLIC |= {f"fluxmagic.{name}": getattr(fluxmagic, name) for name in ("seed", "state", "stop", "throttle")}
# one entry for each thing, by its longest name; what is no function or class has no docstring of its own
ENTRIES = {id(x): (k, x) for k, x in PUBLIC.items() if callable(x)}.values()
EACH = pytest.mark.parametrize("x", [x for _, x in ENTRIES], ids=[k for k, _ in ENTRIES])
# as the package's docstring says
ASSUMED = {"np": np} | {name: getattr(fluxmagic, name) for name in fluxmagic.__all__}
HANDED_OUT = ("Tracked", "Param", "Event", "History")  # users get them, and make none
# what the user types: here an example is due.  Of an optimiser the class `Optimiser` and the formula are it.
TYPED = [x for x in map(PUBLIC.get, (f"fluxmagic.{n}" for n in fluxmagic.__all__)) if callable(x)]
TYPED = [x for x in TYPED if not (inspect.isclass(x) and issubclass(x, (Optimiser, Exception)))]


def parsed(x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an unknown section, a section twice
        return NumpyDocString(inspect.cleandoc(x.__doc__))


def parameters(x):
    """Names in the signature, as numpydoc writes them."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [stars.get(p.kind, "") + p.name for p in inspect.signature(x).parameters.values()]


@EACH
def test_has_a_docstring_of_its_own_that_starts_with_a_sentence(x):
    assert x.__doc__
    if isinstance(x, Op):
        assert x.__doc__ != Op.__doc__
    summary = " ".join(parsed(x)["Summary"])
    assert summary
    assert len(summary) < 200


@EACH
def test_describes_each_of_its_parameters_and_no_others(x):
    if inspect.isclass(x) and (issubclass(x, Exception) or x.__name__ in HANDED_OUT):
        return
    described = [canonical(name.strip()) for p in parsed(x)["Parameters"] for name in p.name.split(",")]
    twins = {"sigma": "σ", "epsilon": canonical("ϵ")}  # described with the name that they stand for
    taken = [p for p in parameters(x) if p not in twins or twins[p] not in described]
    assert sorted(described) == sorted(taken)


@EACH
def test_says_what_it_returns(x):
    if inspect.isclass(x):
        return
    returned = inspect.signature(x).return_annotation
    doc = parsed(x)
    if returned not in (None, "None", inspect.Signature.empty):
        assert doc["Returns"] or doc["Yields"]


@pytest.mark.parametrize("x", TYPED)
def test_names_of_the_contract_have_an_example(x):
    assert ">>>" in x.__doc__


@EACH
def test_examples_run(x):
    name = getattr(x, "__name__", repr(x))
    test = doctest.DocTestParser().get_doctest(inspect.cleandoc(x.__doc__), {**ASSUMED}, name, None, None)
    said = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("cls", [c for c in OPTIMISERS.values() if c.__module__.startswith("fluxmagic")])
def test_an_optimisers_docstring_follows_from_its_declaration(cls):
    doc = parsed(cls)
    described = {p.name: (p.type, " ".join(p.desc)) for p in doc["Parameters"]}
    assert list(described) == ["params", *cls.hypers]
    for h in cls.hypers.values():
        kind, text = described[h.name]
        assert kind == f"float or callable, default {'off' if h.default == np.inf else format(h.default, 'g')}"
        assert h.doc in text
        assert h.range in text
        assert h.ascii in text or h.ascii == h.name
    assert "Flux 0.6" in " ".join(doc["Notes"])
    assert "torch" in " ".join(doc["Notes"]) or "PyTorch" in " ".join(doc["Notes"])


def test_a_user_s_optimiser_gets_a_docstring():

    class Mine(Optimiser):
        """Mine alone: p ← p - η δ.

        Notes
        -----
        Nothing.
        """

        η = Hyper(0.5, "how far")

    class Bare(Optimiser):
        pass

    doc = parsed(Mine)
    assert doc["Summary"] == ["Mine alone: p ← p - η δ."]
    assert [p.name for p in doc["Parameters"]][:2] == ["params", "η"]
    assert doc["Notes"] == ["Nothing."]
    assert parsed(Bare)["Summary"] == ["Bare, an optimiser."]


@pytest.mark.parametrize("name", ["relu", "σ", "tanh", "softmax", "elu"])
def test_help_shows_the_docstring_and_signature_of_an_activation(name):
    import pydoc

    f = getattr(fluxmagic, name)
    text = pydoc.render_doc(f, renderer=pydoc.plaintext)
    assert "Of any shape, plain or tracked" in text
    assert "gradients" not in text
    assert parameters(f)[0] == "x"
    assert "out" not in parameters(f)
