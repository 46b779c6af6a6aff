"""What models are made of.  One noun per file."""

from fluxmagic.layers.activations import (
    elu,
    gelu,
    identity,
    leakyrelu,
    logsigmoid,
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
from fluxmagic.layers.diagonal import Diagonal
from fluxmagic.layers.dropout import Dropout
from fluxmagic.layers.labels import onehot
from fluxmagic.layers.losses import (
    binarycrossentropy,
    crossentropy,
    logitbinarycrossentropy,
    logitcrossentropy,
    mae,
    mse,
)
from fluxmagic.layers.metrics import accuracy, binaryaccuracy
from fluxmagic.layers.norm import BatchNorm, LayerNorm
from fluxmagic.layers.predict import predict
from fluxmagic.layers.training_mode import testmode
from fluxmagic.layers.traversal import loadparams, named_params, params, reset, state

__all__ = [
    "BatchNorm", "Chain", "Dense", "Diagonal", "Dropout", "LayerNorm", "accuracy", "batches", "binaryaccuracy",
    "binarycrossentropy", "crossentropy", "elu", "gelu", "glorot_uniform", "identity", "leakyrelu", "loadparams",
    "logitbinarycrossentropy", "logitcrossentropy", "logsigmoid", "logsoftmax", "logσ", "mae", "mse",
    "named_params", "onehot", "params", "predict", "relu", "reset", "sigmoid", "softmax", "softplus", "state",
    "swish", "tanh", "testmode", "σ",
]  # fmt: skip
