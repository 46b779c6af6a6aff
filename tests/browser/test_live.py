"""Dials in JupyterLab and Notebook 7, as a person uses them."""

from __future__ import annotations

import time

from tests.jupyter.live.training import SETUP


def events(nb, of="events"):
    return nb.value(f"[tuple(e) for e in run.{of}]")


def turn_twice(nb):
    """One turn does not prove that dials are live."""
    nb.drag("η", 0.4)
    nb.onward()
    nb.drag("η", 0.3)
    nb.onward()


def hold_and_let_go(nb):
    """The run and its curve answer while η is dragged; the drag is one event."""
    picture = nb.page.locator(".fluxmagic-panel img[src^=blob]").first
    before, start, drawn = len(events(nb)), nb.value("float(run.values['η'])"), picture.get_attribute("src")
    nb.hold("η", 0.5, 0.65)
    held_until = time.monotonic() + 1.2
    nb.until(lambda: time.monotonic() > held_until)
    nb.move("η", 0.7)
    nb.until(lambda: nb.value("float(run.history['η'][-1])") == float(nb.field("η").input_value()) > start)
    nb.until(lambda: picture.get_attribute("src") != drawn)
    η = nb.value("float(run.values['η'])")
    nb.page.mouse.up()
    nb.onward()
    ((_, name, old, new),) = events(nb)[before:]
    assert (name, old, new) == ("η", start, η)
    assert len(events(nb, "turns")) > len(events(nb))  # values in between, with which steps were taken


def stop_with_both_turns(nb):
    nb.press("Stop")
    nb.until(lambda: nb.value("run.state") == "stopped")
    assert len([e for e in events(nb, "turns") if e[1] == "η"]) >= 2


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
    turned = events(nb, "turns")
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
    nb.page.wait_for_function(
        "() => [...document.querySelectorAll('.fluxmagic-panel-page input')].some(field => field.value.includes(' '))"
    )  # the page has said when it was loaded
    nb.onward()
    nb.save()
    nb.page.reload()
    nb.ready()
    nb.page.locator(".widget-label", has_text="η").first.wait_for()
    nb.until(lambda: "loaded anew" in nb.message)
    turn_twice(nb)
    stop_with_both_turns(nb)
    left = nb.page.locator(".fluxmagic-panel pre")  # no output of the cell reaches this page
    left.wait_for()
    assert f"{nb.value('run.steps'):,} steps" in left.inner_text()
    assert nb.page.locator(".fluxmagic-panel img[src^=blob]").is_visible()
    assert nb.page.locator(".widget-slider, .widget-button").count() == 0


def test_a_kernel_restarted_in_the_middle_trains_again(notebook):
    nb = notebook()
    nb.open([SETUP, "run = make()\ntrain_in_cell(run, get_ipython())"])
    nb.run_all()
    nb.page.locator(".widget-label", has_text="η").first.wait_for()
    nb.onward()
    nb.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    nb.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.info")
    assert nb.page.locator(".jp-OutputArea img:visible").count() == 1  # the last frame stays
    nb.run_all()
    nb.until(lambda: nb.page.locator(".widget-label", has_text="η").count() == 1)
    nb.onward()
    turn_twice(nb)
    stop_with_both_turns(nb)


def test_a_diverging_cell_waits_for_recover_and_ends_with_stop(notebook):
    nb = notebook()

    nb.open([SETUP, "run = make()\ntrain_in_cell(run, get_ipython())", "print('next', run.state)"])
    nb.run_all()
    nb.page.locator(".widget-label", has_text="η").first.wait_for()
    nb.onward()
    nb.turn("η", 10.0)
    nb.until(lambda: "A smaller η" in nb.message)
    nb.wait("run paused")
    nb.press("Recover")
    nb.until(lambda: "Play goes on from step" in nb.message)
    nb.turn("η", 0.001)
    nb.press("Play")
    here = nb.steps
    nb.until(lambda: nb.steps > here + 20)
    nb.turn("η", 1e9)
    nb.page.locator("button:has-text('Recover'):visible").wait_for()
    nb.press("Stop")
    nb.wait("NotFinite")
    assert "next" not in "\n".join(nb.outputs()[2:])
    assert nb.page.locator(".jp-OutputArea img").count() == 1
    assert nb.page.locator(".fluxmagic-panel").count() == 0


