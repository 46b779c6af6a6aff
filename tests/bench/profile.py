"""Where a step's time goes, line by line: `python -m tests.bench.profile`, for the digits.  See PROFILE.md.

Each line is timed alone, with the arrays of a real step: the library's functions, and NumPy's calls in them one by one.
The rest of a function's time is Python: checks, records, calls.
"""

from __future__ import annotations

import statistics
import time
import timeit
from typing import Any

from tests.bench import measure

LINES = """
forward, layer 1                    model[0](x)
    x.dot(W1.T)                     x.dot(W1.T)
    + b                             np.add(h, b1, h_)
    relu                            h.clip(zero, inf, h_)
forward, layer 2                    model[1](H)
    h.dot(W2.T)                     h.dot(W2.T)
    + b                             np.add(z, b2, z_)
loss                                fm.logitcrossentropy(Z, y)
    range of logits                 z.item(z.argmax()), z.item(z.argmin())
    range of labels                 y.item(y.argmax()), y.item(y.argmin())
    exp                             np.exp(z)
    sums of rows                    e.dot(ones_k)
    logarithms of labels' shares    np.log(flat.take(at) / total).dot(ones_n)
    residual                        flat_.__setitem__(at, taken - total)
reverse pass                        back_counting(l), opt.clear()
    of the loss                     e * (one / total)[:, None]
    layer 2, of h, W, b             d.dot(W2), d.T.dot(h, g2), d.T.dot(ones_n, gb2)
    relu                            δ * np.not_equal(h, zero).astype(h.dtype)
    layer 1, of W, b                δ.T.dot(x, g1), δ.T.dot(ones_n, gb1)
check of the gradients              reached(), opt.first_nonfinite_grad()
    sum of squares                  np.vdot(G, G)
update                              other.update()
    ADAM's ten passes               adam(G, P, m, u, step, *constants)
the whole step                      fm.train(train_loss, batch, train_opt)
"""


def adam(δ: Any, p: Any, m: Any, u: Any, step: Any, keep1: Any, keep2: Any, ϵ: Any, η: Any) -> None:
    """NumPy's calls of an update by ADAM, as in `fluxmagic.optimise.rules`."""
    import numpy as np

    np.multiply(m, keep1, m)
    np.add(m, δ, m)
    np.multiply(u, keep2, u)
    np.multiply(δ, δ, δ)
    np.add(u, δ, u)
    np.sqrt(u, step)
    np.add(step, ϵ, step)
    np.divide(m, step, step)
    np.multiply(step, η, step)
    np.subtract(p, step, p)


def _names() -> dict[str, Any]:
    """The names that the lines use."""
    import numpy as np

    import fluxmagic as fm
    from fluxmagic.tracker.reverse import back_counting  # noqa: F401 - the lines name it
    from tests.bench.cases import CASES
    from tests.bench.ours import network

    case = next(c for c in CASES if c.name == "digits")
    model = network(case)
    opt = fm.ADAM(fm.params(model), 1e-9)
    x, y = case.data

    def loss(x: Any, y: Any) -> Any:
        return fm.logitcrossentropy(model(x), y)

    def reached() -> None:
        for p in opt.params:
            p.grad_is_zero = False

    fm.train(loss, [(x, y)], opt)
    other = fm.ADAM(fm.params(network(case)), 1e-9)  # an update makes the graph of `l` stale
    trained = network(case)
    train_opt = fm.ADAM(fm.params(trained), 1e-9)

    def train_loss(x: Any, y: Any) -> Any:
        return fm.logitcrossentropy(trained(x), y)

    H = model[0](x)
    Z = model[1](H)
    W1, b1, W2, b2 = (p.data for p in opt.params)
    G = np.concatenate([p.grad.ravel() for p in opt.params])
    h, z = H.data, Z.data
    e, starts = np.exp(z), np.arange(0, z.size, 10)
    total, flat, at = e.sum(1), e.reshape(-1), starts + y
    names = {
        "h_": h.copy(), "z_": z.copy(), "one": np.ones((), "f"),
        "zero": np.zeros((), "f"), "inf": np.array(np.inf, "f"),
        "ones_n": np.ones(len(x), "f"), "ones_k": np.ones(10, "f"), "flat_": flat.copy(), "taken": flat.take(at),
        "d": e - 1, "δ": h - 1, "g1": W1.copy(), "g2": W2.copy(), "gb1": b1.copy(), "gb2": b2.copy(), "P": G.copy(),
        "m": np.zeros_like(G), "u": np.ones_like(G), "step": np.zeros_like(G), "adam": adam,
        "constants": [np.array(c, "f") for c in (0.9, 0.999, 1e-8, 1e-9)], "l": loss(x, y), "batch": [(x, y)] * 100,
    }  # fmt: skip
    return {**locals(), **names}


def main() -> None:
    """Print the table: medians of CPU time, in µs."""
    measure.pin()
    names = _names()
    rows = [(line[:36].rstrip(), line[36:]) for line in LINES.strip().splitlines()]
    timers = [
        (timeit.Timer(code, timer=time.process_time, globals=names), 100 if "train" in code else 1) for _, code in rows
    ]
    times: list[list[float]] = [[] for _ in rows]
    with names["np"].errstate(all="ignore"):
        for _ in range(60):  # interleaved: what slows the machine down slows all of them
            for (timer, steps), found in zip(timers, times):
                n = 300 // steps
                found.append(timer.timeit(n) / n / steps)
    for (title, code), found in zip(rows, times):
        line = f"&emsp;{title.strip()}" if title[0] == " " else title
        print(f"| {line} | {statistics.median(found) * 1e6:.1f} | `{code}` |")


if __name__ == "__main__":
    main()
