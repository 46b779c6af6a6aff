"""A sequence of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, overload

from fluxmagic.layers.traversal import named_params
from fluxmagic.table import Table
from fluxmagic.tracker.aliases import Array

__all__ = ["Chain"]

Layer = Callable[..., Array]


class Chain:
    """Apply layers one after the other.

    Parameters
    ----------
    *layers : callable
        Layers, activations, or any functions of one argument.

    Examples
    --------
    >>> m = Chain(Dense(10, 5, σ), Dense(5, 2), softmax)
    >>> m
    Chain(Dense(10, 5, σ), Dense(5, 2), softmax)
    >>> m[0].W.shape
    (5, 10)
    >>> m[:2]
    Chain(Dense(10, 5, σ), Dense(5, 2))
    """

    def __init__(self, *layers: Layer) -> None:
        for layer in layers:
            if not callable(layer):
                fix = ": use Chain(*layers) for a list" if isinstance(layer, Iterable) else ""
                raise TypeError(f"Chain takes layers and functions, not {layer!r}{fix}")
        self.layers = layers

    def __call__(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer(x)
        return x

    @overload
    def __getitem__(self, index: int) -> Any: ...  # noqa: ANN401 - users write m[0].W
    @overload
    def __getitem__(self, index: slice) -> Chain: ...
    def __getitem__(self, index: int | slice) -> Chain | Layer:
        return Chain(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(display_name, self.layers))})"

    def _repr_html_(self) -> str:
        """Return a table of layers with the shapes and counts of their parameters."""
        rows = []
        for i, layer in enumerate(self.layers):
            found = list(named_params(layer))
            shapes = ", ".join(f"{path.lstrip('.')} {p.shape}" for path, p in found)
            rows.append((str(i), display_name(layer), shapes, f"{sum(p.size for _, p in found):,}"))
        total = sum(p.size for _, p in named_params(self))  # a shared parameter counts once
        return Table(("", "layer", "parameters", "count"), rows, ("", "in all", "", f"{total:,}"))._repr_html_()


def display_name(f: object) -> str:
    """Return the name of a layer or function in a repr."""
    text = repr(f)
    return getattr(f, "__name__", text) if text.startswith("<") else text
