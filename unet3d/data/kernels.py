"""The loops of augmentation, compiled; they run without the interpreter's lock.

NumPy reduces an axis of a few channels slowly and makes a copy an operation; SciPy resamples one
channel at a time. docs/decisions/0010-input.md has the figures. Each kernel is serial, as the
patch stream runs many at once, so that results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

STRIP = 64  # neighbours that are smoothed together: they and their sums stay in the cache


def compiled(function: Any) -> Any:
    """Compile at the first call; later processes read it from the cache."""
    return njit(nogil=True, cache=True)(function)


@compiled
def warp(
    image: np.ndarray,
    label: np.ndarray,
    matrix: np.ndarray,
    offset: np.ndarray,
    moved: np.ndarray,
    moved_label: np.ndarray,
) -> None:
    """Fill `moved` from where `matrix` @ voxel + `offset` lies in the image; label: the nearest.

    image: float32 (x, y, z, c), linearly interpolated, 0 outside; label: uint8 (x, y, z);
    matrix: (3, 3), offset: (3,), float64; moved, moved_label: of the patch.
    """
    sx, sy, sz, channels = image.shape
    half, one = np.float64(0.5), np.float32(1)
    for i in range(moved.shape[0]):
        for j in range(moved.shape[1]):
            for k in range(moved.shape[2]):
                x = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k + offset[0]
                y = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] * k + offset[1]
                z = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 2] * k + offset[2]
                fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
                u, v, w = np.float32(x - fx), np.float32(y - fy), np.float32(z - fz)
                if 0 <= fx < sx - 1 and 0 <= fy < sy - 1 and 0 <= fz < sz - 1:
                    # Unsigned, or each index is tested for counting from the end.
                    a, b, c = np.uintp(fx), np.uintp(fy), np.uintp(fz)
                    a1, b1, c1 = a + np.uintp(1), b + np.uintp(1), c + np.uintp(1)
                    w00, w01 = (one - u) * (one - v), (one - u) * v
                    w10, w11 = u * (one - v), u * v
                    for channel in range(channels):
                        low = (
                            w00 * image[a, b, c, channel]
                            + w01 * image[a, b1, c, channel]
                            + w10 * image[a1, b, c, channel]
                            + w11 * image[a1, b1, c, channel]
                        )
                        high = (
                            w00 * image[a, b, c1, channel]
                            + w01 * image[a, b1, c1, channel]
                            + w10 * image[a1, b, c1, channel]
                            + w11 * image[a1, b1, c1, channel]
                        )
                        moved[i, j, k, channel] = low + w * (high - low)
                    p, q, r = np.uintp(x + half), np.uintp(y + half), np.uintp(z + half)
                    moved_label[i, j, k] = label[p, q, r]
                    continue
                # At the border some of the eight neighbours are outside, and count as 0.
                for channel in range(channels):
                    moved[i, j, k, channel] = 0
                for corner in range(8):
                    da, db, dc = corner >> 2, corner >> 1 & 1, corner & 1
                    e, f, g = int(fx) + da, int(fy) + db, int(fz) + dc
                    if 0 <= e < sx and 0 <= f < sy and 0 <= g < sz:
                        weight = u if da else one - u
                        weight *= v if db else one - v
                        weight *= w if dc else one - w
                        for channel in range(channels):
                            moved[i, j, k, channel] += weight * image[e, f, g, channel]
                e, f, g = int(np.floor(x + half)), int(np.floor(y + half)), int(np.floor(z + half))
                inside = 0 <= e < sx and 0 <= f < sy and 0 <= g < sz
                moved_label[i, j, k] = label[e, f, g] if inside else 0


@compiled
def statistics(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest, highest and mean value of each channel of (voxels, channels), float32."""
    count, channels = voxels.shape
    low, high = voxels[0].copy(), voxels[0].copy()
    total = np.zeros(channels, np.float64)
    for voxel in range(count):
        for channel in range(channels):
            value = voxels[voxel, channel]
            total[channel] += value
            low[channel] = min(low[channel], value)
            high[channel] = max(high[channel], value)
    return low, high, (total / count).astype(np.float32)


@compiled
def scale_and_clip(
    voxels: np.ndarray, factor: np.ndarray, shift: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    """voxels * factor + shift, kept between low and high; in place, each channel its own."""
    for voxel in range(voxels.shape[0]):
        for channel in range(voxels.shape[1]):
            value = voxels[voxel, channel] * factor[channel] + shift[channel]
            voxels[voxel, channel] = min(max(value, low[channel]), high[channel])


@compiled
def smooth(lines: np.ndarray, weights: np.ndarray, smoothed: np.ndarray) -> None:
    """Convolve the middle axis of (a, n, b) with symmetric weights, reflected at both ends."""
    outer, size, inner = lines.shape
    radius = len(weights) // 2
    width = min(inner, STRIP)
    padded = np.empty((size + 2 * radius) * width, np.float32)
    total = np.empty(size * width, np.float32)
    for a in range(outer):
        for first in range(0, inner, width):
            wide = min(width, inner - first)
            for n in range(-radius, size + radius):
                source = n % (2 * size)
                if source >= size:
                    source = 2 * size - 1 - source
                for b in range(wide):
                    padded[(n + radius) * wide + b] = lines[a, source, first + b]
            total[:] = 0
            for tap in range(2 * radius + 1):
                weight, shifted = weights[tap], padded[tap * wide :]
                for place in range(size * wide):
                    total[place] += weight * shifted[place]
            for n in range(size):
                for b in range(wide):
                    smoothed[a, n, first + b] = total[n * wide + b]
