"""Other processes in which tests run Python."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import fluxmagic

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(fluxmagic.__file__))}


def child(code: str, *arguments: str, cwd: Any = None) -> subprocess.Popen[str]:
    """Start a process that is written to and read from by lines; modules in `cwd` can be imported."""
    pipe, command = subprocess.PIPE, [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True, bufsize=1)


def printed(code: str, *arguments: str, cwd: Any = None) -> str:
    """What a process prints that ends without an error or a warning."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + code
    return done.stdout
