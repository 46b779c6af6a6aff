"""What to say where a batch does not fit the loss that it is given to."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["say_how_data_is_given"]


def say_how_data_is_given(error: BaseException, d: Any) -> None:
    """Raise a TypeError that says the fix, where calling the loss itself failed for the number of its arguments."""
    trace = error.__traceback__
    if not isinstance(error, TypeError) or trace is None or trace.tb_next is not None or "argument" not in str(error):
        return  # it comes from within the loss
    if "takes 0 positional" in str(error):
        raise TypeError(f"{error}: a loss without a batch is trained with data = [()] * steps") from None
    if isinstance(d, (tuple, list)):
        what = f"a {type(d).__name__} of {len(d)}"
    else:
        shape = np.shape(d) if hasattr(d, "shape") else ()
        what = f"one array of shape {shape}" if shape else f"one {type(d).__name__}"
    raise TypeError(
        f"{error}: the batch is {what}, and a tuple is what has one part for each argument: batches(X, Y, 32) cuts "
        "arrays into such, and [(X, Y)] is a single one"
    ) from None
