"""The points of a sweep as buttons of a page: a map of cells, or a table of the best.

The cells are written once.  Their colours, numbers and tooltips are a style sheet, which is written anew: a button that
is replaced while it is pressed would lose the click.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import escape

from fluxmagic.jupyter.controls import widgets as w
from fluxmagic.jupyter.formatting import format_number
from fluxmagic.jupyter.pictures.axes import shorten
from fluxmagic.jupyter.sweep.points import BAD, Points, ink_on
from fluxmagic.jupyter.sweep.words import best_of, describe, numbers, objective

__all__ = ["Board"]

ROWS = 12  # of the table
COLUMNS = 10  # of cells with room for a number
CHOOSE = (
    "const f = this.closest('.fluxmagic-panel').querySelector('.fluxmagic-chosen input');"
    "f.value = this.dataset.point; f.dispatchEvent(new Event('change', {bubbles: true}))"
)
STYLE = """
.fluxmagic-map { display: grid; gap: 2px; margin: 4px 2px; font-size: 11px; align-items: center;
  container-type: inline-size }
.fluxmagic-map button::before { font-size: clamp(8px, 2.4cqw, 11px) }
.fluxmagic-map span { color: var(--jp-ui-font-color1, inherit); text-align: center; overflow: hidden; line-height: 1.5 }
.fluxmagic-map span.side { text-align: right; padding-right: 6px; white-space: nowrap }
.fluxmagic-map span.down { writing-mode: vertical-rl; justify-self: center; padding: 3px 0 }
.fluxmagic-map button { position: relative; height: 26px; min-width: 0; padding: 0; font: inherit; cursor: pointer;
  color: inherit; background: none; border: 1px solid #8a8a8a; border-radius: 2px; white-space: nowrap }
.fluxmagic-map button:hover::after, .fluxmagic-map button:focus-visible::after { position: absolute; z-index: 20;
  bottom: calc(100% + 4px); left: -1px; padding: 4px 8px; white-space: pre-wrap; width: max-content;
  max-width: 17em; text-align: left; line-height: 1.4;
  background: #222; color: #fff; border-radius: 3px; pointer-events: none }
.fluxmagic-map button.right::after { left: auto !important; right: -1px }
.fluxmagic-map button.top::after { bottom: auto !important; top: calc(100% + 4px) }
.fluxmagic-table { border-collapse: collapse; margin: 4px 2px; color: var(--jp-ui-font-color1, inherit) }
.fluxmagic-table td, .fluxmagic-table th { padding: 1px 10px; text-align: left }
.fluxmagic-table button { font: inherit; cursor: pointer }
.fluxmagic-panel .widget-html-content:has(> .fluxmagic-map) { overflow: visible }
"""


class Board:
    """Buttons for the points of a sweep; `choose` is called with the number of a point, which a page sent."""

    def __init__(self, points: Points, choose: Callable[[int], None]) -> None:
        self.points = points
        self._style = w.HTML(layout=w.Layout(display="none"))
        self._cells = w.HTML(f"<style>{STYLE}</style>{self._map() if points.kind == 'cells' else ''}")
        field = w.Text(continuous_update=False, placeholder="chosen point", layout=w.Layout(display="none"))
        field.add_class("fluxmagic-chosen")

        def tell(change: w.Change) -> None:
            if change["new"].isdecimal():
                choose(int(change["new"]))

        field.observe(tell, "value")
        self.box = w.VBox([self._style, field, self._cells], layout=w.Layout(width="100%", overflow="visible"))

    def _map(self) -> str:
        """Write the cells, the last row of the second dial first."""
        points = self.points
        x, y = points.dials
        columns, rows = len(x.labels), len(y.labels)
        at = {(int(i), int(j)): n for n, places in enumerate(points.places) for i, j in places}
        cells = []
        for j in reversed(range(rows)):
            cells.append(f'<span class="side">{escape(y.name)} {escape(shorten(y.labels[j], 12))}</span>')
            for i in range(columns):
                n = at.get((i, j))
                if n is None:
                    cells.append("<span></span>")
                    continue
                kinds = f"c{n}{' right' * (2 * i >= columns)}{' top' * (j == rows - 1)}"
                words = escape(f"{x.name} {x.labels[i]}, {y.name} {y.labels[j]}")
                cells.append(
                    f'<button class="{kinds}" data-point="{n}" aria-label="{words}" onclick="{CHOOSE}"></button>'
                )
        cells.append(f'<span class="side">{escape(x.name)}</span>')
        every = -(-columns // COLUMNS)
        down = ' class="down"' if columns > 6 and max(map(len, x.labels)) > 4 else ""
        cells += [f"<span{down}>{'' if i % every else escape(shorten(v, 9))}</span>" for i, v in enumerate(x.labels)]
        template = f"max-content repeat({columns}, minmax(0, 1fr))"
        return f'<div class="fluxmagic-map" style="grid-template-columns: {template}">{"".join(cells)}</div>'

    def show(self, name: str, chosen: int | None) -> None:
        """Show what is known; `name` is the class of the panel."""
        self.points.update()
        if self.points.kind == "cells":
            self._style.value = f"<style>{''.join(self._rules(f'.{name} .c', chosen))}</style>"
        elif self.points.kind in ("table", "scatter"):
            self._cells.value = f"<style>{STYLE}</style>{self._table()}"

    def _rules(self, cell: str, chosen: int | None) -> Iterator[str]:
        points, sweep = self.points, self.points.sweep
        numbered = len(points.dials[0].labels) <= COLUMNS
        best, present = points.best, points.present
        for i, colour in enumerate(points.colours):
            own = sweep.of_point(i)
            words = [describe(sweep, own[0]), *numbers(sweep, own[:5])]
            marks = [("best", i == best), ("present values", i == present), ("chosen", i == chosen)]
            words += [m for m, holds in marks if holds]
            yield f'{cell}{i}:is(:hover,:focus-visible)::after{{content:"{_css(words)}"}}'
            if colour:
                value = "✕" if colour == BAD else f"{points.value[i]:.2g}"
                yield f"{cell}{i}{{background:{colour};color:{ink_on(colour)}}}"
                yield f'{cell}{i}::before{{content:"{value if numbered else ""}"}}'
            outline = "3px solid #cf6a12" if i == chosen else "3px solid currentColor" if i == best else ""
            if i == present and not outline:
                outline = "3px dotted currentColor"
            if outline:
                yield f"{cell}{i}{{outline:{outline};outline-offset:-3px}}"

    def _table(self) -> str:
        sweep = self.points.sweep
        rows = [
            f"<tr><td>{format_number(score)}</td><td>{escape(describe(sweep, best_of(sweep, point)))}</td>"
            f'<td><button data-point="{point}" onpointerdown="{CHOOSE}" onclick="{CHOOSE}">choose</button></td></tr>'
            for score, point in sweep.ranking[:ROWS]
        ]
        return (
            f'<table class="fluxmagic-table"><tr><th>{escape(objective(sweep))}</th><th>the best points so far</th>'
            f"<th></th></tr>{''.join(rows)}</table>"
        )


def _css(lines: list[str]) -> str:
    """Write lines as the text of a style sheet."""
    return r"\a ".join(re.sub(r"[^\w .,:;()→-]", lambda m: f"\\{ord(m[0]):x} ", line[:80]) for line in lines)
