"""Where a step's time goes, line by line: `python -m tests.bench.profile`, for the digits.

Each line is timed alone, with the arrays of a real step: NumPy's calls one by one, then the library's functions whole.
What a function takes beyond the calls in it is Python: checks, records, the way there and back.
"""

from __future__ import annotations

import statistics
import timeit
from typing import Any

from tests.bench import measure

LINES = """
forward, layer 1                    model[0](x)
    x.dot(W1.T)                     x.dot(W1.T)
    + b                             np.add(h, b1, h_)
    relu                            np.maximum(h, zeros, out=h_)
forward, layer 2                    model[1](H)
    h.dot(W2.T)                     h.dot(W2.T)
    + b                             np.add(z, b2, z_)
loss                                fm.logitcrossentropy(Z, y)
    range of logits and labels      z.item(z.argmax()), z.item(z.argmin()), y.view(u8).argmax()
    exp                             np.exp(z)
    sums of rows                    e.dot(ones_k)
    log of what the labels take     np.log(flat.take(at) / total).dot(ones_n)
    what the gradient keeps         flat_.__setitem__(at, taken - total)
reverse pass                        backward(l), opt.clear()
    of the loss                     e * (one / total)[:, None]
    layer 2, of h, W, b             d.dot(W2), d.T.dot(h, g2), ones_n.dot(d, gb2)
    relu                            δ * np.greater(h, zero).astype(δ.dtype)
    layer 1, of W, b                δ.T.dot(x, g1), ones_n.dot(δ, gb1)
check of the gradients              reached(), opt.first_nonfinite_grad()
    sum of squares                  np.vdot(G, G)
update                              opt.update()
    ADAM's ten passes               opt.step(s.δ, s, *constants), np.subtract(s.p, s.tmp, s.p)
the whole step                      fm.train(loss, batch, opt)
"""


def _names() -> dict[str, Any]:
    """What the lines name."""
    import numpy as np

    import fluxmagic as fm
    from fluxmagic.tracker.reverse import backward  # noqa: F401 - the lines name it
    from tests.bench.cases import CASES
    from tests.bench.peers import network

    case = next(c for c in CASES if c.name == "digits")
    model = network(case)
    opt = fm.ADAM(fm.params(model), 1e-9)
    x, y = case.data

    def loss(x: Any, y: Any) -> Any:
        return fm.logitcrossentropy(model(x), y)

    def reached() -> None:
        for p in opt.params:
            p.fresh = False

    fm.train(loss, [(x, y)], opt)
    (s,) = opt.memory.blocks
    constants = [s.p.dtype.type(c) for c in opt.constants()]
    H = model[0](x)
    Z = model[1](H)
    W1, b1, W2, b2 = (p.data for p in opt.params)
    h, z = H.data, Z.data
    e, starts = np.exp(z), np.arange(0, z.size, 10)
    total, flat, at = e.sum(1), e.reshape(-1), starts + y
    names = {
        "h_": h.copy(), "z_": z.copy(), "zeros": np.zeros_like(h), "zero": np.zeros((), "f"), "one": np.ones((), "f"),
        "ones_n": np.ones(len(x), "f"), "ones_k": np.ones(10, "f"), "flat_": flat.copy(), "taken": flat.take(at),
        "d": e - 1, "δ": h - 1, "g1": W1.copy(), "g2": W2.copy(), "gb1": b1.copy(), "gb2": b2.copy(), "G": s.δ.copy(),
        "u8": np.dtype("u8"), "l": loss(x, y), "batch": [(x, y)] * 100,
    }  # fmt: skip
    return {**locals(), **names}


def main() -> None:
    """Print the table: medians, in µs."""
    measure.pin()
    names = _names()
    rows = [(line[:36].rstrip(), line[36:]) for line in LINES.strip().splitlines()]
    timers = [(timeit.Timer(code, globals=names), 100 if "train" in code else 1) for _, code in rows]
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
