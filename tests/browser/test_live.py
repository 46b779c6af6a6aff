"""Dials in JupyterLab and Notebook 7, as a person uses them."""

from __future__ import annotations

import time

SETUP = """
import time
import numpy as np
from fluxmagic import Run, SGD, param
from fluxmagic.jupyter.loop import train_in_cell
from fluxmagic.jupyter.panel import Panel

def make(steps=100_000, pause=0.001):
    W = param(np.ones(3))
    def loss(x):
        time.sleep(pause)
        return ((W - x) ** 2).sum()
    return Run(loss, [np.zeros(3)] * steps, "SGD", name="run")
"""


def events(nb):
    return nb.value("[tuple(e) for e in run.events]")


def turn_twice(nb):
    """One turn does not prove that dials are live."""
    nb.drag("η", 0.4)
    nb.onward()
    nb.drag("η", 0.3)
    nb.onward()


def stop_with_both_turns(nb):
    nb.press("Stop")
    nb.until(lambda: nb.value("run.state") == "stopped")
    assert len([e for e in events(nb) if e[1] == "η"]) >= 2


def test_run_all_with_dials(notebook):
    nb = notebook()
    nb.open([SETUP, "run = make()\nprint('mine')\ntrain_in_cell(run, get_ipython())", "print('next', run.state)"])
    nb.run_all()
    nb.page.locator(".widget-label", has_text="η").first.wait_for()
    nb.onward()
    turn_twice(nb)
    nb.choose("ADAM")
    nb.page.locator(".widget-label", has_text="β1").first.wait_for()
    nb.onward()
    nb.press("Pause")
    nb.until(lambda: nb.is_enabled("Play"))
    here = nb.steps
    nb.press("Step")
    nb.until(lambda: nb.steps == here + 1)
    nb.press("Step")
    nb.until(lambda: nb.steps == here + 2)
    assert not nb.page.get_by_text("next ", exact=False).locator("visible=true").filter(has_text="next stopped").count()
    nb.press("Play")
    nb.onward()
    nb.press("Stop")
    nb.wait("next stopped")
    turned = events(nb)
    assert [e[1] for e in turned[-1:]] == ["opt"]
    η = [e for e in turned if e[1] == "η"]
    assert len(η) >= 2
    assert η[-1][3] < 0.02
    text = "\n".join(nb.outputs())
    assert "mine" in text
    assert "SGD → ADAM" in text
    assert nb.page.locator(".jp-OutputArea img").count() == 1
    assert nb.page.locator(".widget-slider").count() == 0

    saved = nb.save()
    kinds = [sorted(o.get("data", {"text": 0})) for o in saved.cells[1].outputs]
    assert kinds == [["text"], ["image/png", "text/plain"], ["text/plain"]]
    assert not any("widget-view" in k for c in saved.cells for o in c.outputs for k in o.get("data", {}))

    nb.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    nb.open()
    nb.page.locator(".jp-OutputArea img").wait_for()
    text = "\n".join(nb.outputs())
    assert "SGD → ADAM" in text
    assert "not found" not in text.lower()
    assert "error" not in text.lower()


def test_a_panel_leaves_the_kernel_free(notebook):
    nb = notebook()
    nb.open([SETUP, "panel = Panel(make())\nrun = panel.run\npanel", "print('free')"])
    nb.run_all()
    nb.wait("free")
    nb.press("Play")
    nb.onward()
    turn_twice(nb)
    assert nb.value("1 + 1") == 2
    stop_with_both_turns(nb)
    nb.press("Close")
    nb.until(lambda: nb.page.locator(".widget-slider").count() == 0)
    nb.until(lambda: nb.page.locator(".jp-OutputArea img").count() == 1)  # words take the other one's place
    assert "stopped in epoch 1" in "\n".join(nb.outputs())


def test_a_page_loaded_anew_in_the_middle_finds_the_panel_and_its_dials(notebook):
    nb = notebook()
    nb.open([SETUP, "run = make()\ntrain_in_cell(run, get_ipython())"])
    nb.run_all()
    nb.page.locator(".widget-label", has_text="η").first.wait_for()
    nb.onward()
    nb.save()
    nb.page.reload()
    nb.ready()
    nb.page.locator(".widget-label", has_text="η").first.wait_for()
    turn_twice(nb)
    stop_with_both_turns(nb)


def test_a_kernel_restarted_in_the_middle_trains_again(notebook):
    nb = notebook()
    nb.open([SETUP, "run = make()\ntrain_in_cell(run, get_ipython())"])
    nb.run_all()
    nb.page.locator(".widget-label", has_text="η").first.wait_for()
    nb.onward()
    nb.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    nb.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.info")
    assert nb.page.locator(".jp-OutputArea img").count() == 1  # the last frame stays
    nb.run_all()
    nb.until(lambda: nb.page.locator(".widget-label", has_text="η").count() == 1)
    nb.onward()
    turn_twice(nb)
    stop_with_both_turns(nb)


def test_nothing_is_cut_off_at_either_width_in_either_theme(notebook):
    nb = notebook()
    nb.open([SETUP, "panel = Panel(make())\nrun = panel.run\nrun.step(5)\npanel"])
    nb.run_all()
    nb.page.locator(".widget-label", has_text="η").first.wait_for()
    nb.choose("ADAM")
    nb.page.locator(".widget-label", has_text="β1").first.wait_for()
    for width in (800, 1400):
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            nb.page.set_viewport_size({"width": width, "height": 1000})
            nb.page.evaluate("t => window.jupyterapp.commands.execute('apputils:change-theme', {theme: t})", theme)
            time.sleep(0.5)
            cut = nb.page.evaluate(
                """() => [...document.querySelectorAll('.widget-label, .widget-button')]
                    .filter(x => x.offsetWidth && x.scrollWidth > x.clientWidth + 1).map(x => x.innerText)"""
            )
            assert cut == []
            room = nb.page.locator(".jp-OutputArea-output", has=nb.page.locator("img")).first.bounding_box()
            assert nb.page.locator(".jp-OutputArea img").first.bounding_box()["width"] <= room["width"]


def test_the_keyboard_reaches_and_moves_the_dials(notebook):
    nb = notebook()
    nb.open([SETUP, "panel = Panel(make())\nrun = panel.run\npanel"])
    nb.run_all()
    slider = nb.page.locator(".widget-slider", has=nb.page.locator(".widget-label", has_text="η")).first
    slider.wait_for()
    nb.value("1")  # when the cell has ended the page moves the focus
    for presses in (1, 2):
        slider.locator(".noUi-handle").focus()
        nb.page.keyboard.press("PageDown")  # ArrowLeft folds a heading in Notebook 7
        nb.until(lambda n=presses: len(events(nb)) == n)
    assert events(nb)[-1][3] < 0.1


def test_a_page_whose_dials_act_is_not_called_silent(notebook):
    nb = notebook()
    nb.open([SETUP, "run = make(pause=0.02)\ntrain_in_cell(run, get_ipython())"])
    nb.run_all()
    nb.page.locator(".widget-label", has_text="η").first.wait_for()
    nb.until(lambda: nb.steps > 0)
    nb.onward(150)  # twice as long as a silent page has
    assert nb.message == ""
    nb.press("Stop")
    nb.until(lambda: nb.value("run.state") == "stopped")
