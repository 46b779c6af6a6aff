"""The update rules, in order of increasing complexity.

A rule returns what is subtracted from the parameters p, given their gradient δ; n counts updates from 0.
All work in place, since a pass over memory, or a new array, is what an update costs.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fluxmagic.optimise.hyper import Hyper
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

Array = Any  # an ndarray; attributes of the state are not typed


def _η(default: float) -> Hyper:
    return Hyper(default, "learning rate", scale="log")


def _ρ(default: float, doc: str = "momentum: the share of the velocity that is kept") -> Hyper:
    return Hyper(default, doc, high=1, high_open=True, scale="memory")


def _β1() -> Hyper:
    return Hyper(0.9, "memory of the mean of the gradients", high=1, high_open=True, scale="memory")


def _β2() -> Hyper:
    return Hyper(0.999, "memory of the mean of their squares", high=1, high_open=True, scale="memory")


def _ϵ() -> Hyper:
    return Hyper(1e-8, "keeps the division from 0", low_open=True, scale="log")


class SGD(Optimiser, plain=True):
    """Gradient descent: p ← p - η δ.

    Notes
    -----
    As Flux 0.6 and `torch.optim.SGD`.  `decay` γ divides δ by 1 + γ n, where PyTorch has no such thing.
    """

    η = _η(0.1)
    decay_on = "gradient"

    def constants(self) -> tuple[float, ...]:
        return (self.η,)

    def step(self, δ: Array, s: Any, η: Any) -> Array:
        return np.multiply(δ, η, δ)


class Momentum(Optimiser, plain=True):
    """Gradient descent with momentum: v ← ρ v - η δ, p ← p + v.

    Notes
    -----
    As Flux 0.6: η stays inside the velocity.  PyTorch has v ← ρ v + δ, p ← p - η v, which is the same as
    long as η does not change.
    """

    η = _η(0.01)
    ρ = _ρ(0.9)
    state = ("v",)  # with the sign of what is subtracted
    decay_on = "gradient"

    def constants(self) -> tuple[float, ...]:
        return self.η, self.ρ

    def step(self, δ: Array, s: Any, η: Any, ρ: Any) -> Array:
        v: Array = s.v
        v *= ρ
        δ *= η
        v += δ
        return v


class Nesterov(Optimiser, plain=True):
    """Nesterov momentum: d = ρ² v - (1+ρ) η δ, v ← ρ v - η δ, p ← p + d.

    Notes
    -----
    As Flux 0.6: η stays inside the velocity.  PyTorch's `nesterov=True` is the same as long as η does not change.
    """

    η = _η(0.01)
    ρ = _ρ(0.9)
    state = ("v",)  # with the sign of what is subtracted
    decay_on = "gradient"

    def constants(self) -> tuple[float, ...]:
        return self.η, self.ρ

    def step(self, δ: Array, s: Any, η: Any, ρ: Any) -> Array:
        v: Array = s.v
        v *= ρ
        δ *= η
        v += δ
        tmp: Array = s.tmp
        np.multiply(v, ρ, tmp)  # d = ρ v + η δ with the new v
        tmp += δ
        return tmp


class RMSProp(Optimiser, plain=True):
    """Steps relative to recent gradients: a ← ρ a + (1-ρ) δ², p ← p - η δ / (√a + ϵ).

    Notes
    -----
    As `torch.optim.RMSprop`, whose ρ (alpha) is 0.99 and η 0.01 by default.  Flux 0.6 divides by √(a + ϵ).

    References
    ----------
    Tieleman, Hinton: Lecture 6.5, Neural networks for machine learning (2012).
    """

    η = _η(0.001)
    ρ = _ρ(0.9, "memory of the mean of the squared gradients")
    ϵ = _ϵ()
    state = ("a",)

    def constants(self) -> tuple[float, ...]:
        return self.η, self.ρ, 1 - self.ρ, self.ϵ

    def step(self, δ: Array, s: Any, η: Any, ρ: Any, new: Any, ϵ: Any) -> Array:
        a, tmp = s.a, s.tmp
        a *= ρ
        np.multiply(δ, δ, tmp)
        tmp *= new
        a += tmp
        np.sqrt(a, tmp)
        tmp += ϵ
        δ /= tmp
        δ *= η
        return δ


class ADAGrad(Optimiser, plain=True):
    """Steps that shrink with all gradients so far: a ← a + δ², p ← p - η δ / (√a + ϵ).

    Notes
    -----
    As `torch.optim.Adagrad`, whose ϵ is 1e-10.  Flux 0.6 starts a at ϵ and divides by √(a + ϵ).

    References
    ----------
    Duchi, Hazan, Singer: Adaptive subgradient methods for online learning and stochastic optimization (2011).
    """

    η = _η(0.01)
    ϵ = _ϵ()
    state = ("a",)

    def constants(self) -> tuple[float, ...]:
        return self.η, self.ϵ

    def step(self, δ: Array, s: Any, η: Any, ϵ: Any) -> Array:
        a, tmp = s.a, s.tmp
        np.multiply(δ, δ, tmp)
        a += tmp
        np.sqrt(a, tmp)
        tmp += ϵ
        δ /= tmp
        δ *= η
        return δ


class ADADelta(Optimiser, plain=True):
    """Steps as large as recent ones: a ← ρ a + (1-ρ) δ², step = δ √(s + ϵ) / √(a + ϵ), s ← ρ s + (1-ρ) step².

    Notes
    -----
    As Flux 0.6, and `torch.optim.Adadelta` with `lr=1, eps=1e-8`.  It has no learning rate.  s follows the steps
    of the rule, before `decay` makes them smaller.

    References
    ----------
    Zeiler: ADADELTA: an adaptive learning rate method.  https://arxiv.org/abs/1212.5701
    """

    ρ = _ρ(0.9, "memory of the means of squared gradients and squared steps")
    ϵ = _ϵ()
    state = ("a", "s")

    def constants(self) -> tuple[float, ...]:
        return self.ρ, 1 - self.ρ, self.ϵ

    def step(self, δ: Array, s: Any, ρ: Any, new: Any, ϵ: Any) -> Array:
        a, steps, tmp = s.a, s.s, s.tmp
        a *= ρ
        np.multiply(δ, δ, tmp)
        tmp *= new
        a += tmp
        np.add(steps, ϵ, tmp)
        np.sqrt(tmp, tmp)
        δ *= tmp
        np.add(a, ϵ, tmp)
        np.sqrt(tmp, tmp)
        δ /= tmp
        steps *= ρ
        np.multiply(δ, δ, tmp)
        tmp *= new
        steps += tmp
        return δ


class ADAM(Optimiser, plain=True):
    """Adaptive moments: m ← β1 m + (1-β1) δ, u ← β2 u + (1-β2) δ², p ← p - η m̂ / (√û + ϵ).

    Notes
    -----
    m̂ = m / (1 - Πβ1) and û = u / (1 - Πβ2), with the running products of the β's that were really used.
    With constant β these are the powers of the paper, Flux 0.6 and PyTorch; a β that is turned on the
    way makes the powers wrong.  ϵ is outside the root, as in the paper and PyTorch (and Flux before 0.5.3
    and today; Flux 0.6 has it inside).

    References
    ----------
    Kingma, Ba: Adam: a method for stochastic optimization.  https://arxiv.org/abs/1412.6980
    """

    η = _η(0.001)
    β1 = _β1()
    β2 = _β2()
    ϵ = _ϵ()
    # What is kept is m / (1-β1) and u / (1-β2): that saves two passes over memory.
    state = ("m", "u")
    numbers: ClassVar = {"Πβ1": 1.0, "Πβ2": 1.0, "unit1": 0.0, "unit2": 0.0}

    def constants(self) -> tuple[float, ...]:
        k, β1, β2 = self._numbers, self.β1, self.β2
        k.Πβ1 *= β1
        k.Πβ2 *= β2
        unit1, unit2 = 1 - β1, 1 - β2
        keep1 = β1 * (k.unit1 or unit1) / unit1  # β1, but where a new β1 changes the unit that m is kept in
        keep2 = β2 * (k.unit2 or unit2) / unit2
        k.unit1, k.unit2 = unit1, unit2
        scale = (unit2 / (1 - k.Πβ2)) ** 0.5
        return keep1, keep2, self.ϵ / scale, self.η * unit1 / (1 - k.Πβ1) / scale

    def step(self, δ: Array, s: Any, keep1: Any, keep2: Any, ϵ: Any, η: Any) -> Array:
        m, u, step = s.m, s.u, s.tmp
        np.multiply(m, keep1, m)  # m *= keep1, called in less time
        np.add(m, δ, m)
        np.multiply(u, keep2, u)
        np.multiply(δ, δ, δ)
        np.add(u, δ, u)
        np.sqrt(u, step)
        np.add(step, ϵ, step)
        np.divide(m, step, step)
        np.multiply(step, η, step)
        return step


class ADAMW(ADAM, plain=True):
    """ADAM with weight decay apart from the gradient: p ← p - step - η λ p, where step is ADAM's and λ is weightdecay.

    Notes
    -----
    As `torch.optim.AdamW`, whose λ is 0.01 by default.  Flux 0.6 adds λ p to ADAM's step, without η.  `decay`
    acts on both parts, as the paper's schedule multiplier does.

    References
    ----------
    Loshchilov, Hutter: Decoupled weight decay regularization.  https://arxiv.org/abs/1711.05101
    """

    weightdecay = Hyper(0.0, "λ: subtracts η λ p beside the step", scale="log")
    decoupled_decay = True

    def constants(self) -> tuple[float, ...]:
        return *super().constants(), self.η * self.weightdecay

    def step(self, δ: Array, s: Any, keep1: Any, keep2: Any, ϵ: Any, η: Any, ηλ: Any) -> Array:  # type: ignore[override]
        step = super()._rule(δ, s, keep1, keep2, ϵ, η)
        step += np.multiply(s.p, ηλ, δ)
        return step


class AdaMax(Optimiser, plain=True):
    """ADAM with the largest gradient: m as in ADAM, u ← max(β2 u, |δ|), p ← p - η m̂ / (u + ϵ).

    Notes
    -----
    As Flux 0.6.  PyTorch adds ϵ to |δ| before the maximum.  m̂ is m over 1 - Πβ1, see `ADAM`.

    References
    ----------
    Kingma, Ba: Adam: a method for stochastic optimization, section 7.1.  https://arxiv.org/abs/1412.6980
    """

    η = _η(0.002)
    β1 = _β1()
    β2 = Hyper(0.999, "memory of the largest gradient", high=1, high_open=True, scale="memory")
    ϵ = _ϵ()
    state = ("m", "u")
    numbers: ClassVar = {"Πβ1": 1.0}

    def constants(self) -> tuple[float, ...]:
        self._numbers.Πβ1 *= self.β1
        return self.β1, 1 - self.β1, self.β2, self.ϵ, self.η / (1 - self._numbers.Πβ1)

    def step(self, δ: Array, s: Any, β1: Any, new: Any, β2: Any, ϵ: Any, η: Any) -> Array:
        m, u, tmp = s.m, s.u, s.tmp
        m *= β1
        m += np.multiply(δ, new, tmp)
        u *= β2
        np.maximum(u, np.abs(δ, δ), out=u)
        np.add(u, ϵ, tmp)
        np.divide(m, tmp, tmp)
        tmp *= η
        return tmp


class _Moments(Optimiser):
    """m ← β1 m + (1-β1) δ, u ← β2 u + (1-β2) δ²."""

    η = _η(0.001)
    β1 = _β1()
    β2 = _β2()
    ϵ = _ϵ()

    def follow(self, δ: Array, s: Any, β1: Any, new1: Any, β2: Any, new2: Any) -> None:
        m, u, tmp = s.m, s.u, s.tmp
        m *= β1
        m += np.multiply(δ, new1, tmp)
        u *= β2
        np.multiply(δ, δ, tmp)
        tmp *= new2
        u += tmp


class AMSGrad(_Moments, plain=True):
    """ADAM whose steps do not grow again: m, u as in ADAM, w ← max(w, u), p ← p - η m / (√w + ϵ).

    Notes
    -----
    Without bias correction, as in the paper and Flux 0.6, which starts u and w at ϵ and divides by √w.
    PyTorch's `Adam(amsgrad=True)` corrects the bias.

    References
    ----------
    Reddi, Kale, Kumar: On the convergence of Adam and beyond (2018).  https://openreview.net/forum?id=ryQu7f-RZ
    """

    state = ("m", "u", "w")

    def constants(self) -> tuple[float, ...]:
        return self.β1, 1 - self.β1, self.β2, 1 - self.β2, self.ϵ, self.η

    def step(self, δ: Array, s: Any, β1: Any, new1: Any, β2: Any, new2: Any, ϵ: Any, η: Any) -> Array:
        self.follow(δ, s, β1, new1, β2, new2)
        w, tmp = s.w, s.tmp
        np.maximum(w, s.u, out=w)
        np.sqrt(w, tmp)
        tmp += ϵ
        np.divide(s.m, tmp, δ)
        δ *= η
        return δ


class NADAM(_Moments, plain=True):
    """ADAM with Nesterov momentum: m, u as in ADAM, p ← p - η (β1 m / (1 - β1 Πβ1) + (1-β1) δ / (1 - Πβ1)) / (√û + ϵ).

    Notes
    -----
    Πβ1 and û are those of `ADAM`.  Flux 0.6 divides by √(β2 û + ϵ); `torch.optim.NAdam` lets β1 follow a schedule
    of the paper, which this does not.

    References
    ----------
    Dozat: Incorporating Nesterov momentum into Adam (2016).  https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ
    """

    state = ("m", "u")
    numbers: ClassVar = {"Πβ1": 1.0, "Πβ2": 1.0}

    def constants(self) -> tuple[float, ...]:
        k, β1, β2 = self._numbers, self.β1, self.β2
        k.Πβ1 *= β1
        k.Πβ2 *= β2
        of_m, of_δ = self.η * β1 / (1 - β1 * k.Πβ1), self.η * (1 - β1) / (1 - k.Πβ1)
        return β1, 1 - β1, β2, 1 - β2, self.ϵ, 1 / (1 - k.Πβ2), of_m, of_δ

    def step(
        self, δ: Array, s: Any, β1: Any, new1: Any, β2: Any, new2: Any, ϵ: Any, whole: Any, of_m: Any, of_δ: Any
    ) -> Array:
        self.follow(δ, s, β1, new1, β2, new2)
        δ *= of_δ
        δ += np.multiply(s.m, of_m, s.tmp)
        tmp = s.tmp
        np.multiply(s.u, whole, tmp)
        np.sqrt(tmp, tmp)
        tmp += ϵ
        δ /= tmp
        return δ
