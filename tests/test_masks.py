"""SciPy in the place of edt and cc3d: the same values, so that nobody needs LGPL libraries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from unet3d import masks

MASKS = {
    "noise": np.random.default_rng(0).random((21, 17, 13)) < 0.12,
    "dense": np.random.default_rng(1).random((12, 15, 18)) < 0.6,
    "empty": np.zeros((5, 6, 7), bool),
    "ties": np.eye(9, dtype=bool)[:, :, None] & (np.arange(4) % 3 == 0),
}


@pytest.fixture(params=sorted(MASKS))
def mask(request: pytest.FixtureRequest) -> np.ndarray:
    return MASKS[request.param]


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], np.ndarray]], list[np.ndarray]]:
    """A result with the libraries, and without them."""

    def compute(call: Callable[[], np.ndarray]) -> list[np.ndarray]:
        fast = call()
        with monkeypatch.context() as patch:
            patch.setattr(masks, "installed", lambda module: False)
            return [fast, call()]

    return compute


def test_parts_are_the_same_but_for_their_numbers(mask: np.ndarray, both: Callable) -> None:
    """Connected over faces, edges and corners."""
    (fast, number), (slow, same) = both(lambda: masks.connected_parts(mask))
    assert number == same
    pairs = np.unique(np.stack([fast.ravel(), slow.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(fast)) == len(np.unique(slow))


def test_dust_and_the_largest_part_are_the_same(mask: np.ndarray, both: Callable) -> None:
    """Voxel by voxel, also where several parts are the largest."""
    for call in (lambda: masks.without_dust(mask, 4), lambda: masks.largest_part(mask)):
        fast, slow = both(call)
        assert fast.dtype == slow.dtype == bool
        np.testing.assert_array_equal(fast, slow)


def test_distances_are_the_same(mask: np.ndarray, both: Callable) -> None:
    """Within the error that edt's float32 has, with spacings that differ."""
    outside = ~mask if mask.any() else MASKS["noise"]
    fast, slow = both(lambda: masks.squared_distances(outside, (1.0, 0.7, 2.5)))
    np.testing.assert_allclose(fast, slow, rtol=1e-6)
