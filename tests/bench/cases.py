"""What is measured: networks, batches and first weights, the same for all, and the targets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

OURS = ("fluxmagic", "captured", "fast")
ALL_PEERS = (*OURS, "torch", "torch fused", "jax", "autograd", "mygrad", "numpy", "products")
SOME_PEERS = (*OURS, "torch", "torch fused", "jax", "products")


@dataclass(frozen=True)
class Case:
    """A model and one batch, with what its step has to reach.

    Parameters
    ----------
    kind : str
        "dense": layers with an activation between them and softmax-crossentropy of integer labels behind.  "linear":
        the regression of the README, W (out, in), one vector, summed squares.  "operators": two layers of plain
        operators with tanh between, mean squares.  "layernorm" and "batchnorm": "dense" with that layer behind the
        first one's activation, or before it.
    dropout : float
        The share that a layer of dropout behind the first layer leaves out.
    peers : tuple of str
        Those that it is measured with.
    """

    name: str
    title: str
    widths: tuple[int, ...]
    batch: int
    optimiser: str
    activation: str = "relu"
    dtype: str = "float32"
    η: float = 0.001
    targets: dict[str, float] = field(default_factory=dict)
    kind: str = "dense"
    dropout: float = 0.0
    peers: tuple[str, ...] = ALL_PEERS

    @property
    def linear(self) -> bool:
        """Whether it is the linear regression."""
        return self.kind == "linear"

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(in, out) of each layer."""
        return list(zip(self.widths, self.widths[1:]))

    @cached_property
    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """First (W, b) of each layer, W of shape (out, in)."""
        rng = np.random.default_rng(1)
        make = [(rng.normal(0, n_in**-0.5, (n_out, n_in)), rng.normal(0, 0.1, n_out)) for n_in, n_out in self.pairs]
        return [(W.astype(self.dtype), b.astype(self.dtype)) for W, b in make]

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """The batch: (x, y) with labels, or the one pair of vectors of the regression."""
        rng = np.random.default_rng(2)
        if self.name.startswith("digits"):
            from sklearn.datasets import load_digits

            X, Y = load_digits(return_X_y=True)
            return (X[: self.batch] / 16).astype(self.dtype), Y[: self.batch].astype(np.int64)
        if self.linear:
            return rng.random(self.widths[0]).astype(self.dtype), rng.random(self.widths[1]).astype(self.dtype)
        x = rng.random((self.batch, self.widths[0])).astype(self.dtype)
        if self.kind == "operators":
            return x, rng.random((self.batch, self.widths[-1])).astype(self.dtype)
        return x, rng.integers(0, self.widths[-1], self.batch)


def _targets(captured: tuple[float, float], fast: tuple[float, float], **peers: float) -> dict[str, float]:
    """How many times quicker than each peer; of products, at most how many times as long."""
    pairs = dict(zip(("captured × jax", "captured ÷ products"), captured)) | dict(
        zip(("fast × jax", "fast ÷ products"), fast)
    )
    return {k.replace("_", " "): v for k, v in peers.items()} | pairs


_digits = Case(
    "digits", "digits 64-32-10, batch 32, ADAM", (64, 32, 10), 32, "ADAM",
    targets=_targets((2.4, 5.5), (5.5, 2.3), torch=7, torch_fused=4.5, jax=1, products=9),
    peers=(*ALL_PEERS[:-1], "sklearn", "products"),
)  # fmt: skip
_large = (784, 1024, 1024, 10)
_normed = Case("", "", (64, 32, 10), 32, "ADAM", peers=SOME_PEERS)

CASES = [
    Case("linear", "linear regression, SGD", (5, 2), 1, "SGD", η=0.01, kind="linear",
         targets=_targets((2.2, 7.5), (6.5, 2.7), torch=8, torch_fused=8, jax=0.6)),
    Case("tiny", "10-5-2 σ, batch 1, SGD", (10, 5, 2), 1, "SGD", "σ", η=0.1,
         targets=_targets((1.1, 6.8), (5.5, 1.4), torch=6, torch_fused=5, jax=0.4)),
    Case("small", "10-5-2 σ, batch 32, ADAM", (10, 5, 2), 32, "ADAM", "σ", η=0.01,
         targets=_targets((2.6, 7.3), (9, 2.1), torch=8, torch_fused=5, jax=1)),
    _digits,
    replace(_digits, name="digits64", title="digits in float64", dtype="float64", targets={}, peers=ALL_PEERS),
    Case("mnist", "784-128-10, batch 64, ADAM", (784, 128, 10), 64, "ADAM", η=0.0005,
         targets=_targets((0.92, 1.65), (1.3, 1.12), torch=2, torch_fused=1.4, jax=0.9, products=2)),
    Case("large", "784-1024²-10, batch 256, ADAM", _large, 256, "ADAM", η=1e-4,
         targets=_targets((1.0, 1.22), (1.13, 1.08), torch=1.1, torch_fused=1, jax=1.1, products=1.25)),
    Case("large-sgd", "784-1024²-10, batch 256, SGD", _large, 256, "SGD", η=0.01,
         targets={"torch": 1, "torch fused": 1, "jax": 1.1, "products": 1.15}),
    Case("operators", "16-64-4 tanh of operators, batch 32, ADAM", (16, 64, 4), 32, "ADAM", kind="operators",
         targets=_targets((2.7, 5.2), (7.5, 1.9)), peers=SOME_PEERS),
    replace(_normed, name="layernorm", title="64-32-10 LayerNorm and Dropout, ADAM", kind="layernorm", dropout=0.2,
            targets=_targets((2.0, 11.5), (5, 4.7))),
    replace(_normed, name="batchnorm", title="64-32-10 BatchNorm, ADAM", kind="batchnorm",
            targets=_targets((1.6, 11), (4.8, 3.8))),
]  # fmt: skip


def growth(quick: bool) -> dict[str, dict[int, Case]]:
    """How a step grows: cases by depth, width and batch."""
    depths = (1, 10, 100) if quick else (1, 2, 5, 10, 20, 50, 100)
    widths = (16, 256, 1024) if quick else (16, 64, 256, 1024, 4096)
    sizes = (1, 64, 1024) if quick else (1, 8, 64, 512, 2048, 8192)

    def case(kind: str, n: int, widths: tuple[int, ...], batch: int) -> Case:
        return Case(f"{kind} {n}", f"{kind} {n}", widths, batch, "ADAM")

    return {
        "depth": {n: case("depth", n, (32,) * n + (10,), 32) for n in depths},
        "width": {n: case("width", n, (n, n, 10), 32) for n in widths},
        "batch": {n: case("batch", n, (64, 32, 10), n) for n in sizes},
    }


OPTIMISERS: list[dict[str, Any]] = [
    {"optimiser": "ADAM", "shapes": [(1000,)] * 20, "title": "ADAM, 20 × 1,000", "targets": {"torch": 20}},
    {
        "optimiser": "ADAM",
        "shapes": [(1024, 784), (1024,), (1024, 1024), (1024,), (10, 1024), (10,)],
        "title": "ADAM, 1.9 M",
        "targets": {"torch": 1.4},
    },
    {"optimiser": "ADAM", "shapes": [(10_000_000,)], "title": "ADAM, 10 M", "targets": {"torch": 3.5, "bytes": 3.2}},
]
OPTIMISERS += [
    {**o, "optimiser": "Momentum", "title": o["title"].replace("ADAM", "Momentum"), "targets": {}} for o in OPTIMISERS
]
