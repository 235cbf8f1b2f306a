"""Targets: labels to regions or classes."""

from __future__ import annotations

import numpy as np
import pytest

from unet3d.config.schema import DataConfig
from unet3d.errors import ConfigError
from unet3d.sampling.targets import make_targets

LABELS = {1: "edema", 2: "Non-enhancing tumor", 3: "enhancing"}


def test_regions_overlap_and_classes_do_not() -> None:
    """A region is a union of labels; classes are one of all, with a background."""
    label = np.array([0, 1, 2, 3], np.uint8)
    regions = make_targets(DataConfig(regions={"whole": [1, 2, 3], "core": [2, 3]}), LABELS)
    assert regions.names == ("whole", "core") and not regions.exclusive
    np.testing.assert_array_equal(regions.encode(label), [[0, 0], [1, 0], [1, 1], [1, 1]])
    each = make_targets(DataConfig(), LABELS)
    assert each.names == ("edema", "non_enhancing_tumor", "enhancing")
    np.testing.assert_array_equal(each.encode(label)[1:], np.eye(3))
    classes = make_targets(DataConfig(target="classes"), LABELS)
    assert classes.names[0] == "background" and classes.exclusive
    np.testing.assert_array_equal(classes.encode(label), np.eye(4))


def test_unknown_and_background_labels_are_named() -> None:
    """The error names the region, the label and what there is."""
    for value in (0, 9):
        with pytest.raises(ConfigError, match=f"data.regions.x: label {value} is not .* 1 edema"):
            make_targets(DataConfig(regions={"x": [value]}), LABELS)
