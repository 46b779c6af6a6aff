"""The update rules, in order of increasing complexity.

A rule returns what is subtracted from the parameters p, given their gradient δ; n counts updates from 0.
All work in place, since a pass over memory, or a new array, is what an update costs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.optimise.hyper import Hyper
from fluxmagic.optimise.optimiser import Optimiser

__all__ = ["ADAM", "SGD", "Momentum", "Nesterov"]

Array = np.ndarray


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


class SGD(Optimiser):
    """Gradient descent: p ← p - η δ.

    Notes
    -----
    As Flux 0.6 and `torch.optim.SGD`.  `decay` γ divides δ by 1 + γ n, where PyTorch has no such thing.
    """

    η = _η(0.1)
    decays_gradient = True

    def begin(self) -> tuple[float, ...]:
        return (self.η,)

    def step(self, δ: Array, s: Any, η: Any) -> Array:  # type: ignore[override]
        return np.multiply(δ, η, δ)


class Momentum(Optimiser):
    """Gradient descent with momentum: v ← ρ v - η δ, p ← p + v.

    Notes
    -----
    As Flux 0.6: η stays inside the velocity.  PyTorch has v ← ρ v + δ, p ← p - η v, which is the same as
    long as η does not change.
    """

    η = _η(0.01)
    ρ = _ρ(0.9)
    state = ("v",)  # with the sign of what is subtracted
    decays_gradient = True

    def begin(self) -> tuple[float, ...]:
        return self.η, self.ρ

    def step(self, δ: Array, s: Any, η: Any, ρ: Any) -> Array:  # type: ignore[override]
        v: Array = s.v
        v *= ρ
        δ *= η
        v += δ
        return v


class Nesterov(Optimiser):
    """Nesterov momentum: d = ρ² v - (1+ρ) η δ, v ← ρ v - η δ, p ← p + d.

    Notes
    -----
    As Flux 0.6: η stays inside the velocity.  PyTorch's `nesterov=True` is the same as long as η does not change.
    """

    η = _η(0.01)
    ρ = _ρ(0.9)
    state = ("v",)  # with the sign of what is subtracted
    decays_gradient = True

    def begin(self) -> tuple[float, ...]:
        return self.η, self.ρ

    def step(self, δ: Array, s: Any, η: Any, ρ: Any) -> Array:  # type: ignore[override]
        v: Array = s.v
        v *= ρ
        δ *= η
        v += δ
        np.multiply(v, ρ, s.tmp)  # d = ρ v + η δ with the new v
        s.tmp += δ
        return s.tmp  # type: ignore[no-any-return]


class ADAM(Optimiser):
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
    numbers = {"Πβ1": 1.0, "Πβ2": 1.0, "unit1": 0.0, "unit2": 0.0}

    def begin(self) -> tuple[float, ...]:
        k = self._numbers
        k.Πβ1 *= self.β1
        k.Πβ2 *= self.β2
        unit1, unit2 = 1 - self.β1, 1 - self.β2
        keep1 = self.β1 * (k.unit1 or unit1) / unit1  # β1, but where a new β1 changes the unit that m is kept in
        keep2 = self.β2 * (k.unit2 or unit2) / unit2
        k.unit1, k.unit2 = unit1, unit2
        scale = (unit2 / (1 - k.Πβ2)) ** 0.5
        return keep1, keep2, self.ϵ / scale, self.η * unit1 / (1 - k.Πβ1) / scale

    def step(self, δ: Array, s: Any, keep1: Any, keep2: Any, ϵ: Any, η: Any) -> Array:  # type: ignore[override]
        m, u, step = s.m, s.u, s.tmp
        m *= keep1
        m += δ
        u *= keep2
        np.multiply(δ, δ, δ)
        u += δ
        np.sqrt(u, step)
        step += ϵ
        np.divide(m, step, step)
        step *= η
        return step  # type: ignore[no-any-return]
