"""The generators that fluxmagic draws from."""

import threading

import numpy as np
import pytest

import fluxmagic
from fluxmagic.generators import as_generator, is_replaying, note_draw, record_draws, replay_draws


def test_a_seed_sets_the_default_generator_in_place():
    default = as_generator()
    fluxmagic.seed(7)
    assert as_generator() is default
    assert default.random() == np.random.default_rng(7).random()


def test_without_a_number_the_seed_is_fresh():
    fluxmagic.seed()
    a = as_generator().random()
    fluxmagic.seed(None)
    assert as_generator().random() != a


def test_a_wrong_seed_is_refused_and_nothing_changes():
    fluxmagic.seed(1)
    for wrong in (-1, "one", 1.5):
        with pytest.raises((ValueError, TypeError)):
            fluxmagic.seed(wrong)
    assert as_generator().random() == np.random.default_rng(1).random()


def test_a_generator_is_itself_and_an_integer_makes_a_new_one():
    rng = np.random.default_rng(0)
    assert as_generator(rng) is rng
    assert as_generator(3).random() == as_generator(np.int64(3)).random() == np.random.default_rng(3).random()
    for wrong in (True, 1.0, "3", np.random.RandomState(0)):
        with pytest.raises(TypeError, match="an integer seed or None"):
            as_generator(wrong)


def test_replayed_draws_repeat_and_leave_the_generators_unchanged():
    a, b, idle = np.random.default_rng(0), np.random.default_rng(1), np.random.default_rng(2)
    a.random()
    with record_draws() as draws:
        first = [note_draw(a).random(), note_draw(b).random(), note_draw(a).random()]
        with record_draws() as inner:
            note_draw(idle)
    assert [r for r, _ in draws] == [a, b, idle]
    assert [r for r, _ in inner] == [idle]
    a.random(3)  # meanwhile
    later = np.random.Generator(type(a.bit_generator)())
    later.bit_generator.state = a.bit_generator.state
    assert not is_replaying()
    with replay_draws(draws):
        assert is_replaying()
        assert [note_draw(a).random(), note_draw(b).random(), note_draw(a).random()] == first
        with replay_draws(draws):
            pass
        assert is_replaying()
    assert not is_replaying()
    assert a.random() == later.random()


def test_draws_of_another_thread_are_not_recorded():
    with record_draws() as draws:
        other = threading.Thread(target=lambda: note_draw(as_generator()))
        other.start()
        other.join()
    assert draws == []
