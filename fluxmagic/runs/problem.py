"""What a run trains, on what data, and for how long.  Its checks come before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from fluxmagic.layers import named_params
from fluxmagic.optimise.optimiser import OPTIMISERS
from fluxmagic.runs.archive import AnyPath
from fluxmagic.runs.cursor import Batch
from fluxmagic.runs.evaluate import evaluate

__all__ = ["MissingLoss", "Problem", "as_metrics", "positive", "refuse_given"]

RESERVED = frozenset(("step", "epoch", "seconds", "loss", "valid", "opt"))


class MissingLoss:
    """Stands for the loss of a run that is only looked at; `names` are the parameters' by their ids."""

    def __init__(self, path: AnyPath, names: dict[int, str]) -> None:
        self.path = path
        self.names = names

    def __call__(self, *batch: object) -> NoReturn:
        raise RuntimeError(
            f"this run was loaded to be looked at: it cannot train or replay. Run.load({str(self.path)!r}, loss, data, "
            "params) gives one that can"
        )


@dataclass
class Problem:
    """Loss, data, evaluation and length of a run; see `Run` for the parameters.

    `epochs` is None if `step_limit` says when the run ends.
    """

    loss: Callable[..., Any]
    data: Any
    model: Any = None
    valid: Any = None
    metrics: dict[str, Callable[..., Any]] = field(default_factory=dict)
    epochs: int | None = None
    step_limit: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if not callable(self.loss):
            raise TypeError(f"loss is a function of a batch, not a {type(self.loss).__name__}")
        self._check_length()
        self._check_data()
        self._check_metrics()
        self._unit = self.epochs, self.step_limit

    def extend(self) -> None:
        """Add as many epochs, or steps, as were given at first."""
        epochs, steps = self._unit
        if self.step_limit is not None:
            self.step_limit += steps or self.step_limit
        elif isinstance(self.data, Iterator):
            raise ValueError("the data is a generator, which was gone through: there is no other epoch of it")
        else:
            self.epochs = (self.epochs or 0) + (epochs or 1)

    def _check_length(self) -> None:
        if self.step_limit is not None and self.epochs is not None:
            raise ValueError("a run ends after its epochs or after its steps: give one of the two")
        if self.data is None and self.step_limit is None:
            raise ValueError("a loss that takes no batch has no end of its data: give steps")
        if self.step_limit is None:
            self.epochs = positive("epochs", 1 if self.epochs is None else self.epochs)
        else:
            self.step_limit = positive("steps", self.step_limit)

    def _check_data(self) -> None:
        if self.data is None and (self.valid is not None or self.metrics):
            raise ValueError("valid and metrics are evaluated after an epoch of data, and data is None")
        if isinstance(self.valid, Iterator):
            raise TypeError("valid is a generator, which can be gone through once: pass a list, or a function")
        if isinstance(self.data, Iterator) and (self.epochs or 1) > 1:
            raise ValueError(
                f"the data is a {type(self.data).__name__}, which can be gone through once, and epochs is "
                f"{self.epochs}: pass a list, batches(...), or a function that makes it"
            )

    def _check_metrics(self) -> None:
        if not all(isinstance(k, str) for k in self.metrics):
            raise TypeError(f"the names of metrics are text, and these are {', '.join(map(repr, self.metrics))}")
        taken = sorted(self.metrics.keys() & RESERVED.union(*(cls.hypers for cls in OPTIMISERS.values())))
        if taken:
            raise ValueError(f"a metric cannot be named {taken[0]}: that is another column of the history")
        for name, f in self.metrics.items():
            if not callable(f):
                raise TypeError(f"the metric {name} is a function, not a {type(f).__name__}")

    @property
    def roots(self) -> list[Any]:
        """Where buffers and generators are looked for."""
        roots = [self.loss] if self.model is None else [self.model, self.loss]
        return roots if isinstance(self.data, (list, tuple)) else [*roots, self.data]

    def names(self) -> dict[int, str]:
        """Give the places of parameters in the model, by their ids."""
        if isinstance(self.loss, MissingLoss):
            return self.loss.names
        return {id(p): path for path, p in named_params(self.loss if self.model is None else self.model)}

    def evaluate(self, last: Batch, generators: list[np.random.Generator]) -> Mapping[str, float]:
        """Evaluate validation loss and metrics; `last` stands for missing validation data."""
        loss = getattr(self.loss, "without_rebinding", self.loss)  # a cell's loss binds names
        functions = {**({} if self.valid is None else {"valid": loss}), **self.metrics}
        return evaluate(functions, self.valid, last, generators) if functions else {}


def as_metrics(metrics: Mapping[str, Callable[..., Any]] | None) -> dict[str, Callable[..., Any]]:
    """Check that metrics have names."""
    if not isinstance(metrics or {}, Mapping):
        raise TypeError(f'metrics is a dict of functions by name, {{"acc": f}}, not a {type(metrics).__name__}')
    return dict(metrics or {})


def positive(name: str, value: object) -> int:
    """Check a positive integer."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is a positive integer, not {value!r}")
    return int(value)


def refuse_given(options: Mapping[str, object], saved: set[str]) -> None:
    """Refuse options that a file has."""
    for name in sorted(options.keys() & saved):
        raise TypeError(f"{name} is in the file: leave it out")
