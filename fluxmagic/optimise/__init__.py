"""Optimisers: functions that you call.

`hyper` declares hyper-parameters, `rules` has the update rules, `optimiser` what they share, `flat` the
memory that they work on, `train` the loop.
"""

from typing import TYPE_CHECKING

from fluxmagic.optimise.errors import NotFinite
from fluxmagic.optimise.hyper import Hyper
from fluxmagic.optimise.optimiser import OPTIMISERS, Optimiser
from fluxmagic.optimise.rules import (
    ADAM,
    ADAMW,
    NADAM,
    SGD,
    ADADelta,
    ADAGrad,
    AdaMax,
    AMSGrad,
    Momentum,
    Nesterov,
    RMSProp,
)
from fluxmagic.optimise.train import stop, throttle, train

if TYPE_CHECKING:
    from fluxmagic.optimise.schedules import cosine, exponential, onecycle

__all__ = [
    "ADAM",
    "ADAMW",
    "NADAM",
    "OPTIMISERS",
    "SGD",
    "ADADelta",
    "ADAGrad",
    "AMSGrad",
    "AdaMax",
    "Hyper",
    "Momentum",
    "Nesterov",
    "NotFinite",
    "Optimiser",
    "RMSProp",
    "cosine",
    "exponential",
    "onecycle",
    "stop",
    "throttle",
    "train",
]


if not TYPE_CHECKING:  # a type checker reports unknown names

    def __getattr__(name: str) -> object:
        """Import the schedules at their first use: they take 5 % of the package's import."""
        if name in ("cosine", "exponential", "onecycle"):
            from fluxmagic.optimise import schedules

            return getattr(schedules, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
