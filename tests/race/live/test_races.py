"""Races in a cell and in a panel of a real kernel."""

from __future__ import annotations

import pytest

from tests.jupyter.live.training import left_behind, one_kernel

SETUP = """
%load_ext fluxmagic
from fluxmagic import Panel, Race, landscapes, param
w = param([-1.2, 1.0])

def slow():
    time.sleep(0.001)
    return landscapes.rosenbrock(w)

def make(steps=100_000):
    return Race(slow, None, [w], [("SGD", {"η": 0.001}), ("ADAM", {"η": 0.05})], steps=steps)
"""
CELL = "%%race --steps 100000 --opt SGD --η 0.001 --opt ADAM --η 0.05\nslow()"


@pytest.fixture
def racing(page):
    page.run(SETUP)
    return page


def turns(page):
    return page.value("[[tuple(e)[1:] for e in run.events] for run in race]")


def test_dials_of_two_contestants_act_while_a_cell_races(racing):
    page = racing
    cell = page.start(CELL)
    page.until(lambda: page.steps > 10)
    page.turn("ADAM η", 0.2)
    page.onward()
    page.turn("SGD η", 0.0005)
    page.onward()
    page.until(lambda: page.steps > 1000)
    page.press("Restart")
    page.until(lambda: 0 <= page.steps < 1000)
    page.onward()
    page.press("Stop")
    assert page.end(cell)["status"] == "ok"
    assert left_behind(page, cell)
    after = turns(page)
    assert after == [[("η", 0.001, 0.0005)], [("η", 0.05, 0.2)]]  # set before the first step of the new start
    assert page.value("[run.events[0].step for run in race]") == [0, 0]
    assert page.value("len({run.steps for run in race})") == 1
    assert page.value("w.data.tolist()") == [-1.2, 1.0]
    assert page.value("race.state") == "stopped"
    page.end(page.start("p = Panel(race)\np"))  # the buttons come back
    page.press("Play")
    page.onward()
    page.press("Close")
    page.until(lambda: page.value("race.state") == "paused")


@one_kernel
def test_an_interrupt_leaves_every_contestant_whole_and_the_weights_as_before(racing):
    page = racing
    cell = page.start(CELL)
    page.until(lambda: page.steps > 10)
    page.interrupt()
    assert page.end(cell)["ename"] == "KeyboardInterrupt"
    assert page.value("race.state") == "paused"
    assert page.value("w.data.tolist()") == [-1.2, 1.0]
    taken = page.value("[run.steps for run in race]")
    page.run(
        "alone = [Race(lambda: landscapes.rosenbrock(w), None, [w], [('SGD', {'η': 0.001}), ('ADAM', {'η': 0.05})],"
        f" steps=n) for n in {taken}]\nfor a in alone: a.train()"
    )
    assert page.value("[a[i].path.tolist() == race[i].path.tolist() for i, a in enumerate(alone)]") == [True, True]


@one_kernel
def test_a_panel_of_a_race_leaves_the_kernel_free_and_gives_the_weights_when_asked(racing):
    page = racing
    page.end(cell := page.start("race = make()\np = Panel(race)\np"))
    page.press("Play")
    page.onward()
    assert page.value("w.data.tolist()") == [-1.2, 1.0]
    page.turn("SGD η", 0.0005)
    page.turn("ADAM η", 0.2)
    page.onward()
    page.press("Pause")
    page.until(lambda: page.value("race.state") == "paused")
    here = page.value("race.steps")
    page.press("Step")
    page.until(lambda: page.value("race.steps") == here + 1)
    assert sorted(len(t) for t in turns(page)) == [1, 1]
    page.until(lambda: page.is_enabled("Take"))
    page.press("Take")  # of the last row
    page.until(lambda: page.shows("the weights are those of ADAM"))
    assert page.value("w.data.tolist() == race['ADAM'].path[-1].tolist()")
    page.run("race.take()")
    page.press("Close")
    page.until(lambda: set(page.widgets) <= page.closed)
    page.listen(0.2)
    assert left_behind(page, cell)
    assert page.value("w.data.tolist()") == [-1.2, 1.0]
