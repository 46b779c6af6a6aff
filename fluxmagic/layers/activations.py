"""Activations, element by element, and softmax over the last axis.

All take an array of any shape, plain or tracked, float32 or float64, and keep shape and dtype; all are
right for arguments as large as ±1e4.  Those with a gradient rule of their own are entries of the rule table
(`fluxmagic.tracker.rules.neural`); the rest is composed of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.tracker.operation import RULES
from fluxmagic.tracker.rules.neural import elu, leakyrelu, logsoftmax, logσ, relu, softmax, softplus, σ

__all__ = [
    "elu",
    "gelu",
    "identity",
    "leakyrelu",
    "logsigmoid",
    "logsoftmax",
    "logσ",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "swish",
    "tanh",
    "σ",
]

sigmoid = σ
logsigmoid = logσ
tanh = RULES[np.tanh]


def identity(x: Any) -> Any:
    """x itself: no activation.

    Parameters
    ----------
    x : object

    Returns
    -------
    object
        x, the same object.

    Examples
    --------
    >>> from fluxmagic import identity
    >>> identity(3)
    3
    """
    return x


def gelu(x: Any) -> Any:
    """Gaussian error linear unit, in its tanh form: ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))).

    Parameters
    ----------
    x : array
        Of any shape, plain or tracked, float32 or float64.

    Returns
    -------
    array
        Of x's shape and dtype, tracked if x is.

    References
    ----------
    Hendrycks, Gimpel: Gaussian error linear units.  https://arxiv.org/abs/1606.08415

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import gelu
    >>> gelu(np.array([-1e4, 0, 1, 1e4])).round(4).tolist()
    [-0.0, 0.0, 0.8412, 10000.0]
    """
    return x * (0.5 * (1 + tanh(x * (0.7978845608028654 + 0.035677408136300125 * x * x))))


def swish(x: Any) -> Any:
    """x σ(x), also known as SiLU.

    Parameters
    ----------
    x : array
        Of any shape, plain or tracked, float32 or float64.

    Returns
    -------
    array
        Of x's shape and dtype, tracked if x is.

    References
    ----------
    Ramachandran, Zoph, Le: Searching for activation functions.  https://arxiv.org/abs/1710.05941

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import swish
    >>> swish(np.array([-1e4, 0, 1, 1e4])).round(4).tolist()
    [-0.0, 0.0, 0.7311, 10000.0]
    """
    return x * σ(x)
