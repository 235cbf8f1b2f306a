"""Settings of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from omegaconf import MISSING

from unet3d.config.allowed import AT_LEAST_0, SHARE, TARGET
from unet3d.config.setting import setting


@dataclass
class LossConfig:
    """What the training minimises."""

    name: str = setting(MISSING, "the loss, set by loss=<choice>")
    smooth: float = setting(1e-5, "added to both parts of the Dice and Tversky ratios", AT_LEAST_0)
    ce_weight: float = setting(1.0, "dice_ce: weight of the cross-entropy beside Dice", AT_LEAST_0)
    gamma: float = setting(2.0, "focal: focusing exponent (Lin et al. 2017)", AT_LEAST_0)
    alpha: float = setting(0.25, "focal: weight of the foreground", SHARE)
    fp_weight: float = setting(
        0.3, "tversky: weight of false positives (Salehi et al. 2017)", AT_LEAST_0
    )
    fn_weight: float = setting(0.7, "tversky: weight of false negatives", AT_LEAST_0)
    _target_: Optional[str] = setting(
        None,
        "loss=own: function of your own of truth and logits, as in mylab.losses.boundary",
        TARGET,
        newer=True,
    )
    params: dict[str, Any] = setting(
        {}, "loss=own: arguments of your own for it, as in loss.params.weight=2", newer=True
    )
    batch_dice: bool = setting(
        False,
        "dice, dice_ce: one Dice over all patches that a replica holds at once, so that a patch "
        "without foreground does not count alone; changes with the number of replicas",
        newer=True,
    )
    squared: bool = setting(
        True,
        "dice, dice_ce: whether the denominator sums squares of probabilities (Milletari et al. "
        "2016) or, as in nnU-Net, probabilities",
        newer=True,
    )
    coarsest: bool = setting(
        True,
        "model.deep_supervision: whether the coarsest level counts; in nnU-Net it does not",
        newer=True,
    )
    # Any: a list or null; config/rules.py checks it.
    class_weights: Any = setting(
        None,
        "weight of each output in the means over outputs, and with data.target=classes of each "
        "voxel by its class, background first; null: equal",
        newer=True,
    )
