"""The Jupyter side: `magics` what is typed, `controls` what is turned, `pictures` what is drawn, `driving` what trains.

`race` and `sweep` are the views of those packages.  `ipython_compat` and `ipykernel_compat` alone use what IPython and
ipykernel do not promise.
"""

from __future__ import annotations

from fluxmagic.jupyter.ipython_compat import Shell, loaded_magics

__all__ = ["load", "unload"]


def load(shell: Shell) -> None:
    """Add the magics to a shell."""
    from fluxmagic.jupyter.magics.magics import FluxMagics

    unload(shell)
    FluxMagics(shell=shell).add()  # type: ignore[arg-type]


def unload(shell: Shell) -> None:
    """Remove all that `load` added."""
    if (magics := loaded_magics(shell, "FluxMagics")) is not None:
        magics.remove()
