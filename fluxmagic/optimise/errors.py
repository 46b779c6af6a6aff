"""The exceptions that end a step or a training loop."""

from __future__ import annotations

import math

from fluxmagic.tracker import Param

__all__ = ["NotFinite", "Stop"]


class Stop(Exception):
    """Raised by `fluxmagic.stop`; a training loop ends normally."""


class NotFinite(ArithmeticError):
    """A loss, a gradient, an optimiser's state or an updated weight was not finite; nothing was updated.

    Attributes
    ----------
    step : int
        The step that was refused, counted from 1.
    loss : float
        NaN where an optimiser was called by hand, and knows no loss.
    parameter : Param or None
        The first parameter for which it was so; None if it was the loss.
    what : str
        What of it was not finite: "gradient", "state m" (by the state's name), or "updated value".
    name : str or None
        That parameter's place in the model, where it is known.
    reason : str or None
        What made the loss not finite, where it is known.
    last_loss : float
        The last loss that was finite; NaN where that is not known.
    largest : Param or None
        The parameter with the largest gradient; the first whose gradient is not finite, if there is one.
    largest_gradient : float
        The largest absolute value in it.
    largest_name : str or None
        Its place in the model, where it is known.
    kept : bool
        The weights and the optimiser's state are those of the last good step.
    """

    last_loss = math.nan
    largest: Param | None = None
    largest_gradient = math.nan
    largest_name: str | None = None
    reason: str | None = None
    kept = True

    def __init__(
        self,
        step: int,
        loss: float,
        parameter: Param | None = None,
        name: str | None = None,
        what: str = "gradient",
    ) -> None:
        self.step = step
        self.loss = loss
        self.parameter = parameter
        self.name = name
        self.what = what
        super().__init__(step, loss, parameter, name, what)

    def __str__(self) -> str:
        if self.parameter is None:
            what = f"the loss is {self.loss}"
        else:
            what = f"the {self.what} of {self.name or f'a parameter of shape {self.parameter.shape}'} is not finite"
            if not math.isnan(self.loss):
                what += f" (loss {self.loss:.6g})"
        if self.kept:
            what += "; nothing was updated. "
        else:
            what += "; other weights may be updated already: go back to some that were kept. "
        if not math.isnan(self.last_loss):
            what += f"The last finite loss was {self.last_loss:.6g}. "
        if self.reason is not None:
            return f"step {self.step}: {what}{self.reason}"
        if self.largest is not None:
            place = self.largest_name or f"a parameter of shape {self.largest.shape}"
            what += f"The largest gradient, {self.largest_gradient:.3g}, is that of {place}. "
        return f"step {self.step}: {what}A smaller η or clipnorm may help"
