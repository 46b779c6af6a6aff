"""Every notebook runs from top to bottom, and is committed with its outputs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(ROOT.glob("*.ipynb"))


def text_of(notebook: nbformat.NotebookNode) -> str:
    """All text that the cells put out."""
    parts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            parts.append(output.get("text", ""))
            parts.append(output.get("data", {}).get("text/plain", ""))
    return "\n".join(parts)


def executed(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, 4)
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})
    client.execute(env=environment)
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_is_committed_executed(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run all cells from a fresh kernel, and save"
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p.stem != "quickstart"], ids=lambda p: p.stem)
def test_runs_from_top_to_bottom(path: Path) -> None:
    executed(path)


def test_the_quickstart_learns_to_read_digits() -> None:
    notebook = executed(ROOT / "quickstart.ipynb")
    (share,) = re.findall(r"([\d.]+)% of the test pictures are read correctly", text_of(notebook))
    assert float(share) >= 96
    pictures = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) == 2  # the curve, and a row of digits
