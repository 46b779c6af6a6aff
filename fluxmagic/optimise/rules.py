"""The update rules, in order of increasing complexity.

A rule returns what is subtracted from the parameters p, given their gradient δ.  It takes the hyper-parameters that it
names, or what `constants` returns.  All arrays are written in place: an update costs its passes over memory.
"""

# mypy: disable-error-code="no-any-return"
# (a ufunc returns Any)

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fluxmagic.optimise.hyper import Hyper
from fluxmagic.optimise.memory import Block
from fluxmagic.optimise.optimiser import Optimiser

__all__ = [
    "ADAM",
    "ADAMW",
    "NADAM",
    "SGD",
    "ADADelta",
    "ADAGrad",
    "AMSGrad",
    "AdaMax",
    "Momentum",
    "Nesterov",
    "RMSProp",
]

Array = np.ndarray


# -- hyper-parameters ----------------------------------------------------------------------------------------


def _η(default: float) -> Hyper:
    return Hyper(default, "learning rate", scale="log")


def _memory(default: float, doc: str) -> Hyper:
    return Hyper(default, doc, high=1, high_open=True, scale="memory")


def _ϵ() -> Hyper:
    return Hyper(1e-8, "keeps the division from 0", low_open=True, scale="log")


# -- parts of rules: each writes its first or last argument, and returns it ----------------------------------------
# Three positional arguments take less time than `a *= ρ`.


def accumulate(a: Array, ρ: float, x: Array) -> Array:
    """a ← ρ a + x."""
    return np.add(np.multiply(a, ρ, a), x, a)


def average(a: Array, ρ: float, share: float, x: Array, tmp: Array) -> Array:
    """a ← ρ a + share x, where share is 1 - ρ."""
    return accumulate(a, ρ, np.multiply(x, share, tmp))


def average_square(a: Array, ρ: float, share: float, x: Array, tmp: Array) -> Array:
    """a ← ρ a + share x²."""
    return average(a, ρ, share, np.multiply(x, x, tmp), tmp)


def root(a: Array, ϵ: float, tmp: Array) -> Array:
    """√(a + ϵ)."""
    return np.sqrt(np.add(a, ϵ, tmp), tmp)


def ratio(x: Array, a: Array, ϵ: float, η: float, tmp: Array) -> Array:
    """η x / (√a + ϵ)."""
    np.add(np.sqrt(a, tmp), ϵ, tmp)
    return np.multiply(np.divide(x, tmp, tmp), η, tmp)


def quotient(x: Array, a: Array, ϵ: float, η: float, tmp: Array) -> Array:
    """η x / (a + ϵ)."""
    return np.multiply(np.divide(x, np.add(a, ϵ, tmp), tmp), η, tmp)


def correct(numbers: dict[str, float], product: str, β: float) -> float:
    """Πβ ← β Πβ; return 1 - Πβ, the sum of the weights in an average that started at 0."""
    numbers[product] *= β
    return 1 - numbers[product]


def in_units(numbers: dict[str, float], unit: str, product: str, β: float) -> tuple[float, float, float]:
    """Return the factor for an average that is kept in units of 1-β, that unit, and 1 - Πβ.

    a / (1-β) takes two passes over memory a step, `accumulate`, where a takes three, `average`.  A new β changes the
    unit.
    """
    old, new = numbers[unit] or 1 - β, 1 - β
    numbers[unit] = new
    numbers[product] *= β
    return β * old / new, new, 1 - numbers[product]


# -- rules ---------------------------------------------------------------------------------------------------------


class SGD(Optimiser, plain=True):
    """Gradient descent: p ← p - η δ.

    As Flux 0.6 and `torch.optim.SGD`.  `decay` γ divides δ by 1 + γ n; PyTorch lacks it.
    """

    η = _η(0.1)
    decay_on = "gradient"

    def step(self, δ: Array, s: Block, η: float) -> Array:
        return np.multiply(δ, η, δ)


class Momentum(Optimiser, plain=True):
    """Gradient descent with momentum: v ← ρ v - η δ, p ← p + v.

    As Flux 0.6: η stays inside the velocity.  PyTorch has v ← ρ v + δ, p ← p - η v, which is the same as
    long as η does not change.
    """

    η = _η(0.01)
    ρ = _memory(0.9, "momentum: the share of the velocity that is kept")
    state = ("v",)  # with the sign of what is subtracted
    decay_on = "gradient"

    def step(self, δ: Array, s: Block, η: float, ρ: float) -> Array:
        return accumulate(s.v, ρ, np.multiply(δ, η, δ))


class Nesterov(Momentum, plain=True):
    """Nesterov momentum: d = ρ² v - (1+ρ) η δ, v ← ρ v - η δ, p ← p + d.

    As Flux 0.6: η stays inside the velocity.  PyTorch's `nesterov=True` is the same as long as η does not change.
    """

    def step(self, δ: Array, s: Block, η: float, ρ: float) -> Array:
        accumulate(s.v, ρ, np.multiply(δ, η, δ))
        return np.add(np.multiply(s.v, ρ, s.tmp), δ, s.tmp)  # d = ρ v + η δ with the new v


