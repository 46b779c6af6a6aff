"""Layers one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, overload

from fluxmagic.layers.traversal import named_params

__all__ = ["Chain"]


class Chain:
    """Calls its layers one after the other.

    Parameters
    ----------
    *layers : callable
        Layers, activations, any functions.

    Examples
    --------
    >>> from fluxmagic import Chain, Dense, σ, softmax
    >>> m = Chain(Dense(10, 5, σ), Dense(5, 2), softmax)
    >>> m
    Chain(Dense(10, 5, σ), Dense(5, 2), softmax)
    >>> m[0].W.shape
    (5, 10)
    >>> m[:2]
    Chain(Dense(10, 5, σ), Dense(5, 2))
    """

    def __init__(self, *layers: Callable[..., Any]) -> None:
        for layer in layers:
            if not callable(layer):
                fix = ": Chain(*layers) takes them from a list" if isinstance(layer, Iterable) else ""
                raise TypeError(f"Chain takes layers and functions, not {layer!r}{fix}")
        self.layers = layers

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Chain: ...
    def __getitem__(self, index: int | slice) -> Any:
        return Chain(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter(self.layers)

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(display_name, self.layers))})"

    def _repr_html_(self) -> str:
        """A table of layers, parameters' shapes and counts."""
        from html import escape  # which takes as long to load as all layers

        rows = []
        for i, layer in enumerate(self.layers):
            found = list(named_params(layer))
            shapes = ", ".join(f"{path.lstrip('.')} {p.shape}" for path, p in found)
            n = sum(p.size for _, p in found)
            rows.append(
                f"<tr><td>{i}</td><td>{escape(display_name(layer))}</td><td>{escape(shapes)}</td><td>{n:,}</td></tr>"
            )
        total = sum(p.size for _, p in named_params(self))  # a parameter that two layers share counts once
        head = "<tr><th></th><th>layer</th><th>parameters</th><th>count</th></tr>"
        foot = f"<tr><th></th><th>in all</th><th></th><th>{total:,}</th></tr>"
        return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody><tfoot>{foot}</tfoot></table>"


def display_name(f: Any) -> str:
    """How a layer or function is named in a repr."""
    text = repr(f)
    return getattr(f, "__name__", text) if text.startswith("<") else text
