"""Two recordings of one way through a step: are they the same program?"""

from __future__ import annotations

import numpy as np

from fluxmagic.capture.calls import Call, Value
from fluxmagic.capture.recording import Recorder

__all__ = ["difference", "same_constant", "way"]


def way(recorder: Recorder) -> tuple[tuple[object, str, bool], ...]:
    """Say which way a recording went: what its guards came to."""
    return tuple((c.where, c.name, c.wants) for c in recorder.calls if c.kind == "guard")


def difference(one: Recorder, two: Recorder) -> str | None:
    """Say what differs between the recordings of two steps; None if nothing does.

    Arrays that are one object in both are read where they lie.  Those that are two, with the same elements, become
    constants; two that each step fills first are results.
    """
    if len(one.calls) != len(two.calls):
        return f"two steps did different things: {len(one.calls)} and {len(two.calls)} operations"
    for a, b in zip(one.calls, two.calls, strict=True):
        if (a.kind, a.out, a.target, a.wants) != (b.kind, b.out, b.target, b.wants) or a.function != b.function:
            return f"{b.line}: two steps did different things, {a.name} and {b.name}"
        for x, y in zip((*a.args, *a.options.items()), (*b.args, *b.options.items())):
            if not same_constant(x, y):
                shown = f"{x!r} and {y!r}" if isinstance(x, (int, float, str, np.generic)) else f"a {type(x).__name__}"
                return f"{b.line}: a constant differs between two steps: {shown}"
    for v, w in zip(one.values, two.values, strict=True):
        if not v.like(w):
            return "two steps had arrays of different shapes"
        if v.array is not w.array and (reason := _settle(v, w, one, two)):
            return reason
    return None


def _settle(v: Value, w: Value, one: Recorder, two: Recorder) -> str | None:
    """Decide what an array is that was another object in each of two steps."""
    if v.array is None or w.array is None:
        return "two steps had arrays of different kinds"
    for c in two.calls:
        if c.target is not None and c.target.number == w.number and _fills(c):  # before anything reads it
            w.source, w.array = "made", None
            return None
        if w.number in (*c.read, *c.written):
            break
    before, now = one.undo.contents(v.array), two.undo.contents(w.array)
    if not same_constant(before, now):
        return f"an array of shape {w.shape} differs between two steps, and follows from nothing that was recorded"
    if now is not w.array:  # it was made with the same elements, such as zeros, and then written into
        first = next(k for k, c in enumerate(two.calls) if w.number in (*c.read, *c.written))
        two.calls.insert(first, Call("copy", np.copyto, (now,), out=w.number, where=two.calls[first].where))
        w.source, w.array = "made", None
    return None


def _fills(c: Call) -> bool:
    return c.kind in ("ufunc", "dot", "reduce") or (c.kind == "set" and c.args[0] is Ellipsis)


def same_constant(x: object, y: object) -> bool:
    """Tell whether two constants are the same, to the bit."""
    if x is y:
        return True
    if type(x) is not type(y):
        return False
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        alike = (x.dtype, x.shape, x.strides) == (y.dtype, y.shape, y.strides)
        return alike and x.dtype.kind != "O" and x.tobytes() == y.tobytes()
    if isinstance(x, (tuple, list)) and isinstance(y, (tuple, list)):
        return len(x) == len(y) and all(map(same_constant, x, y))
    if isinstance(x, dict) and isinstance(y, dict):
        return x.keys() == y.keys() and all(same_constant(x[k], y[k]) for k in x)
    if isinstance(x, slice) and isinstance(y, slice):
        return same_constant((x.start, x.stop, x.step), (y.start, y.stop, y.step))
    if isinstance(x, (float, complex, np.generic)):
        return repr(x) == repr(y)  # NaN is NaN, and -0.0 is not 0.0
    try:
        return bool(x == y)
    except Exception:
        return False
