"""The Jupyter side: magics, panel, curve."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fluxmagic.jupyter.comparison import Comparison, compare
    from fluxmagic.jupyter.ipython_compat import Shell
    from fluxmagic.jupyter.panel import Panel
    from fluxmagic.jupyter.plot import Curve

__all__ = ["Comparison", "Curve", "Panel", "compare", "load", "unload"]

_MODULES = {"Comparison": "comparison", "Curve": "plot", "Panel": "panel", "compare": "comparison"}


def __getattr__(name: str) -> object:
    # `%load_ext` needs neither widgets nor matplotlib, which take long to import
    if name in _MODULES:
        return getattr(import_module(f"fluxmagic.jupyter.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'fluxmagic.jupyter' has no attribute {name!r}")


def load(shell: Shell) -> None:
    """Add the magics to a shell."""
    from fluxmagic.jupyter.magics import FluxMagics

    unload(shell)
    FluxMagics(shell=shell).add()  # type: ignore[arg-type]


def unload(shell: Shell) -> None:
    """Remove all that `load` added."""
    from fluxmagic.jupyter.ipython_compat import loaded_magics

    magics = loaded_magics(shell, "FluxMagics")
    if magics is not None:
        magics.remove()
