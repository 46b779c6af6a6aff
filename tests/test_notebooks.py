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
    # BLAS with one thread: on a busy machine, threads that wait for each other take ten times as long
    environment = {**os.environ, "PYTHONWARNINGS": "default", "OPENBLAS_NUM_THREADS": "1"}
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


def without_numbers(notebook: nbformat.NotebookNode) -> list[str]:
    """What each cell puts out as text, with # for every number: times and last digits differ from run to run."""
    texts = (text_of(nbformat.from_dict({"cells": [cell]})) for cell in notebook.cells)
    numbers = re.compile(r"[-+]?\d[\d,.:]*(e[-+]?\d+)?( µs\b| ms\b| s\b)?")
    return [" ".join(numbers.sub("#", text).split()) for text in texts]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs_and_prints_the_committed_output(path: Path) -> None:
    if path.stem == "sweep":
        pytest.importorskip("loky")
        pytest.importorskip("distributed")
    notebook = executed(path)
    if path.stem != "reference":  # its tables depend on NumPy's version
        assert without_numbers(notebook) == without_numbers(nbformat.read(path, 4))
    if path.stem == "quickstart":
        (share,) = re.findall(r"([\d.]+)% of the test pictures are read correctly", text_of(notebook))
        assert float(share) >= 96
        pictures = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
        assert len(pictures) == 3  # the curve, a row of digits, the panel that code turned


def test_each_pitfall_is_shown_with_a_remedy() -> None:
    notebook = nbformat.read(ROOT / "where_it_can_fool_you.ipynb", 4)
    sections: list[list[nbformat.NotebookNode]] = []
    for cell in notebook.cells:
        if cell.source.startswith("## "):
            sections.append([])
        if sections:
            sections[-1].append(cell)
    assert len(sections) == 8
    for cells in sections:
        asserts = [c for c in cells if c.cell_type == "code" and re.search(r"^assert ", c.source, re.MULTILINE)]
        assert asserts
        assert all(text_of(nbformat.from_dict({"cells": [c]})) for c in asserts)  # numbers to be seen
        assert any("**Do instead:**" in c.source for c in cells)


def test_momentum_checks_each_number_that_it_prints_and_shows_three_balls() -> None:
    notebook = nbformat.read(ROOT / "momentum.ipynb", 4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    printing = [c for c in code if "print(" in c.source]
    assert len(printing) >= 6
    assert all(re.search(r"^ *assert ", c.source, re.MULTILINE) for c in printing)
    balls = [c for c in code if c.source.startswith("%%train")]
    assert len(balls) == 3
    assert all("--speed" in c.source and any("image/png" in o.get("data", {}) for o in c.outputs) for c in balls)


def test_the_quickstart_has_a_panel_that_stays_and_code_that_turns_it_where_there_are_no_buttons() -> None:
    notebook = nbformat.read(ROOT / "quickstart.ipynb", 4)
    assert "Shift-Enter" in notebook.cells[0].source
    panel = next(c for c in notebook.cells if c.source.startswith("panel = Panel("))
    assert any("image/png" in o.get("data", {}) for o in panel.outputs)
    assert "860 steps" in text_of(nbformat.from_dict({"cells": [panel]}))