def test_a_panel_is_executed_again_saved_open_and_opened_without_a_kernel(notebook):
    nb = notebook()
    nb.open(
        [
            SETUP + "\nW = [param(np.ones(3))]\ndef loss(x): return ((W[0] - x) ** 2).sum()",
            "panel = Panel(loss, [np.zeros(3)] * 10**5, W, opt='SGD', η=0.001, name='p', speed=300)\npanel",
        ]
    )
    nb.run_all()
    nb.page.locator(".widget-label", has_text="η").first.wait_for()
    nb.press("Play")
    nb.onward()
    nb.run_all()
    nb.wait("`p`")
    nb.until(lambda: nb.page.locator(".fluxmagic-panel").count() == 1 and nb.is_enabled("Play"))
    nb.press("Play")
    nb.onward()
    nb.press("Pause")
    nb.until(lambda: nb.value("panel.run.state") == "paused")
    steps = nb.value("panel.run.steps")
    assert not nb.page.locator("[class$=-left]").last.is_visible()  # the panel itself is there
    nb.save()
    nb.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    nb.open()
    left = nb.page.locator("[class$=-left]").last
    left.wait_for()
    assert left.locator("img").is_visible()
    assert f"{steps:,} steps" in left.inner_text()
    visible = nb.page.locator(".jp-OutputArea-output:visible").all_inner_texts()
    assert not any("not found" in t or "Loading widget" in t for t in visible)


END = "int(panel.controls.axis.right)"


def measured(nb, width, theme):
    """What is measured at a width, in a theme, when the picture has been drawn for it."""
    nb.page.set_viewport_size({"width": width, "height": 1000})
    nb.theme(theme)
    nb.until(
        lambda: (
            abs(nb.value("panel.controls.width") - nb.measure()["panel"]["right"] + nb.measure()["panel"]["left"]) < 20
        )
    )
    nb.until(lambda: "image" in nb.measure())
    return nb.measure()


def test_the_panel_is_one_block_with_nothing_cut_and_text_that_can_be_read(notebook):
    nb = notebook()
    nb.open([SETUP, "panel = Panel(make())\nrun = panel.run\nrun.step(50)\npanel"])
    nb.run_all()
    nb.page.locator(".widget-label", has_text="η").first.wait_for()
    nb.choose("ADAM")
    nb.page.locator(".widget-label", has_text="β1").first.wait_for()
    nb.press("Step")
    nb.press("more")
    nb.page.locator("button:has-text('less')").wait_for()
    nb.type("η", "-1")
    nb.until(lambda: "out of range" in nb.message)
    for width in (800, 1400):
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            m = measured(nb, width, theme)
            assert m["cut"] == m["outside"] == m["faint"] == []
            assert m["texts"] > 20
            for side in ("left", "right"):
                assert abs(m["panel"][side] - m["image"][side]) <= 2
            columns = sorted({round(d["left"]) for d in m["dials"]})
            assert len(columns) <= 2
            start, end = nb.value(f"[float(panel.controls.axis.place(x)) for x in (0, {END})]")
            across = m["image"]["right"] - m["image"]["left"]
            assert abs(m["timeLine"]["left"] - m["image"]["left"] - start * across) <= 4
            assert abs(m["timeLine"]["right"] - m["image"]["left"] - end * across) <= 4
    assert m["panel"]["right"] - m["panel"]["left"] == 900
    η = m["dials"][0]
    assert η["right"] - η["left"] >= 400


