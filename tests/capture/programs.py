"""Losses to be captured: whole programs, made anew with the same bits at each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fluxmagic as fm
from fluxmagic import Chain, Dense, gradient, param, params
from fluxmagic.layers import state
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.tracker import checkpoint, custom_gradient, data, hook

Batch = tuple[Any, ...]


@dataclass
class Net:
    """A loss, the model that it refers to, and a function that makes batches."""

    loss: Callable[..., Any]
    model: Any
    batch: Callable[[np.random.Generator, int], Batch]


@dataclass
class Trained:
    """A net with its optimiser, and the losses so far."""

    net: Net
    opt: Optimiser
    losses: list[float] = field(default_factory=list)

    def everything(self) -> list[Any]:
        """All that a step changes, as bytes and numbers."""
        found: list[Any] = [np.array(self.losses).tobytes()]
        found += map(bits, state(self.net.model, self.net.loss))
        d = self.opt.state_dict()
        return [*found, {k: [a.tobytes() for a in xs] for k, xs in d["arrays"].items()}, d["numbers"], d["n"]]


def bits(x: Any) -> Any:
    """All bits of a parameter, an array or a generator."""
    return x.bit_generator.state if isinstance(x, np.random.Generator) else np.asarray(data(x)).tobytes()


def batches(net: Net, n: int, rows: int = 12, seed: int = 5) -> Iterator[Batch]:
    """Batches of which every seventh is shorter."""
    rng = np.random.default_rng(seed)
    for k in range(n):
        yield net.batch(rng, rows // 2 if k % 7 == 6 else rows)


def make(name: str, dtype: str = "float32", optimiser: str = "ADAM", **dials: Any) -> Trained:
    """Make a net, with an optimiser of its parameters."""
    net = NETS[name](np.dtype(dtype).type, np.random.default_rng(3))
    return Trained(net, OPTIMISERS[optimiser](params(net.model), **dials))


NETS: dict[str, Callable[[Any, np.random.Generator], Net]] = {}


def net(f: Callable[[Any, np.random.Generator], Net]) -> Callable[[Any, np.random.Generator], Net]:
    NETS[f.__name__] = f
    return f


def labelled(T: Any, width: int = 6, classes: int = 4) -> Callable[[np.random.Generator, int], Batch]:
    return lambda rng, n: (rng.standard_normal((n, width)).astype(T), rng.integers(0, classes, n))


def paired(T: Any, width: int = 6, out: int = 3) -> Callable[[np.random.Generator, int], Batch]:
    return lambda rng, n: (rng.standard_normal((n, width)).astype(T), rng.standard_normal((n, out)).astype(T))


def classifier(T: Any, *layers: Any) -> Net:
    m = Chain(*layers)
    return Net(lambda x, y: fm.logitcrossentropy(m(x), y), m, labelled(T))


def weights(T: Any, rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[Any]:
    return [param((rng.standard_normal(s) * 0.5).astype(T)) for s in shapes]


@net
def linear(T: Any, rng: np.random.Generator) -> Net:
    W, b = weights(T, rng, (2, 5), (2,))
    batch = lambda rng, n: (rng.random(5).astype(T), rng.random(2).astype(T))
    return Net(lambda x, y: ((W @ x + b - y) ** 2).sum(), [W, b], batch)


@net
def operators(T: Any, rng: np.random.Generator) -> Net:
    W1, b1, W2, b2 = ps = weights(T, rng, (6, 8), (8,), (8, 3), (3,))
    return Net(lambda x, y: ((np.tanh(x @ W1 + b1) @ W2 + b2 - y) ** 2).mean(), ps, paired(T))


@net
def sigmoids(T: Any, rng: np.random.Generator) -> Net:
    return classifier(T, Dense(6, 5, fm.σ, dtype=T, rng=0), Dense(5, 4, dtype=T, rng=1))


@net
def relus(T: Any, rng: np.random.Generator) -> Net:
    return classifier(
        T, Dense(6, 9, fm.relu, dtype=T, rng=0), Dense(9, 9, fm.relu, dtype=T, rng=1), Dense(9, 4, dtype=T, rng=2)
    )


@net
def activations(T: Any, rng: np.random.Generator) -> Net:
    fs = [np.tanh, fm.leakyrelu, fm.elu, fm.gelu, fm.swish, fm.softplus]
    return classifier(T, *[Dense(6, 6, f, dtype=T, rng=k) for k, f in enumerate(fs)], Dense(6, 4, dtype=T, rng=9))


@net
def dropout(T: Any, rng: np.random.Generator) -> Net:
    return classifier(T, Dense(6, 9, fm.relu, dtype=T, rng=0), fm.Dropout(0.3, rng=1), Dense(9, 4, dtype=T, rng=2))


@net
def layernorm(T: Any, rng: np.random.Generator) -> Net:
    m = (
        Dense(6, 9, fm.relu, dtype=T, rng=0),
        fm.LayerNorm(9, dtype=T),
        fm.Dropout(0.2, rng=1),
        Dense(9, 4, dtype=T, rng=2),
    )
    return classifier(T, *m)


@net
def batchnorm(T: Any, rng: np.random.Generator) -> Net:
    return classifier(T, Dense(6, 9, dtype=T, rng=0), fm.BatchNorm(9, fm.relu, dtype=T), Dense(9, 4, dtype=T, rng=2))


@net
def all_layers(T: Any, rng: np.random.Generator) -> Net:
    m = Dense(6, 9, dtype=T, rng=0), fm.BatchNorm(9, fm.relu, dtype=T), fm.Dropout(0.2, rng=4), fm.LayerNorm(9, dtype=T)
    return classifier(T, *m, fm.Diagonal(9, dtype=T), Dense(9, 4, dtype=T, rng=2))


@net
def probabilities(T: Any, rng: np.random.Generator) -> Net:
    m = Chain(Dense(6, 4, dtype=T, rng=0), fm.softmax)
    batch = labelled(T)

    def one_hot(rng: np.random.Generator, n: int) -> Batch:
        x, y = batch(rng, n)
        return x, fm.onehot(y, 4).astype(T)

    return Net(lambda x, y: fm.crossentropy(m(x), y), m, one_hot)


@net
def two_classes(T: Any, rng: np.random.Generator) -> Net:
    m = Chain(Dense(6, 5, fm.σ, dtype=T, rng=0), Dense(5, 1, dtype=T, rng=1))
    batch = lambda rng, n: (rng.standard_normal((n, 6)).astype(T), rng.integers(0, 2, (n, 1)).astype(T))
    return Net(lambda x, y: fm.logitbinarycrossentropy(m(x), y), m, batch)


@net
def absolute_errors(T: Any, rng: np.random.Generator) -> Net:
    m = Chain(Dense(6, 5, np.tanh, dtype=T, rng=0), Dense(5, 3, dtype=T, rng=1))
    return Net(lambda x, y: fm.mae(m(x), y) + 0.1 * fm.mse(m(x), y), m, paired(T))


@net
def gradient_penalty(T: Any, rng: np.random.Generator) -> Net:
    m = Chain(Dense(6, 5, np.tanh, dtype=T, rng=0), Dense(5, 3, dtype=T, rng=1))

    def loss(x: Any, y: Any) -> Any:
        (δ,) = gradient(lambda x: m(x).sum(), x)
        return fm.mse(m(x), y) + 0.1 * (δ**2).mean()

    return Net(loss, m, paired(T))


@net
def hooks(T: Any, rng: np.random.Generator) -> Net:
    m = Chain(Dense(6, 5, np.tanh, dtype=T, rng=0), Dense(5, 3, dtype=T, rng=1))
    half = lambda Δ: Δ * 0.5
    return Net(lambda x, y: fm.mse(m[1](hook(half, m[0](x))), y), m, paired(T))


@net
def checkpoints(T: Any, rng: np.random.Generator) -> Net:
    m = Chain(Dense(6, 5, np.tanh, dtype=T, rng=0), Dense(5, 3, dtype=T, rng=1))
    return Net(lambda x, y: fm.mse(m[1](checkpoint(m[0], x)), y), m, paired(T))


@net
def custom_gradients(T: Any, rng: np.random.Generator) -> Net:
    W, b = weights(T, rng, (6, 3), (3,))

    @custom_gradient
    def clamp(x: Any) -> Any:
        return np.clip(x, -1, 1), lambda Δ: (Δ * 0.9,)

    return Net(lambda x, y: ((clamp(x @ W) + b - y) ** 2).mean(), [W, b], paired(T))


@net
def embedding(T: Any, rng: np.random.Generator) -> Net:
    E, W = weights(T, rng, (10, 4), (4, 3))
    batch = lambda rng, n: (rng.integers(0, 10, n), rng.standard_normal((n, 3)).astype(T))
    return Net(lambda i, y: ((E[i] @ W - y) ** 2).mean(), [E, W], batch)


@net
def stopped_gradient(T: Any, rng: np.random.Generator) -> Net:
    W, V = weights(T, rng, (6, 3), (6, 3))
    return Net(lambda x, y: (((x @ W).data - x @ V) ** 2).mean() + ((x @ W - y) ** 2).mean(), [W, V], paired(T))


@net
def tied_weights(T: Any, rng: np.random.Generator) -> Net:
    W, b = weights(T, rng, (6, 3), (6,))
    return Net(lambda x, y: ((np.tanh(x @ W) @ W.T + b - x) ** 2).mean(), [W, b], paired(T))


@net
def recurrent(T: Any, rng: np.random.Generator) -> Net:
    W, U, V = weights(T, rng, (2, 5), (5, 5), (5, 3))

    def loss(x: Any, y: Any) -> Any:
        h = np.zeros((len(x), 5), T)
        for t in range(3):
            h = np.tanh(x[:, 2 * t : 2 * t + 2] @ W + h @ U)
        return ((h @ V - y) ** 2).mean()

    return Net(loss, [W, U, V], paired(T))


@net
def attention(T: Any, rng: np.random.Generator) -> Net:
    Q, K, V = weights(T, rng, (6, 4), (6, 4), (6, 3))
    return Net(lambda x, y: ((fm.softmax((x @ Q) @ (x @ K).T / 2) @ (x @ V) - y) ** 2).mean(), [Q, K, V], paired(T))


@net
def weight_penalty(T: Any, rng: np.random.Generator) -> Net:
    m = Chain(Dense(6, 5, np.tanh, dtype=T, rng=0), Dense(5, 3, dtype=T, rng=1))
    λ = 1e-3
    return Net(lambda x, y: fm.mse(m(x), y) + λ * sum((p**2).sum() for p in params(m)), m, paired(T))


@net
def skips(T: Any, rng: np.random.Generator) -> Net:
    A, B, C = weights(T, rng, (6, 4), (10, 4), (14, 3))

    def loss(x: Any, y: Any) -> Any:
        h = np.concatenate([x, np.maximum(x @ A, 0)], axis=1)
        h = np.concatenate([h, np.maximum(h @ B, 0)], axis=1)
        return np.abs(h @ C - y).mean()

    return Net(loss, [A, B, C], paired(T))


@net
def convolution(T: Any, rng: np.random.Generator) -> Net:
    K, W = weights(T, rng, (3, 2), (8, 3))

    def loss(x: Any, y: Any) -> Any:
        h = np.einsum("nik,kc->nic", np.lib.stride_tricks.sliding_window_view(x, 3, axis=1), K)
        return ((np.tanh(h).reshape(len(x), -1) @ W - y) ** 2).mean()

    return Net(loss, [K, W], paired(T))


@net
def two_ways(T: Any, rng: np.random.Generator) -> Net:
    W, V = weights(T, rng, (6, 3), (6, 3))

    def loss(x: Any, y: Any) -> Any:
        h = x @ W if x.mean() > 0 else x @ V  # the other one gets no gradient
        return ((h - y) ** 2).mean()

    return Net(loss, [W, V], paired(T))


@net
def two_heads(T: Any, rng: np.random.Generator) -> Net:
    A, B, C = weights(T, rng, (6, 5), (5, 3), (5, 3))

    def loss(x: Any, y: Any) -> Any:
        h = np.tanh(x @ A)
        return ((h @ B - y) ** 2).mean() + np.log(np.exp(h @ C).sum(axis=1)).mean() + leaky(h)

    def leaky(h: Any) -> Any:
        return np.where(h > 0.5, h, 0.1 * h).mean()

    return Net(loss, [A, B, C], paired(T))
