"""One brain-like phantom: tissues, a tumour with three nested parts, and four MRI sequences."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from unet3d.config.schema import PhantomConfig

SEQUENCES = ("FLAIR", "T1w", "T1gd", "T2w")
# tissue -> intensity in each sequence, relative to white matter
CSF, GRAY, WHITE, EDEMA, CORE, ENHANCING = range(1, 7)
CONTRAST = np.array(
    [
        [0.0, 0.0, 0.0, 0.0],
        [0.2, 0.3, 0.3, 1.9],
        [1.15, 0.75, 0.78, 1.35],
        [1.0, 1.0, 1.0, 1.0],
        [1.7, 0.75, 0.78, 1.75],
        [1.35, 0.6, 0.62, 1.6],
        [1.5, 0.72, 1.7, 1.5],
    ],
    np.float32,
)


def make_phantom(phantom: PhantomConfig, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Case `index`: image (x, y, z, 4) int16, 0 outside the brain, and label (x, y, z) uint8.

    Axes point to the right, front and top. Labels as in MSD Task01: 1 edema, 2 non-enhancing
    tumour, 3 enhancing tumour; the whole tumour fills 1 to 6% of the brain.
    """
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([phantom.seed, index])))
    x, y, z = phantom.shape
    shape = (x, y, z)
    position = _brain_coordinates(random, shape)
    brain, tissue = _tissues(random, position)
    label = _tumour(random, brain, position, np.asarray(phantom.spacing, np.float32))
    tissue = np.where(label > 0, label + np.uint8(EDEMA - 1), tissue)
    return _sequences(random, phantom, brain, tissue), label


def _smooth_noise(random: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Low-pass noise with mean 0 and standard deviation 1."""
    noise = gaussian_filter(
        random.standard_normal(shape, np.float32), sigma, mode="wrap", truncate=3
    )
    return (noise - noise.mean()) / max(float(noise.std()), 1e-6)


def _brain_coordinates(random: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Coordinates along each axis in which the brain is roughly the unit ball."""
    grids = []
    for axis, size in enumerate(shape):
        radius = size * random.uniform(0.40, 0.44)
        centre = (size - 1) / 2 + size * random.uniform(-0.02, 0.02)
        line = (np.arange(size, dtype=np.float32) - np.float32(centre)) / np.float32(radius)
        grids.append(line.reshape([-1 if other == axis else 1 for other in range(3)]))
    return grids


def _tissues(
    random: np.random.Generator, position: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The brain mask, and the tissue of each of its voxels."""
    x, y, z = position
    radius = np.sqrt(x * x + y * y + z * z)
    size = min(radius.shape)
    radius = radius * (1 + np.float32(0.025) * _smooth_noise(random, radius.shape, size / 8))
    folds = _smooth_noise(random, radius.shape, max(0.8, size / 32))
    brain = radius < 1
    tissue = np.full(radius.shape, WHITE, np.uint8)
    tissue[radius + 0.06 * folds > 0.84] = GRAY
    tissue[(radius > 0.86) & (folds > 1.0)] = CSF  # sulci
    deep = ((np.abs(x) - 0.3) / 0.14) ** 2 + ((y - 0.05) / 0.16) ** 2 + (z / 0.14) ** 2 < 1
    tissue[deep] = GRAY  # basal ganglia
    bend = np.abs(x) - 0.1 - 0.12 * y * y
    tissue[(bend / 0.09) ** 2 + ((y + 0.02) / 0.42) ** 2 + ((z - 0.12) / 0.17) ** 2 < 1] = CSF
    tissue[~brain] = 0
    return brain, tissue


def _tumour(
    random: np.random.Generator,
    brain: np.ndarray,
    position: list[np.ndarray],
    spacing: np.ndarray,
) -> np.ndarray:
    """Labels 0 to 3: each part holds the voxels nearest to the centre in a deformed ellipsoid."""
    direction = random.standard_normal(3)
    direction *= random.uniform(0.25, 0.6) / np.linalg.norm(direction)
    rotation, _ = np.linalg.qr(random.standard_normal((3, 3)))
    stretch = rotation @ np.diag(random.uniform(0.75, 1.35, 3)) @ rotation.T
    offsets = np.stack([axis[brain] for axis in np.broadcast_arrays(*position)])
    offsets -= direction.astype(np.float32)[:, None]
    extent = [1 / float(np.diff(axis.ravel()[:2])[0]) for axis in position]  # voxels per unit
    # Distances in mm, so that the tumour is round in space, not in voxels.
    offsets *= (np.asarray(extent, np.float32) * spacing / 100)[:, None]
    distance = np.linalg.norm(stretch.astype(np.float32) @ offsets, axis=0)
    noise = _smooth_noise(random, brain.shape, max(1.0, min(brain.shape) / 16))[brain]
    whole_field = distance * (1 + np.float32(0.16) * np.clip(noise, -2.5, 2.5))
    voxels = max(12, int(len(distance) * np.exp(random.uniform(np.log(0.012), np.log(0.058)))))
    whole = np.argpartition(whole_field, voxels)[:voxels]
    other = _smooth_noise(random, brain.shape, max(1.0, min(brain.shape) / 24))[brain]
    core_field = distance * (1 + np.float32(0.14) * np.clip(other, -2.5, 2.5))
    inner = whole[np.argsort(core_field[whole], kind="stable")]
    core = inner[: max(6, int(voxels * random.uniform(0.3, 0.55)))]
    necrotic = max(2, int(len(core) * random.uniform(0.3, 0.6)))
    values: np.ndarray = np.zeros(len(distance), np.uint8)
    values[whole] = 1
    values[core] = 3  # the rim of the core takes up gadolinium,
    values[core[:necrotic]] = 2  # its centre does not
    label = np.zeros(brain.shape, np.uint8)
    label[brain] = values
    return label


def _sequences(
    random: np.random.Generator, phantom: PhantomConfig, brain: np.ndarray, tissue: np.ndarray
) -> np.ndarray:
    image = np.zeros((*brain.shape, len(SEQUENCES)), np.int16, order="F")
    table = CONTRAST * random.uniform(0.93, 1.07, CONTRAST.shape).astype(np.float32)
    field = _smooth_noise(random, brain.shape, min(brain.shape) / 4)
    field *= np.float32(phantom.bias_field / max(float(np.abs(field).max()), 1e-6))
    for sequence in range(len(SEQUENCES)):
        white = random.uniform(300, 900)  # scanner units differ from case to case
        signal = gaussian_filter(table[tissue, sequence], 0.5, truncate=2)[brain]
        signal *= 1 + (field[brain] if sequence % 2 else -field[brain])
        real, imaginary = random.standard_normal((2, signal.size), np.float32) * np.float32(
            phantom.noise
        )
        signal = np.hypot(signal + real, imaginary)  # Rician noise, as in a magnitude image
        image[brain, sequence] = np.clip(signal * white, 1, 32767).astype(np.int16)
    return image
