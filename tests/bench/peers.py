"""One builder per peer: from a case to a function that takes k steps.

Libraries are imported where they are used, so that a fresh process pays only for its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.cases import Case
from tests.bench.ours import Block, captured, fast, fluxmagic


def repeated(step: Callable[[], Any]) -> Block:
    """Make a block of a function that takes one step and returns its loss."""

    def block(k: int, losses: list[float] | None = None) -> None:
        for _ in range(k):
            l = step()
            if losses is not None:
                losses.append(float(l))

    return block


def _torch(case: Case, fused: bool | None) -> Block:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    x, y = map(torch.tensor, case.data)
    ps: list[Any]
    if case.linear:
        W, b = ps = [torch.tensor(a, requires_grad=True) for a in case.weights[0]]

        def loss() -> Any:
            return ((W @ x + b - y) ** 2).sum()
    elif case.kind == "operators":
        W1, b1, W2, b2 = ps = [torch.tensor(p.T, requires_grad=True) for layer in case.weights for p in layer]

        def loss() -> Any:
            return ((torch.tanh(x @ W1 + b1) @ W2 + b2 - y) ** 2).mean()
    else:
        σ = {"relu": nn.ReLU, "σ": nn.Sigmoid}[case.activation]
        layers: list[Any] = []
        for (n_in, n_out), (W0, b0) in zip(case.pairs, case.weights):
            layer = nn.Linear(n_in, n_out, dtype=getattr(torch, case.dtype))
            layer.load_state_dict({"weight": torch.tensor(W0), "bias": torch.tensor(b0)})
            layers += [layer, σ()]
        layers = layers[:-1]
        if case.kind == "layernorm":
            layers[2:2] = [nn.LayerNorm(case.widths[1]), nn.Dropout(case.dropout)]
        elif case.kind == "batchnorm":
            layers.insert(1, nn.BatchNorm1d(case.widths[1]))
        model = nn.Sequential(*layers)
        ps = list(model.parameters())
        criterion = nn.CrossEntropyLoss()

        def loss() -> Any:
            return criterion(model(x), y)

    opt = {"SGD": torch.optim.SGD, "ADAM": torch.optim.Adam}[case.optimiser](ps, lr=case.η, fused=fused)

    def step() -> Any:
        opt.zero_grad()
        l = loss()
        l.backward()
        opt.step()
        return l.detach()

    return repeated(step)


def torch(case: Case) -> Block:
    """PyTorch eager with its default optimiser."""
    return _torch(case, None)


def torch_fused(case: Case) -> Block:
    """PyTorch eager with its fused optimiser."""
    return _torch(case, True)


def _jax_loss(case: Case) -> Callable[..., Any]:
    """The loss of parameters, running statistics, a key of random numbers, and the batch; with new statistics."""
    import jax as j
    import optax
    from jax import numpy as jnp

    activation = {"relu": j.nn.relu, "σ": j.nn.sigmoid}[case.activation]

    def scaled(x: Any, mean: Any, var: Any, norm: Any) -> Any:
        return (x - mean) / jnp.sqrt(var + 1e-5) * norm[0] + norm[1]

    def behind_first(x: Any, norm: Any, stats: Any, key: Any) -> Any:
        if case.kind == "batchnorm":
            mean, var, n = x.mean(0), x.var(0), x.shape[0]
            stats = [0.9 * stats[0] + 0.1 * mean, 0.9 * stats[1] + 0.1 * var * (n / (n - 1))]
            return activation(scaled(x, mean, var, norm)), stats
        x = activation(x)
        if case.kind == "layernorm":
            x = scaled(x, x.mean(-1, keepdims=True), x.var(-1, keepdims=True), norm)
        if case.dropout:
            x = x * (j.random.uniform(key, x.shape) >= case.dropout) / (1 - case.dropout)
        return x, stats

    def loss(ps: Any, stats: Any, key: Any, x: Any, y: Any) -> Any:
        layers, norm = ps
        (W, b), *others = layers
        if case.linear:
            return ((W @ x + b - y) ** 2).sum(), stats
        if case.kind == "operators":
            ((V, c),) = others
            return ((jnp.tanh(x @ W.T + b) @ V.T + c - y) ** 2).mean(), stats
        x = x @ W.T + b
        for k, (V, c) in enumerate(others):
            x, stats = behind_first(x, norm, stats, key) if k == 0 else (activation(x), stats)
            x = x @ V.T + c
        return optax.softmax_cross_entropy_with_integer_labels(x, y).mean(), stats

    return loss


def jax(case: Case) -> Block:
    """A compiled whole step, its buffers donated; it waits for the loss."""
    import jax as j
    import optax
    from jax import numpy as jnp

    opt = {"SGD": optax.sgd, "ADAM": optax.adam}[case.optimiser](case.η)
    with j.enable_x64(case.dtype == "float64"):
        x, y = map(jnp.asarray, case.data)
        width = case.widths[1]
        norm = [jnp.ones(width), jnp.zeros(width)] if case.kind in ("layernorm", "batchnorm") else []
        stats = [jnp.zeros(width), jnp.ones(width)] if case.kind == "batchnorm" else []
        ps = [[(jnp.array(W), jnp.array(b)) for W, b in case.weights], norm]
        state, key = opt.init(ps), j.random.PRNGKey(0)
    loss = _jax_loss(case)

    def step(ps: Any, state: Any, stats: Any, key: Any, x: Any, y: Any) -> Any:
        key, own = j.random.split(key) if case.dropout else (key, key)
        (l, stats), gradients = j.value_and_grad(loss, has_aux=True)(ps, stats, own, x, y)
        updates, state = opt.update(gradients, state, ps)
        return optax.apply_updates(ps, updates), state, stats, key, l

    compiled = j.jit(step, donate_argnums=(0, 1, 2, 3))

    def block(k: int, losses: list[float] | None = None) -> None:
        nonlocal ps, state, stats, key
        with j.enable_x64(case.dtype == "float64"):
            for _ in range(k):
                ps, state, stats, key, l = compiled(ps, state, stats, key, x, y)
                l.block_until_ready()
                if losses is not None:
                    losses.append(float(l))

    return block


def _update(case: Case, ps: list[np.ndarray]) -> Callable[[Any], None]:
    """The update rules, plainly, for those who bring none: a function of the gradients."""
    η, β1, β2, ϵ = case.η, 0.9, 0.999, 1e-8
    ms, us, n = [np.zeros_like(p) for p in ps], [np.zeros_like(p) for p in ps], 0

    def sgd(gradients: Any) -> None:
        for p, g in zip(ps, gradients):
            p -= η * g

    def adam(gradients: Any) -> None:
        nonlocal n
        n += 1
        rate, root = η / (1 - β1**n), (1 - β2**n) ** 0.5
        for p, g, m, u in zip(ps, gradients, ms, us):
            m *= β1
            m += (1 - β1) * g
            u *= β2
            u += (1 - β2) * (g * g)
            p -= rate * m / (np.sqrt(u) / root + ϵ)

    return {"SGD": sgd, "ADAM": adam}[case.optimiser]


def autograd(case: Case) -> Block:
    """HIPS autograd, with an update by hand."""
    from autograd import numpy as anp
    from autograd import value_and_grad

    x, y = case.data
    ps = [p.copy() for layer in case.weights for p in layer]
    rows = np.arange(case.batch)

    def loss(ps: Any) -> Any:
        h = x
        if case.linear:
            return anp.sum((anp.dot(ps[0], x) + ps[1] - y) ** 2)
        for W, b in zip(ps[:-2:2], ps[1:-2:2]):
            h = anp.dot(h, W.T) + b
            h = anp.maximum(h, 0) if case.activation == "relu" else 1 / (1 + anp.exp(-h))
        z = anp.dot(h, ps[-2].T) + ps[-1]
        z = z - anp.max(z, axis=1, keepdims=True)
        return -anp.mean((z - anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True)))[rows, y])

    both, update = value_and_grad(loss), _update(case, ps)

    def step() -> Any:
        l, gradients = both(ps)
        update(gradients)
        return l

    return repeated(step)


def mygrad(case: Case) -> Block:
    """MyGrad, its memory guard off as it advises for speed, with an update by hand."""
    import mygrad as mg
    from mygrad.nnet.activations import relu, sigmoid
    from mygrad.nnet.losses import softmax_crossentropy

    mg.turn_memory_guarding_off()
    x, y = case.data
    ps = [mg.tensor(p.copy()) for layer in case.weights for p in layer]
    σ = relu if case.activation == "relu" else sigmoid
    update = _update(case, [p.data for p in ps])

    def loss() -> Any:
        h: Any = x
        if case.linear:
            return mg.sum((mg.matmul(ps[0], x) + ps[1] - y) ** 2)
        for W, b in zip(ps[:-2:2], ps[1:-2:2]):
            h = σ(mg.matmul(h, W.T) + b)
        return softmax_crossentropy(mg.matmul(h, ps[-2].T) + ps[-1], y)

    def step() -> Any:
        l = loss()
        l.backward()
        update([p.grad for p in ps])
        return l

    return repeated(step)


def numpy(case: Case) -> Block:
    """The step written out by hand."""
    x, y = case.data
    ps = [p.copy() for layer in case.weights for p in layer]
    update = _update(case, ps)

    def linear() -> Any:
        W, b = ps
        r = W @ x + b - y
        update([np.outer(2 * r, x), 2 * r])
        return r @ r

    rows, Ws, bs = np.arange(case.batch), ps[::2], ps[1::2]

    def network() -> Any:
        hs = [x]
        for W, b in zip(Ws[:-1], bs[:-1]):
            z = hs[-1] @ W.T
            z += b
            hs.append(np.maximum(z, 0, out=z) if case.activation == "relu" else 1 / (1 + np.exp(-z)))
        z = hs[-1] @ Ws[-1].T + bs[-1]
        z -= z.max(1, keepdims=True)
        Δ = np.exp(z)
        total = Δ.sum(1, keepdims=True)
        l = (np.log(total[:, 0]) - z[rows, y]).mean()
        Δ /= total
        Δ[rows, y] -= 1
        Δ /= case.batch
        gradients = []
        for h, W in zip(hs[:0:-1], Ws[:0:-1]):
            gradients += [Δ.sum(0), Δ.T @ h]
            Δ = Δ @ W
            Δ *= h > 0 if case.activation == "relu" else h * (1 - h)
        gradients += [Δ.sum(0), Δ.T @ x]
        update(gradients[::-1])
        return l

    return repeated(linear if case.linear else network)


def products(case: Case) -> Block:
    """Only the matrix products of forward and backward, into memory that is there: no losses."""
    calls = []
    x = np.ones((case.batch, case.widths[0]), case.dtype)
    for i, (n_in, n_out) in enumerate(case.pairs):
        W, Δ = np.ones((n_out, n_in), case.dtype), np.ones((case.batch, n_out), case.dtype)
        calls += [(x, W.T, np.empty_like(Δ)), (Δ.T, x, np.empty_like(W))]
        if i:
            calls.append((Δ, W, np.empty_like(x)))
        x = np.ones((case.batch, n_out), case.dtype)

    def block(k: int, losses: None = None) -> None:
        for _ in range(k):
            for a, b, out in calls:
                np.dot(a, b, out)

    return block


def sklearn(case: Case) -> Block:
    """MLPClassifier of scikit-learn: the batch k times, as one epoch; it gives no loss of a step."""
    from sklearn.neural_network import MLPClassifier

    x, y = case.data
    model = MLPClassifier(
        case.widths[1:-1], batch_size=case.batch, learning_rate_init=case.η, alpha=0, shuffle=False, epsilon=1e-8
    )

    def block(k: int, losses: None = None) -> None:
        model.partial_fit(np.tile(x, (k, 1)), np.tile(y, k), classes=np.arange(case.widths[-1]))

    return block


PEERS: dict[str, Callable[[Case], Block]] = {
    "fluxmagic": fluxmagic,
    "captured": captured,
    "fast": fast,
    "torch": torch,
    "torch fused": torch_fused,
    "jax": jax,
    "autograd": autograd,
    "mygrad": mygrad,
    "numpy": numpy,
    "sklearn": sklearn,
    "products": products,
}
LIBRARIES = (
    "numpy",
    "llvmlite",
    "scikit-learn",
    "torch",
    "jax",
    "jaxlib",
    "optax",
    "autograd",
    "mygrad",
    "ipykernel",
    "ipywidgets",
)
