"""All metrics of a region together."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.blobs import SPACINGS, blobs, cube
from unet3d.evaluation.overlap import joint_crop, overlap
from unet3d.evaluation.region_metrics import evaluate_masks
from unet3d.evaluation.surface import WORST_MM

SCORES = ("dice", "iou", "sensitivity", "precision", "nsd", "lesion_dice", "lesion_f1")
LENGTHS = ("hd", "hd95", "assd")
VOLUMES = ("volume_truth_ml", "volume_prediction_ml")
EMPTY = np.zeros((20, 20, 20), dtype=bool)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_overlap_by_its_definition(spacing: tuple[float, float, float]) -> None:
    truth, prediction = blobs(3)
    shared, either = (truth & prediction).sum(), (truth | prediction).sum()
    assert overlap(truth, prediction, spacing) == pytest.approx(
        {
            "dice": 2 * shared / (truth.sum() + prediction.sum()),
            "iou": shared / either,
            "sensitivity": shared / truth.sum(),
            "precision": shared / prediction.sum(),
            "volume_truth_ml": truth.sum() * np.prod(spacing) / 1000,
            "volume_prediction_ml": prediction.sum() * np.prod(spacing) / 1000,
        }
    )


def test_names_and_plain_numbers() -> None:
    metrics = evaluate_masks(*blobs(1), SPACINGS[1])
    assert set(metrics) == {*SCORES, *LENGTHS, *VOLUMES}
    assert all(type(value) is float for value in metrics.values())
    assert metrics["assd"] <= metrics["hd95"] <= metrics["hd"]


def test_a_perfect_prediction() -> None:
    truth, _ = blobs(1)
    metrics = evaluate_masks(truth, truth, SPACINGS[2])
    assert [metrics[name] for name in SCORES] == [1] * len(SCORES)
    assert [metrics[name] for name in LENGTHS] == [0] * len(LENGTHS)


def test_masks_of_0_and_1() -> None:
    truth, prediction = blobs(2)
    numbers = evaluate_masks(truth.astype(np.uint8), prediction.astype(np.float32), (1, 1, 1))
    assert numbers == evaluate_masks(truth, prediction, (1, 1, 1))


def test_the_order_in_memory_does_not_matter() -> None:
    truth, prediction = blobs(2)
    other = evaluate_masks(np.asfortranarray(truth), np.asfortranarray(prediction), SPACINGS[2])
    assert other == evaluate_masks(truth, prediction, SPACINGS[2])


@pytest.mark.parametrize("shift", [(0, 0, 0), (9, 4, 13)])
def test_the_place_in_the_volume_does_not_matter(shift: tuple[int, int, int]) -> None:
    truth, prediction = blobs(4, (20, 18, 16))
    large = np.zeros((2, 40, 40, 40), dtype=bool)
    place = tuple(slice(first, first + n) for first, n in zip(shift, truth.shape, strict=True))
    large[(0, *place)], large[(1, *place)] = truth, prediction
    expected = evaluate_masks(truth, prediction, SPACINGS[2])
    assert evaluate_masks(*large, SPACINGS[2]) == pytest.approx(expected, rel=1e-9)


def test_both_empty() -> None:
    metrics = evaluate_masks(EMPTY, EMPTY, (1, 1, 1))
    assert {metrics[name] for name in SCORES} == {1}
    assert {metrics[name] for name in LENGTHS + VOLUMES} == {0}


@pytest.mark.parametrize("truth, prediction", [(EMPTY, cube((3, 3, 3))), (cube((0, 0, 0)), EMPTY)])
def test_one_empty(truth: np.ndarray, prediction: np.ndarray) -> None:
    metrics = evaluate_masks(truth, prediction, (1, 1, 1))
    assert {metrics[name] for name in SCORES} == {0}
    assert {metrics[name] for name in LENGTHS} == {WORST_MM}


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="truth is"):
        evaluate_masks(EMPTY, EMPTY[:-1], (1, 1, 1))
    with pytest.raises(ValueError, match="not \\(x, y, z\\)"):
        evaluate_masks(EMPTY[0], EMPTY[0], (1, 1, 1))
    with pytest.raises(ValueError, match="truth is"):
        overlap(EMPTY, EMPTY[:-1], (1, 1, 1))


def test_the_crop_holds_every_voxel() -> None:
    truth, prediction = cube((2, 3, 4)), cube((10, 1, 4), 2)
    cropped = joint_crop(truth, prediction)
    assert cropped[0].shape == cropped[1].shape == (10, 5, 3)
    assert [mask.sum() for mask in cropped] == [27, 8]
    assert joint_crop(EMPTY, EMPTY)[0].shape == (0, 0, 0)
