"""Optimizers carry the configured numbers, and nothing that the loop does itself."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from unet3d.config.schema import AdamConfig, AdamWConfig, OptimizerConfig, ScheduleConfig, SGDConfig
from unet3d.errors import ConfigError, RunError
from unet3d.training.optimizer import KERAS_ALL_REDUCE, make_optimizer, without_all_reduce
from unet3d.training.schedule import make_schedule


def make(optimizer: OptimizerConfig) -> keras.optimizers.Optimizer:
    return make_optimizer(optimizer, make_schedule(ScheduleConfig(name="poly"), 0.1, 10, 1))


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (AdamConfig(beta_1=0.8, beta_2=0.95, epsilon=1e-5, amsgrad=True), keras.optimizers.Adam),
        (AdamWConfig(beta_1=0.8, weight_decay=0.3), keras.optimizers.AdamW),
        (SGDConfig(momentum=0.7, nesterov=False, weight_decay=1e-4), keras.optimizers.SGD),
    ],
)
def test_settings_reach_the_optimizer(settings: OptimizerConfig, kind: type) -> None:
    """Each number of `conf/optimizer` is used."""
    optimizer = make(settings)
    assert type(optimizer) is kind
    built = optimizer.get_config()
    for key, value in vars(settings).items():
        if key not in ("name", "clip_norm", "ema", "layer_lr"):
            assert built[key] == value, key


def test_clipping_and_averaging_are_left_to_the_loop() -> None:
    """Inside the optimizer they would act on one replica's gradients, or twice."""
    built = make(AdamConfig(clip_norm=1.0, ema=0.99)).get_config()
    assert built["clipnorm"] is None and built["global_clipnorm"] is None
    assert built["use_ema"] is False


def test_rate_follows_the_schedule() -> None:
    """The optimizer's own step counter drives the schedule."""
    weight = keras.Variable(np.ones(3, np.float32))
    optimizer = make(SGDConfig(momentum=0.0, nesterov=False))
    optimizer.build([weight])
    for step in range(3):
        expected = 0.1 * (1 - step / 10) ** 0.9
        assert float(optimizer.learning_rate) == pytest.approx(expected, rel=1e-5)
        optimizer.apply([np.ones(3, np.float32)])
    moved = 1 - sum(0.1 * (1 - s / 10) ** 0.9 for s in range(3))
    np.testing.assert_allclose(weight, moved, rtol=1e-5)


@pytest.mark.parametrize(
    "settings", [AdamWConfig(weight_decay=0.5), SGDConfig(weight_decay=0.5, nesterov=False)]
)
def test_weight_decay_spares_norms_and_biases(settings: OptimizerConfig) -> None:
    """With gradients of 0 only the kernel shrinks."""
    names = ("kernel", "bias", "gamma", "beta")
    weights = [keras.Variable(np.ones(2, np.float32), name=name) for name in names]
    optimizer = make(settings)
    optimizer.build(weights)
    optimizer.apply([np.zeros(2, np.float32) for _ in weights])
    assert [float(weight[0]) < 1 for weight in weights] == [True, False, False, False]


def test_unknown_optimizer_is_named() -> None:
    """The user reads the key, the value and what is allowed."""
    with pytest.raises(ConfigError, match="optimizer.name: 'lion' is not known; choose one of"):
        make(OptimizerConfig(name="lion"))


def test_gradients_are_not_summed_a_second_time() -> None:
    """Keras' own all-reduce is replaced by the identity, on every optimizer."""
    for settings in (AdamConfig(), AdamWConfig(), SGDConfig()):
        pairs = [(np.ones(1), "weight")]
        assert getattr(make(settings), KERAS_ALL_REDUCE)(pairs) is pairs


def test_a_keras_without_the_replaced_method_is_named() -> None:
    """A later Keras may rename it: that must be an error, not gradients that are summed twice."""

    class Renamed:
        def _sum_gradients(self) -> None: ...

    with pytest.raises(RunError, match=rf"Keras {keras.__version__}: .*{KERAS_ALL_REDUCE}"):
        without_all_reduce(Renamed())
