"""The patch stream: a sample is a function of (seed, epoch, position) and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from unet3d.config.schema import AugmentConfig, DataConfig
from unet3d.errors import ConfigError
from unet3d.machine import cores
from unet3d.preprocessing.store import Store, Window
from unet3d.sampling.augment import (
    Intensity,
    Spatial,
    change_intensity,
    draw_flips,
    draw_intensity,
    draw_spatial,
    to_float32,
    warp_patch,
)
from unet3d.sampling.batches import batches_ahead
from unet3d.sampling.draws import (
    SAMPLE,
    case_weights,
    check_shares_of_labels,
    draw_case,
    draw_label,
    generator,
)

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Draw:
    """What chance has decided of a sample. start: the patch's first voxel; flips: its axes."""

    case: str
    start: list[int]
    spatial: Spatial
    flips: tuple[int, ...]
    intensity: Intensity


@dataclass(frozen=True)
class PatchStream:
    """Random patches of `cases`. patch_shape: voxels; batch_size: over all replicas."""

    store: Store
    cases: tuple[str, ...]
    data: DataConfig
    augment: AugmentConfig
    batch_size: int
    steps_per_epoch: int
    seed: int
    patch_shape: tuple[int, int, int]
    weights: tuple[float, ...] = ()  # of the cases, where the data set gives them
    failures: list[Exception] = field(default_factory=list, compare=False)  # of reading threads

    def case_of(self, epoch: int, position: int) -> str:
        """The case of a position, see `draw_case`."""
        index = draw_case(self.seed, epoch, position, len(self.cases), self.weights)
        return self.cases[index]

    def cases_of(self, epoch: int, step: int) -> list[str]:
        """The cases in the global batch of a step of an epoch."""
        first = step * self.batch_size
        return [self.case_of(epoch, first + k) for k in range(self.batch_size)]

    def sample(self, epoch: int, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Image, float32 (x, y, z, channels), and label, uint8 (x, y, z), of one position."""
        image: np.ndarray = np.empty((*self.patch_shape, len(self.store.channels)), np.float32)
        label: np.ndarray = np.empty(self.patch_shape, np.uint8)
        self.fill(epoch, position, image, label)
        return image, label

    def fill(self, epoch: int, position: int, image: np.ndarray, label: np.ndarray) -> None:
        """Put the `sample` of a position into arrays, such as its places in a batch."""
        draw = self._draw(epoch, position)
        if draw.spatial.identity:
            narrow, stored = self._read(draw)
            to_float32(narrow, draw.flips, out=image)
            label[...] = np.flip(stored, draw.flips)
        else:
            self._read_warped(draw, image, label)
        change_intensity(image, draw.intensity, self.augment.gamma_keeps)

    def fill_for_device(
        self,
        epoch: int,
        position: int,
        image: np.ndarray,
        label: np.ndarray,
        mirrored: np.ndarray,
        amounts: np.ndarray,
        seed: np.ndarray,
    ) -> None:
        """Put a sample into arrays that the device finishes, with half the bytes.

        Image, of the store's 16 bits (x, y, z, channels), and label, uint8 (x, y, z); then what is
        left to do: the axes to mirror, boolean (3,), the amounts of Intensity, float32 (6,), and
        its seed and 0, int32 (2,). A patch that was rotated or scaled is rounded to 16 bits.
        """
        draw = self._draw(epoch, position)
        mirrored[:] = False
        if draw.spatial.identity:
            image[...], label[...] = self._read(draw)
            mirrored[list(draw.flips)] = True
        else:
            wide = np.empty(image.shape, np.float32)
            self._read_warped(draw, wide, label)  # mirrored as well
            image[...] = wide
        *amounts[:], seed[0] = astuple(draw.intensity)
        seed[1] = 0

    @property
    def kind(self) -> np.dtype:
        """The type of the stored images."""
        import ml_dtypes

        return np.dtype(np.float16 if self.data.dtype == "float16" else ml_dtypes.bfloat16)

    def _draw(self, epoch: int, position: int) -> Draw:
        """All that chance decides of a sample."""
        case = self.case_of(epoch, position)
        rng = generator(self.seed, SAMPLE, epoch, position)
        spatial = draw_spatial(rng, self.augment)
        start = self._draw_start(rng, case, position)
        flips = draw_flips(rng, self.augment)
        return Draw(case, start, spatial, flips, draw_intensity(rng, self.augment))

    def _draw_start(self, rng: np.random.Generator, case: str, position: int) -> list[int]:
        """The patch's first voxel: near foreground or anywhere; centred where it is larger."""
        shape = self.store.cases[case].shape
        room = [size - width for size, width in zip(shape, self.patch_shape, strict=True)]
        anywhere = [int(rng.integers(0, max(r, 0) + 1)) for r in room]
        chosen = rng.random() < self._foreground_chance(position)
        if chosen and self.data.patch is not None and (foreground := self.store.foreground(case)):
            voxels = foreground[draw_label(rng, sorted(foreground), self.data.foreground_shares)]
            voxel = voxels[rng.integers(len(voxels))]
            centred = [int(v) - w // 2 for v, w in zip(voxel, self.patch_shape, strict=True)]
            anywhere = [min(max(c, 0), max(r, 0)) for c, r in zip(centred, room, strict=True)]
        return [r // 2 if r < 0 else a for a, r in zip(anywhere, room, strict=True)]

    def _foreground_chance(self, position: int) -> float:
        """Of a patch with a foreground voxel in its middle, by `data.foreground_of`."""
        share = self.data.foreground
        if self.data.foreground_of == "patches" or self.batch_size == 1 or not share:
            return share
        count = max(self.batch_size - round(self.batch_size * (1 - share)), 1)
        return float(position % self.batch_size >= self.batch_size - count)

    def _read(self, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """The patch as it is in the store; 0 outside the volume."""
        window, margins = self._window(draw.case, draw.start, self.patch_shape)
        image, label = self.store.image(draw.case, window), self.store.label(draw.case, window)
        if any(before or after for before, after in margins):
            image, label = np.pad(image, [*margins, (0, 0)]), np.pad(label, margins)
        return image, label

    def _read_warped(self, draw: Draw, image: np.ndarray, label: np.ndarray) -> None:
        """Put the patch about the same centre, rotated, scaled and mirrored, into arrays."""
        pairs = zip(draw.start, self.patch_shape, strict=True)
        middle = [start + (width - 1) / 2 for start, width in pairs]
        extent = draw.spatial.extent(self.patch_shape)
        first = [round(m - (e - 1) / 2) for m, e in zip(middle, extent, strict=True)]
        window, _ = self._window(draw.case, first, extent)
        stored = self.store.image(draw.case, window), self.store.label(draw.case, window)
        centre = np.array(middle) - [part.start for part in window]
        warp_patch(*stored, draw.spatial, self.patch_shape, centre, draw.flips, out=(image, label))

    def _window(
        self, case: str, first: Sequence[int], extent: Sequence[int]
    ) -> tuple[Window, list[tuple[int, int]]]:
        """The part of a box inside the volume, and the voxels missing before and after it."""
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
        for_device: bool = False,
    ) -> tf.data.Dataset:
        """Batches of the global steps [first_step, last_step), prepared ahead by threads.

        Worker `shard` of `shards` takes positions shard, shard + shards, ... of each global batch
        and cuts them into `replicas` batches; `check_batch` has made sure that it divides evenly.
        for_device: batches of `sample_for_device`, in place of images and labels that are finished.
        """
        import tensorflow as tf

        share, size = self.batch_size // shards, self.batch_size // shards // replicas
        shape = self.patch_shape
        parts = [((*shape, len(self.store.channels)), tf.float32), (shape, tf.uint8)]
        fill: Callable[..., None] = self.fill
        if for_device:
            narrow = (parts[0][0], tf.as_dtype(self.kind))
            left = [((3,), tf.bool), ((6,), tf.float32), ((2,), tf.int32)]
            parts, fill = [narrow, parts[1], *left], self.fill_for_device

        def fill_place(place: int, *arrays: np.ndarray) -> None:
            step, k = divmod(place, share)
            epoch, step = divmod(step, self.steps_per_epoch)
            try:
                fill(epoch, step * self.batch_size + shard + k * shards, *arrays)
            except Exception as error:  # TensorFlow hands on no more than its text
                self.failures.append(error)
                raise

        end = 2**62 if last_step is None else last_step * share
        places = first_step * share, end
        threads = self.data.workers or cores()
        return batches_ahead(fill_place, places, size, parts, threads, self.data.prefetch)


def make_stream(
    store: Store,
    cases: Sequence[str],
    data: DataConfig,
    augment: AugmentConfig,
    *,
    batch_size: int,
    steps_per_epoch: int | None,
    seed: int,
    stride: Sequence[int],
) -> PatchStream:
    """The stream of the training cases; data.patch=null takes whole volumes, padded to one shape.

    Raises ConfigError for a patch that the network's stride does not divide, or that is larger than
    the largest volume without data.pad_to_patch, and for shares or weights that do not fit the data
    set.
    """
    largest = [max(store.cases[c].shape[axis] for c in cases) for axis in range(3)]
    padded = [-(-size // step) * step for size, step in zip(largest, stride, strict=True)]
    patch = data.patch or padded
    if any(size % step for size, step in zip(patch, stride, strict=True)):
        step = stride[0] if len(set(stride)) == 1 else list(stride)
        raise ConfigError(f"data.patch: {patch} is not divisible by {step}, the network's stride")
    larger = any(size > limit for size, limit in zip(patch, padded, strict=True))
    if larger and not data.pad_to_patch:
        raise ConfigError(
            f"data.patch: {patch} is larger than the volumes, {largest} after cropping; "
            f"the largest patch is {padded}, or type data.pad_to_patch=true to fill it up with 0"
        )
    check_shares_of_labels(data.foreground_shares, store.labels)
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
        case_weights(store, cases),
    )
