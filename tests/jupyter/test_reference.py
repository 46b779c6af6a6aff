"""The reference is made from the tables, and leaves nothing out."""

from __future__ import annotations

import fluxmagic
from fluxmagic.jupyter import reference
from fluxmagic.optimise import OPTIMISERS
from fluxmagic.tracker.operation import OPS_BY_NAME


def column(table: reference.Table, i: int) -> list[str]:
    return [row[i] for row in table.rows]


def test_every_operation_of_the_table_is_listed_with_its_family() -> None:
    names = column(reference.operations(), 1)
    assert set(OPS_BY_NAME) - {n for n in OPS_BY_NAME if n.startswith("_")} <= set(names)
    forms = dict(zip(names, column(reference.operations(), 2), strict=True))
    assert forms["add"] == "np.add, x + y"
    assert "x.sum()" in forms["sum"]
    assert dict(zip(names, column(reference.operations(), 0), strict=True))["kron"] == "products"


def test_layers_losses_activations_and_optimisers_are_all_listed_with_a_formula() -> None:
    layers = " ".join(column(reference.layer_table(), 0))
    losses = " ".join(column(reference.losses(), 0))
    for name in ("Chain", "Dense", "Diagonal", "Dropout", "LayerNorm", "BatchNorm"):
        assert f"{name}(" in layers
    for name in ("mse", "mae", "crossentropy", "logitcrossentropy", "binarycrossentropy", "logitbinarycrossentropy"):
        assert f"{name}(ŷ, y)" in losses
    assert column(reference.optimisers(), 0) == list(OPTIMISERS)
    for table in (reference.layer_table(), reference.losses(), reference.activations(), reference.optimisers()):
        assert all(table.rows[i][-1] for i in range(len(table.rows)))
    assert all(hasattr(fluxmagic, name) for name in column(reference.activations(), 0))


def test_an_optimiser_of_ones_own_is_listed() -> None:
    class Mine(fluxmagic.SGD):
        """As SGD."""

    try:
        assert "Mine" in column(reference.optimisers(), 0)
    finally:
        del OPTIMISERS["Mine"]


def test_tables_read_in_a_notebook_and_in_a_terminal() -> None:
    table = reference.Table(["a", "b"], [["1", "<x>"]])
    assert repr(table) == "a  b\n1  <x>"
    assert "&lt;x&gt;" in table._repr_html_()


def test_the_plots_are_a_picture() -> None:
    assert reference.curves().data.startswith(b"\x89PNG")
