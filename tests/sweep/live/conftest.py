"""Real kernels, in which a sweep runs, and the page that shows it."""

from tests.jupyter.live.conftest import kernel, page, started

__all__ = ["kernel", "page", "started"]
