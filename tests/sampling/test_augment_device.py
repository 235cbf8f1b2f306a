"""Intensities changed on the device that trains: what the host makes of them, on every replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace

import numpy as np
import pytest
import tensorflow as tf

from unet3d import machine
from unet3d.config.schema import AugmentConfig
from unet3d.sampling.augment import Intensity, change_intensity
from unet3d.sampling.augment_device import make_intensity_change, on_device

AUGMENT = AugmentConfig(
    name="test",
    **dict.fromkeys(("blur", "contrast", "gamma", "noise", "brightness", "low_resolution"), 1.0),
)
CHANGES = [
    Intensity(),
    Intensity(blur=0.5),
    Intensity(blur=1.0),
    Intensity(contrast=0.8),
    Intensity(gamma=1.4),
    Intensity(0.7, 1.2, 0.8),
    Intensity(brightness=1.2),
    Intensity(resolution=0.6),
    Intensity(noise=0.1, seed=3),
    Intensity(noise=0.1, seed=4),
]
IMAGES = np.random.default_rng(0).normal(1, 3, (10, 24, 16, 20, 2)).astype(np.float32)


@pytest.fixture(scope="module", params=["as on a CPU", "as on a GPU"])
def change(request: pytest.FixtureRequest) -> Callable[..., np.ndarray]:
    """The change of images[rows] by CHANGES[rows]."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "opened_gpus", lambda: ["GPU:0"] * request.param.endswith("GPU"))
        compiled = make_intensity_change(AUGMENT, tf.distribute.get_strategy())

    def changed(rows: slice, images: np.ndarray = IMAGES) -> np.ndarray:
        values = [astuple(one) for one in CHANGES[rows]]
        amounts = np.array([value[:-1] for value in values], np.float32)
        seeds = np.array([[value[-1], 0] for value in values], np.int32)
        return compiled(images[rows], amounts, seeds).numpy()

    return changed


def test_a_device_changes_intensities_as_the_host_does(change: Callable) -> None:
    """Each change alone, all without noise, and none; whichever patches share a batch."""
    whole = change(slice(None))
    for index, how in enumerate(CHANGES[:8]):
        expected = IMAGES[index].copy()
        change_intensity(expected, how)
        np.testing.assert_allclose(whole[index], expected, rtol=1e-5, atol=2e-5)
    parts = np.concatenate([change(slice(0, 2)), change(slice(2, 10))])
    np.testing.assert_allclose(parts, whole, atol=5e-6)  # graphs of their own, rounded alike or not


def test_a_device_keeps_mean_and_deviation_as_the_host_does() -> None:
    """augment.gamma_keeps, on the same patches."""
    keeping = replace(AUGMENT, gamma_keeps=True)
    compiled = make_intensity_change(keeping, tf.distribute.get_strategy())
    amounts = np.array([astuple(CHANGES[4])[:-1], astuple(CHANGES[5])[:-1]], np.float32)
    found = compiled(IMAGES[4:6], amounts, np.zeros((2, 2), np.int32)).numpy()
    for index, how in enumerate(CHANGES[4:6]):
        expected = IMAGES[4 + index].copy()
        change_intensity(expected, how, gamma_keeps=True)
        np.testing.assert_allclose(found[index], expected, rtol=1e-4, atol=1e-4)


def test_on_gpus_the_host_waits_for_no_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """No condition and no loop, whose value the host would fetch from the device."""
    monkeypatch.setattr(machine, "opened_gpus", lambda: ["GPU:0"])
    change = make_intensity_change(AUGMENT, tf.distribute.get_strategy())
    batch = tf.zeros((2, 8, 8, 8, 1)), tf.zeros((2, 6)), tf.zeros((2, 2), tf.int32)
    graph = change.get_concrete_function(*batch).graph.as_graph_def()
    nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    found = {node.op for node in nodes}
    assert "SelectV2" in found
    assert not found & {"If", "StatelessIf", "While", "StatelessWhile", "Where"}


def test_noise_is_a_function_of_the_seed(change: Callable) -> None:
    """Of the deviation asked for, the same again, another for another seed."""
    still = np.zeros_like(IMAGES)
    first, other = change(slice(8, 10), still)
    assert abs(first.std() - 0.1) < 2e-3 and abs(first.mean()) < 2e-3
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.05
    np.testing.assert_array_equal(change(slice(8, 10), still)[0], first)


def test_where_intensities_change() -> None:
    """auto is the host without a GPU; a preset without such changes has nothing to leave."""
    assert on_device(replace(AUGMENT, intensity_on="device"))
    assert not on_device(replace(AUGMENT, intensity_on="host"))
    assert on_device(AUGMENT) == bool(machine.opened_gpus())
    assert not on_device(AugmentConfig(name="none", flip=0.5, intensity_on="device"))
