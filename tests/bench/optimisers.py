"""Trajectories side by side with torch.optim's and optax's: `python -m tests.bench.optimisers`.

A linear regression from 10 to 10 in float64, 100 steps from the same weights, every step compared; each library takes
its own gradients.  What a formula that is different on purpose makes of it is listed with its reason.  The batches are
small, so that no gradient comes to rest near 0, where rules that divide by its size would make much of its last bits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import jax
import numpy as np
import optax
import torch

import fluxmagic as fm

RTOL = 1e-9
STEPS = 100

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(32, 10)), rng.normal(size=(32, 10))
W0, B0 = rng.normal(size=(10, 10)), rng.normal(size=10)

BATCHES = [(X[i : i + 4], Y[i : i + 4]) for i in range(0, 32, 4)]

Trajectory = Iterator[list[np.ndarray]]


def ours(name: str, settings: dict[str, Any]) -> Trajectory:
    """Weights after each step."""
    W, b = fm.param(W0), fm.param(B0)
    opt = getattr(fm, name)([W, b], **settings)
    for x, y in cycle(BATCHES):
        fm.back(((x @ W.T + b - y) ** 2).sum())
        opt()
        yield [W.data.copy(), b.data.copy()]


def of_torch(make: Callable[..., Any], clip: Callable[..., Any] | None = None) -> Trajectory:
    """Weights after each step of an optimiser of torch.optim, made by make(parameters)."""
    W, b = (torch.tensor(p, requires_grad=True) for p in (W0, B0))
    opt = make([W, b])
    for x, y in cycle(BATCHES):
        opt.zero_grad()
        ((torch.from_numpy(x) @ W.T + b - torch.from_numpy(y)) ** 2).sum().backward()
        if clip is not None:
            clip([W, b])
        opt.step()
        yield [p.detach().numpy().copy() for p in (W, b)]


def of_optax(rule: Any) -> Trajectory:
    """Weights after each step of a transformation of optax."""
    ps: Any = [jax.numpy.asarray(W0), jax.numpy.asarray(B0)]
    gradients = jax.jit(jax.grad(lambda ps, x, y: ((x @ ps[0].T + ps[1] - y) ** 2).sum()))
    state = rule.init(ps)
    update = jax.jit(rule.update)
    for x, y in cycle(BATCHES):
        changes, state = update(gradients(ps, x, y), state, ps)
        ps = optax.apply_updates(ps, changes)
        yield [np.asarray(p) for p in ps]


@dataclass(frozen=True)
class Pair:
    """One of our optimisers beside a peer's; with a reason where they are different on purpose."""

    name: str
    settings: dict[str, Any]
    peer: str
    make: Callable[[], Trajectory]
    reason: str = ""


def _label(peer: str, theirs: dict[str, Any], clip: str = "") -> str:
    return " ".join([peer, *(f"{k}={v}" for k, v in theirs.items() if k not in ("lr", "learning_rate")), clip]).rstrip()


def _torch(name: str, settings: dict[str, Any], peer: str, reason: str = "", clip: Any = None, **theirs: Any) -> Pair:
    def make() -> Trajectory:
        return of_torch(lambda ps: getattr(torch.optim, peer)(ps, **theirs), clip)

    label = _label(f"torch {peer}", theirs, "" if clip is None else clip.__name__)
    return Pair(name, settings, label, make, reason)


def _optax(name: str, settings: dict[str, Any], peer: str, reason: str = "", clip: str = "", **theirs: Any) -> Pair:
    def make() -> Trajectory:
        rule = getattr(optax, peer)(**theirs)
        if clip:
            limit = settings.get("clip", settings.get("clipnorm"))
            rule = optax.chain(getattr(optax, clip)(limit), rule)
        return of_optax(rule)

    return Pair(name, settings, _label(f"optax {peer}", theirs, clip), make, reason)


def clip_grad_norm(ps: Any) -> None:
    torch.nn.utils.clip_grad_norm_(ps, 0.5)


def clip_grad_value(ps: Any) -> None:
    torch.nn.utils.clip_grad_value_(ps, 0.5)


