"""Arrays that nnU-Net resamples, for tests/preprocessing/test_resampling.py.

Made once, by a Python that has nnunetv2 (2.8.1 was used, with scikit-image, batchgenerators and
torch): `python benchmarks/resampling_nnunet.py tests/preprocessing/nnunet_resampled.npz`. Images go
through order 3 and labels through order 1, with order 0 along a coarse axis, as in its plans.
"""

from __future__ import annotations

import sys

import numpy as np

# name: shape, spacing in mm before and after; odd sizes, so that few voxels are halved evenly
CASES = {
    "isotropic": ((21, 17, 19), (1.0, 1.0, 1.2), (1.0, 1.3, 0.9)),
    "to_finer_slices": ((23, 19, 7), (0.6, 0.6, 3.6), (0.8, 0.7, 2.5)),
    "coarse_first": ((8, 21, 19), (5.0, 1.5, 1.4), (6.1, 1.0, 1.0)),
    "to_coarse": ((19, 19, 24), (1.0, 1.0, 1.0), (0.9, 0.9, 4.0)),
    "two_coarse": ((25, 13, 11), (0.24, 1.25, 1.25), (0.4, 1.0, 1.0)),
}


def main(path: str) -> None:
    from nnunetv2.preprocessing.resampling.default_resampling import (
        compute_new_shape,
        resample_data_or_seg_to_shape,
    )
    from scipy.ndimage import gaussian_filter

    arrays: dict[str, np.ndarray] = {}
    for seed, (name, (shape, before, after)) in enumerate(CASES.items()):
        random = np.random.default_rng(seed)
        smooth = gaussian_filter(random.normal(size=shape), [1.5 / mm for mm in before])
        image = (smooth / smooth.std() + 0.2 * random.normal(size=shape)).astype(np.float32)
        label = np.digitize(smooth / smooth.std(), (0.3, 1.0, 1.8)).astype(np.uint8)
        target = compute_new_shape(shape, before, after)
        spacings = {"current_spacing": before, "new_spacing": after, "force_separate_z": None}
        images = resample_data_or_seg_to_shape(image[None], target, order=3, **spacings)
        labels = resample_data_or_seg_to_shape(
            label[None], target, is_seg=True, order=1, **spacings
        )
        arrays |= {f"{name}_image": image, f"{name}_label": label}
        arrays |= {f"{name}_spacing": np.array([before, after])}
        arrays |= {f"{name}_image_nnunet": images[0], f"{name}_label_nnunet": labels[0]}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1])
