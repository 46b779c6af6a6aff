"""A read-only dictionary of columns, each made when it is asked for; `pandas.DataFrame` takes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NoReturn

import numpy as np

__all__ = ["Columns"]


class Columns(Mapping[str, np.ndarray], dict[str, np.ndarray]):  # type: ignore[misc,metaclass]
    """Base of dictionaries that define `__getitem__` and `__iter__`; `title` is their name in an error."""

    title: ClassVar[str]

    def __getitem__(self, key: str) -> np.ndarray:
        raise NotImplementedError

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def copy(self) -> dict[str, np.ndarray]:
        """Give an ordinary dictionary of all columns."""
        return {k: self[k] for k in self}

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.copy(), **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self.copy()}

    def __reduce__(self) -> tuple[type, tuple[dict[str, np.ndarray]]]:
        return dict, (self.copy(),)

    def _read_only(self, *args: object, **values: object) -> NoReturn:
        raise TypeError(f"{self.title} is read-only: its copy() is a dictionary to change")

    __setitem__ = __delitem__ = __ior__ = _read_only
    clear = pop = popitem = setdefault = update = _read_only
