"""Settings of the optimizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from omegaconf import MISSING

from unet3d.config.allowed import AT_LEAST_0, BELOW_1, POSITIVE, TARGET
from unet3d.config.setting import setting


@dataclass
class OptimizerConfig:
    """How the weights follow the gradient. Weight decay leaves out biases and norms."""

    name: str = setting(MISSING, "the optimizer, set by optimizer=<choice>")
    clip_norm: Optional[float] = setting(
        None, "largest norm of the global gradient; null: no limit", POSITIVE
    )
    ema: Optional[float] = setting(
        None, "decay of a moving average of the weights, which validation then uses", BELOW_1
    )
    # Any: a mapping or null; config/rules.py checks it.
    layer_lr: Any = setting(
        None,
        "{regular expression: factor} of the learning rate of the layers whose whole name matches, "
        "the first that does, as in {enc.*: 0.1}; null: all learn at the same",
        newer=True,
    )


@dataclass
class AdamConfig(OptimizerConfig):
    """Adam."""

    name: str = setting("adam", "the optimizer, set by optimizer=<choice>")
    beta_1: float = setting(0.9, "decay of the mean gradient", BELOW_1)
    beta_2: float = setting(0.999, "decay of the mean squared gradient", BELOW_1)
    epsilon: float = setting(1e-7, "added to the denominator", POSITIVE)
    amsgrad: bool = setting(False, "use the largest mean squared gradient so far")


@dataclass
class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay."""

    name: str = setting("adamw", "the optimizer, set by optimizer=<choice>")
    weight_decay: float = setting(1e-2, "decay of the kernels, times the rate", AT_LEAST_0)


@dataclass
class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent with momentum."""

    name: str = setting("sgd", "the optimizer, set by optimizer=<choice>")
    momentum: float = setting(0.99, "share of the last update that is kept", BELOW_1)
    nesterov: bool = setting(True, "look ahead along the momentum")
    weight_decay: Optional[float] = setting(
        None, "decay of the kernels, times the rate; null: none", AT_LEAST_0
    )


@dataclass
class OwnOptimizerConfig(OptimizerConfig):
    """An optimizer of Keras' or of the user's own."""

    name: str = setting("own", "the optimizer, set by optimizer=<choice>")
    _target_: Optional[str] = setting(
        None,
        "class or function that makes a keras.optimizers.Optimizer, as in keras.optimizers.Lion",
        TARGET,
    )
    params: dict[str, Any] = setting(
        {}, "its arguments beside learning_rate, as in optimizer.params.beta_1=0.95"
    )
