"""What packages that are built on this one provide; `fluxmagic/__init__.py` names the functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["captured_step", "compiled_update"]

captured_step: Callable[[Callable[..., Any], list[Any]], Any]
"""Of a loss and optimisers, to an object whose `take` stands for `train_step`, and which is verified at the end."""

compiled_update: Callable[[bool], Callable[..., None] | None]
"""Of whether a rule is plain, to what takes the place of `subtract_steps`; None without the extra `fast`."""
