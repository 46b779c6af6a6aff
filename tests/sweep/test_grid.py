"""Axes, points and what is refused."""

import numpy as np
import pytest

from fluxmagic.optimise import ADAM, SGD, Momentum, cosine
from fluxmagic.sweep.grid import Grid, loguniform, uniform
from fluxmagic.tracker import param


def grid(given, samples=None, **options):
    return Grid(given, [param(np.ones(2, np.float32))], samples, np.random.default_rng(0), **options)


def test_points_are_the_product_the_first_axis_slowest():
    points = grid({"η": [0.1, 0.2], "ρ": (0.5, 0.9), "opt": "Momentum"}).points
    assert points == [{"opt": Momentum, "η": η, "ρ": ρ} for η in (0.1, 0.2) for ρ in (0.5, 0.9)]


def test_a_dial_that_an_optimiser_lacks_is_not_varied_for_it():
    found = grid({"opt": ["SGD", Momentum], "η": [0.1, 0.2], "ρ": [0.5, 0.9]})
    assert [p for p in found.points if p["opt"] is SGD] == [{"opt": SGD, "η": η} for η in (0.1, 0.2)]
    assert len(found.points) == 6
    assert list(found.axes) == ["opt", "η", "ρ"]


@pytest.mark.parametrize("values", [[1, 2], (1, 2), range(1, 3), np.array([1.0, 2.0])])
def test_lists_tuples_ranges_and_arrays_are_tried_at_each_entry(values):
    assert [p["η"] for p in grid({"eta": values}).points] == [1, 2]


def test_a_number_and_a_schedule_are_fixed_and_entries_may_be_schedules_or_none():
    s = cosine(0.1, 10)
    found = grid({"η": [0.1, s], "clip": [None, 1.0], "decay": 0.5})
    assert list(found.axes) == ["η", "clip"]
    assert [(p["η"], p["clip"], p["decay"]) for p in found.points] == [
        (0.1, np.inf, 0.5),
        (0.1, 1.0, 0.5),
        (s, np.inf, 0.5),
        (s, 1.0, 0.5),
    ]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"ζ": [1]}, TypeError, "SGD has no ζ; it has η"),
        ({"opt": ["SGD", "ADAM"], "momentum": [1]}, TypeError, "momentum.*Momentum and Nesterov"),
        ({"η": [0.1, 0.2, 0.1]}, ValueError, "η: entries 0 and 2 are equal, 0.1"),
        ({"opt": ["SGD", SGD]}, ValueError, "opt: entries 0 and 1 are equal, SGD"),
        ({"steps": [3, 3.0]}, ValueError, "steps is a positive integer"),
        ({"steps": [3, 3]}, ValueError, "steps: entries 0 and 1 are equal, 3"),
        ({"clip": [None, np.inf]}, ValueError, "clip: entries 0 and 1 are equal, inf"),
        ({"η": []}, ValueError, "η: an empty list"),
        ({"opt": []}, ValueError, "opt: an empty list"),
        ({"η": [0.1, -1]}, ValueError, r"η = -1 is out of range.*entry 1 of 2"),
        ({"η": [0.1, "fast"]}, TypeError, r"η is a number.*entry 1 of 2"),
        ({"opt": "Momentum", "ρ": 1.5}, ValueError, "ρ = 1.5 is out of range"),
        ({"η": [0.1], "eta": [0.2]}, TypeError, "η is given twice"),
        ({"opt": ["SDG"]}, ValueError, "no optimiser SDG"),
        ({"epochs": [1, 0]}, ValueError, "epochs is a positive integer"),
        ({"steps": uniform(1, 9)}, TypeError, "steps: give a list"),
        ({"opt": uniform(0, 1)}, TypeError, "opt: give a list"),
        ({"η": np.ones((2, 2))}, ValueError, r"η: an array of shape \(2, 2\)"),
        ({"η": np.logspace(-3, 0, 10_000), "decay": np.linspace(0, 1, 1000)}, ValueError, "10,000,000 points.*samples"),
        ({"η": loguniform(1e-3, 1)}, ValueError, "η is a distribution.*samples=N"),
        ({"opt": "ADAM", "β1": [1e-300, 1 - 1e-12]}, ValueError, "float32"),
    ],
)
def test_what_is_wrong_is_named(given, error, words):
    with pytest.raises(error, match=words):
        grid(given)


def test_samples_follow_from_the_generator_and_stay_within_the_bounds():
    given = {"opt": ["SGD", "Momentum"], "η": loguniform(1e-4, 1.0), "ρ": uniform(0.5, 0.9), "decay": [0, 1]}
    a, b = grid(given, 200), grid(given, 200)
    assert a.points == b.points
    η = np.array([p["η"] for p in a.points])
    assert 1e-4 <= η.min() < 3e-4 < 0.3 < η.max() <= 1
    assert 0.35 < (η < 1e-2).mean() < 0.65
    assert all(0.5 <= p["ρ"] <= 0.9 for p in a.points if p["opt"] is Momentum)
    assert {tuple(p) for p in a.points} == {("opt", "η", "decay"), ("opt", "η", "ρ", "decay")}
    assert {p["decay"] for p in a.points} == {0, 1}


def test_the_ends_of_a_distribution_are_checked():
    with pytest.raises(ValueError, match=r"ρ = 1\.2 is out of range"):
        grid({"opt": "Momentum", "ρ": uniform(0.5, 1.2)}, 3)


@pytest.mark.parametrize(("make", "a", "b"), [(loguniform, 0, 1), (uniform, 1, 1), (uniform, 0, np.inf)])
def test_a_distribution_has_two_ends_in_order(make, a, b):
    with pytest.raises(ValueError, match="low"):
        make(a, b)


def test_samples_without_a_distribution_and_too_many_are_refused():
    with pytest.raises(ValueError, match="no dial has one"):
        grid({"η": [0.1]}, 5)
    with pytest.raises(ValueError, match="too many: at most 7"):
        grid({"η": uniform(0, 1)}, 8, most=7)
    with pytest.raises(ValueError, match="samples is a positive integer"):
        grid({"η": uniform(0, 1)}, 0)


def test_the_default_optimiser_is_that_of_the_magic():
    assert [p["opt"] for p in grid({"η": 0.1}).points] == [SGD]
    assert [p["opt"] for p in grid({"opt": ADAM}).points] == [ADAM]
