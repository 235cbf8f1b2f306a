"""HD95 and NSD of a case of BraTS' size, against surface-distance and MONAI.

    python benchmarks/metrics.py --repeat 7

Needs `pip install surface-distance monai`; a peer that is not installed is left out, and said so.
Every value printed is of the same two masks, on one thread, the peers taking turns. MONAI has two
NSDs: `subvoxel` is the one that surface-distance and unet3d compute.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))

from unet3d.evaluation.region_metrics import evaluate_masks
from unet3d.evaluation.surface import hausdorff, surface_dice, surface_distances

SHAPE = (240, 240, 155)
TOLERANCE = 1.0
Measure = Callable[[], tuple[float, float]]  # HD95 (mm) and NSD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--spacing", type=float, nargs=3, default=(1.0, 1.0, 1.0), metavar="MM")
    parser.add_argument("--radius", type=float, default=32.0, help="of the tumour, voxels")
    options = parser.parse_args()
    with contextlib.suppress(AttributeError, OSError):  # one core, the same for all
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    warnings.simplefilter("ignore")
    truth, prediction = tumour(options.radius)
    spacing = tuple(options.spacing)
    print(f"{SHAPE} voxels of {spacing} mm; {truth.sum()} in truth, {prediction.sum()} predicted")
    measures: dict[str, Measure] = {"unet3d": lambda: _ours(truth, prediction, spacing)}
    for name, make in (("surface_distance", _surface_distance), ("monai", _monai)):
        if importlib.util.find_spec(name):
            measures[name] = make(truth, prediction, spacing)
        else:
            print(f"{name} is not installed: left out")
    _table(measures, options.repeat)
    start = perf_counter()
    evaluate_masks(truth, prediction, spacing)
    print(f"all twelve metrics of unet3d: {(perf_counter() - start) * 1e3:.0f} ms")


def tumour(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A ball with an uneven surface, and a prediction that follows most of it."""
    random = np.random.default_rng(0)
    uneven = []
    for _ in range(2):
        noise = ndimage.gaussian_filter(random.standard_normal(SHAPE, dtype=np.float32), 6)
        uneven.append(noise / noise.std())
    centre = (130, 110, 80)
    offsets: list[np.ndarray] = [np.arange(n) - c for n, c in zip(SHAPE, centre, strict=True)]
    x, y, z = np.meshgrid(*offsets, indexing="ij", sparse=True)
    distance = np.sqrt(x**2 + y**2 + z**2)
    truth = distance + 6 * uneven[0] < radius
    return truth, distance + 6 * (0.95 * uneven[0] + 0.3 * uneven[1]) < radius


def _ours(truth: np.ndarray, prediction: np.ndarray, spacing: tuple) -> tuple[float, float]:
    distances = surface_distances(truth, prediction, spacing)
    return hausdorff(distances, 95), surface_dice(distances, TOLERANCE)


def _surface_distance(truth: np.ndarray, prediction: np.ndarray, spacing: tuple) -> Measure:
    import surface_distance as peer

    def measure() -> tuple[float, float]:
        distances = peer.compute_surface_distances(truth, prediction, spacing)
        return (
            peer.compute_robust_hausdorff(distances, 95),
            peer.compute_surface_dice_at_tolerance(distances, TOLERANCE),
        )

    return measure


def _monai(truth: np.ndarray, prediction: np.ndarray, spacing: tuple) -> Measure:
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    torch.set_num_threads(1)
    # Batch, then one channel a class, as MONAI takes them; made outside the timing.
    masks = [torch.from_numpy(mask[None, None]) for mask in (prediction, truth)]

    def measure() -> tuple[float, float]:
        distance = compute_hausdorff_distance(
            *masks, include_background=True, percentile=95, spacing=spacing
        )
        shared = compute_surface_dice(
            *masks, [TOLERANCE], include_background=True, spacing=spacing, use_subvoxels=True
        )
        return float(distance), float(shared)

    return measure


def _table(measures: dict[str, Measure], repeat: int) -> None:
    values = {name: measure() for name, measure in measures.items()}  # imports are not timed
    times: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(repeat):  # alternating, so that a busy moment hits all
        for name, measure in measures.items():
            start = perf_counter()
            measure()
            times[name].append((perf_counter() - start) * 1e3)
    ours = float(np.median(times["unet3d"]))
    print(f"\n{'HD95 and NSD':20}{'ms':>8}{'least':>8}{'ratio':>8}{'HD95, mm':>12}{'NSD':>12}")
    for name, (hd95, nsd) in values.items():
        middle = float(np.median(times[name]))
        print(
            f"{name:20}{middle:8.0f}{min(times[name]):8.0f}{middle / ours:7.1f}x"
            f"{hd95:12.6f}{nsd:12.6f}"
        )


if __name__ == "__main__":
    main()