class RMSProp(Optimiser, plain=True):
    """Steps relative to recent gradients: a ← ρ a + (1-ρ) δ², p ← p - η δ / (√a + ϵ).

    As `torch.optim.RMSprop`, whose ρ (alpha) is 0.99 and η 0.01 by default.  Flux 0.6 divides by √(a + ϵ).
    """

    paper = "Tieleman, Hinton: Lecture 6.5, Neural networks for machine learning (2012)."
    η = _η(0.001)
    ρ = _memory(0.9, "memory of the mean of the squared gradients")
    ϵ = _ϵ()
    state = ("a",)

    def constants(self) -> tuple[float, ...]:
        return self.ρ, 1 - self.ρ, self.ϵ, self.η

    def step(self, δ: Array, s: Block, ρ: float, share: float, ϵ: float, η: float) -> Array:
        average_square(s.a, ρ, share, δ, s.tmp)
        return ratio(δ, s.a, ϵ, η, s.tmp)


class ADAGrad(Optimiser, plain=True):
    """Steps that shrink with all gradients so far: a ← a + δ², p ← p - η δ / (√a + ϵ).

    As `torch.optim.Adagrad`, whose ϵ is 1e-10.  Flux 0.6 starts a at ϵ and divides by √(a + ϵ).
    """

    paper = "Duchi, Hazan, Singer: Adaptive subgradient methods for online learning and stochastic optimization (2011)."
    η = _η(0.01)
    ϵ = _ϵ()
    state = ("a",)

    def step(self, δ: Array, s: Block, ϵ: float, η: float) -> Array:
        np.add(s.a, np.multiply(δ, δ, s.tmp), s.a)
        return ratio(δ, s.a, ϵ, η, s.tmp)


class ADADelta(Optimiser, plain=True):
    """Steps as large as recent ones: a ← ρ a + (1-ρ) δ², step = δ √(s + ϵ) / √(a + ϵ), s ← ρ s + (1-ρ) step².

    As Flux 0.6, and `torch.optim.Adadelta` with `lr=1, eps=1e-8`.  It has no learning rate.  s follows the steps
    of the rule, before `decay` makes them smaller.
    """

    paper = "Zeiler: ADADELTA: an adaptive learning rate method.  https://arxiv.org/abs/1212.5701"
    ρ = _memory(0.9, "memory of the means of squared gradients and squared steps")
    ϵ = _ϵ()
    state = ("a", "s")

    def constants(self) -> tuple[float, ...]:
        return self.ρ, 1 - self.ρ, self.ϵ

    def step(self, δ: Array, s: Block, ρ: float, share: float, ϵ: float) -> Array:
        average_square(s.a, ρ, share, δ, s.tmp)
        np.multiply(δ, root(s.s, ϵ, s.tmp), δ)
        np.divide(δ, root(s.a, ϵ, s.tmp), δ)
        average_square(s.s, ρ, share, δ, s.tmp)
        return δ


class _Moments(Optimiser):
    η = _η(0.001)
    β1 = _memory(0.9, "memory of the mean of the gradients")
    β2 = _memory(0.999, "memory of the mean of their squares")
    ϵ = _ϵ()


class ADAM(_Moments, plain=True):
    """Adaptive moments: m ← β1 m + (1-β1) δ, u ← β2 u + (1-β2) δ², p ← p - η m̂ / (√û + ϵ).

    m̂ = m / (1 - Πβ1) and û = u / (1 - Πβ2), with the running products of the β's that were really used.
    With constant β these are the powers of the paper, Flux 0.6 and PyTorch; a β that is turned on the
    way makes the powers wrong.  ϵ is outside the root, as in the paper and PyTorch (and Flux before 0.5.3
    and today; Flux 0.6 has it inside).
    """

    paper = "Kingma, Ba: Adam: a method for stochastic optimization.  https://arxiv.org/abs/1412.6980"
    state = ("m", "u")  # in units of 1-β1 and 1-β2
    numbers: ClassVar = {"Πβ1": 1.0, "Πβ2": 1.0, "unit1": 0.0, "unit2": 0.0}

    def constants(self) -> tuple[float, ...]:
        keep1, unit1, rest1 = in_units(vars(self._numbers), "unit1", "Πβ1", self.β1)
        keep2, unit2, rest2 = in_units(vars(self._numbers), "unit2", "Πβ2", self.β2)
        scale = (unit2 / rest2) ** 0.5
        return keep1, keep2, self.ϵ / scale, self.η * unit1 / rest1 / scale

    def step(self, δ: Array, s: Block, keep1: float, keep2: float, ϵ: float, η: float) -> Array:
        accumulate(s.m, keep1, δ)
        accumulate(s.u, keep2, np.multiply(δ, δ, δ))
        return ratio(s.m, s.u, ϵ, η, s.tmp)