def test_dials_take_exact_values_and_the_time_line_goes_back_and_forth(notebook):
    nb = notebook()
    nb.open([SETUP, "panel = Panel(make(pause=0), speed=300)\nrun = panel.run\npanel"])
    nb.run_all()
    nb.page.locator(".widget-label", has_text="η").first.wait_for()

    def value(name):
        return nb.value(f"float(run.values['{name}'])")

    nb.choose("Momentum")
    nb.page.locator(".widget-label:text-is('ρ')").wait_for()
    nb.press("more")
    for name, exact in (("η", 0.0037), ("ρ", 0.937), ("decay", 1e-7), ("clip", 3.3), ("weightdecay", 1 / 3)):
        nb.turn(name, exact)
        nb.until(lambda name=name, exact=exact: value(name) == exact)
        assert float(nb.field(name).input_value()) == exact
    for name, wrong in (("η", "-1"), ("ρ", "1"), ("clip", "much")):
        nb.type(name, wrong)
        nb.until(lambda name=name: nb.message.startswith("ValueError: " + name))
        nb.until(lambda name=name, wrong=wrong: nb.field(name).input_value() != wrong)
    nb.press("×2")
    nb.until(lambda: value("η") == 0.0074)
    nb.press("÷2")
    nb.until(lambda: value("η") == 0.0037)
    nb.choose("SGD")
    nb.press("Play")
    nb.onward()
    hold_and_let_go(nb)
    nb.choose("10", "speed")
    nb.until(lambda: nb.value("panel.controls.pace.speed == 10"))
    first, since = nb.value("(run.steps, __import__('time').perf_counter())")
    nb.until(lambda: nb.value("run.steps") >= first + 30)
    last, now = nb.value("(run.steps, __import__('time').perf_counter())")
    assert last - first < 20 * (now - since)  # before there were 300 a second
    nb.press("Pause")
    nb.until(lambda: nb.value("run.state") == "paused")
    end = nb.value("run.steps")
    nb.until(lambda: nb.steps == end)
    nb.type("step", "12")
    nb.press("Rewind")
    nb.until(lambda: nb.steps == 12)
    nb.press("Undo")
    nb.until(lambda: nb.steps == end)
    nb.press("Restart")
    nb.until(lambda: nb.value("(run.steps, run.opt_name, len(run.abandoned))")[:2] == (0, "SGD"))
    nb.press("Undo")
    nb.until(lambda: nb.steps == end)
    nb.press("Code")
    nb.page.locator(".fluxmagic-panel pre").wait_for()
    nb.page.locator(".fluxmagic-panel button:text-is('Copy')").click()
    nb.until(lambda: "run.step(" in nb.page.evaluate("() => getSelection().toString()"))
    nb.page.locator("button:text-matches('Copied|Selected')").wait_for()


def test_the_keyboard_reaches_and_moves_all(notebook):
    nb = notebook()
    nb.open([SETUP, "panel = Panel(make())\nrun = panel.run\npanel"])
    nb.run_all()
    nb.slider("η").wait_for()
    nb.value("1")  # when the cell has ended the page moves the focus
    for _ in range(2):
        before = nb.value("float(run.values['η'])")
        nb.slider("η").locator(".noUi-handle").focus()
        nb.page.keyboard.press("PageDown")  # ArrowLeft folds a heading in Notebook 7
        nb.until(lambda before=before: nb.value("float(run.values['η'])") < before)
    assert events(nb)[-1][3] < 0.1
    nb.page.keyboard.press("Tab")
    assert nb.page.evaluate("() => document.activeElement.placeholder") == "η"
    nb.page.keyboard.press("Control+A")
    nb.page.keyboard.type("0.0123")
    nb.page.keyboard.press("Tab")
    nb.until(lambda: events(nb)[-1][3] == 0.0123)
    nb.page.locator("button:has-text('Play')").first.focus()
    nb.page.keyboard.press("Space")
    nb.onward()
    assert nb.page.evaluate("() => document.activeElement.innerText.trim()") == "Pause"
    nb.page.keyboard.press("Space")
    nb.until(lambda: nb.value("run.state") == "paused")
    reached = set()
    for _ in range(30):
        nb.page.keyboard.press("Tab")
        reached.add(nb.page.evaluate("() => (document.activeElement.innerText || '').trim()"))
    assert reached >= {"Step", "Stop", "Restart", "more", "÷2", "×2", "Rewind", "Branch", "Code"}


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
