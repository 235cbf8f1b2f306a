"""The learning rate at each step."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from unet3d.config.schema import ScheduleConfig
from unet3d.errors import ConfigError
from unet3d.training.schedule import make_schedule


def rates(settings: ScheduleConfig, steps: int = 20) -> np.ndarray:
    schedule = make_schedule(settings, 0.1, steps_per_epoch=5, epochs=4)
    return np.array([float(schedule(step)) for step in range(steps)])


def test_constant() -> None:
    """Without warm-up every step has the configured rate."""
    np.testing.assert_allclose(rates(ScheduleConfig(name="constant")), 0.1)


def test_poly() -> None:
    """lr * (1 - step / steps) ** power."""
    expected = 0.1 * (1 - np.arange(20) / 20) ** 0.9
    np.testing.assert_allclose(rates(ScheduleConfig(name="poly")), expected, rtol=1e-5)


def test_cosine_ends_at_the_final_factor() -> None:
    """From lr, half-way at the mean, to lr * final; past the end it stays there."""
    schedule = make_schedule(ScheduleConfig(name="cosine", final=0.2), 0.1, 5, 4)
    found = [float(schedule(step)) for step in (0, 10, 20, 99)]
    np.testing.assert_allclose(found, [0.1, 0.06, 0.02, 0.02], rtol=1e-5)


@pytest.mark.parametrize("name", ["constant", "poly", "cosine"])
def test_warm_up_rises_from_the_first_step(name: str) -> None:
    """Step 0 already learns, at lr / warmup_steps; the decay starts from lr."""
    found = rates(ScheduleConfig(name=name, warmup_epochs=1.0))
    np.testing.assert_allclose(found[:6], [0.02, 0.04, 0.06, 0.08, 0.1, 0.1], rtol=1e-5)
    assert (np.diff(found[5:]) <= 1e-9).all()
    assert (found > 0).all()


def test_pure_function_of_the_step() -> None:
    """A resumed run that starts at step 7 has step 7's rate, traced or not."""
    schedule = make_schedule(ScheduleConfig(name="cosine", warmup_epochs=1.0), 0.1, 5, 4)
    traced = tf.function(schedule)(tf.constant(7, tf.int64))
    assert float(traced) == pytest.approx(float(schedule(7)))
    assert float(schedule(7)) == float(schedule(7))


def test_survives_serialisation() -> None:
    """A saved optimizer brings its schedule back."""
    schedule = make_schedule(ScheduleConfig(name="poly", warmup_epochs=0.4), 0.1, 5, 4)
    settings = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(settings)
    assert [float(again(s)) for s in range(20)] == [float(schedule(s)) for s in range(20)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ScheduleConfig(name="step"), "schedule.name: 'step' is not known; choose one of constant"),
        (ScheduleConfig(name="poly", warmup_epochs=4), "schedule.warmup_epochs: 4"),
        (ScheduleConfig(name="poly", warmup_epochs=-1), "schedule.warmup_epochs: -1"),
    ],
)
def test_wrong_setting_is_named(settings: ScheduleConfig, message: str) -> None:
    """The user reads the key, the value and what is allowed."""
    with pytest.raises(ConfigError) as error:
        rates(settings)
    assert message in str(error.value)
