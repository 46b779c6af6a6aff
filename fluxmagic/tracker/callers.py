"""Who calls: errors name the function of NumPy or SciPy, or the variable, that an array was met in."""

from __future__ import annotations

import dis
import sys
from collections import deque
from inspect import currentframe
from itertools import takewhile
from types import FrameType
from typing import Any

from fluxmagic.tracker.aliases import Array

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
    frame: Any = currentframe().f_back.f_back  # type: ignore[union-attr]
    while frame is not None and (module := frame.f_globals.get("__name__", "")).partition(".")[0] in ("scipy", "numpy"):
        name = getattr(frame.f_locals.get("f"), "__name__", frame.f_code.co_name)  # of a decorator, what it decorates
        package = ".".join(module.split(".")[:2])
        if module.startswith("scipy.") and name[0] != "_" and hasattr(sys.modules.get(package), name):
            called = f"{package}.{name}", name
        elif module.startswith("scipy.") and name in OURS | IN_NUMPY:
            called = f"scipy's {name}", name
        frame = frame.f_back
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


def float_caller() -> str:
    """Name the function of NumPy or SciPy that asks our caller for a plain number; "" if it is called otherwise."""
    frame: Any = currentframe().f_back.f_back  # type: ignore[union-attr]
    package = _package(frame)
    if not package:
        return "a ufunc's reduce" if _passes_initial(frame) else ""
    while frame.f_back is not None and _package(frame.f_back) == package:
        frame = frame.f_back
    place = "np" if package == "numpy" else frame.f_globals["__name__"].partition("._")[0]
    return f"{place}.{frame.f_code.co_name.lstrip('_')}"


def _package(frame: FrameType) -> str:
    """Return "numpy" or "scipy" for a frame of theirs, and "" for another."""
    package: str = frame.f_globals.get("__name__", "").partition(".")[0]
    return package if package in ("numpy", "scipy") else ""


def _passes_initial(frame: FrameType) -> bool:
    """Tell whether the call that a frame is in has a keyword `initial`.

    `np.add.reduce(x, initial=W)` asks W for a float from C, with no frame of NumPy's in between.
    """
    consts = frame.f_code.co_consts
    places = {k for k, c in enumerate(consts) if type(c) is tuple and "initial" in c}
    if not places:
        return False
    until = takewhile(lambda i: i.offset <= frame.f_lasti, dis.get_instructions(frame.f_code))
    call = deque(until, maxlen=3)  # the names of keywords come one or two instructions before the call itself
    return any(i.opname in ("KW_NAMES", "LOAD_CONST") and i.arg in places for i in call)


def variable_name(p: Array) -> str:
    """Describe a parameter by a variable of the code that calls the package, if there is one."""
    frame: Any = currentframe()
    while frame is not None:
        if not frame.f_globals.get("__name__", "").startswith("fluxmagic."):
            for name, value in {**frame.f_globals, **frame.f_locals}.items():
                if value is p and not name.startswith("_"):
                    return f"the parameter {name} of shape {p.shape}"
        frame = frame.f_back
    return f"a parameter of shape {p.shape}"
