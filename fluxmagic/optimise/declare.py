"""What the body of an optimiser's class becomes: hyper-parameters, their two names, signature and docstring."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from fluxmagic.greek import canonical
from fluxmagic.optimise.hyper import Hyper, with_parameter_docs

__all__ = ["COMMON", "canonical_names", "declared_hypers", "describe", "lacks", "other_name"]

COMMON = ("decay", "clip", "clipnorm", "weightdecay")
"""The hyper-parameters of every optimiser."""

WORDS = {
    "step": "the optimiser is called: opt()",
    "zero_grad": "opt() clears the gradients itself, opt.clear() does that alone",
    "minimize": "train(loss, data, opt) is the loop, opt() one update",
    "apply_gradients": "opt() is an update",
    "param_groups": "dials are attributes: opt.η = 0.01; parts of a model with other dials take an optimiser each",
    "lr": "the learning rate is η (eta)",
    "learning_rate": "the learning rate is η (eta)",
    "momentum": "Momentum and Nesterov have ρ (rho)",
    "alpha": "RMSProp has ρ (rho)",
    "betas": "ADAM has β1 and β2 (beta1, beta2)",
    "eps": "ϵ is spelled ϵ or epsilon",
    "weight_decay": "it is weightdecay",
    "nesterov": "Nesterov is an optimiser of its own",
    "amsgrad": "AMSGrad is an optimiser of its own",
}
"""Names in other libraries, and what stands for them here."""


def declared_hypers(cls: type, reserved: Collection[str]) -> dict[str, Hyper]:
    """Collect the hyper-parameters of a class and its bases by name, those of every optimiser last.

    Raises
    ------
    TypeError
        If a name is reserved, or two have the same one.
    """
    hypers: dict[str, Hyper] = {}
    for base in reversed(cls.__mro__):
        hypers.update({h.name: h for h in vars(base).values() if isinstance(h, Hyper)})
    typed = [t for h in hypers.values() for t in {h.name, h.ascii}]
    taken = [t for t in typed if typed.count(t) > 1 or t in reserved]
    if taken:
        raise TypeError(f"{cls.__name__}: {taken[0]} is taken, the hyper-parameter needs another name")
    own = {k: h for k, h in hypers.items() if k not in COMMON}
    return {**own, **{k: hypers[k] for k in COMMON}}


def other_name(name: str) -> property:
    """Make the attribute for the ASCII name of a hyper-parameter."""
    return property(
        lambda self: getattr(self, name), lambda self, value: setattr(self, name, value), doc=f"The same as {name}."
    )


def describe(cls: type, hypers: Mapping[str, Hyper]) -> tuple[inspect.Signature, str]:
    """Return the signature and the docstring of an optimiser's class; η may come by position."""
    keyword, positional = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    taken = [
        inspect.Parameter(h.name, positional if h.name == "η" else keyword, default=h.default) for h in hypers.values()
    ]
    signature = inspect.Signature(
        sorted([inspect.Parameter("params", positional), *taken], key=lambda p: p.kind is keyword)
    )
    return signature, with_parameter_docs(cls.__doc__ or f"{cls.__name__}, an optimiser.", hypers.values())


def canonical_names(cls: str, hypers: Mapping[str, Hyper], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given by Greek or ASCII names under the hyper-parameters' own names.

    Raises
    ------
    TypeError
        If there is no such hyper-parameter, or one is given twice.
    """
    by_name = {typed: h.name for h in hypers.values() for typed in (h.name, h.ascii)}
    result: dict[str, Any] = {}
    for typed, value in given.items():
        name = by_name.get(canonical(typed))
        if name is None:
            raise TypeError(lacks(cls, hypers, typed))
        if name in result:
            raise TypeError(f"{cls}: {name} is given twice")
        result[name] = value
    return result


def lacks(cls: str, hypers: Mapping[str, Hyper], name: str) -> str:
    """Say that an optimiser has no such name, and what it has."""
    words = f" ({WORDS[name]})" if name in WORDS else ""
    return f"{cls} has no {name}; it has {', '.join(hypers)}{words}"
