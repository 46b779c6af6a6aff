"""The exceptions that end a step or a training loop."""

from __future__ import annotations

import math

from fluxmagic.tracker import Param

__all__ = ["NotFinite", "Stop"]


class Stop(Exception):
    """Raised by `fluxmagic.stop`; a training loop ends normally."""


class NotFinite(ArithmeticError):
    """A loss, a gradient, an optimiser's state or an updated weight is not finite; nothing was updated.

    Attributes
    ----------
    step : int
        The refused step, from 1.
    loss : float
        NaN if an optimiser was called by hand.
    parameter : Param or None
        The first parameter that is affected; None if it is the loss.
    what : str
        What of it is not finite: "gradient", "state m" (by the state's name), or "updated value".
    name, largest_name : str or None
        Places in the model of `parameter` and `largest`, if known.
    reason : str or None
        Why the loss is not finite, if known.
    last_loss : float
        The last finite loss; NaN if unknown.
    largest : Param or None
        The parameter with the largest gradient, or the first one with a gradient that is not finite.
    largest_gradient : float
        The largest absolute value in it.
    kept : bool
        Weights and state are those of the last good step.
    """

    last_loss = math.nan
    largest: Param | None = None
    largest_gradient = math.nan
    largest_name: str | None = None
    reason: str | None = None
    kept = True

    def __init__(
        self, step: int, loss: float, parameter: Param | None = None, name: str | None = None, what: str = "gradient"
    ) -> None:
        self.step, self.loss, self.parameter, self.name, self.what = step, loss, parameter, name, what
        super().__init__(step, loss, parameter, name, what)

    def __str__(self) -> str:
        if self.parameter is None:
            what = f"the loss is {self.loss}"
        else:
            what = f"the {self.what} of {self.name or f'a parameter of shape {self.parameter.shape}'} is not finite"
            if not math.isnan(self.loss):
                what += f" (loss {self.loss:.6g})"
        kept, lost = "nothing was updated", "other weights may be updated already: go back to weights that were kept"
        what += f"; {kept if self.kept else lost}. "
        if not math.isnan(self.last_loss):
            what += f"The last finite loss was {self.last_loss:.6g}. "
        if self.reason is not None:
            return f"step {self.step}: {what}{self.reason}"
        if self.largest is not None:
            place = self.largest_name or f"a parameter of shape {self.largest.shape}"
            what += f"The largest gradient, {self.largest_gradient:.3g}, is that of {place}. "
        return f"step {self.step}: {what}A smaller η or clipnorm may help"
