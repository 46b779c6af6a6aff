"""What there is, in tables that are made from the code, so that they cannot go stale."""

from __future__ import annotations

import inspect
import io
from html import escape
from typing import Any

import numpy as np
from IPython.display import Image
from matplotlib.figure import Figure

import fluxmagic
from fluxmagic import layers
from fluxmagic.layers import activations as _activations
from fluxmagic.layers import losses as _losses
from fluxmagic.optimise import OPTIMISERS
from fluxmagic.tracker import gradient
from fluxmagic.tracker.catalog import call_forms
from fluxmagic.tracker.operation import COMPOSITES, NON_DIFFERENTIABLE, OPS_BY_NAME

__all__ = ["Table", "activations", "curves", "layer_table", "losses", "operations", "optimisers", "plain_results"]

_OPERATORS = {
    "add": "x + y", "sub": "x - y", "mul": "x * y", "truediv": "x / y", "pow": "x ** y", "matmul": "x @ y",
    "mod": "x % y", "neg": "-x", "pos": "+x", "abs": "abs(x)",
}  # fmt: skip


class Table:
    """Rows under a head; shown as HTML in a notebook and as text elsewhere.

    Parameters
    ----------
    head : list of str
    rows : list of list of str
    """

    def __init__(self, head: list[str], rows: list[list[str]]) -> None:
        self.head = head
        self.rows = rows

    def _repr_html_(self) -> str:
        def line(cells: list[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag} style='text-align:left'>{escape(c)}</{tag}>" for c in cells) + "</tr>"

        body = "".join(line(row, "td") for row in self.rows)
        return f"<table><thead>{line(self.head, 'th')}</thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in [self.head, *self.rows]
        ]
        return "\n".join(lines)


def operations() -> Table:
    """Every operation that has a gradient, by family, and the ways to call it."""
    rows = []
    for name, forms in call_forms().items():
        if name.startswith("_"):
            continue
        if name in OPS_BY_NAME:
            op = OPS_BY_NAME[name]
            family = _family(next((g for g in (op.vjp, *op.vjps) if g is not None), op.forward))
        else:
            family = _family(next(f for g, f in COMPOSITES.items() if g.__name__ == name))
        rows.append([family, name, ", ".join(dict.fromkeys(_shown(form) for form in forms if _shown(form)))])
    return Table(["family", "operation", "also called as"], sorted(rows, key=lambda row: row[0]))


def _family(f: Any) -> str:
    return str(inspect.unwrap(f).__module__).rpartition(".")[2]


def _shown(form: str) -> str:
    if not form.startswith("x.__"):
        return form
    return _OPERATORS.get(form[4:-2], "")


def plain_results() -> Table:
    """The functions whose result is plain: no gradient passes."""
    return Table(["gives plain arrays"], [[", ".join(sorted({f"np.{f.__name__}" for f in NON_DIFFERENTIABLE}))]])


def _summary(f: Any) -> str:
    """A docstring's first sentence, which has the formula."""
    paragraph = (inspect.getdoc(f) or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def _signature(f: Any) -> str:
    parts = []
    for p in inspect.signature(f).parameters.values():
        if p.kind is p.VAR_KEYWORD:
            continue
        default = p.default
        if default is p.empty:
            text = p.name
        elif callable(default):
            text = f"{p.name}={getattr(default, '__name__', default)}"
        else:
            text = f"{p.name}={default!r}"
        parts.append("*" + text if p.kind is p.VAR_POSITIONAL else text)
    return f"({', '.join(parts)})"


def layer_table() -> Table:
    """Every layer, what it takes, and what it computes."""
    classes = [getattr(layers, name) for name in layers.__all__]
    rows = [
        [c.__name__ + _signature(c), _summary(c)] for c in classes if isinstance(c, type) and c.__name__[0].isupper()
    ]
    return Table(["layer", "what it does"], rows)


def activations() -> Table:
    """Every activation and its formula."""
    names = [n for n in _activations.__all__ if n not in ("sigmoid", "logsigmoid")]
    return Table(["activation", "formula"], [[n, _summary(getattr(_activations, n))] for n in names])


def losses() -> Table:
    """Every loss and its formula."""
    names = [n for n in _losses.__all__ if n not in ("accuracy", "onehot")]
    return Table(["loss", "formula"], [[f"{n}(ŷ, y)", _summary(getattr(_losses, n))] for n in names])


def optimisers() -> Table:
    """Every registered optimiser, its dials and its formula; one's own among them."""
    rows = []
    for name, cls in OPTIMISERS.items():
        dials = ", ".join(f"{h.name}={h.default:g}" for h in cls.hypers.values() if h.default != h.off and h.default)
        rows.append([name, dials, _summary(cls)])
    return Table(["optimiser", "dials", "formula"], rows)


def curves() -> Image:
    """A plot of each activation (blue) and its derivative (orange)."""
    names = [n for n in _activations.__all__ if n not in ("sigmoid", "logsigmoid", "softmax", "logsoftmax")]
    x = np.linspace(-4, 4, 161)
    columns = 4
    figure = Figure(figsize=(10, 2.1 * -(-len(names) // columns)), layout="constrained")
    for i, name in enumerate(names):
        f = getattr(fluxmagic, name)
        ax = figure.add_subplot(-(-len(names) // columns), columns, i + 1)
        ax.axhline(0, color="0.8", lw=0.8)
        ax.plot(x, f(x), color="#3a7fd5", lw=1.8)
        ax.plot(x, gradient(lambda x, f=f: np.sum(f(x)), x)[0], color="#e08214", lw=1.2)
        ax.set_title(name, fontsize=10)
        ax.tick_params(labelsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=96, facecolor="white")
    return Image(picture.getvalue())  # type: ignore[no-untyped-call]
