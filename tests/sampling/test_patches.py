"""The patch stream: a function of (seed, epoch, position), however it is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.small import small_config
from unet3d.config.schema import Config
from unet3d.errors import ConfigError
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.store import Store
from unet3d.sampling.augment import Intensity, change_intensity
from unet3d.sampling.draws import case_weights, draw_label
from unet3d.sampling.patches import PatchStream, make_stream
from unet3d.sampling.widen_device import make_widen


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return small_config(tmp_path_factory.mktemp("stream"), "augment=full")


@pytest.fixture(scope="module")
def store(config: Config) -> Store:
    return preprocess(config.data)


def stream(store: Store, config: Config, batch_size: int = 4, **data: object) -> PatchStream:
    settings = replace(config.data, **data)  # type: ignore[arg-type]
    return make_stream(
        store,
        sorted(store.cases),
        settings,
        config.augment,
        batch_size=batch_size,
        steps_per_epoch=3,
        seed=config.seed,
        stride=(4, 4, 4),
    )


def batches(stream: PatchStream, steps: int = 5, **shard: int) -> list[np.ndarray]:
    return [image.numpy() for image, _ in stream.dataset(0, steps, **shard)]


def test_shards_together_are_the_global_batch(store: Store, config: Config) -> None:
    """n workers see what one worker sees: worker k takes positions k, k + n, ..."""
    whole = stream(store, config)
    expected = batches(whole)
    for shards in (2, 4):
        parts = [batches(whole, shard=k, shards=shards) for k in range(shards)]
        for step, images in enumerate(expected):
            for k in range(shards):
                np.testing.assert_array_equal(parts[k][step], images[k::shards])
    halves = batches(whole, replicas=2)
    np.testing.assert_array_equal(np.concatenate(halves[:2]), expected[0])


def test_threads_and_start_do_not_matter(store: Store, config: Config) -> None:
    """One thread reads what four read, and a stream begun at step 3 is the tail of the whole."""
    expected = batches(stream(store, config, workers=1))
    for images, other in zip(expected, batches(stream(store, config, workers=4)), strict=True):
        np.testing.assert_array_equal(images, other)
    tail = [image.numpy() for image, _ in stream(store, config).dataset(3, 5)]
    for images, other in zip(expected[3:], tail, strict=True):
        np.testing.assert_array_equal(images, other)


def test_epochs_and_seeds_differ(store: Store, config: Config) -> None:
    """The same position gives another patch in another epoch or under another seed."""
    first = stream(store, config)
    image, _ = first.sample(0, 0)
    assert not np.array_equal(image, first.sample(1, 0)[0])
    assert not np.array_equal(image, replace(first, seed=1).sample(0, 0)[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_the_device_finishes_is_what_the_host_does(config: Config, dtype: str) -> None:
    """To the last bit where a patch is only mirrored; else to the rounding of 16 bits."""
    data = replace(config.data, dtype=dtype)
    own = preprocess(data)
    patches = stream(own, config, dtype=dtype)
    widen = make_widen(tf.distribute.get_strategy())
    rounding = 2.0**-11 if dtype == "float16" else 2.0**-8
    exact, moved, changed = 0, 0, 0
    left = patches.dataset(0, 8, for_device=True)
    for expected, batch in zip(patches.dataset(0, 8), left, strict=True):
        assert batch[0].dtype == dtype and batch[1].dtype == "uint8"
        wide, labels = widen(*batch[:3])
        np.testing.assert_array_equal(labels, expected[1])
        for image, whole, flips, amount, (seed, _) in zip(
            wide.numpy(), expected[0].numpy(), *(part.numpy() for part in batch[2:]), strict=True
        ):
            how = Intensity(*amount.tolist(), seed=int(seed))
            changed += how != Intensity()
            moved += flips.any()
            change_intensity(image, how)
            if how == Intensity() and np.array_equal(image, whole):
                exact += 1
            else:
                size = np.abs(whole).max()
                np.testing.assert_allclose(image, whole, atol=3 * size * rounding)
    assert min(exact, moved, changed) > 3, (exact, moved, changed)


def test_small_numbers_and_the_rest_survive_16_bits() -> None:
    """Every float16 that is a number, those below the normal ones too, mirrored along each axis."""
    bits = np.arange(2**16, dtype=np.uint16).view(np.float16)
    bits = bits[np.isfinite(bits)]
    images = np.stack([bits[: 31 * 32 * 64].reshape(31, 32, 64, 1)] * 8)
    labels = np.arange(images[..., 0].size).astype(np.uint8).reshape(images.shape[:4])
    flips = np.array([[n & 1, n & 2, n & 4] for n in range(8)], bool)
    wide, mirrored = make_widen(tf.distribute.get_strategy())(images, labels, flips)
    for n in range(8):
        axes = tuple(np.flatnonzero(flips[n]))
        np.testing.assert_array_equal(wide[n], np.flip(images[n], axes).astype(np.float32))
        np.testing.assert_array_equal(mirrored[n], np.flip(labels[n], axes))


def test_every_case_is_visited_equally(store: Store, config: Config) -> None:
    """Each block of as many positions as there are cases holds every case once."""
    patches = stream(store, config)
    for block in range(3):
        seen = [patches.case_of(0, 4 * block + k) for k in range(4)]
        assert sorted(seen) == sorted(store.cases)


def test_foreground_share(store: Store, config: Config) -> None:
    """With foreground=1 every patch holds foreground."""
    plain = replace(config, augment=replace(config.augment, rotate=0.0, scale=0.0))
    patches = stream(store, plain, foreground=1.0)
    assert all(patches.sample(0, position)[1].any() for position in range(12))


def test_foreground_may_be_a_share_of_each_batch(store: Store, config: Config) -> None:
    """The last patches of a batch have it, at least one, whatever chance would say."""
    plain = replace(config, augment=replace(config.augment, rotate=0.0, scale=0.0))
    for size, share, expected in ((2, 0.33, 1), (6, 0.33, 2), (4, 0.01, 1), (4, 0.0, 0)):
        patches = stream(store, plain, size, foreground=share, foreground_of="batch")
        chances = [patches._foreground_chance(position) for position in range(3 * size)]
        assert chances == 3 * ([0.0] * (size - expected) + [1.0] * expected)
    patches = stream(store, plain, foreground=1.0, foreground_of="batch")
    assert all(patches.sample(0, position)[1].any() for position in range(12))


def test_labels_get_their_shares(store: Store, config: Config) -> None:
    """Of the patches with foreground; where a case has none of those that are named, equal ones."""
    rng, shares = np.random.default_rng(0), {"1": 0.9, 3: 0.1}  # keys as YAML may have them
    drawn = [draw_label(rng, [1, 2, 3], shares) for _ in range(2000)]
    assert drawn.count(1) == pytest.approx(1800, abs=60) and not drawn.count(2)
    assert {draw_label(rng, [2, 4], shares) for _ in range(40)} == {2, 4}
    with pytest.raises(ConfigError, match="data.foreground_shares: 77 is no label value"):
        stream(store, config, foreground_shares={1: 0.5, 77: 0.5})
    case = next(case for case in store.cases.values() if len(case.labels) > 1)
    *_, last = case.labels
    own = stream(store, config, foreground=1.0, foreground_shares={last: 1.0}, patch=[4, 4, 4])
    own = replace(own, cases=(case.id,))
    for position in range(8):
        start = own._draw(0, position).start
        voxels = store.foreground(case.id)[last] - start
        assert ((voxels >= 0) & (voxels < 4)).all(axis=1).any()


def test_cases_are_drawn_by_their_weights(store: Store, config: Config) -> None:
    """In each pass as often as the weight says, but for the rounding; of weight 0 never."""
    whole = stream(store, config)
    count = len(whole.cases)
    weights = (0.0, 3.0, *[1.0] * (count - 2))
    weighted = replace(whole, weights=weights)
    for block in range(5):
        drawn = [weighted.case_of(0, block * count + n) for n in range(count)]
        for case, weight in zip(whole.cases, weights, strict=True):
            assert abs(drawn.count(case) - count * weight / sum(weights)) < 1
        assert whole.cases[0] not in drawn
    drawn = [weighted.case_of(1, n) for n in range(200 * count)]
    assert drawn.count(whole.cases[1]) == pytest.approx(200 * count * 3 / sum(weights), rel=0.03)
    source = store.source
    assert source is not None
    listed = replace(source, cases=tuple(replace(c, weight=2.0) for c in source.cases))
    assert case_weights(replace(store, source=listed), whole.cases) == ()  # equal, whatever it is
    none = replace(source, cases=tuple(replace(c, weight=0.0) for c in source.cases))
    with pytest.raises(ConfigError, match="a weight of 0 in the table"):
        case_weights(replace(store, source=none), whole.cases)


def test_whole_volumes_are_padded_to_one_shape(store: Store, config: Config) -> None:
    """data.patch=null gives every case whole, in a shape that the stride divides."""
    plain = replace(config, augment=replace(config.augment, rotate=0.0, scale=0.0, flip=0.0))
    patches = stream(store, plain, patch=None)
    assert all(size % 4 == 0 for size in patches.patch_shape)
    _, label = patches.sample(0, 0)
    assert label.shape == patches.patch_shape
    whole = store.label(patches.case_of(0, 0))
    assert np.count_nonzero(label) == np.count_nonzero(whole)


def test_a_patch_may_be_larger_where_that_is_asked_for(store: Store, config: Config) -> None:
    """As the paper's, of one size for all: the whole case lies in its middle, amid zeros."""
    patches = stream(store, config, patch=[64, 48, 64], pad_to_patch=True)
    image, label = patches.sample(0, 0)
    assert label.shape == image.shape[:3] == (64, 48, 64)
    case = patches.case_of(0, 0)
    assert np.count_nonzero(label) == np.count_nonzero(store.label(case))
    before = [(64 - store.cases[case].shape[0]) // 2, 64]
    assert not image[: before[0] - 1].any() and image[before[0] + 2].any()


def test_impossible_sizes_are_named(store: Store, config: Config) -> None:
    """A patch above the volume, or off the network's stride."""
    with pytest.raises(ConfigError, match="data.patch: .* is larger than the volumes"):
        stream(store, config, patch=[64, 64, 64])
    with pytest.raises(ConfigError, match="data.patch: .* is not divisible by 4"):
        stream(store, config, patch=[18, 16, 16])
