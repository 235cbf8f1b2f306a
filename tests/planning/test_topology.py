"""The topology of networks for unequal spacings, against plans that nnU-Net makes."""

from __future__ import annotations

import pytest

from unet3d.config.schema.model import ModelConfig
from unet3d.errors import ConfigError
from unet3d.planning.topology import choose_topology, with_topology


@pytest.mark.parametrize(
    ("spacing", "patch", "strides", "flat"),
    [
        ((1, 1, 1), (128, 128, 128), [[2, 2, 2]] * 5, 0),
        ((1, 1, 1), (96, 160, 160), [[2, 2, 2]] * 4 + [[1, 2, 2]], 0),
        (  # Task05_Prostate, of the Decathlon
            (3.6, 0.625, 0.625),
            (20, 320, 256),
            [[1, 2, 2]] * 2 + [[2, 2, 2]] * 2 + [[1, 2, 2]] * 2,
            2,
        ),
        (  # ACDC
            (5, 1.5625, 1.5625),
            (20, 256, 224),
            [[1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2], [1, 2, 2]],
            1,
        ),
    ],
)
def test_published_plans(
    spacing: tuple[float, ...], patch: tuple[int, ...], strides: list[list[int]], flat: int
) -> None:
    """Poolings as in nnU-Net's plans; `flat` levels have kernels of 1 along the coarse axis."""
    found = choose_topology(spacing, patch)
    assert [list(level) for level in found.strides] == strides
    assert [list(level) for level in found.kernels] == (
        [[1, 3, 3]] * flat + [[3, 3, 3]] * (len(strides) + 1 - flat)
    )


def test_a_thin_volume_is_not_pooled_to_nothing() -> None:
    """320 x 320 x 20: two poolings along z, whatever the depth."""
    model = with_topology(ModelConfig(topology="auto", depth=6), (0.6, 0.6, 3.6), (320, 320, 20))
    assert model.stride == (64, 64, 4) and model.depth == 6
    assert model.level_stride(2) == (4, 4, 1) and model.kernel(0) == (3, 3, 1)


def test_an_isotropic_network_is_as_it_was() -> None:
    """The short form, so that runs and trials of both settings are equal."""
    model = ModelConfig(topology="auto", depth=3)
    assert with_topology(model, (1, 1, 1), (64, 64, 64)) == model
    assert model.stride == (8, 8, 8)


def test_depth_bounds_the_poolings_and_a_small_patch_has_fewer() -> None:
    """model.depth is the most; where nothing can be pooled there is an error."""
    model = ModelConfig(topology="auto", depth=5)
    assert with_topology(model, (1, 1, 1), (32, 32, 32)).depth == 3
    with pytest.raises(ConfigError, match="model.topology: auto finds no axis to pool"):
        with_topology(model, (1, 1, 1), (6, 6, 6))
