"""The notebook of the reference leaves nothing out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

import fluxmagic
from fluxmagic.optimise import OPTIMISERS
from fluxmagic.table import Table
from fluxmagic.tracker.operation import OPS_BY_NAME

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "reference.ipynb"


class SignSGD(fluxmagic.SGD):
    """As SGD, and made up for these tests."""


@pytest.fixture(scope="module")
def reference() -> Iterator[dict[str, Any]]:
    """The variables that the notebook's cells bind."""
    names: dict[str, Any] = {}
    OPTIMISERS["SignSGD"] = SignSGD
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, str(NOTEBOOK), "exec"), names)
    yield names
    del OPTIMISERS["SignSGD"]


del OPTIMISERS["SignSGD"]  # other tests list what is registered


def column(table: Table, i: int) -> list[str]:
    return [row[i] for row in table.rows]


def test_every_operation_of_the_table_is_listed_with_its_family(reference):
    table = reference["operation_table"]
    names = column(table, 1)
    assert set(OPS_BY_NAME) - {n for n in OPS_BY_NAME if n.startswith("_")} <= set(names)
    forms = dict(zip(names, column(table, 2), strict=True))
    assert forms["add"] == "np.add, x + y"
    assert "x.sum()" in forms["sum"]
    assert dict(zip(names, column(table, 0), strict=True))["kron"] == "products"


def test_layers_losses_activations_and_optimisers_are_all_listed_with_a_formula(reference):
    names = ("layer_table", "loss_table", "activation_table", "optimiser_table")
    layers, losses, activations, optimisers = (reference[name] for name in names)
    for name in ("Chain", "Dense", "Diagonal", "Dropout", "LayerNorm", "BatchNorm"):
        assert f"{name}(" in " ".join(column(layers, 0))
    for name in ("mse", "mae", "crossentropy", "logitcrossentropy", "binarycrossentropy", "logitbinarycrossentropy"):
        assert f"{name}(ŷ, y)" in " ".join(column(losses, 0))
    assert column(optimisers, 0) == list(OPTIMISERS)
    for table in (layers, losses, activations, optimisers):
        assert table.rows
        assert all(row[-1] for row in table.rows)
    assert all(hasattr(fluxmagic, name) for name in column(activations, 0))


def test_a_user_s_optimiser_is_listed(reference):
    assert "SignSGD" in column(reference["optimiser_table"], 0)


def test_the_plots_are_a_picture(reference):
    assert reference["plots"].data.startswith(b"\x89PNG")


def test_a_table_reads_in_a_notebook_and_in_a_terminal():
    table = Table(["a", "b"], [["1", "<x>"]], ["all", ""])
    assert repr(table) == "a    b\n1    <x>\nall"
    assert "&lt;x&gt;" in table._repr_html_()
    assert "<tfoot>" in table._repr_html_()
    assert "<tfoot>" not in Table(["a"], [])._repr_html_()
