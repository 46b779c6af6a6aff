"""Reverse-mode differentiation over NumPy arrays.

Imports go one way, from the last to the first: `node` (a value and how it was computed), `record` (carry out an
operation and record it), `operation` (what an operation is, and the registry of all), `numpy_protocols` (operators,
methods and NumPy's protocols), `array` (tracked arrays and parameters), `rules` (the operations by family), `reverse`
(the reverse pass), `gradients` (of functions), `custom` (what users put into a graph), `graph` (leaves, pickling).  No
module here knows of networks.
"""

from fluxmagic.tracker import heap as heap
from fluxmagic.tracker import rules as rules
from fluxmagic.tracker.array import Param, Tracked, grad, istracked, param
from fluxmagic.tracker.custom import checkpoint, custom_gradient, hook
from fluxmagic.tracker.gradcheck import gradcheck, ngradient
from fluxmagic.tracker.gradients import forward, gradient, hessian, jacobian
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
