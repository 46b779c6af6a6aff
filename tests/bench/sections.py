"""The parts of the benchmark; each returns what goes into the JSON."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.bench.cases import ALL_PEERS, CASES, OPTIMISERS, Case, growth
from tests.bench.measure import Timed, child, compare, interleave, quartiles, timed
from tests.bench.peers import PEERS

STILL = 1e-9
"""The η of timed steps: after any number of them no loss is 0, and no number denormal."""


def agree(case: Case) -> None:
    """Fail unless all peers compute the same losses over 20 steps; without dropout, whose draws are each library's."""
    case = replace(case, dropout=0.0)
    rtol = {"float32": 1e-4, "float64": 1e-10}[case.dtype]
    expected: list[float] = []
    PEERS["jax" if case.kind != "dense" else "numpy"](case)(20, expected)
    for name in case.peers:
        if name not in ("products", "sklearn"):  # the latter computes means over an epoch
            losses: list[float] = []
            PEERS[name](case)(20, losses)
            np.testing.assert_allclose(losses, expected, rtol, err_msg=f"{case.name}: {name} against numpy or jax")


def step(case: Case, quick: bool) -> dict[str, Any]:
    """One full step, beside the peers."""
    agree(case)
    blocks = {name: timed(PEERS[name](replace(case, η=STILL))) for name in case.peers}
    times = interleave(blocks, *((7, 0.01) if quick else (21, 0.025)))
    return compare(case.title, times, case.targets)


def _clocked(fill: Callable[[], Any], update: Callable[[], Any]) -> Timed:
    """Time only the update; the gradients are filled before each, outside the clock."""

    def run(k: int) -> float:
        total = 0.0
        for _ in range(k):
            fill()
            start = time.process_time()
            update()
            end = time.process_time()
            total += 2 * end - start - time.process_time()  # less the time of reading the clock
        return total

    return run


def _our_update(optimiser: str, gradients: list[np.ndarray]) -> Timed:
    import fluxmagic as fm

    ps = [fm.param(np.ones_like(g)) for g in gradients]

    def fill() -> None:
        for p, g in zip(ps, gradients):
            fm.back(p, g)

    return _clocked(fill, getattr(fm, optimiser)(ps, STILL))


def _torch_update(optimiser: str, gradients: list[np.ndarray], fused: bool | None) -> Timed:
    import torch

    torch.set_num_threads(1)
    qs = [torch.ones(g.shape, requires_grad=True) for g in gradients]
    sources = [torch.from_numpy(g) for g in gradients]
    for q in qs:
        q.grad = torch.zeros_like(q)

    def fill() -> None:
        for q, g in zip(qs, sources):
            q.grad.copy_(g)

    if optimiser == "ADAM":
        return _clocked(fill, torch.optim.Adam(qs, STILL, fused=fused).step)
    return _clocked(fill, torch.optim.SGD(qs, STILL, momentum=0.9, fused=fused).step)


def _moved_bytes(optimiser: str, gradients: list[np.ndarray]) -> Timed:
    """Read all arrays of an update, and write all but the gradient."""
    g = np.concatenate([g.ravel() for g in gradients])
    p, *state = (np.ones_like(g) for _ in range({"ADAM": 3, "Momentum": 2}[optimiser]))

    def move() -> None:
        np.add(p, g, out=p)
        for s in state:
            np.negative(s, out=s)

    return _clocked(lambda: np.negative(g, out=g), move)


def _updates(optimiser: str, shapes: list[tuple[int, ...]]) -> dict[str, Timed]:
    """The update alone, by each library."""
    rng = np.random.default_rng(3)
    gradients = [rng.standard_normal(shape, np.float32) for shape in shapes]
    return {
        "fluxmagic": _our_update(optimiser, gradients),
        "torch": _torch_update(optimiser, gradients, None),
        "torch fused": _torch_update(optimiser, gradients, True),
        "bytes": _moved_bytes(optimiser, gradients),
    }


def optimisers(quick: bool) -> list[dict[str, Any]]:
    """The update alone, beside PyTorch's and beside only moving the bytes: all read, all but the gradient written."""
    rows = []
    for o in OPTIMISERS:
        times = interleave(_updates(o["optimiser"], o["shapes"]), *((5, 0.01) if quick else (15, 0.02)))
        rows.append(compare(o["title"], times, o["targets"]))
    return rows


_SETUP = """
%load_ext fluxmagic
import json, time
from sklearn.datasets import load_digits
from fluxmagic import *
X, Y = load_digits(return_X_y=True)
X = (X / 16).astype("float32")
def epoch():
    marks.append((time.process_time(), time.perf_counter()))
    return batches(X, Y, 32, rng=0)
"""
_FRESH = "marks, model = [], Chain(Dense(64, 32, relu, rng=0), Dense(32, 10, rng=1))"
_CELLS = {
    "panel": """%%train x, y in epoch() --opt ADAM --η 0.0001 --epochs EPOCHS
logitcrossentropy(model(x), y)""",
    "bare loop": """opt = ADAM(params(model), 0.0001)
for _ in range(EPOCHS):
    train(lambda x, y: logitcrossentropy(model(x), y), epoch(), opt)""",
}


