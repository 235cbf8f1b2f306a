"""The patch stream: a sample is a function of (seed, epoch, position) and of nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unet3d.config import AugmentConfig, ConfigError, DataConfig
from unet3d.data.augment import (
    Intensity,
    Spatial,
    change_intensity,
    draw_flips,
    draw_intensity,
    draw_spatial,
    resample,
    to_float32,
)
from unet3d.data.store import Store, Window

if TYPE_CHECKING:
    import tensorflow as tf

ORDER, SAMPLE = 0, 1  # the two kinds of random streams


def generator(seed: int, kind: int, epoch: int, position: int) -> np.random.Generator:
    """The random numbers of one sample, or of one pass over the cases; counter-based."""
    key = np.array([seed, kind], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, position, epoch]))


@dataclass(frozen=True)
class PatchStream:
    """Patches of `cases`; `patch_shape` in voxels, batch_size over all replicas."""

    store: Store
    cases: tuple[str, ...]
    data: DataConfig
    augment: AugmentConfig
    batch_size: int
    steps_per_epoch: int
    seed: int
    patch_shape: tuple[int, int, int]

    def case_of(self, epoch: int, position: int) -> str:
        """Every block of len(cases) positions visits each case once, in a new order."""
        block, index = divmod(position, len(self.cases))
        order = generator(self.seed, ORDER, epoch, block).permutation(len(self.cases))
        return self.cases[order[index]]

    def cases_of(self, epoch: int, step: int) -> list[str]:
        """The cases in the global batch of a step of an epoch."""
        first = step * self.batch_size
        return [self.case_of(epoch, first + k) for k in range(self.batch_size)]

    def sample(self, epoch: int, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Image, float32 (x, y, z, channels), and label, uint8 (x, y, z), of one position."""
        image, label, change = self.unchanged(epoch, position)
        change_intensity(image, change)
        return image, label

    def unchanged(self, epoch: int, position: int) -> tuple[np.ndarray, np.ndarray, Intensity]:
        """A sample before its intensities change, and how they are to change."""
        case = self.case_of(epoch, position)
        rng = generator(self.seed, SAMPLE, epoch, position)
        spatial = draw_spatial(rng, self.augment)
        start = self._draw_start(rng, case)
        flips = draw_flips(rng, self.augment)
        if spatial.identity:
            image, label = self._read(case, start, flips)
        else:
            image, label = self._read_warped(case, start, spatial, flips)
        return image, label, draw_intensity(rng, self.augment)

    def _draw_start(self, rng: np.random.Generator, case: str) -> list[int]:
        """The patch's first voxel: around foreground, or anywhere; centred where it is larger."""
        shape = self.store.cases[case].shape
        room = [size - width for size, width in zip(shape, self.patch_shape, strict=True)]
        anywhere = [int(rng.integers(0, max(r, 0) + 1)) for r in room]
        chosen = rng.random() < self.data.foreground
        if chosen and self.data.patch is not None:
            foreground = self.store.foreground(case)
            voxels = foreground[sorted(foreground)[rng.integers(len(foreground))]]
            voxel = voxels[rng.integers(len(voxels))]
            centred = [int(v) - w // 2 for v, w in zip(voxel, self.patch_shape, strict=True)]
            anywhere = [min(max(c, 0), max(r, 0)) for c, r in zip(centred, room, strict=True)]
        return [r // 2 if r < 0 else a for a, r in zip(anywhere, room, strict=True)]

    def _read(
        self, case: str, start: Sequence[int], flips: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The patch that begins at `start`, mirrored, with zeros outside the volume."""
        window, margins = self._window(case, start, self.patch_shape)
        image, label = self.store.image(case, window), self.store.label(case, window)
        if any(before or after for before, after in margins):
            image, label = np.pad(image, [*margins, (0, 0)]), np.pad(label, margins)
        return to_float32(image, flips), np.ascontiguousarray(np.flip(label, flips))

    def _read_warped(
        self, case: str, start: Sequence[int], spatial: Spatial, flips: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The patch about the same middle, rotated and scaled; its voxels alone are computed."""
        middle = [s + (width - 1) / 2 for s, width in zip(start, self.patch_shape, strict=True)]
        extent = spatial.extent(self.patch_shape)
        first = [round(m - (e - 1) / 2) for m, e in zip(middle, extent, strict=True)]
        window, _ = self._window(case, first, extent)
        image, label = self.store.image(case, window), self.store.label(case, window)
        centre = np.array(middle) - [part.start for part in window]
        return resample(image, label, spatial, self.patch_shape, centre, flips)

    def _window(
        self, case: str, first: Sequence[int], extent: Sequence[int]
    ) -> tuple[Window, list[tuple[int, int]]]:
        """The part of a box that lies in the volume, and what is missing before and after it."""
        parts, margins = [], []
        for begin, width, size in zip(first, extent, self.store.cases[case].shape, strict=True):
            part = slice(min(max(begin, 0), size), max(min(begin + width, size), 0))
            parts.append(part)
            margins.append((part.start - begin, begin + width - part.stop))
        return (parts[0], parts[1], parts[2]), margins

    def dataset(
        self,
        first_step: int = 0,
        last_step: int | None = None,
        *,
        shard: int = 0,
        shards: int = 1,
        replicas: int = 1,
        unchanged: bool = False,
    ) -> tf.data.Dataset:
        """Batches of the global steps [first_step, last_step), prepared ahead by threads.

        Worker `shard` of `shards` takes positions shard, shard + shards, ... of each global batch
        and cuts them into `replicas` batches; check_batch has seen that it comes out even. With
        `unchanged` the intensities are left to the device: after images and labels come float32
        (batch, 4), the fields of Intensity, and int32 (batch, 2), the seed and 0.
        """
        import tensorflow as tf

        share = self.batch_size // shards
        end = 2**62 if last_step is None else last_step * share
        image_shape = (*self.patch_shape, len(self.store.channels))
        kinds, shapes = [tf.float32, tf.uint8], [image_shape, self.patch_shape]
        if unchanged:
            kinds, shapes = [*kinds, tf.float32, tf.int32], [*shapes, (4,), (2,)]

        def read(index: Any) -> tuple[Any, ...]:
            step, k = divmod(int(index), share)
            epoch, step = divmod(step, self.steps_per_epoch)
            position = step * self.batch_size + shard + k * shards
            if not unchanged:
                return self.sample(epoch, position)
            image, label, change = self.unchanged(epoch, position)
            *amounts, seed = astuple(change)
            return image, label, np.array(amounts, np.float32), np.array([seed, 0], np.int32)

        def load(index: Any) -> tuple[Any, ...]:
            arrays = tf.numpy_function(read, [index], kinds)
            return tuple(map(tf.ensure_shape, arrays, shapes))

        threads = self.data.workers or os.cpu_count() or 1
        options = tf.data.Options()
        options.autotune.enabled = False
        options.deterministic = True
        options.threading.private_threadpool_size = threads
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return (
            tf.data.Dataset.range(first_step * share, end)
            .map(load, num_parallel_calls=threads, deterministic=True)
            .batch(share // replicas, drop_remainder=True)
            .prefetch(self.data.prefetch)
            .with_options(options)
        )


def make_stream(
    store: Store,
    cases: Sequence[str],
    data: DataConfig,
    augment: AugmentConfig,
    *,
    batch_size: int,
    steps_per_epoch: int | None,
    seed: int,
    stride: int,
) -> PatchStream:
    """The stream of the training cases; data.patch=null takes whole volumes, padded to one shape.

    Raises ConfigError for a patch that the network's stride does not divide, or that is larger than
    the largest volume.
    """
    largest = [max(store.cases[c].shape[axis] for c in cases) for axis in range(3)]
    padded = [-(-size // stride) * stride for size in largest]
    patch = data.patch or padded
    if any(size % stride for size in patch):
        raise ConfigError(f"data.patch: {patch} is not divisible by {stride}, the network's stride")
    if any(size > limit for size, limit in zip(patch, padded, strict=True)):
        raise ConfigError(
            f"data.patch: {patch} is larger than the volumes, {largest} after cropping; "
            f"the largest patch is {padded}"
        )
    if steps_per_epoch is None:
        steps_per_epoch = -(-len(cases) * data.patches_per_case // batch_size)
    return PatchStream(
        store,
        tuple(cases),
        data,
        augment,
        batch_size,
        steps_per_epoch,
        seed,
        (patch[0], patch[1], patch[2]),
    )
