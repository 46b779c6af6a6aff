"""Names of modules that are imported at their first use."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["LazyClass", "LazyMethod", "late_function", "load"]


def load(module: str, name: str) -> Any:  # noqa: ANN401 - any name
    """Import a name; an error says what to install."""
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        needs = "IPython, ipywidgets and matplotlib: pip install ipython ipywidgets matplotlib"
        raise ImportError(f"{name} needs {needs} ({error})", name=error.name) from error


def late_function(module: str, name: str) -> Callable[..., Any]:
    """Stand for a function or class of a module, which is imported at the first call."""

    def call(*args: object, **options: object) -> object:
        return getattr(import_module(module), name)(*args, **options)

    return call


class LazyClass(type):
    """Make a stand-in for a class of the module `_place`, which is imported when the stand-in is used.

    `isinstance`, subclassing, attributes, `help` and the signature are those of the real class.
    """

    _place: str

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
        if any(isinstance(b, LazyClass) for b in bases):  # a user's subclass derives from the real class
            real = tuple(b.real if isinstance(b, LazyClass) else b for b in bases)
            return types.new_class(name, real, exec_body=lambda body: body.update(namespace))
        return super().__new__(cls, name, bases, namespace)

    @property
    def real(cls) -> type:
        """The real class."""
        return load(cls._place, cls.__name__)  # type: ignore[no-any-return]

    def __call__(cls, *args: object, **options: object) -> object:
        return cls.real(*args, **options)

    def __instancecheck__(cls, x: object) -> bool:
        return cls._place in sys.modules and isinstance(x, cls.real)

    def __subclasscheck__(cls, other: type) -> bool:
        return cls is other or (cls._place in sys.modules and issubclass(other, cls.real))

    def __getattr__(cls, name: str) -> object:
        if name.startswith("__"):  # `inspect` reads them of any class
            raise AttributeError(name)
        return getattr(cls.real, name)

    def __dir__(cls) -> list[str]:
        return dir(cls.real)

    @property
    def __doc__(cls) -> str | None:  # type: ignore[override]
        return cls.real.__doc__

    @property
    def __signature__(cls) -> inspect.Signature:
        return inspect.signature(cls.real)


class LazyMethod:
    """Make a method of a function `name` in another module, which is imported when the method is looked up."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __get__(self, instance: object, owner: type | None = None) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(import_module(self.module), self.name)
        return function if instance is None else types.MethodType(function, instance)
