"""A captured step has the bits of the ordinary one, and says how it was taken."""

from __future__ import annotations

import pytest

from fluxmagic import ADAM, SGD
from fluxmagic.optimise import OPTIMISERS
from tests.capture.problems import assert_same_bits, captured, classifier, linear_regression, regression


@pytest.mark.parametrize("make", [linear_regression, classifier, regression])
def test_a_captured_step_has_the_bits_of_the_ordinary_one(make):
    report = assert_same_bits(make).report
    assert (report.recorded, report.ordinary, report.reason) == (2, 0, None)


def test_steps_3_5_9_17_and_33_are_verified():
    step, _, _ = captured(linear_regression(40))
    assert (step.report.verified, step.report.replayed) == (5, 33)


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_every_optimiser_updates_in_the_same_bits(name):
    step = assert_same_bits(lambda: classifier(40, OPTIMISERS[name]))
    assert step.report.replayed > 30


@pytest.mark.parametrize("opt", [SGD, ADAM])
def test_the_source_of_a_step_is_its_program(opt):
    step, _, _ = captured(classifier(5, opt))
    assert "def compute(x0, x1):" in step.source
    assert "def update():" in step.source
