"""What models are made of.  One noun per file."""

from fluxmagic.layers.activations import (
    elu,
    gelu,
    identity,
    leakyrelu,
    logsoftmax,
    logσ,
    relu,
    sigmoid,
    softmax,
    softplus,
    swish,
    tanh,
    σ,
)
from fluxmagic.layers.batches import batches
from fluxmagic.layers.chain import Chain
from fluxmagic.layers.dense import Dense, glorot_uniform
from fluxmagic.layers.losses import (
    accuracy,
    binarycrossentropy,
    crossentropy,
    logitbinarycrossentropy,
    logitcrossentropy,
    mae,
    mse,
    onehot,
)
from fluxmagic.layers.parameters import loadparams, named_params, params, state

__all__ = [
    "Chain",
    "Dense",
    "accuracy",
    "batches",
    "binarycrossentropy",
    "crossentropy",
    "elu",
    "gelu",
    "glorot_uniform",
    "identity",
    "leakyrelu",
    "loadparams",
    "logitbinarycrossentropy",
    "logitcrossentropy",
    "logsoftmax",
    "logσ",
    "mae",
    "mse",
    "named_params",
    "onehot",
    "params",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "state",
    "swish",
    "tanh",
    "σ",
]