class ADAMW(ADAM, plain=True):
    """ADAM with weight decay apart from the gradient: p ← p - step - η λ p, where step is ADAM's and λ is weightdecay.

    As `torch.optim.AdamW`, whose λ is 0.01 by default.  Flux 0.6 adds λ p to ADAM's step, without η.  `decay`
    acts on both parts, as the paper's schedule multiplier does.
    """

    paper = "Loshchilov, Hutter: Decoupled weight decay regularization.  https://arxiv.org/abs/1711.05101"
    weightdecay = Hyper(0.0, "λ: subtracts η λ p beside the step", scale="log")
    decoupled_decay = True

    def constants(self) -> tuple[float, ...]:
        return self.η * self.weightdecay, *super().constants()

    def step(self, δ: Array, s: Block, ηλ: float, *adam: float) -> Array:
        step = super().step(δ, s, *adam)
        return np.add(step, np.multiply(s.p, ηλ, δ), step)


class AdaMax(_Moments, plain=True):
    """ADAM with the largest gradient: m as in ADAM, u ← max(β2 u, |δ|), p ← p - η m̂ / (u + ϵ).

    As Flux 0.6.  PyTorch adds ϵ to |δ| before the maximum.  m̂ is m over 1 - Πβ1, see `ADAM`.
    """

    paper = "Kingma, Ba: Adam: a method for stochastic optimization, section 7.1.  https://arxiv.org/abs/1412.6980"
    η = _η(0.002)
    β2 = _memory(0.999, "memory of the largest gradient")
    state = ("m", "u")
    numbers: ClassVar = {"Πβ1": 1.0}

    def constants(self) -> tuple[float, ...]:
        return self.β1, 1 - self.β1, self.β2, self.ϵ, self.η / correct(vars(self._numbers), "Πβ1", self.β1)

    def step(self, δ: Array, s: Block, β1: float, share: float, β2: float, ϵ: float, η: float) -> Array:
        average(s.m, β1, share, δ, s.tmp)
        np.maximum(np.multiply(s.u, β2, s.u), np.abs(δ, δ), out=s.u)
        return quotient(s.m, s.u, ϵ, η, s.tmp)


class AMSGrad(_Moments, plain=True):
    """ADAM whose steps do not grow again: m, u as in ADAM, w ← max(w, u), p ← p - η m / (√w + ϵ).

    Without bias correction, as in the paper and Flux 0.6, which starts u and w at ϵ and divides by √w.
    PyTorch's `Adam(amsgrad=True)` corrects the bias.
    """

    paper = (
        "Reddi, Kale, Kumar: On the convergence of Adam and beyond (2018).  https://openreview.net/forum?id=ryQu7f-RZ"
    )
    state = ("m", "u", "w")

    def constants(self) -> tuple[float, ...]:
        return self.β1, 1 - self.β1, self.β2, 1 - self.β2, self.ϵ, self.η

    def step(self, δ: Array, s: Block, β1: float, share1: float, β2: float, share2: float, ϵ: float, η: float) -> Array:
        average(s.m, β1, share1, δ, s.tmp)
        average_square(s.u, β2, share2, δ, s.tmp)
        return ratio(s.m, np.maximum(s.w, s.u, out=s.w), ϵ, η, s.tmp)


class NADAM(_Moments, plain=True):
    """ADAM with Nesterov momentum: m, u as in ADAM, p ← p - η (β1 m / (1 - β1 Πβ1) + (1-β1) δ / (1 - Πβ1)) / (√û + ϵ).

    Πβ1 and û are those of `ADAM`.  Flux 0.6 divides by √(β2 û + ϵ); `torch.optim.NAdam` lets β1 follow a schedule
    of the paper, which this does not.
    """

    paper = (
        "Dozat: Incorporating Nesterov momentum into Adam (2016).  https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ"
    )
    state = ("m", "u")
    numbers: ClassVar = {"Πβ1": 1.0, "Πβ2": 1.0}

    def constants(self) -> tuple[float, ...]:
        k, β1, β2 = vars(self._numbers), self.β1, self.β2
        now = self.η * (1 - β1) / correct(k, "Πβ1", β1)
        ahead = self.η * β1 / (1 - β1 * k["Πβ1"])
        return β1, 1 - β1, β2, 1 - β2, ahead, now, self.ϵ, 1 / correct(k, "Πβ2", β2)

    def step(
        self, δ: Array, s: Block, β1: float, share1: float, β2: float, share2: float,
        ahead: float, now: float, ϵ: float, correction: float,
    ) -> Array:  # fmt: skip
        average(s.m, β1, share1, δ, s.tmp)
        average_square(s.u, β2, share2, δ, s.tmp)
        np.add(np.multiply(δ, now, δ), np.multiply(s.m, ahead, s.tmp), δ)
        np.sqrt(np.multiply(s.u, correction, s.tmp), s.tmp)
        return np.divide(δ, np.add(s.tmp, ϵ, s.tmp), δ)
