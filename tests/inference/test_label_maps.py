"""Logits to codes, codes to label values, and what post-processing does to them."""

from __future__ import annotations

import numpy as np
import pytest

from unet3d.config.schema import DataConfig, PostprocessConfig
from unet3d.inference.label_maps import code_type, encode, labels_of, postprocess, postprocess_codes
from unet3d.sampling.targets import Targets, make_targets

NESTED = {"whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]}
LABELS = {1: "edema", 2: "core", 3: "enhancing"}


def targets_of(target: str, labels: dict[int, str] = LABELS, regions: object = None) -> Targets:
    settings = DataConfig(name="x", root="x", target=target, regions=regions)
    return make_targets(settings, labels)


def logits_of(labels: np.ndarray, targets: Targets) -> np.ndarray:
    return targets.encode(labels) * 2 - 1


@pytest.mark.parametrize(
    ("bits", "label"),
    [
        ((0, 0, 0), 0),
        ((1, 0, 0), 1),
        ((1, 1, 0), 2),
        ((1, 1, 1), 3),
        ((0, 1, 1), 3),  # enhancing core outside the whole tumour: still enhancing
        ((0, 1, 0), 2),
        ((1, 0, 1), 3),
        ((0, 0, 1), 0),
    ],
)
def test_labels_of_nested_regions(bits: tuple[int, ...], label: int) -> None:
    """A voxel gets the label whose regions are nearest to the predicted ones."""
    targets = targets_of("regions", regions=NESTED)
    codes = encode(np.array(bits, np.float32).reshape(1, 1, 1, 3) - 0.5, targets)
    assert labels_of(codes, targets)[0, 0, 0] == label


@pytest.mark.parametrize("target", ["regions", "classes"])
@pytest.mark.parametrize("count", [3, 20])
def test_labels_come_back_from_their_own_logits(target: str, count: int) -> None:
    """For regions and for classes, also where regions need more than a byte."""
    targets = targets_of(target, {value: f"organ {value}" for value in range(1, count + 1)})
    labels = np.random.default_rng(0).integers(0, count + 1, (5, 6, 7), dtype=np.uint8)
    codes = encode(logits_of(labels, targets), targets)
    assert codes.dtype == code_type(targets)
    np.testing.assert_array_equal(labels_of(codes, targets), labels)


def test_postprocessing_of_a_mask() -> None:
    """Holes are filled, dust goes by its volume in mm3, the largest part stays."""
    mask = np.zeros((16, 16, 16), bool)
    mask[2:8, 2:8, 2:8] = True
    mask[4, 4, 4] = False  # a hole
    mask[10:12, 10:12, 10:12] = True  # 8 voxels
    mask[14, 14, 14] = True
    spacing = (1.0, 1.0, 2.0)

    def count(**settings: object) -> int:
        return int(postprocess(mask, spacing, PostprocessConfig(**settings)).sum())  # type: ignore[arg-type]

    whole = 6**3 - 1
    assert count() == whole + 8 + 1
    assert count(fill_holes=True) == whole + 1 + 8 + 1
    assert count(min_volume=4.0) == whole + 8  # one voxel is 2 mm3
    assert count(min_volume=16.0) == whole + 8
    assert count(min_volume=16.5) == whole
    assert count(largest=True) == whole
    assert mask.sum() == whole + 8 + 1  # the argument is left as it was


@pytest.mark.parametrize("target", ["regions", "classes"])
def test_postprocessing_keeps_what_lies_inside(target: str) -> None:
    """A shell with a core keeps the core, loses its hole and its dust, and stays in its head."""
    labels = np.zeros((16, 16, 16), np.uint8)
    labels[2:10, 2:10, 2:10] = 1
    labels[4:7, 4:7, 4:7] = 2
    labels[8, 8, 8] = 0  # a hole of the shell
    labels[14, 14, 14] = 1  # dust
    targets = targets_of(target, {1: "shell", 2: "core"})
    codes = encode(logits_of(labels, targets), targets)
    settings = PostprocessConfig(fill_holes=True, min_volume=2.0)
    postprocess_codes(codes, targets, (1.0, 1.0, 1.0), [settings] * len(targets.names))
    expected = labels.copy()
    expected[8, 8, 8], expected[14, 14, 14] = 1, 0
    if target == "regions":  # the shell's own mask has the core for a hole: both bits are set
        assert (codes[4:7, 4:7, 4:7] == 3).all()
        codes[4:7, 4:7, 4:7] = 2
    np.testing.assert_array_equal(labels_of(codes, targets), expected)
