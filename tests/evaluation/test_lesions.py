"""Lesion-wise scores: the rule on small cases, and against a loop over lesions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tests.evaluation.blobs import cube, smooth_noise
from unet3d.evaluation.lesions import LesionScores, lesion_scores

EMPTY = np.zeros((20, 20, 20), dtype=bool)


def by_loops(truth: np.ndarray, prediction: np.ndarray, dilation: int) -> LesionScores:
    """The rule as published, one lesion at a time, on the whole volume."""
    around, near = np.ones((3, 3, 3)), ndimage.generate_binary_structure(3, 2)

    def dilate(mask: np.ndarray) -> np.ndarray:
        return ndimage.binary_dilation(mask, near, dilation) if dilation else mask

    zones, count = ndimage.label(dilate(truth), around)
    parts, predicted = ndimage.label(prediction, around)
    matched: set[int] = set()
    dices = []
    for number in range(1, count + 1):
        lesion = truth & (zones == number)
        matches = set(np.unique(parts[dilate(lesion)])) - {0}
        matched |= matches
        if matches:
            union = np.isin(parts, list(matches))
            dices.append(2 * (union & lesion).sum() / (union.sum() + lesion.sum()))
    made_up, missed = predicted - len(matched), count - len(dices)
    total = len(dices) + made_up + missed
    f1 = 2 * len(dices) / (2 * len(dices) + made_up + missed)
    return LesionScores(len(dices), made_up, missed, sum(dices) / total, f1)


@pytest.mark.parametrize("dilation", [0, 1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_equals_a_loop_over_lesions(seed: int, dilation: int) -> None:
    shape = (48, 40, 32)
    noise = smooth_noise(seed, shape, 1.7)
    truth = noise > 2.0
    prediction = 0.8 * noise + 0.6 * smooth_noise(seed + 50, shape, 1.7) > 2.0
    ours, expected = (f(truth, prediction, dilation) for f in (lesion_scores, by_loops))
    assert ours[:3] == expected[:3]
    assert expected.found and expected.made_up  # or the case would show little
    assert ours[3:] == pytest.approx(expected[3:], rel=1e-12)


def test_found_made_up_and_missed() -> None:
    truth = cube((0, 0, 0)) | cube((0, 14, 0))
    prediction = cube((1, 0, 0)) | cube((14, 14, 14))
    assert lesion_scores(truth, prediction) == LesionScores(1, 1, 1, 2 / 9, 0.5)


def test_parts_close_to_each_other_are_one_lesion() -> None:
    truth = cube((0, 0, 0)) | cube((0, 0, 8))  # five voxels between them
    assert lesion_scores(truth, truth)[:3] == (1, 0, 0)
    assert lesion_scores(truth, truth, dilation=1)[:3] == (2, 0, 0)


def test_a_prediction_beside_a_lesion_finds_it_with_dice_0() -> None:
    assert lesion_scores(cube((0, 0, 0)), cube((5, 0, 0))) == LesionScores(1, 0, 0, 0.0, 1.0)
    assert lesion_scores(cube((0, 0, 0)), cube((6, 0, 0))) == LesionScores(0, 1, 1, 0.0, 0.0)


def test_one_part_may_find_two_lesions() -> None:
    truth = cube((0, 0, 0)) | cube((0, 0, 12))
    bar = EMPTY.copy()
    bar[:3, :3, :15] = True
    scores = lesion_scores(truth, bar)
    assert scores[:3] == (2, 0, 0)
    assert scores.dice == pytest.approx(2 * 27 / (27 + 135))


def test_corners_connect() -> None:
    assert lesion_scores(EMPTY, cube((0, 0, 0)) | cube((3, 3, 3))).made_up == 1


def test_empty_masks() -> None:
    assert lesion_scores(EMPTY, EMPTY) == LesionScores(0, 0, 0, 1.0, 1.0)
    assert lesion_scores(cube((0, 0, 0)), EMPTY) == LesionScores(0, 0, 1, 0.0, 0.0)
    assert lesion_scores(EMPTY, cube((0, 0, 0))) == LesionScores(0, 1, 0, 0.0, 0.0)


def test_a_dilation_below_0() -> None:
    with pytest.raises(ValueError, match="dilation -1"):
        lesion_scores(EMPTY, EMPTY, -1)
