"""What a tracked array says when a library asks it for a plain one."""

from __future__ import annotations

import sys

GENERAL = (
    "a tracked array does not turn into a plain one by itself: use .data (or data(x)) to leave the tape, "
    "or np.stack([a, b, ...]) and np.concatenate to join tracked arrays (x.dot(W) and dataframe @ W come here "
    "too: write x @ W and dataframe.to_numpy() @ W, and for a sparse S @ W (W.T @ S.T).T)"
)
# SciPy's functions that are no ufuncs, and of which there is one for tracked arrays
OURS = frozenset({"log_softmax", "logsumexp", "multigammaln", "polygamma", "softmax", "solve_triangular"})
IN_NUMPY = frozenset({"cholesky", "det", "eigh", "eigvalsh", "inv", "lstsq", "norm", "pinv", "qr", "solve", "svd"})


def refusal() -> str:
    """The text of the error; it names the function of SciPy that has asked, where there is one among the callers."""
    called = None
    frame = sys._getframe(2)
    while frame is not None and (module := frame.f_globals.get("__name__", "")).partition(".")[0] in ("scipy", "numpy"):
        name = getattr(frame.f_locals.get("f"), "__name__", frame.f_code.co_name)  # of a decorator, what it decorates
        package = ".".join(module.split(".")[:2])
        if module.startswith("scipy.") and name[0] != "_" and hasattr(sys.modules.get(package), name):
            called = f"{package}.{name}", name
        elif module.startswith("scipy.") and name in OURS | IN_NUMPY:
            called = f"scipy's {name}", name
        frame = frame.f_back  # type: ignore[assignment]
    if called is None:
        return GENERAL
    full, name = called
    instead = (
        f"write `from fluxmagic.tracker.scipy import {name}`"
        if name in OURS
        else f"use np.linalg.{name}"
        if name in IN_NUMPY
        else "give it a gradient rule with fluxmagic.tracker.custom_gradient"
    )
    return f"{full} takes plain arrays only: {instead}, or leave the tape with .data"
