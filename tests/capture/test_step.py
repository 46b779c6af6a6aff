"""A captured step has the bits of the ordinary one, and says how it was taken."""

from __future__ import annotations

import pytest

from fluxmagic import ADAM, SGD
from fluxmagic.capture import step as step_module
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
    assert "def step(x0, x1):" in step.source


def test_a_program_is_compiled_after_a_hundred_replayed_steps(monkeypatch):
    pytest.importorskip("llvmlite")
    monkeypatch.setattr(step_module, "COMPILE_AFTER", 100)
    assert assert_same_bits(lambda: classifier(128)).report.compile_seconds == 0
    report = assert_same_bits(lambda: classifier(400)).report
    assert report.compile_seconds > 0
    assert report.reason is None
    assert report.replayed > 370
