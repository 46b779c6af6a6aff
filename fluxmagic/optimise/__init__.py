"""Optimisers: functions that you call.

`hyper` declares hyper-parameters, `rules` has the update rules, `optimiser` what they share, `flat` the
memory that they work on, `train` the loop.
"""

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
from fluxmagic.optimise.schedules import cosine, exponential, onecycle
from fluxmagic.optimise.train import stop, throttle, train

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
