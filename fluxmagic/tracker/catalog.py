"""The operations that there are, and the ways to call them: for tables in the documentation."""

from __future__ import annotations

from importlib import import_module

from fluxmagic.tracker.aliases import Function
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.operation import COMPOSITES, OPS, enter_late_rules

__all__ = ["call_forms"]


def call_forms() -> dict[str, list[str]]:
    """Give for each operation and composite, by name, what calls it: "np.add", "x.__add__", "x.sum()".

    There is nothing for one that only the package calls.
    """
    import_module("numpy.fft")  # its rules are late ones
    enter_late_rules()
    forms: dict[str, list[str]] = {}
    names = {f: op.name for f, op in OPS.items()}
    first: dict[Function, str] = {}
    for f, composite in COMPOSITES.items():
        names[f] = first.setdefault(composite, f.__name__)
    for function, name in names.items():
        module = (getattr(function, "__module__", None) or "numpy").replace("numpy", "np", 1)
        found = forms.setdefault(name, [])
        if not module.startswith("fluxmagic"):
            found.append(f"{module}.{function.__name__}")
    for base in Tracked.__mro__:
        for attribute, method in vars(base).items():
            called = getattr(method, "numpy_function", None)
            if called in names:
                text = f"x.{attribute}" if attribute.startswith("__") else f"x.{attribute}()"
                forms[names[called]].append(text)
    return forms
