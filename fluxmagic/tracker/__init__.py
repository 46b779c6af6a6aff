"""Reverse-mode differentiation over NumPy arrays.

`array` is the tracked array, `operation` the table of operations, `rules` its entries by family, `reverse`
the reverse pass, `gradients` what is built on it.
"""

from fluxmagic.tracker import rules as rules
from fluxmagic.tracker.array import Param, Tracked, grad, istracked, param
from fluxmagic.tracker.gradcheck import gradcheck, ngradient
from fluxmagic.tracker.gradients import checkpoint, custom_gradient, forward, gradient, hessian, hook, jacobian
from fluxmagic.tracker.graph import leaves
from fluxmagic.tracker.node import data
from fluxmagic.tracker.reverse import back, update
from fluxmagic.tracker.rules.reductions import logsumexp

__all__ = [
    "Param",
    "Tracked",
    "back",
    "checkpoint",
    "custom_gradient",
    "data",
    "forward",
    "grad",
    "gradcheck",
    "gradient",
    "hessian",
    "hook",
    "istracked",
    "jacobian",
    "leaves",
    "logsumexp",
    "ngradient",
    "param",
    "update",
]
