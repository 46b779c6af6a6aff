"""Names whose modules are imported when they are first used: what needs IPython, ipywidgets or matplotlib."""

from __future__ import annotations

import inspect
import sys
import types
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluxmagic.jupyter import Comparison
    from fluxmagic.runs import Run

__all__ = ["LazyClass", "compare", "load"]


def load(module: str, name: str) -> Any:
    """Import a name, and say what to install where that fails."""
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        needs = "IPython, ipywidgets and matplotlib: pip install ipython ipywidgets matplotlib"
        raise ImportError(f"{name} needs {needs} ({error})", name=error.name) from error


class LazyClass(type):
    """Make a class that stands for one of the module `_place`.  Calling it, or looking at it, imports that module.

    `isinstance`, subclassing, attributes, `help` and the signature are those of the real class.
    """

    _place: str

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        if any(isinstance(b, LazyClass) for b in bases):  # a user's subclass: it is one of the real class
            real = tuple(b.real if isinstance(b, LazyClass) else b for b in bases)
            return types.new_class(name, real, exec_body=lambda body: body.update(namespace))
        return super().__new__(cls, name, bases, namespace)

    @property
    def real(cls) -> Any:
        """The class that this one stands for."""
        return load(cls._place, cls.__name__)

    def __call__(cls, *args: Any, **options: Any) -> Any:
        return cls.real(*args, **options)

    def __instancecheck__(cls, x: Any) -> bool:
        return cls._place in sys.modules and isinstance(x, cls.real)

    def __subclasscheck__(cls, other: type) -> bool:
        return cls is other or (cls._place in sys.modules and issubclass(other, cls.real))

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # what `inspect` and others ask of any class
            raise AttributeError(name)
        return getattr(cls.real, name)

    def __dir__(cls) -> list[str]:
        return dir(cls.real)

    @property
    def __doc__(cls) -> str | None:  # type: ignore[override]
        return cls.real.__doc__  # type: ignore[no-any-return]

    @property
    def __signature__(cls) -> inspect.Signature:
        return inspect.signature(cls.real)


def compare(*runs: Run, log: bool = False, smoothing: float = 0.9) -> Comparison:
    """Lay the curves of runs over each other.

    Parameters
    ----------
    *runs : Run
    log : bool
        Whether the loss axis is logarithmic.
    smoothing : float
        The share of the smoothed loss that is kept from step to step, in [0, 1).

    Returns
    -------
    Comparison
        A notebook shows it.

    Raises
    ------
    TypeError
        If there is no run, or something that is none.
    ValueError
        If smoothing is out of range.
    ImportError
        If IPython, ipywidgets or matplotlib is missing.

    Examples
    --------
    >>> from fluxmagic import SGD, Run, compare, param
    >>> W = param(2.0)
    >>> a = Run(lambda x: (W * x) ** 2, [1.0] * 5, SGD([W], 0.1), name="a")
    >>> a.train()
    >>> picture = compare(a)
    """
    return load("fluxmagic.jupyter.comparison", "compare")(*runs, log=log, smoothing=smoothing)  # type: ignore[no-any-return]
