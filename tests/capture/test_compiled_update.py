"""Updates in one pass over memory: NumPy's bits, whatever the rule."""

import copy
import pickle
import sys

import numpy as np
import pytest

from fluxmagic import ADAM, SGD, back, param
from fluxmagic.capture import compiled_update, elementwise, machine_code
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from fluxmagic.optimise.memory import BLOCK

pytest.importorskip("llvmlite")


class _Signs(Optimiser):
    """Steps against the sign of a smoothed gradient; reads its hyper-parameters itself."""

    η = Hyper(0.001, "learning rate")
    ρ = Hyper(0.9, "momentum", high=1, high_open=True)
    state = ("v",)

    def step(self, δ, s):
        s.v = self.ρ * s.v + (1 - self.ρ) * δ
        return self.η * np.sign(s.v) * (np.abs(δ) > 0.1)


class _Powers(_Signs):
    """All other operations; in place, and with a temporary array."""

    def step(self, δ, s):
        s.tmp[...] = δ**2 + 2
        s.v += np.minimum(s.tmp, abs(s.p)) ** 0.5
        s.v *= 0.5
        δ /= np.maximum(s.tmp, 1) * (1 + (s.p <= 0.3) * s.v)
        return -(δ**-1) * self.η if self.n % 2 else δ**1 - self.η * ((s.v != δ) * s.v)


class _Norm(_Signs):
    """Looks at a value in the midst of its work."""

    calls = 0

    def step(self, δ, s):
        type(self).calls += 1
        s.v = self.ρ * s.v + δ
        scale = 1 / (1 + float(np.linalg.norm(s.v)))
        s.v *= 0.9
        return scale * s.v


class _Widens(_Signs):
    """Makes float64 of float32, as a number times a mask does."""

    def step(self, δ, s):
        return self.η * (δ > 0)


class _NotAsPlain(_Norm, plain=True):
    """Declared to be arithmetic, which it is not."""

    def step(self, δ, s):
        s.v = 0.9 * s.v + δ
        return s.v * np.float32(0.1 / (1 + np.linalg.norm(s.v)))


class _Keeps(_Signs):
    """Keeps an array that it has computed, and uses it in the next update."""

    def step(self, δ, s):
        last, self._last = getattr(self, "_last", 0.0), δ * 2
        return self.η * (δ + last)


def train(cls, dtype, n, compiled, updates=9):
    """Weights, state and numbers after a few updates with dials turned between them."""
    rng = np.random.default_rng(0)
    p, q = (param(rng.standard_normal(k).astype(dtype)) for k in (n, 3))
    opt = cls([p, q])
    if compiled:
        assert opt.compile_update()
    with np.errstate(all="ignore"):
        for k in range(updates):
            if k == 4:
                for name in {"η", "ρ", "β1"} & opt.hypers.keys():
                    setattr(opt, name, getattr(opt, name) * 0.9)
            opt.clipnorm = 1 if k == 6 else np.inf  # one update in NumPy's passes
            for x in (p, q):
                Δ = rng.standard_normal(x.shape).astype(dtype)
                Δ[rng.random(x.shape) < 0.2] = 0
                back(x, Δ)
            opt()
    d = opt.state_dict()
    arrays = [a for xs in d["arrays"].values() for a in xs]
    return [x.tobytes() for x in (p.data, q.data, *arrays)], d["numbers"], d["n"], opt


@pytest.mark.parametrize("n", [1, 1000, BLOCK + 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cls", [*OPTIMISERS.values(), _Signs, _Powers], ids=lambda c: c.__name__)
def test_a_compiled_update_has_the_bits_of_numpys_passes(cls, dtype, n):
    *expected, _ = train(cls, dtype, n, compiled=False)
    *found, opt = train(cls, dtype, n, compiled=True)
    assert found == expected
    assert opt.update_is_compiled


def test_a_rule_that_is_declared_plain_is_not_run_again():
    *_, opt = train(ADAM, np.float32, 100, compiled=True)
    assert len(opt.subtract_steps.calls(opt.step, opt.blocks)) == 1
    *_, opt = train(_Signs, np.float32, 100, compiled=True)
    assert opt.subtract_steps.calls(opt.step, opt.blocks) == []


@pytest.mark.parametrize(
    ("cls", "n"), [(_Norm, 1000), (_Norm, BLOCK + 17), (_Widens, 1000), (_NotAsPlain, 1000), (_Keeps, 1000)]
)
def test_a_rule_that_is_more_than_arithmetic_goes_to_numpy_and_runs_once_per_update(cls, n):
    _Norm.calls = 0
    *expected, _ = train(cls, np.float32, n, compiled=False)
    calls, _Norm.calls = _Norm.calls, 0
    *found, opt = train(cls, np.float32, n, compiled=True)
    assert found == expected
    assert not opt.update_is_compiled
    assert cls is not _Norm or _Norm.calls == calls


def test_a_loop_without_numpys_bits_is_left_out(monkeypatch):
    def square_root(b, x):
        return b.fmul(x, x.type(0.5))

    monkeypatch.setitem(elementwise.FUSED, np.sqrt, square_root)
    monkeypatch.setattr(compiled_update, "_loops", {})
    *found, opt = train(ADAM, np.float32, 100, compiled=True)
    assert found == list(train(ADAM, np.float32, 100, compiled=False)[:3])
    assert not opt.update_is_compiled


def test_a_users_rule_raises_what_numpy_is_set_to_raise():
    W = param(np.ones(3, np.float32))
    opt = _Powers([W])
    opt.compile_update()
    back(W, np.full(3, 1e30, np.float32))
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        opt.update()


def test_a_large_model_is_compiled_once_as_much_time_is_spent_in_updates(monkeypatch):
    monkeypatch.setattr("fluxmagic.optimise.optimiser.COMPILED_AFTER", 200 * 50_000)
    W = param(np.ones(50_000, np.float32))
    opt = SGD([W], 1e-3)
    compiled = []
    for _ in range(256):
        back(W, np.ones_like(W.data))
        opt()
        compiled.append(opt.update_is_compiled)
    assert compiled == [False] * 255 + [True]
    assert not train(SGD, np.float32, 100, compiled=False, updates=300)[-1].update_is_compiled


def test_copies_of_a_compiled_optimiser_go_on_with_the_same_bits():
    *_, opt = train(ADAM, np.float32, 100, compiled=True)
    opts = [opt, copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))]
    for o in opts:
        for p in o.params:
            back(p, np.ones_like(p.data))
        o()
    assert len({o.params[0].data.tobytes() for o in opts}) == 1


def test_without_the_extra_nothing_changes(monkeypatch):
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    machine_code.has_compiler.cache_clear()
    try:
        opt = ADAM([param(np.ones(3))])
        assert not opt.compile_update()
        assert not opt.update_is_compiled
    finally:
        machine_code.has_compiler.cache_clear()
