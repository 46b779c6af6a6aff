"""The widgets of a panel, and where they stand.  Knows no run: `RunControls` makes the buttons, and sets the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fluxmagic.jupyter import widgets as w

__all__ = ["ControlWidgets", "make_button", "set_visible", "wrapped_row"]

SMOOTHING = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


class ControlWidgets:
    """All widgets of a panel but the hyper-parameters' sliders, for which `sliders` has room.

    Parameters
    ----------
    buttons : dict of list of Button
        By group: "transport", "rewind", "history", "schedule".
    position : IntSlider
        The step that Rewind goes back to.
    smoothing : float

    Attributes
    ----------
    settings : dict of Widget
        How the curve is drawn, by the name of the setting.
    box : VBox
    """

    def __init__(self, buttons: Mapping[str, Sequence[w.Widget]], position: w.Widget, smoothing: float) -> None:
        bar = w.Layout(width="8em", height="1.1em", margin="auto 6px")
        self.progress = w.FloatProgress(min=0.0, max=1.0, layout=bar)
        self.progress_text = w.HTML(layout=w.Layout(margin="2px 6px"))
        self.cost = w.Label(layout=w.Layout(margin="0 0 0 auto"))
        self.optimiser = w.Dropdown(
            description="optimiser",
            tooltip="which optimiser updates the parameters",
            style={"description_width": "6em"},
            layout=w.Layout(width="16em"),
        )
        self.settings = {
            "log": w.Checkbox(
                description="log-y", indent=False, layout=w.Layout(width="5em", margin="2px 4px 2px 1.5em")
            ),
            "smoothing": w.SelectionSlider(
                description="smoothing",
                tooltip="share of the smoothed loss that is kept from step to step",
                options=[(f"{v:g}", v) for v in SMOOTHING],
                value=smoothing,
                style={"description_width": "6em"},
                layout=w.Layout(width="19em"),
            ),
        }
        self.code = w.Textarea(description="code", layout=w.Layout(display="none", width="100%", height="14em"))
        self.sliders = w.VBox()
        self.message = w.HTML(layout=w.Layout(display="none"))
        self.overridden = w.HTML(layout=w.Layout(margin="2px 6px"))  # the schedules that are off
        self.schedule = w.HBox(
            [self.overridden, *buttons["schedule"]], layout=w.Layout(display="none", align_items="center")
        )
        self.box = w.VBox(
            [
                wrapped_row([*buttons["transport"], self.progress, self.progress_text]),
                wrapped_row([self.optimiser, *self.settings.values()]),
                self.sliders,
                wrapped_row([*buttons["rewind"], position, *buttons["history"], self.cost]),
                self.code,
                self.schedule,
                self.message,
            ],
            layout=w.Layout(width="100%", overflow="hidden"),
        )


def make_button(label: str, icon: str, tooltip: str, width: str) -> w.Widget:
    """Make a button with an icon of Font Awesome."""
    return w.Button(description=label, icon=icon, tooltip=tooltip, layout=w.Layout(width=width, padding="0"))


def wrapped_row(children: Sequence[w.Widget]) -> w.Widget:
    """Make a row that goes on below where the page is narrow."""
    return w.Box(children, layout=w.Layout(flex_flow="row wrap", align_items="center", width="100%"))


def set_visible(widget: w.Widget, visible: bool) -> None:
    """Show or hide a widget."""
    widget.layout.display = None if visible else "none"
