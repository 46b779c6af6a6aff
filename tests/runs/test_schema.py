"""A dataclass is converted to JSON and back; JSON that its types do not allow is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pytest

from fluxmagic.runs import ArchiveError
from fluxmagic.runs.schema import decode, encode, one_of, short_text, whole


@dataclass(frozen=True)
class Point:
    x: float
    label: Annotated[str, short_text] | None


@dataclass(frozen=True)
class Shape:
    n: int
    signed: Annotated[int, whole(-1, 3)]
    closed: bool
    colour: Annotated[str, one_of("red", "blue")]
    points: list[Point]
    pair: tuple[int, str]
    weights: dict[str, float | Point]
    anything: object
    added: int = 7


SHAPE = Shape(
    2, -1, True, "red", [Point(0.5, "a"), Point(1, None)], (3, "b"), {"c": 1.5, "d": Point(2.0, "e")}, [1, {}]
)


def test_a_dataclass_comes_back_from_json():
    assert decode(Shape, json.loads(json.dumps(encode(SHAPE))), "shape") == SHAPE


def test_a_field_with_a_default_may_be_missing():
    found = encode(SHAPE)
    del found["added"]
    assert decode(Shape, found, "shape").added == 7


WRONG = {
    "n": (-1, 1.0, True, "1", None, 1 << 63),
    "signed": (-2, 4),
    "closed": (0, "true", None),
    "colour": ("green", "", None, ["red"]),
    "points": ({}, [1], [{"x": 1.0}], [{"x": 1.0, "label": "a", "y": 1}], [{"x": "1", "label": None}]),
    "pair": ([3], [3, "b", 1], ["b", 3], "3b"),
    "weights": ([], {"c": "1"}, {"c": None}, {"c": {"x": 1.0}}, {"c": True}),
    "added": ("7",),
    "more": (1,),
}


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, values in WRONG.items() for v in values])
def test_a_value_that_its_type_does_not_allow_is_refused(name, value):
    with pytest.raises(ArchiveError):
        decode(Shape, {**encode(SHAPE), name: value}, "shape")


@pytest.mark.parametrize("name", [k for k in encode(SHAPE) if k != "added"])
def test_a_missing_field_is_named(name):
    found = encode(SHAPE)
    del found[name]
    with pytest.raises(ArchiveError, match=f"too much or too little: '{name}'"):
        decode(Shape, found, "shape")


@pytest.mark.parametrize("label", ["a\nb", "x" * 151, "\x1b"], ids=["lines", "long", "control"])
def test_a_text_that_is_not_short_and_printable_is_refused(label):
    with pytest.raises(ArchiveError, match=r"'label' is .*, not a short text; or .*, not null"):
        decode(Point, {"x": 1.0, "label": label}, "point")


def test_numbers_and_arrays_of_numpy_and_half_surrogates_are_encoded():
    found = encode({"n": np.int64(3), "x": np.float32(0.5), "a": np.arange(2, dtype="<u4"), "t": ("\udc80",)})
    assert found == {"n": 3, "x": 0.5, "a": {"ndarray": [0, 1], "dtype": "<u4"}, "t": ["\\udc80"]}