def cell(quick: bool) -> list[dict[str, Any]]:
    """%%train with its panel open, dials at rest, against the bare loop: a kernel's CPU time, and by the clock.

    From the second epoch's start to the last one's, so that opening and closing the panel is not in it.
    """
    from jupyter_client.manager import start_new_kernel

    epochs, rounds = (200, 3) if quick else (800, 9)
    manager, client = start_new_kernel(kernel_name="python3", extra_arguments=["--log-level=ERROR"])

    widgets = 0

    def execute(code: str) -> str:
        printed: list[str] = []

        def output(message: dict[str, Any]) -> None:
            nonlocal widgets
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])
            widgets += "application/vnd.jupyter.widget-view+json" in message["content"].get("data", {})

        reply = client.execute_interactive(code.replace("EPOCHS", str(epochs)), output_hook=output, timeout=120)
        if reply["content"]["status"] != "ok":
            raise RuntimeError("\n".join(reply["content"].get("traceback", [])) or f"not executed: {code}")
        return "".join(printed)

    try:
        execute(_SETUP)
        cpu: dict[str, list[float]] = {name: [] for name in _CELLS}
        clock: dict[str, list[float]] = {name: [] for name in _CELLS}
        steps = (epochs - 2) * -(-1797 // 32)
        for _ in range(rounds):
            for name, code in _CELLS.items():
                execute(_FRESH)
                execute(code)
                first, last = json.loads(execute("print(json.dumps([marks[1], marks[-1]]))"))
                cpu[name].append((last[0] - first[0]) / steps)
                clock[name].append((last[1] - first[1]) / steps)
        if not widgets:
            raise RuntimeError("%%train has opened no panel")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return [
        compare("%%train, digits, panel open", cpu, {"bare loop": 0.95}),
        compare("the same by the clock", clock, {}),
    ]


def imports(quick: bool) -> list[dict[str, Any]]:
    """`import fluxmagic` against `import numpy`, interpreter not counted."""
    code = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"
    libraries = ("fluxmagic", "numpy")
    blocks: dict[str, Timed] = {f"import {n}": lambda k, n=n: child(code.format(n)) for n in libraries}  # type: ignore[misc]
    return [compare("import", interleave(blocks, 5 if quick else 15, 0), {"import numpy": 1.3})]


def first(quick: bool) -> list[dict[str, Any]]:
    """From a fresh process to the first update of 10-5-2, import and compilation included."""
    code = (
        "import time; from tests.bench import cases, peers; "
        "peers.PEERS[{!r}](cases.CASES[2])(1); print(time.process_time())"
    )
    names = ("fluxmagic", "captured", "fast", "torch", "jax", "numpy")
    blocks: dict[str, Timed] = {n: lambda k, n=n: child(code.format(n)) for n in names}  # type: ignore[misc]
    return [compare("first update", interleave(blocks, 3 if quick else 5, 0), {})]


def recording(quick: bool) -> dict[str, float]:
    """What the first three captured steps take beyond ordinary ones: two recordings, the program, a verification."""
    result = {}
    for case in CASES:
        if "captured ÷ products" in case.targets:
            blocks = [[PEERS[name](case) for name in ("captured", "fluxmagic")] for _ in range(5 if quick else 15)]
            first, ordinary = zip(*[[timed(block)(3) for block in pair] for pair in blocks[1:]])
            result[case.title] = statistics.median(first) - statistics.median(ordinary)
    return result


def step_memory(peer: str) -> int:
    """What the process has grown by at the peak of a step at MNIST size, weights and state included, in bytes."""
    warm, case = (next(c for c in CASES if c.name == name) for name in ("small", "mnist"))
    _ = case.data, case.weights
    PEERS[peer](warm)(3)  # loads the library
    before = _status("VmRSS")
    block = PEERS[peer](case)
    block(3)
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # the peak starts anew: not that of compiling
    block(3)
    return _status("VmHWM") - before


def _status(key: str) -> int:
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(key))


def memory(quick: bool) -> dict[str, float]:
    """Peak memory of a step at MNIST size, by peer, in bytes."""
    code = "from tests.bench.sections import step_memory; print(step_memory({!r}))"
    return {name: child(code.format(name)) for name in ALL_PEERS if name != "products"}


def scaling(quick: bool) -> dict[str, dict[int, dict[str, float]]]:
    """Seconds a step by depth, width and batch, with the bare products beside."""
    names = ("fluxmagic", "torch", "jax", "products")
    result: dict[str, dict[int, dict[str, float]]] = {}
    for kind, cases in growth(quick).items():
        result[kind] = {}
        for n, case in cases.items():
            blocks = {name: timed(PEERS[name](replace(case, η=STILL))) for name in names}
            times = interleave(blocks, *((3, 0.005) if quick else (7, 0.01)))
            result[kind][n] = {name: quartiles(xs)["median"] for name, xs in times.items()}
    return result


SECTIONS: dict[str, Callable[[bool], Any]] = {
    "optimisers": optimisers,
    "cell": cell,
    "import": imports,
    "first": first,
    "recording": recording,
    "memory": memory,
    "growth": scaling,
}
