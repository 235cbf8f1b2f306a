"""Windows cover the volume, and blending them changes nothing that they agree on."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from unet3d.errors import ConfigError
from unet3d.inference.sliding_window import (
    axis_starts,
    gaussian_weights,
    padded_shape,
    planes,
    sliding_window,
)


def volume(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((17, 23, 9), (8, 8, 8)),  # odd
        ((16, 16, 16), (8, 16, 4)),  # even, and as large as the patch
        ((5, 20, 3), (8, 8, 8)),  # partly smaller than the patch
        ((5, 6, 7), (16, 8, 8)),  # wholly smaller
    ],
)
def test_identity_gives_the_volume_back(
    shape: tuple[int, ...], patch: tuple[int, ...], overlap: float, batch_size: int
) -> None:
    """Placement, weights, padding and cropping cancel out for any geometry."""
    image = volume(*shape, 2)
    found = sliding_window(
        lambda batch: batch, image, patch, outputs=2, overlap=overlap, batch_size=batch_size
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, image, rtol=1e-4, atol=1e-5)


def test_every_call_has_one_shape() -> None:
    """A last batch of another size would trace the network again."""
    shapes = set()

    def predict(batch: np.ndarray) -> np.ndarray:
        shapes.add(batch.shape)
        return batch

    sliding_window(predict, volume(20, 9, 8, 1), (8, 8, 8), outputs=1, batch_size=4)
    assert shapes == {(4, 8, 8, 8, 1)}


def test_windows_disagree_smoothly() -> None:
    """Where windows overlap, the nearer middle weighs more: no seam, and no value out of range."""
    calls = iter(range(100))

    def predict(batch: np.ndarray) -> np.ndarray:
        return np.full_like(batch, next(calls) % 2)

    line = sliding_window(predict, volume(12, 8, 8, 1), (8, 8, 8), outputs=1)[:, 4, 4, 0]
    assert line[0] == pytest.approx(0) and line[-1] == pytest.approx(1)
    assert (np.diff(line) >= -1e-6).all()
    assert line[5] + line[6] == pytest.approx(1)


def test_outputs_may_differ_from_channels() -> None:
    """Four sequences in, three regions out."""

    def predict(batch: np.ndarray) -> np.ndarray:
        return batch[..., :3] + batch[..., 3:]

    image = volume(10, 11, 12, 4)
    found = sliding_window(predict, image, (8, 8, 8), outputs=3)
    np.testing.assert_allclose(found, image[..., :3] + image[..., 3:], rtol=1e-4, atol=1e-5)


def test_half_precision_image_is_predicted_in_float32() -> None:
    """The store keeps float16; the network and the sums do not."""
    image = volume(9, 9, 9, 1).astype(np.float16)

    def predict(batch: np.ndarray) -> np.ndarray:
        assert batch.dtype == np.float32
        return batch

    assert sliding_window(predict, image, (8, 8, 8), outputs=1).dtype == np.float32


def test_input_is_untouched() -> None:
    """The image may be a read-only view of the store."""
    image = volume(9, 5, 9, 1)
    image.flags.writeable = False
    sliding_window(lambda batch: batch, image, (8, 8, 8), outputs=1)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_memory_does_not_grow_with_the_volume(batch_size: int) -> None:
    """Planes are given out as soon as they are done: a long scan needs what a short one needs."""

    def peak(length: int) -> int:
        image = np.zeros((length, 16, 16, 1), np.float16)
        tracemalloc.start()
        given = planes(
            lambda batch: np.repeat(batch, 8, axis=4),
            image,
            (16, 16, 16),
            outputs=8,
            batch_size=batch_size,
        )
        assert sum(1 for _ in given) == length
        (_, most), _ = tracemalloc.get_traced_memory(), tracemalloc.stop()
        return most

    peak(32)  # what is set up once
    short, long = peak(64), peak(640)
    assert long < 1.2 * short
    assert long < 640 * 16 * 16 * 8 * 4 / 2  # half of the logits of the whole volume


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.9])
def test_windows_cover_and_overlap(overlap: float) -> None:
    """Flush with both borders, inside the volume, at least the asked overlap, evenly spread."""
    starts = axis_starts((37, 16, 21), (16, 16, 8), overlap)
    for line, (size, width) in zip(starts, ((37, 16), (16, 16), (21, 8)), strict=True):
        assert line == sorted(set(line)) and line[0] == 0 and line[-1] == size - width
        steps = np.diff(line)
        if len(steps):
            assert steps.max() <= max(1, int(width * (1 - overlap)))
            assert steps.max() - steps.min() <= 1


def test_one_window_for_a_volume_of_the_patch() -> None:
    """A whole-volume patch costs one forward pass."""
    assert axis_starts((8, 8, 8), (8, 8, 8), 0.5) == [[0], [0], [0]]


@pytest.mark.parametrize("patch", [(96, 128, 64), (1, 2, 3)])
def test_weights_are_positive_and_peak_in_the_middle(patch: tuple[int, ...]) -> None:
    """A corner voxel that one window alone covers must still be divided by more than 0."""
    weights = gaussian_weights(patch)
    assert weights.shape == patch and weights.dtype == np.float32
    assert weights.min() > 0
    middle = tuple(size // 2 for size in patch)
    assert weights[middle] == weights.max()
    np.testing.assert_array_equal(weights, weights[::-1, ::-1, ::-1])


def test_padded_shape_rounds_up() -> None:
    """The patch of a whole volume is the next size that the network accepts."""
    assert padded_shape((17, 16, 1), (8, 8, 8)) == (24, 16, 8)


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_impossible_overlap_is_named(overlap: float) -> None:
    """An overlap of 1 would never reach the border."""
    with pytest.raises(ConfigError, match="validation.overlap"):
        axis_starts((8, 8, 8), (4, 4, 4), overlap)


def test_wrong_prediction_shape_is_told() -> None:
    """Broadcasting would hide a network with the wrong number of outputs."""
    with pytest.raises(ValueError, match="predict returned"):
        sliding_window(lambda batch: batch[..., :1], volume(8, 8, 8, 2), (8, 8, 8), outputs=2)
