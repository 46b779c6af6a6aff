"""fluxmagic: train small models in a notebook by turning dials, and keep what you did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluxmagic.layers import (
    BatchNorm,
    Chain,
    Dense,
    Diagonal,
    Dropout,
    LayerNorm,
    accuracy,
    batches,
    binaryaccuracy,
    binarycrossentropy,
    crossentropy,
    elu,
    gelu,
    identity,
    leakyrelu,
    loadparams,
    logitbinarycrossentropy,
    logitcrossentropy,
    logsigmoid,
    logsoftmax,
    logσ,
    mae,
    mse,
    onehot,
    params,
    relu,
    sigmoid,
    softmax,
    softplus,
    swish,
    tanh,
    testmode,
    σ,
)
from fluxmagic.layers import state as state
from fluxmagic.optimise import (
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
    NotFinite,
    RMSProp,
    train,
)
from fluxmagic.optimise import stop as stop
from fluxmagic.optimise import throttle as throttle
from fluxmagic.random import seed as seed
from fluxmagic.tracker import back, gradient, param

if TYPE_CHECKING:
    from fluxmagic.jupyter import Panel
    from fluxmagic.runs import Run

__version__ = "0.1.0"

__all__ = [
    "ADAM",
    "ADAMW",
    "NADAM",
    "SGD",
    "ADADelta",
    "ADAGrad",
    "AMSGrad",
    "AdaMax",
    "BatchNorm",
    "Chain",
    "Dense",
    "Diagonal",
    "Dropout",
    "LayerNorm",
    "Momentum",
    "Nesterov",
    "NotFinite",
    "Panel",
    "RMSProp",
    "Run",
    "accuracy",
    "back",
    "batches",
    "binaryaccuracy",
    "binarycrossentropy",
    "crossentropy",
    "elu",
    "gelu",
    "gradient",
    "identity",
    "leakyrelu",
    "loadparams",
    "logitbinarycrossentropy",
    "logitcrossentropy",
    "logsigmoid",
    "logsoftmax",
    "logσ",
    "mae",
    "mse",
    "onehot",
    "param",
    "params",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "swish",
    "tanh",
    "testmode",
    "train",
    "σ",
]


def __getattr__(name: str) -> Any:
    # what a script may never need, and takes its time, is loaded when it is asked for
    if name == "Run":
        from fluxmagic.runs import Run

        return Run
    if name == "Panel":
        from fluxmagic.jupyter import Panel

        return Panel
    raise AttributeError(f"module 'fluxmagic' has no attribute {name!r}")


def load_ipython_extension(ip: Any) -> None:
    """What `%load_ext fluxmagic` calls."""
    from fluxmagic.jupyter import load

    load(ip)


def unload_ipython_extension(ip: Any) -> None:
    """What `%unload_ext fluxmagic` calls."""
    from fluxmagic.jupyter import unload

    unload(ip)
