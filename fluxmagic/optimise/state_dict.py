"""The state of an optimiser: copies, and a dictionary with the checks before one is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from fluxmagic.optimise.declare import Declared
from fluxmagic.optimise.flat_buffer import FlatBuffer
from fluxmagic.optimise.hyper import Schedule
from fluxmagic.optimise.memory import Memory
from fluxmagic.tracker import Param

__all__ = ["Stateful"]

KEYS = {"name", "n", "hypers", "numbers", "arrays"}


class Stateful(Declared):
    """Base of `Optimiser`: all that an update changes, copied and taken over."""

    memory: Memory
    _flat: FlatBuffer
    _numbers: SimpleNamespace
    _near_overflow: bool

    def copy_state(self) -> tuple[Any, int, dict[str, float]]:
        """Copy parameters and state, for `restore_state`."""
        return self.memory.save(), self.n, dict(vars(self._numbers))

    def restore_state(self, saved: tuple[Any, int, dict[str, float]]) -> None:
        """Undo what was updated since `copy_state`, and clear the gradients."""
        memory, self.__dict__["n"], numbers = saved
        self.memory.restore(memory)
        vars(self._numbers).update(numbers)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the optimiser needs to go on from here, as copies.

        Returns
        -------
        dict
            `name`, `n`; by name `hypers`, `numbers`, and `arrays`: a list of one array per parameter, of its shape.

        Raises
        ------
        TypeError
            If the rule keeps a number that the class does not declare, or a value that is not a number.
        """
        numbers = dict(vars(self._numbers))
        _check_numbers(self, numbers)
        arrays = {k: self._flat.split(a) for k, a in self.memory.state.items()}
        return {"name": self.name, "n": self.n, "hypers": self.values, "numbers": numbers, "arrays": arrays}

    def load_state_dict(self, d: Mapping[str, Any], schedules: Mapping[str, Schedule] | None = None) -> None:
        """Take over what `state_dict` gave.  All is checked before anything is assigned.

        Parameters
        ----------
        d : dict
        schedules : dict, optional
            Replace the present ones.

        Raises
        ------
        ValueError
            If it belongs to another optimiser or other parameters, or a value is out of bounds.
        """
        for name, value in _check_state(self, d).items():
            self.store(name, value)
        if schedules is not None:
            self._schedules = dict(schedules)
        self.__dict__["n"], self._near_overflow = int(d["n"]), True
        vars(self._numbers).update({k: float(v) for k, v in d["numbers"].items()})
        for k, arrays in d["arrays"].items():
            self.memory.load_state(k, arrays)


def _check_numbers(opt: Declared, numbers: Mapping[str, Any]) -> None:
    """Raise a TypeError for a number that the class does not declare, or a value that is not a number."""
    for k, v in numbers.items():
        if k not in opt.numbers:
            raise TypeError(f"{opt.name} keeps a number {k} that it does not declare: numbers = {{{k!r}: {v!r}}}")
        if not _is_number(v):
            raise TypeError(f"{opt.name}: {k} is a {type(v).__name__}, not a number; arrays go into `state`")


def _check_state(opt: Declared, d: Mapping[str, Any]) -> dict[str, float]:
    """Return the hyper-parameters of a state dictionary; an error names everything that does not fit."""
    missing = KEYS - set(d)
    if missing:
        raise ValueError(f"{opt.name}: the state lacks {', '.join(sorted(missing))}")
    wrong = []
    if d["name"] != opt.name:
        wrong.append(f"it is of {d['name']}")
    if not isinstance(d["n"], (int, np.integer)) or d["n"] < 0:
        wrong.append(f"n is {d['n']!r}")
    for what, keys in (("hypers", opt.hypers), ("numbers", opt.numbers), ("arrays", opt.state)):
        if set(d[what]) != set(keys):
            wrong.append(f"its {what} are {', '.join(d[what]) or 'none'}, not {', '.join(keys) or 'none'}")
    wrong += [f"{name} is {value!r}" for name, value in d["numbers"].items() if not _is_number(value)]
    values = {}
    narrow = any(p.dtype == np.float32 for p in opt.params)
    for name, value in d["hypers"].items():
        if name in opt.hypers:
            try:
                values[name] = opt.hypers[name].check(value, narrow, may_vanish=True)
            except (TypeError, ValueError) as error:
                wrong.append(str(error))
    for k, arrays in d["arrays"].items():
        wrong += _misfits(k, arrays, opt.params)
    if wrong:
        raise ValueError(f"{opt.name} cannot take this state: " + "; ".join(wrong))
    return values


def _misfits(name: str, arrays: Sequence[Any], params: Sequence[Param]) -> list[str]:
    """Say which arrays of a state do not have their parameters' shapes and dtypes."""
    if len(arrays) != len(params):
        return [f"{name} is of {len(arrays)} parameters, not {len(params)}"]
    wrong = []
    for i, (x, p) in enumerate(zip(arrays, params, strict=True)):
        a = np.asarray(x)
        if a.shape != p.shape or a.dtype != p.dtype:
            wrong.append(f"{name}[{i}] is {a.dtype} of shape {a.shape}, the parameter {p.dtype} of {p.shape}")
    return wrong


def _is_number(x: object) -> bool:
    return isinstance(x, (int, float, np.number)) and not isinstance(x, bool)
