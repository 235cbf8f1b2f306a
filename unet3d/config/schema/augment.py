"""Settings of the augmentation."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from unet3d.config.allowed import AT_LEAST_0, RANGE, SHARE, one_of, within
from unet3d.config.setting import setting


@dataclass
class AugmentConfig:
    """Probability and range of each augmentation; a probability of 0 turns it off."""

    name: str = setting(MISSING, "the preset, set by augment=<choice>")
    flip: float = setting(0.0, "probability of a flip, for each axis", SHARE)
    rotate: float = setting(0.0, "probability of a rotation", SHARE)
    max_angle: float = setting(30.0, "largest rotation, in degrees", within(0, 180, " degrees"))
    scale: float = setting(0.0, "probability of a zoom", SHARE)
    scale_range: list[float] = setting([0.7, 1.4], "factors of the zoom", RANGE)
    noise: float = setting(0.0, "probability of Gaussian noise", SHARE)
    max_noise: float = setting(
        0.1, "largest standard deviation of the noise, in those of the image", AT_LEAST_0
    )
    blur: float = setting(0.0, "probability of a Gaussian blur", SHARE)
    blur_sigma: list[float] = setting([0.5, 1.0], "width of the blur, in voxels", RANGE)
    gamma: float = setting(0.0, "probability of a gamma correction", SHARE)
    gamma_range: list[float] = setting([0.7, 1.5], "exponents of the gamma correction", RANGE)
    contrast: float = setting(0.0, "probability of a change of contrast", SHARE)
    contrast_range: list[float] = setting([0.75, 1.25], "factors of the contrast", RANGE)
    intensity_on: str = setting(
        "auto",
        "where intensities are changed; auto: on GPUs if there are any",
        one_of("auto", "host", "device"),
    )
    brightness: float = setting(0.0, "probability of a change of brightness", SHARE, newer=True)
    brightness_range: list[float] = setting(
        [0.75, 1.25], "factors of the brightness", RANGE, newer=True
    )
    gamma_keeps: bool = setting(
        False,
        "whether each sequence of a patch has its mean and deviation again after a gamma "
        "correction, as in nnU-Net",
        newer=True,
    )
    low_resolution: float = setting(
        0.0, "probability of a lower resolution, simulated", SHARE, newer=True
    )
    resolution_range: list[float] = setting(
        [0.5, 1.0], "shares of the voxels along each axis that are kept", RANGE, newer=True
    )
