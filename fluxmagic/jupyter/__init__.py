"""The Jupyter side: magics, panel, curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluxmagic.jupyter.comparison import Comparison, compare
    from fluxmagic.jupyter.panel import Panel
    from fluxmagic.jupyter.plot import Curve

__all__ = ["Comparison", "Curve", "Panel", "compare", "load", "unload"]

_PLACES = {"Comparison": "comparison", "Curve": "plot", "Panel": "panel", "compare": "comparison"}


def __getattr__(name: str) -> Any:
    # widgets and matplotlib take their time, and `%load_ext` needs neither
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(f"fluxmagic.jupyter.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'fluxmagic.jupyter' has no attribute {name!r}")


def load(ip: Any) -> None:
    """Add the magics to a shell."""
    from fluxmagic.jupyter.magics import FluxMagics

    unload(ip)
    FluxMagics(shell=ip).add()


def unload(ip: Any) -> None:
    """Take away all that `load` has added."""
    magics = ip.magics_manager.registry.get("FluxMagics")
    if magics is not None:
        magics.remove()
