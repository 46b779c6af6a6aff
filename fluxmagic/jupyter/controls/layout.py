"""How the widgets of a panel stand: rows, grids, and the styles that `Layout` has no words for.  Knows no run."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape

from fluxmagic.jupyter.controls import widgets as w

__all__ = [
    "PANEL", "WIDTH", "TimeLine", "grid", "make_button", "make_choice", "panel_box", "row", "set_visible",
    "what_is_left",
]  # fmt: skip

WIDTH = 900  # px of the block, where the page has them
GAP = 12  # px between the label of the time line and itself
PANEL = "fluxmagic-panel"

STYLE = f"""
.{PANEL} .widget-label, .{PANEL} .widget-html-content {{ color: var(--jp-ui-font-color1, inherit) }}
.{PANEL} .widget-html-content {{ line-height: 1.4; white-space: normal }}
.{PANEL} .widget-html {{ height: auto }}
.{PANEL} .fluxmagic-words {{ display: flex; flex-wrap: wrap; gap: 0 8px; align-items: center; min-height: 2em;
  padding-right: 4px }}
.{PANEL} .fluxmagic-words div {{ flex: 1 1 14em }}
.{PANEL} .fluxmagic-words span {{ margin-left: auto }}
.{PANEL} progress {{ width: 8em; height: 0.8em; accent-color: var(--jp-brand-color1, #1976d2) }}
.{PANEL} img {{ display: block; width: 100%; height: auto }}
.{PANEL} .widget-hslider {{ max-width: none }}
.{PANEL} .fluxmagic-time .widget-label {{ flex: 0 0 auto; min-width: 0; margin: 0 {GAP}px 0 0 }}
.{PANEL} .fluxmagic-time .slider-container {{ margin: 0 }}
.{PANEL} pre {{ margin: 0; padding: 6px; max-height: 20em; overflow: auto; user-select: text;
  background: var(--jp-layout-color2, #eee); color: var(--jp-ui-font-color1, #000) }}
.{PANEL} [role=alert] {{ color: #b3261e }}
body[data-jp-theme-light=false] .{PANEL} [role=alert] {{ color: #ff8a80 }}
"""

LEFT = """
body:has(.NAME) .NAME-left { display: none }
body:not(:has(.NAME)) .jp-OutputArea-child:has(+ .jp-OutputArea-child .NAME-left) { display: none }
"""


# Types into a hidden field: the width of the block, so that the picture's text can be read at any width; when the page
# was loaded; and how often a pointer was pressed or released, which no slider tells.
MEASURE = """
const image = this, start = () => {
  const box = image.closest('.PANEL'), field = box && box.querySelector('.PANEL-page input');
  if (!field) return setTimeout(start, 200);
  let width = 0, presses = 0, timer = 0;
  const tell = () => {
    field.value = `${width} ${Math.round(performance.timeOrigin)} ${presses}`;
    field.dispatchEvent(new Event('change', {bubbles: true}));
  };
  const measure = () => {
    const now = Math.round(box.clientWidth);
    if (now && Math.abs(now - width) >= 20) { width = now; tell() }
  };
  const press = (odd) => { if (width && presses % 2 != odd) { presses += 1; tell() } };
  new ResizeObserver(() => { clearTimeout(timer); timer = setTimeout(measure, 200) }).observe(box);
  box.addEventListener('pointerdown', () => { press(0); press(1) }, true);
  for (const end of ['pointerup', 'pointercancel']) document.addEventListener(end, () => press(0), true);
};
start();
"""


def panel_box(children: Sequence[w.Widget], name: str, field: w.Widget) -> w.Widget:
    """Make the block of a panel, of the class `PANEL` and of one of its own; the page types into a field."""
    measure = f'<img src="data:," onerror="{escape(MEASURE.replace("PANEL", PANEL))}">'
    hidden = w.HTML(f"<style>{STYLE}</style>{measure}", layout=w.Layout(display="none"))
    field.add_class(f"{PANEL}-page")
    field.layout.display = "none"
    box = w.VBox([hidden, field, *children], layout=w.Layout(width="100%", max_width=f"{WIDTH}px", overflow="hidden"))
    for c in (PANEL, name):
        box.add_class(c)
    return box


def what_is_left(name: str, png: bytes | None, words: str) -> str:
    """Give the HTML of a picture and words that are seen where the box `name` is not: beside an open panel they are
    hidden, and in a notebook that is opened again the box is."""
    image = "" if png is None else f'<img src="data:image/png;base64,{b64encode(png).decode()}">'
    return (
        f"<style>{LEFT.replace('NAME', name)}</style>"
        f'<div class="{name}-left" style="max-width: {WIDTH}px">{image}<pre>{escape(words)}</pre></div>'
    )


def make_button(label: str, icon: str, tooltip: str, width: str) -> w.Widget:
    """Make a button with an icon of Font Awesome."""
    return w.Button(description=label, icon=icon, tooltip=tooltip, layout=w.Layout(width=width, padding="0"))


def make_choice(
    label: str, options: Sequence[object], value: object, tooltip: str = "", width: str = "auto"
) -> w.Widget:
    """Make a menu, its label beside it."""
    style, layout = {"description_width": "auto"}, w.Layout(width=width, margin="2px 4px")
    return w.Dropdown(description=label, options=options, value=value, tooltip=tooltip, style=style, layout=layout)


def row(children: Sequence[w.Widget]) -> w.Widget:
    """Make a row that goes on below where the page is narrow."""
    return w.Box(children, layout=w.Layout(flex_flow="row wrap", align_items="center", width="100%"))


def grid(children: Sequence[w.Widget], *, first_is_wide: bool) -> w.Widget:
    """Make a grid of two columns, of one where the page is narrow; the first child may have a row of its own."""
    columns = "repeat(auto-fit, minmax(min(26em, 100%), 1fr))"
    box = w.Box(
        children, layout=w.Layout(display="grid", grid_template_columns=columns, grid_gap="0 1em", width="100%")
    )
    box.add_class("fluxmagic-dials")
    if first_is_wide and children:
        children[0].layout.grid_area = "auto / 1 / auto / -1"  # a page overrides grid_column by grid_area
    return box


class TimeLine:
    """A slider that is as wide as the axis above it, its label beside it; and what stands beside both, or below."""

    def __init__(self, slider: w.Widget, beside: w.Widget, name: str) -> None:
        slider.layout.margin = "0"
        slider.add_class("fluxmagic-time")
        self._slider, self._name = slider, name
        self._style = w.HTML(layout=w.Layout(display="none"))
        self.box = row([self._style, slider, beside])

    def place(self, start: float, end: float) -> None:
        """Put it under an axis whose ends are given as shares of the width."""
        self._slider.layout.width = f"{100 * end:.2f}%"
        self._slider.style.description_width = f"calc({100 * start / end:.2f}% - {GAP}px)"
        width = f"{100 * (1 - start / end):.2f}%"
        self._style.value = f"<style>.{self._name} .fluxmagic-time .slider-container {{ flex: 0 0 {width} }}</style>"


def set_visible(widget: w.Widget, visible: bool) -> None:
    """Show or hide a widget."""
    display = None if visible else "none"
    if widget.layout.display != display:
        widget.layout.display = display
