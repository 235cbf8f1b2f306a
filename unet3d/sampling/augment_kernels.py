"""The inner loops of augmentation, compiled; they release the interpreter's lock.

NumPy is slow at reducing over an axis next to a few channels and copies in each operation; SciPy
resamples one channel at a time. docs/decisions/0010-input.md has the figures. Each kernel is
serial, since the patch stream runs many at once, so results do not depend on the thread count.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import njit

LANES = 16  # neighbouring voxels processed at once
STRIP = 64  # neighbouring lines smoothed together: they and their sums fit in the cache


def compiled(function: Any) -> Any:
    """Compile at the first call; later processes load it from the cache on disk.

    The cache lies beside this file or in the user's home; in an image that is read-only and has no
    home in a temporary folder, and where even that cannot be written, nowhere.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no place to write was found
        settings: Any = numba.config
        settings.CACHE_DIR = _temporary_cache()
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


def _temporary_cache() -> str:
    """A folder that nobody else can write, since code is loaded from it; "" where there is none."""
    try:
        path = Path(tempfile.gettempdir()) / f"unet3d-kernels-{os.getuid()}"
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError:
        return ""
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return str(path) if own and not found.st_mode & 0o077 else ""


@compiled
def widen(bits: np.ndarray, half: bool, flips: np.ndarray, image: np.ndarray) -> None:
    """Fill float32 `image` (x, y, z, c) from float16 (half) or bfloat16 bits, mirrored.

    bits: uint16, contiguous; flips: boolean, whether to mirror each of the three axes.
    """
    sx, sy, sz, channels = bits.shape
    row = np.empty(sz * channels, np.float32)
    for i in range(sx):
        for j in range(sy):
            source = bits[sx - 1 - i if flips[0] else i, sy - 1 - j if flips[1] else j].reshape(-1)
            target = image[i, j].reshape(-1)
            values = row if flips[2] else target
            for n in range(source.size):
                word = np.uint32(source[n])
                if half:
                    # Not via subnormal floats, which TensorFlow's threads flush to 0.
                    moved = (word & np.uint32(0x7FFF)) << np.uint32(13)
                    normal: float = np.uint32(moved + np.uint32(112 << 23)).view(np.float32)
                    tiny = np.float32(word & np.uint32(0x3FF)) * np.float32(2.0**-24)
                    size = normal if word & np.uint32(0x7C00) else tiny
                    values[n] = -size if word & np.uint32(0x8000) else size
                else:
                    values[n] = np.uint32(word << np.uint32(16)).view(np.float32)
            if flips[2]:
                for k in range(sz):
                    for channel in range(channels):
                        image[i, j, k, channel] = row[(sz - 1 - k) * channels + channel]


@compiled
def inner_range(
    origin: np.ndarray, step: np.ndarray, length: int, shape: tuple[int, int, int]
) -> tuple[int, int]:
    """The range of k in [0, length) where origin + k * step has all its neighbours in `shape`."""
    first, last = 0, length
    for axis in range(3):
        # A little inside, so that rounding cannot put a neighbour outside.
        low, high = 1e-3 - origin[axis], shape[axis] - 1 - 1e-3 - origin[axis]
        if step[axis] < 0:
            low, high = -high, -low
        pace = abs(step[axis])
        if pace < 1e-12:
            if low > 0 or high < 0:
                return 0, 0
            continue
        first = max(first, int(np.ceil(min(max(low / pace, -1.0), length))))
        last = min(last, int(np.floor(min(max(high / pace, -1.0), length))) + 1)
    return (first, last) if first < last else (0, 0)


