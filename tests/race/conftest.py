"""A shell in this process."""

from tests.jupyter.conftest import bare, ip, page, shell

__all__ = ["bare", "ip", "page", "shell"]