η = 1e-3
PAIRS = [
    _torch("SGD", {"η": η}, "SGD", lr=η),
    _optax("SGD", {"η": η}, "sgd", learning_rate=η),
    _torch("SGD", {"η": η, "weightdecay": 0.1}, "SGD", lr=η, weight_decay=0.1),
    _torch("SGD", {"η": η, "clip": 0.5}, "SGD", clip=clip_grad_value, lr=η),
    _optax("SGD", {"η": η, "clip": 0.5}, "sgd", clip="clip", learning_rate=η),
    _torch("SGD", {"η": 0.1, "clipnorm": 0.5}, "SGD", "adds 1e-6 to the norm", clip=clip_grad_norm, lr=0.1),
    _optax("SGD", {"η": η, "clipnorm": 5.0}, "sgd", clip="clip_by_global_norm", learning_rate=η),
    _torch("Momentum", {"η": η, "ρ": 0.8}, "SGD", lr=η, momentum=0.8),
    _optax("Momentum", {"η": η, "ρ": 0.8}, "sgd", learning_rate=η, momentum=0.8),
    _torch("Momentum", {"η": η, "weightdecay": 0.1}, "SGD", lr=η, momentum=0.9, weight_decay=0.1),
    _torch("Nesterov", {"η": η, "ρ": 0.8}, "SGD", lr=η, momentum=0.8, nesterov=True),
    _optax("Nesterov", {"η": η, "ρ": 0.8}, "sgd", learning_rate=η, momentum=0.8, nesterov=True),
    _torch("ADAM", {"η": 0.01}, "Adam", lr=0.01),
    _torch("ADAM", {"η": 0.01, "β1": 0.8, "β2": 0.99, "ϵ": 1e-3}, "Adam", lr=0.01, betas=(0.8, 0.99), eps=1e-3),
    _torch("ADAM", {"η": 0.01, "weightdecay": 0.1}, "Adam", lr=0.01, weight_decay=0.1),
    _optax("ADAM", {"η": 0.01}, "adam", learning_rate=0.01),
    _torch("ADAMW", {"η": 0.01, "weightdecay": 0.1}, "AdamW", lr=0.01, weight_decay=0.1),
    _optax("ADAMW", {"η": 0.01, "weightdecay": 0.1}, "adamw", learning_rate=0.01, weight_decay=0.1),
    _torch("RMSProp", {"η": 0.01, "ρ": 0.95}, "RMSprop", lr=0.01, alpha=0.95),
    _optax("RMSProp", {"η": 0.01}, "rmsprop", learning_rate=0.01, eps_in_sqrt=False),
    _torch("ADAGrad", {"η": 0.1}, "Adagrad", lr=0.1, eps=1e-8),
    _torch("ADAGrad", {"η": 0.1, "decay": 0.05}, "Adagrad", lr=0.1, eps=1e-8, lr_decay=0.05),
    _optax(
        "ADAGrad",
        {"η": 0.1, "ϵ": 1e-3},
        "adagrad",
        "ϵ is inside the root",
        learning_rate=0.1,
        initial_accumulator_value=0.0,
        eps=1e-3,
    ),
    _optax("ADAGrad", {"η": 0.1, "ϵ": 1e-30}, "adagrad", learning_rate=0.1, initial_accumulator_value=0.0, eps=1e-30),
    _torch("ADADelta", {"ϵ": 1e-6}, "Adadelta", lr=1.0, rho=0.9, eps=1e-6),
    _optax("ADADelta", {"ϵ": 1e-6, "ρ": 0.95}, "adadelta", learning_rate=1.0, rho=0.95, eps=1e-6),
    _torch("AdaMax", {"η": 0.01, "ϵ": 1e-3}, "Adamax", "adds ϵ to |δ| before the maximum", lr=0.01, eps=1e-3),
    _torch("AdaMax", {"η": 0.01, "ϵ": 1e-30}, "Adamax", lr=0.01, eps=1e-30),
    _optax("AdaMax", {"η": 0.01}, "adamax", learning_rate=0.01),
    _torch("AMSGrad", {"η": 0.01}, "Adam", "corrects the bias, which the paper does not", lr=0.01, amsgrad=True),
    _optax("AMSGrad", {"η": 0.01}, "amsgrad", learning_rate=0.01, bias_correction_mu=False, bias_correction_nu=False),
    _torch("NADAM", {"η": 0.01}, "NAdam", "β1 follows the paper's schedule", lr=0.01),
    _torch("NADAM", {"η": 0.01}, "NAdam", lr=0.01, momentum_decay=1e6),  # so large that β1 stays what it is
    _optax("NADAM", {"η": 0.01}, "nadam", learning_rate=0.01),
]


def difference(pair: Pair) -> float:
    """The largest over all steps, relative to the largest weight."""
    worst = 0.0
    for _, a, b in zip(range(STEPS), ours(pair.name, pair.settings), pair.make()):
        worst = max(worst, *(float(np.abs(p - q).max() / np.abs(q).max()) for p, q in zip(a, b, strict=True)))
    return worst


def main() -> None:
    """Print the table; exit with 1 if a pair differs without a reason, or has a reason and does not differ."""
    jax.config.update("jax_enable_x64", True)
    torch.set_default_dtype(torch.float64)  # NAdam keeps the product of its β1 in this
    bad = 0
    print(f"{'optimiser':58} {'peer':74} {'difference':>10}")
    for pair in PAIRS:
        d = difference(pair)
        settings = " ".join(f"{k}={v}" for k, v in pair.settings.items())
        verdict = "equal" if d <= RTOL else "different"
        wrong = (verdict == "equal") == bool(pair.reason)
        bad += wrong
        print(
            f"{pair.name + ' ' + settings:58} {pair.peer:74} {d:10.1e}  {verdict}"
            + (f", listed: {pair.reason}" if pair.reason else "")
            + (" (not as listed)" if wrong else "")
        )
    print(f"{len(PAIRS)} pairs, {STEPS} steps; torch {torch.__version__}, optax {optax.__version__}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
