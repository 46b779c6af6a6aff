"""The Jupyter side: `magics` what is typed, `controls` what is turned, `pictures` what is drawn, `driving` what trains.

`race` and `sweep` are the views of those packages.  `ipython_compat` and `ipykernel_compat` alone use what IPython and
ipykernel do not promise.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fluxmagic.jupyter.driving.panel import Panel
    from fluxmagic.jupyter.ipython_compat import Shell
    from fluxmagic.jupyter.pictures.comparison import Comparison, compare
    from fluxmagic.jupyter.pictures.plot import Curve

__all__ = ["Comparison", "Curve", "Panel", "compare", "load", "unload"]

_MODULES = {
    "Comparison": "pictures.comparison",
    "Curve": "pictures.plot",
    "Panel": "driving.panel",
    "compare": "pictures.comparison",
}


def __getattr__(name: str) -> object:
    # `%load_ext` needs neither widgets nor matplotlib, which take long to import
    if name in _MODULES:
        return getattr(import_module(f"fluxmagic.jupyter.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'fluxmagic.jupyter' has no attribute {name!r}")


def load(shell: Shell) -> None:
    """Add the magics to a shell."""
    from fluxmagic.jupyter.magics.magics import FluxMagics

    unload(shell)
    FluxMagics(shell=shell).add()  # type: ignore[arg-type]


def unload(shell: Shell) -> None:
    """Remove all that `load` added."""
    from fluxmagic.jupyter.ipython_compat import loaded_magics

    magics = loaded_magics(shell, "FluxMagics")
    if magics is not None:
        magics.remove()
