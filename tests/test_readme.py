"""What the README and CONTRIBUTING say has to work as it stands there."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def code_blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)


def test_the_script_prints_what_the_readme_says() -> None:
    script = next(block for block in code_blocks("README.md") if "import numpy" in block)
    promised = re.findall(r"print\(.*\) +# (\S+)", script)
    assert promised
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(script, "README.md", "exec"), {})
    assert printed.getvalue().split() == promised


def test_pictures_that_the_readme_shows_are_there() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")


def test_the_test_command_is_what_ci_calls() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^pip install -e .*&& pytest$", readme, re.MULTILINE) == ['pip install -e ".[test]" && pytest']


def test_the_optimiser_of_contributing_has_dials_and_learns() -> None:
    from fluxmagic import Run, param
    from fluxmagic.optimise import OPTIMISERS

    example = next(block for block in code_blocks("CONTRIBUTING.md") if "class SignSGD" in block)
    try:
        exec(compile(example, "CONTRIBUTING.md", "exec"), {"__name__": "notebook"})
        assert list(OPTIMISERS["SignSGD"].hypers)[:2] == ["η", "ρ"]
        W = param([1.0, -1.0])
        run = Run(lambda x: ((W - x) ** 2).sum(), [0.0] * 500, "SignSGD", hypers={"eta": 0.01})
        run.train()
        assert run.last_loss < 1e-3
    finally:
        OPTIMISERS.pop("SignSGD", None)


def test_the_operation_of_contributing_is_what_the_table_has() -> None:
    from fluxmagic.tracker import gradcheck

    line = next(block for block in code_blocks("CONTRIBUTING.md") if "define(" in block)
    assert "np.hypot" in line
    import numpy as np

    assert gradcheck(lambda a, b: np.sum(np.hypot(a, b)), [3.0, 1.0], [4.0, 2.0])
