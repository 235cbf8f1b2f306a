"""Plans that nnU-Net makes for unlike data sets, for tests/planning/test_recipe.py.

Made once, by a Python that has nnunetv2 (2.8.1 was used, with torch and
dynamic-network-architectures): `python benchmarks/plans_nnunet.py tests/planning/nnunet_plans`
writes <name>_fingerprint.json, which its planners got, and what they made of that: <name>.json,
and <name>_resenc_m.json and <name>_resenc_l.json by the presets of residual encoders.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

# name: sequences, number of labels, cases, median shape (x, y, z) after the crop, spacing in mm
DATA_SETS: dict[str, tuple[list[str], int, int, tuple[int, ...], tuple[float, ...]]] = {
    "brain_mr": (["FLAIR", "T1w", "t1gd", "T2w"], 3, 60, (138, 171, 137), (1.0, 1.0, 1.0)),
    "liver_ct": (["CT"], 2, 100, (512, 512, 430), (0.77, 0.77, 1.0)),
    "prostate_mr": (["T2", "ADC"], 2, 32, (320, 320, 20), (0.625, 0.625, 3.6)),
    "heart_mr": (["MRI"], 3, 100, (216, 246, 10), (1.56, 1.56, 10.0)),
    "hippocampus_mr": (["MRI"], 2, 200, (35, 50, 36), (1.0, 1.0, 1.0)),
}


def fingerprint(name: str) -> dict[str, Any]:
    """Cases about the medians, as nnU-Net's fingerprint but along x, y and z."""
    channels, labels, cases, shape, spacing = DATA_SETS[name]
    random = np.random.default_rng(len(name))
    shapes = np.rint(shape * random.uniform(0.9, 1.1, (cases, 3))).astype(int)
    spacings = np.repeat([spacing], cases, axis=0)
    if name == "heart_mr":  # slices of 5 to 10 mm
        spacings[:, 2] = random.choice([5.0, 8.0, 10.0], cases, p=[0.2, 0.2, 0.6])
    return {
        "channels": channels,
        "labels": labels,
        "spacings": spacings.tolist(),
        "shapes": shapes.tolist(),
    }


def plans(found: dict[str, Any], preset: str = "") -> dict[str, Any]:
    """The 3d_fullres plans of nnU-Net's own planner. preset: M or L, of a residual encoder."""
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner as own
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
        residual_encoder_unet_planners as residual,
    )

    base = getattr(residual, f"nnUNetPlannerResEnc{preset}") if preset else own.ExperimentPlanner

    class Planner(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            own.isfile = lambda _: True
            own.load_json = lambda path: description if "dataset.json" in path else measured
            own.maybe_convert_to_dataset_name = str
            own.get_filenames_of_train_images_and_targets = lambda *_: {}
            own._maybe_copy_splits_file = lambda *_: None
            own.nnUNet_raw = own.nnUNet_preprocessed = ""
            super().__init__("Dataset001_any")

    description: dict[str, Any] = {
        "channel_names": {str(i): name for i, name in enumerate(found["channels"])},
        "labels": {str(value): value for value in range(found["labels"] + 1)},
        "numTraining": len(found["shapes"]),
    }
    measured: dict[str, Any] = {  # arrays run along z, y, x
        "spacings": [spacing[::-1] for spacing in found["spacings"]],
        "shapes_after_crop": [shape[::-1] for shape in found["shapes"]],
        "median_relative_size_after_cropping": 1.0,
    }
    planner = Planner()
    forward, backward = planner.determine_transpose()
    spacing = planner.determine_fullres_target_spacing()
    pairs = zip(measured["spacings"], measured["shapes_after_crop"], strict=True)
    shapes = [own.compute_new_shape(shape, before, spacing) for before, shape in pairs]
    median = np.median(shapes, 0)[forward]
    voxels = float(np.prod(median)) * description["numTraining"]
    planned = planner.get_plans_for_configuration(
        spacing[forward], median, "nnUNetPlans_3d_fullres", voxels, {}
    )
    return {
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [int(axis) for axis in forward],
        "transpose_backward": [int(axis) for axis in backward],
        "configurations": {"2d": {}, "3d_fullres": planned},
    }


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in DATA_SETS:
        found = fingerprint(name)
        (folder / f"{name}_fingerprint.json").write_text(json.dumps(found))
        for preset in ("", "M", "L"):
            text = json.dumps(plans(found, preset), default=lambda value: value.tolist())
            suffix = f"_resenc_{preset.lower()}" if preset else ""
            (folder / f"{name}{suffix}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
