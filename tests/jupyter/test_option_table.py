"""A table of options, as another magic may declare it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from IPython.core.error import UsageError

from fluxmagic.jupyter.magics import option_values as kinds
from fluxmagic.jupyter.magics.cell import read_cell
from fluxmagic.jupyter.magics.option_table import OptionTable, option
from fluxmagic.optimise import SGD, Momentum


@dataclass(frozen=True)
class Settings:
    laps: int | None = option("N", "how many laps", kinds.integer(1), "1", words="rounds", decides="when it ends")
    steps: int | None = option("N", "how many steps", kinds.integer(1), decides="when it ends")
    valid: object = option("EXPR", "what to validate on", kinds.validation, per_epoch=True)
    again_: bool = option("", "once more", kinds.flag, unset=False)
    tag: list[str] | None = option("WORD", "a word", kinds.word, many=list)


TABLE = OptionTable("%%lap", Settings, "")


def test_fields_are_options_and_their_values_are_read(shell):
    cell = read_cell(shell.ip, "x in [X] --laps 2 --again --tag a --tag b --η 1/4", "mse(model(x), 0)", "%%lap")
    assert list(TABLE.rows) == ["laps", "steps", "valid", "again", "tag"]
    typed = cell.line.options
    TABLE.check_values(typed)
    TABLE.check_names(dict(typed), SGD)
    TABLE.check_combination(dict(typed), cell.data is not None)
    assert Settings(**TABLE.read(cell, typed)) == Settings(laps=2, again_=True, tag=["a", "b"])
    assert TABLE.dials(typed) == [("η", "1/4")]
    assert kinds.dials(cell, TABLE.dials(typed), SGD) == {"η": 0.25}


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (lambda: TABLE.check_values([("laps", "1"), ("laps", "2")]), "--laps is given twice"),
        (lambda: TABLE.check_values([("laps", "")]), "--laps needs a value: --laps N"),
        (lambda: TABLE.check_values([("again", "1")]), "--again takes no value, and was given 1"),
        (lambda: TABLE.check_names(["rounds"], SGD), "there is no --rounds: here it is --laps"),
        (lambda: TABLE.check_names(["β1"], SGD, Momentum, SGD), "SGD and Momentum have no --β1; they have η, decay"),
        (lambda: TABLE.check_names(["lap"], SGD), "did you mean --laps?"),
        (lambda: TABLE.check_combination(["steps", "laps"], True), "--laps and --steps say when it ends"),
        (lambda: TABLE.check_combination(["valid"], False), "--valid is evaluated after an epoch"),
    ],
)
def test_what_does_not_fit_the_table_is_a_usage_error(check, says):
    with pytest.raises(UsageError) as caught:
        check()
    assert says in str(caught.value)


def test_a_dial_of_one_of_several_optimisers_is_accepted():
    TABLE.check_names(["rho", "η", "laps"], SGD, Momentum)
