"""Train small models in a notebook by turning dials, and keep what you did.

Three ways in
-------------
A notebook: after `%load_ext fluxmagic` the body of a cell is the loss; `%%train?` lists the options::

    %%train x, y in batches(X, Y, 32) --opt ADAM --η 0.005 --epochs 20
    logitcrossentropy(model(x), y)

A panel, driven by its buttons, with the kernel free for other cells::

    Panel(loss, batches(X, Y, 32), params(model), opt="ADAM", epochs=20)

A script; a `Run` has a history, and can go back, branch and replay::

    train(loss, batches(X, Y, 32), ADAM(params(model)))
    run = Run(loss, batches(X, Y, 32), "ADAM", epochs=20)
    run.train()

Where to find
-------------
Saving: `save_params` and `load_params` for the weights of a model, `run.save` and `Run.load` for a run,
`run.as_code` for a script that does the same.  `predict` gives plain arrays.

Schedules: `cosine`, `exponential`, `onecycle`, as the value of a dial: `ADAM(ps, η=cosine(0.1, 0.001, 400))`,
`--η cosine(0.1, 0.001, 400)`.

Comparing: `compare(run1, run2)` and `%train compare run1 run2` lay curves over each other; `Curve(run)` is one.
`Race` trains optimisers side by side from the same start, `Sweep` a model at each point of a grid.

Gradients: `param`, `back`, `gradient`; more in `fluxmagic.tracker`.  Test functions: `landscapes`.
Pictures of models: `fluxmagic.plots.boundary`.

Examples in docstrings assume `import numpy as np` and `from fluxmagic import *`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxmagic.capture import capture
from fluxmagic.generators import seed as seed
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
    predict,
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
from fluxmagic.lazy import LazyClass, late_function
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
from fluxmagic.optimise import providers as _providers
from fluxmagic.optimise import stop as stop
from fluxmagic.optimise import throttle as throttle
from fluxmagic.tracker import back, gradient, param
from fluxmagic.version import __version__ as __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from fluxmagic import landscapes
    from fluxmagic import plots as plots
    from fluxmagic.curves import compare
    from fluxmagic.jupyter.driving.panel import Panel
    from fluxmagic.jupyter.pictures.plot import Curve
    from fluxmagic.optimise import cosine, exponential, onecycle
    from fluxmagic.race import Race
    from fluxmagic.runs import Run, load_params, save_params
    from fluxmagic.sweep import Sweep
else:
    # a star import needs NumPy alone
    Curve = LazyClass("Curve", (), {"__module__": __name__, "_place": "fluxmagic.jupyter.pictures.plot"})
    Panel = LazyClass("Panel", (), {"__module__": __name__, "_place": "fluxmagic.jupyter.driving.panel"})

__all__ = [
    "ADAM", "ADAMW", "NADAM", "SGD", "ADADelta", "ADAGrad", "AMSGrad", "AdaMax", "BatchNorm", "Chain", "Curve",
    "Dense", "Diagonal", "Dropout", "LayerNorm", "Momentum", "Nesterov", "NotFinite", "Panel", "RMSProp", "Race",
    "Run", "Sweep", "accuracy", "back", "batches", "binaryaccuracy", "binarycrossentropy", "capture", "compare",
    "cosine", "crossentropy", "elu", "exponential", "gelu", "gradient", "identity", "landscapes", "leakyrelu",
    "load_params", "loadparams", "logitbinarycrossentropy", "logitcrossentropy", "logsigmoid", "logsoftmax", "logσ",
    "mae", "mse", "onecycle", "onehot", "param", "params", "predict", "relu", "save_params", "sigmoid", "softmax",
    "softplus", "swish", "tanh", "testmode", "train", "σ",
]  # fmt: skip


_LATE = {
    "Race": "fluxmagic.race", "Run": "fluxmagic.runs", "Sweep": "fluxmagic.sweep",
    "load_params": "fluxmagic.runs", "save_params": "fluxmagic.runs", "compare": "fluxmagic.curves",
    "cosine": "fluxmagic.optimise", "exponential": "fluxmagic.optimise", "onecycle": "fluxmagic.optimise",
    "landscapes": "fluxmagic.landscapes", "plots": "fluxmagic.plots",
}  # fmt: skip

_providers.captured_step = late_function("fluxmagic.capture.step", "CapturedStep")
_providers.compiled_update = late_function("fluxmagic.capture.compiled_update", "compile_update")


if not TYPE_CHECKING:  # a type checker reports unknown names

    def __getattr__(name: str) -> object:
        """Import a module at the first use of a name: a script may never need it."""
        if name in _LATE:
            from importlib import import_module

            module = import_module(_LATE[name])
            return getattr(module, name, module)
        raise AttributeError(f"module 'fluxmagic' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the names of `__all__`, those behind the package's name, and the packages."""
    there = {name for name, value in globals().items() if name.startswith("__") or hasattr(value, "__path__")}
    return sorted(there.union(__all__, ("seed", "state", "stop", "throttle")))


def load_ipython_extension(ip: InteractiveShell) -> None:
    """Carry out `%load_ext fluxmagic`."""
    from fluxmagic.jupyter import load

    load(ip)


def unload_ipython_extension(ip: InteractiveShell) -> None:
    """Carry out `%unload_ext fluxmagic`."""
    from fluxmagic.jupyter import unload

    unload(ip)
