"""Post-processing that is chosen: counted as it is applied, and kept only where it helps."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.blobs import blobs, cube
from unet3d.config.schema import PostprocessConfig
from unet3d.evaluation.parts import Parts, best_steps, candidates, measure_parts
from unet3d.inference.label_maps import postprocess
from unet3d.metrics import dice

SPACING = (1.0, 0.5, 2.0)


def parts_of(truth: np.ndarray, mask: np.ndarray) -> Parts:
    return measure_parts(mask, truth, None, float(np.prod(SPACING)))


@pytest.mark.parametrize(
    "steps",
    [
        PostprocessConfig(),
        PostprocessConfig(largest=True),
        PostprocessConfig(min_volume=30.0),
        PostprocessConfig(min_volume=1e6),
        PostprocessConfig(min_volume=60.0, largest=True),
    ],
)
def test_counts_are_those_of_the_mask_that_is_left(steps: PostprocessConfig) -> None:
    """What predict would leave has the Dice that the choice went by."""
    truth, mask = blobs(2)
    left = postprocess(mask, SPACING, steps)
    assert parts_of(truth, mask).dice(steps) == dice(truth[..., None], left[..., None])[0]


def test_of_equally_large_parts_the_same_is_kept() -> None:
    """As in a prediction, whichever of the two is in the truth."""
    mask = cube((1, 1, 1)) | cube((10, 1, 1)) | cube((1, 10, 1))
    for truth in (cube((1, 1, 1)), cube((10, 1, 1)), cube((1, 10, 1))):
        steps = PostprocessConfig(largest=True)
        left = postprocess(mask, SPACING, steps)
        assert parts_of(truth, mask).dice(steps) == dice(truth[..., None], left[..., None])[0]


def test_what_helps_is_kept() -> None:
    """Dust of one voxel beside each lesion goes; two lesions of a case both stay."""
    cases = []
    for other in ((0, 12, 0), (12, 0, 12)):
        truth = cube((1, 1, 1), 4) | cube(other, 3)
        dust = cube((18, 18, 18), 1)
        cases.append(parts_of(truth, truth | dust))
    steps, after, before = best_steps(cases)
    assert after == 1 > before
    assert not steps.largest and 1 < steps.min_volume <= 27


def test_a_single_organ_keeps_its_largest_part() -> None:
    """Where a false part is larger than another case's true one, no volume tells them apart."""
    small, large = cube((1, 1, 1), 3), cube((1, 1, 1), 7)
    cases = [parts_of(small, small), parts_of(large, large | cube((14, 14, 14), 4))]
    steps, after, _ = best_steps(cases)
    assert steps == PostprocessConfig(largest=True) and after == 1


def test_a_mask_of_a_case_without_the_region_goes() -> None:
    """An empty truth with an empty prediction is a Dice of 1, as in the evaluation."""
    empty = np.zeros((20, 20, 20), bool)
    cases = [parts_of(empty, cube((5, 5, 5), 2)), parts_of(cube((1, 1, 1), 6), cube((1, 1, 1), 6))]
    steps, after, before = best_steps(cases)
    assert (before, after) == (0.5, 1.0) and steps.min_volume > 8


def test_what_does_not_help_is_left_out() -> None:
    """Also where it does no harm."""
    truth = cube((1, 1, 1), 4)
    assert best_steps([parts_of(truth, truth)]) == (PostprocessConfig(), 1.0, 1.0)
    empty = np.zeros((20, 20, 20), bool)
    assert best_steps([parts_of(truth, empty)])[0] == PostprocessConfig()


def test_the_number_of_volumes_is_bounded() -> None:
    """However many parts of however many sizes there are."""
    sizes = np.arange(5000, 0, -1)
    many = Parts(sizes, sizes, np.zeros_like(sizes), 10, 1.0)
    assert len(list(candidates([many]))) <= 82


def test_voxels_without_truth_do_not_count() -> None:
    """They are of a part's volume, but neither right nor wrong."""
    truth, mask = cube((1, 1, 1), 4), cube((1, 1, 1), 5)
    known = ~mask | truth
    assert measure_parts(mask, truth, known, 1.0).dice(PostprocessConfig()) == 1
    assert measure_parts(mask, truth, known, 1.0).voxels.tolist() == [125]