@compiled
def _warp_border(
    image: np.ndarray,
    label: np.ndarray,
    x: float,
    y: float,
    z: float,
    moved: np.ndarray,
    moved_label: np.ndarray,
    k: int,
) -> None:
    """Fill one voxel, some of whose neighbours may lie outside, where they count as 0."""
    sx, sy, sz, channels = image.shape
    a, b, c = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    u, v, w = np.float32(x - a), np.float32(y - b), np.float32(z - c)
    for channel in range(channels):
        moved[channel] = 0
    for corner in range(8):
        da, db, dc = corner >> 2, corner >> 1 & 1, corner & 1
        if 0 <= a + da < sx and 0 <= b + db < sy and 0 <= c + dc < sz:
            weight = u if da else np.float32(1) - u
            weight *= v if db else np.float32(1) - v
            weight *= w if dc else np.float32(1) - w
            for channel in range(channels):
                moved[channel] += weight * image[a + da, b + db, c + dc, channel]
    a, b, c = int(np.floor(x + 0.5)), int(np.floor(y + 0.5)), int(np.floor(z + 0.5))
    inside = 0 <= a < sx and 0 <= b < sy and 0 <= c < sz
    moved_label[k] = label[a, b, c] if inside else 0


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
    matrix: (3, 3), offset: (3,), float64; moved, moved_label: of the patch's size. Each row along
    z is computed without branches, except at its ends, where neighbours may lie outside.
    """
    _, sy, sz, channels = image.shape
    length = moved.shape[2]
    voxels, labels = image.reshape(-1), label.reshape(-1)
    z_step, y_step = np.uintp(channels), np.uintp(sz * channels)
    x_step = np.uintp(sy * sz * channels)
    place = np.empty(length, np.int32)
    dx, dy, dz = np.float32(matrix[0, 2]), np.float32(matrix[1, 2]), np.float32(matrix[2, 2])
    u, v, w = (
        np.empty(length, np.float32),
        np.empty(length, np.float32),
        np.empty(length, np.float32),
    )
    origin: np.ndarray = np.empty(3, np.float64)
    for i in range(moved.shape[0]):
        for j in range(moved.shape[1]):
            for axis in range(3):
                origin[axis] = matrix[axis, 0] * i + matrix[axis, 1] * j + offset[axis]
            first, last = inner_range(origin, matrix[:, 2], length, label.shape)
            for k in range(length):
                if k < first or k >= last:
                    x, y, z = origin + matrix[:, 2] * k
                    _warp_border(image, label, x, y, z, moved[i, j, k], moved_label[i, j], k)
            # float32: twice as many at once, and positions are still exact to 1e-5 of a voxel.
            x0, y0, z0 = np.float32(origin[0]), np.float32(origin[1]), np.float32(origin[2])
            for k in range(first, last):
                x, y, z = x0 + dx * np.float32(k), y0 + dy * np.float32(k), z0 + dz * np.float32(k)
                a, b, c = np.int32(x), np.int32(y), np.int32(z)
                u[k], v[k], w[k] = x - np.float32(a), y - np.float32(b), z - np.float32(c)
                place[k] = (a * np.int32(sy) + b) * np.int32(sz) + c
            for channel in range(channels):
                for k in range(first, last):
                    # Unsigned, or each index would be checked for being negative.
                    n = np.uintp(place[k] * np.int32(channels) + np.int32(channel))
                    low_0 = voxels[n] + w[k] * (voxels[n + z_step] - voxels[n])
                    n += y_step
                    low_1 = voxels[n] + w[k] * (voxels[n + z_step] - voxels[n])
                    n += x_step
                    high_1 = voxels[n] + w[k] * (voxels[n + z_step] - voxels[n])
                    n -= y_step
                    high_0 = voxels[n] + w[k] * (voxels[n + z_step] - voxels[n])
                    low = low_0 + v[k] * (low_1 - low_0)
                    high = high_0 + v[k] * (high_1 - high_0)
                    moved[i, j, k, channel] = low + u[k] * (high - low)
            for k in range(first, last):
                nearest = np.int64(place[k])
                nearest += sy * sz if u[k] >= 0.5 else 0
                nearest += sz if v[k] >= 0.5 else 0
                nearest += 1 if w[k] >= 0.5 else 0
                moved_label[i, j, k] = labels[np.uintp(nearest)]


@compiled
def statistics(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest, highest and mean value of each channel of (voxels, channels), float32."""
    count, channels = voxels.shape
    values, lanes = voxels.reshape(-1), LANES * channels
    # LANES running results per channel, which the processor updates as vectors.
    low, high = np.full(lanes, np.inf, np.float32), np.full(lanes, -np.inf, np.float32)
    total, part = np.zeros(lanes, np.float64), np.zeros(lanes, np.float32)
    whole = count // LANES
    for block in range(whole):
        row = values[block * lanes : (block + 1) * lanes]
        for lane in range(lanes):
            low[lane] = row[lane] if row[lane] < low[lane] else low[lane]
            high[lane] = row[lane] if row[lane] > high[lane] else high[lane]
            part[lane] += row[lane]
        if block % 256 == 255:  # before float32 loses precision
            total += part
            part[:] = 0
    total += part
    for n in range(whole * lanes, values.size):
        lane = n % channels
        low[lane], high[lane] = min(low[lane], values[n]), max(high[lane], values[n])
        total[lane] += values[n]
    for lane in range(channels, lanes):
        channel = lane % channels
        low[channel] = min(low[channel], low[lane])
        high[channel] = max(high[channel], high[lane])
        total[channel] += total[lane]
    return low[:channels], high[:channels], (total[:channels] / count).astype(np.float32)


@compiled
def scale_and_clip(
    voxels: np.ndarray, factor: np.ndarray, shift: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    """voxels * factor + shift, clipped to [low, high], in place; all four are per channel."""
    values, lanes = voxels.reshape(-1), LANES * voxels.shape[1]
    factors, shifts = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    lows, highs = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    for lane in range(lanes):
        channel = lane % voxels.shape[1]
        factors[lane], shifts[lane] = factor[channel], shift[channel]
        lows[lane], highs[lane] = low[channel], high[channel]
    for first in range(0, values.size, lanes):
        row = values[first : first + lanes]
        for lane in range(row.size):
            value = row[lane] * factors[lane] + shifts[lane]
            value = lows[lane] if value < lows[lane] else value
            row[lane] = highs[lane] if value > highs[lane] else value


@compiled
def smooth(lines: np.ndarray, weights: np.ndarray, smoothed: np.ndarray) -> None:
    """Convolve the middle axis of (a, n, b) with symmetric weights, reflected at its ends."""
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
                source = 2 * size - 1 - source if source >= size else source
                row = padded[(n + radius) * wide : (n + radius + 1) * wide]
                line = lines[a, source, first : first + wide]
                for b in range(wide):
                    row[b] = line[b]
            total[:] = 0
            for tap in range(2 * radius + 1):
                weight, shifted = weights[tap], padded[tap * wide :]
                for place in range(size * wide):
                    total[place] += weight * shifted[place]
            for n in range(size):
                row = smoothed[a, n, first : first + wide]
                line = total[n * wide : (n + 1) * wide]
                for b in range(wide):
                    row[b] = line[b]
