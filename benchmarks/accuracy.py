"""Dice and time beside nnU-Net v2's: python benchmarks/accuracy.py [--peer <python with nnunetv2>]

The four real cases of BraTS2013mini, each left out once: trained on three with nnU-Net's recipe
(SGD, poly, deep supervision, its augmentations), then segmented whole without flips. Both sides
have the same patch, batch, steps, number of levels, filters and cores, and the same three cases;
Dice of the left-out case is that of `unet3d evaluate` for both. The last weights count, as nothing
is chosen on the left-out case. Times are of whole processes, with their imports, on the clock and
of all cores together, as others may use the machine. --steps is the budget: a hundred show that
both learn and how fast, thousands are needed for a Dice that means something.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data" / "BraTS2013mini"
NAME = "Dataset001_BraTS2013mini"
REGIONS = {"whole_tumour": [1, 2, 3, 4], "tumour_core": [1, 3, 4], "enhancing_tumour": [4]}
EPOCHS = 10  # by which the learning rate falls on nnU-Net's side


@dataclass
class Side:
    """Seconds by part, on the clock and of CPUs, and the Dice of each case and region."""

    seconds: dict[str, np.ndarray] = field(default_factory=dict)
    dice: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, part: str, took: np.ndarray) -> None:
        """Count time for a part."""
        self.seconds[part] = self.seconds.get(part, np.zeros(2)) + took


def used() -> np.ndarray:
    """Seconds on the clock, and those that all cores have computed in the processes started."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = resource.getrusage(resource.RUSAGE_SELF)
    cpu = sum(each.ru_utime + each.ru_stime for each in (children, own))
    return np.array([time.perf_counter(), cpu])


def main() -> None:
    """Print Dice a region and case, and the time of each part, side by side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", help="Python that has nnunetv2 2.6 or later; else ours alone")
    parser.add_argument("--data", type=Path, default=DATA, help="of the Decathlon layout")
    parser.add_argument("--steps", type=int, default=200, help="of a training, a multiple of 10")
    parser.add_argument("--patch", type=int, default=64, help="voxels along each axis")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--filters", type=int, default=16, help="of the first level")
    parser.add_argument("--depth", type=int, default=4, help="number of poolings")
    parser.add_argument("--folds", type=int, default=4, help="of the four, how many are run")
    parser.add_argument("--keep", type=Path, help="folder for all files; else a temporary one")
    parser.add_argument("--only", choices=("unet3d", "nnU-Net"), help="a side alone, with --keep")
    parser.add_argument("--side", nargs=2, help="for the processes that this one starts")
    arguments = parser.parse_args()
    if arguments.side:
        peer_part(arguments.side[0], json.loads(arguments.side[1]))
        return
    if not (arguments.data / "dataset.json").exists():
        sys.exit(f"--data: {arguments.data} has no dataset.json")
    if arguments.steps % EPOCHS:
        sys.exit(f"--steps: {arguments.steps} is not a multiple of {EPOCHS}")
    if arguments.peer and _fails([arguments.peer, "-c", "import nnunetv2"]):
        sys.exit(f"--peer: {arguments.peer} has no nnunetv2; pip install nnunetv2")
    print(
        f"{arguments.folds} folds, {arguments.steps} steps of {arguments.batch} patches of "
        f"{arguments.patch}^3, {arguments.filters} filters, {arguments.depth} poolings, "
        f"{len(os.sched_getaffinity(0))} cores",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.keep or Path(name)
        sides = {}
        if arguments.only != "nnU-Net":
            sides["unet3d"] = ours(folder, arguments)
            show(sides)
        if arguments.peer and arguments.only != "unet3d":
            sides["nnU-Net"] = theirs(folder, arguments)
            show(sides)


def show(sides: dict[str, Side]) -> None:
    """The tables."""
    print(f"\n{'Dice':<34}" + "".join(f"{name:>12}" for name in sides))
    cases = sorted({case for case, _ in next(iter(sides.values())).dice})
    for region in REGIONS:
        for case in cases:
            values = (side.dice[case, region] for side in sides.values())
            print(f"{region:<20}{case:<14}" + "".join(f"{value:>12.4f}" for value in values))
        means = (sum(side.dice[c, region] for c in cases) / len(cases) for side in sides.values())
        print(f"{region:<20}{'mean':<14}" + "".join(f"{value:>12.4f}" for value in means))
    for index, kind in enumerate(("seconds on the clock", "seconds of CPU")):
        print(kind)
        parts = ("preprocess", "train", "predict")
        taken = [[float(side.seconds[part][index]) for part in parts] for side in sides.values()]
        for part, row in zip(parts, zip(*taken, strict=True), strict=True):
            print(f"  {part:<32}" + "".join(f"{value:>12.1f}" for value in row))
        totals = "".join(f"{sum(column):>12.1f}" for column in taken)
        print(f"  {'all':<32}{totals}", flush=True)


def ours(folder: Path, arguments: argparse.Namespace) -> Side:
    """Preprocess, train each fold and predict its left-out case."""
    side, output = Side(), folder / "unet3d"
    settings = [
        *(
            "data=brats_mini",
            f"data.root={arguments.data}",
            "data.split={train:0.75,val:0.25,test:0}",
        ),
        f"output_dir={output}",
    ]
    start = used()
    _run([sys.executable, "-m", "unet3d.cli", "preprocess", *settings], folder)
    side.add("preprocess", used() - start)
    patch = ",".join([str(arguments.patch)] * 3)
    settings += [
        *("experiment=nnunet", f"data.patch=[{patch}]", "tracking=none"),
        *(f"model.filters={arguments.filters}", f"model.depth={arguments.depth}"),
        *(f"batch_size={arguments.batch}", f"epochs={EPOCHS}", f"val_every={EPOCHS}"),
        *(f"steps_per_epoch={arguments.steps // EPOCHS}", "data.folds=4"),
    ]
    for fold in range(arguments.folds):
        before = set((output / "runs").glob("*"))
        start = used()
        _run([sys.executable, str(REPOSITORY / "train.py"), *settings, f"data.fold={fold}"], folder)
        side.add("train", used() - start)
        (run,) = set((output / "runs").glob("*")) - before
        (case,) = json.loads((run / "split.json").read_text())["val"]
        start = used()
        scan, seg = _image(arguments.data, case), folder / "ours" / f"{case}.nii.gz"
        typed = [f"run={run.name}", f"output_dir={output}", f"input={scan}", f"output={seg}"]
        _run([sys.executable, "-m", "unet3d.cli", "predict", *typed], folder)
        side.add("predict", used() - start)
        print(f"unet3d, fold {fold}: {case} left out", flush=True)
    side.dice = scored(folder / "ours", arguments.data, folder)
    return side


def theirs(folder: Path, arguments: argparse.Namespace) -> Side:
    """The same by nnU-Net's own trainer, in processes of the peer's Python."""
    side = Side()
    cases = sorted(path.name.split(".")[0] for path in (folder / "ours").glob("*.nii.gz"))
    if len(cases) < arguments.folds:  # ours has not run
        described = json.loads((arguments.data / "dataset.json").read_text())["training"]
        cases = sorted(Path(entry["label"]).name.split(".")[0] for entry in described)
    cases = cases[: arguments.folds]
    given = {
        key: getattr(arguments, key) for key in ("steps", "patch", "batch", "filters", "depth")
    }
    given |= {"data": str(arguments.data), "folder": str(folder), "cases": cases}
    for part, fold in (("preprocess", None), *(("train", fold) for fold in range(len(cases)))):
        start = used()
        text = json.dumps({**given, "fold": fold})
        told = _run([arguments.peer, __file__, "--side", part, text], folder)
        took = used() - start
        if part == "train":
            predicting = np.array(json.loads(told.splitlines()[-1]))
            side.add("predict", predicting)
            took -= predicting
            print(f"nnU-Net, fold {fold}: {cases[int(fold or 0)]} left out", flush=True)
        side.add(part, took)
    side.dice = scored(folder / "theirs", arguments.data, folder)
    return side


def scored(predictions: Path, data: Path, folder: Path) -> dict[tuple[str, str], float]:
    """Dice of each case and region, by `unet3d evaluate`."""
    truth = folder / f"truth_{predictions.name}"
    truth.mkdir(exist_ok=True)
    for path in predictions.glob("*.nii.gz"):
        (truth / path.name).unlink(missing_ok=True)
        (truth / path.name).symlink_to(data / "labelsTr" / path.name)
    tables = folder / f"tables_{predictions.name}"
    regions = ",".join(f"{name}:{values}" for name, values in REGIONS.items()).replace(" ", "")
    typed = [f"pred={predictions}", f"truth={truth}", f"regions={{{regions}}}", f"output={tables}"]
    _run([sys.executable, "-m", "unet3d.cli", "evaluate", *typed], folder)
    with (tables / "cases.csv").open(newline="") as file:
        return {(row["case"], row["region"]): float(row["dice"]) for row in csv.DictReader(file)}


# What follows runs in the peer's Python, which has nnunetv2 but not unet3d.


def peer_part(part: str, given: dict[str, Any]) -> None:
    """Preprocess all cases, or train a fold, segment its case and print how long that took."""
    if part == "preprocess":
        _peer_preprocess(given)
    else:
        print(json.dumps(_peer_train(given)))


def _peer_preprocess(given: dict[str, Any]) -> None:
    """nnU-Net's raw folder, its own plan and preprocessing, then our patch, batch and widths."""
    import nibabel

    raw, data = _home(given, "raw"), Path(given["data"])
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True, exist_ok=True)
    described = json.loads((data / "dataset.json").read_text())
    for entry in described["training"]:
        image: Any = nibabel.load(data / entry["image"])
        case = Path(entry["label"]).name
        voxels = np.asarray(image.dataobj)
        for channel in range(voxels.shape[3]):
            one = nibabel.Nifti1Image(voxels[..., channel].astype(np.float32), image.affine)
            nibabel.save(one, raw / "imagesTr" / case.replace(".nii", f"_{channel:04d}.nii"))
        label: Any = nibabel.load(data / entry["label"])
        whole = np.asarray(label.dataobj).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(whole, image.affine), raw / "labelsTr" / case)
    description = {
        "channel_names": described["modality"],
        "labels": {"background": 0, **REGIONS},
        "regions_class_order": [2, 1, 4],
        "numTraining": len(described["training"]),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    api.extract_fingerprints([1], num_processes=2)
    api.plan_experiments([1])
    api.preprocess([1], configurations=["3d_fullres"], num_processes=[2])
    folder = _home(given, "preprocessed")
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    own, levels = plans["configurations"]["3d_fullres"], given["depth"] + 1
    own["patch_size"], own["batch_size"] = [given["patch"]] * 3, given["batch"]
    own["architecture"]["arch_kwargs"] |= {
        "n_stages": levels,
        "features_per_stage": [min(given["filters"] * 2**level, 320) for level in range(levels)],
        "kernel_sizes": [[3, 3, 3]] * levels,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * given["depth"],
        "n_conv_per_stage": [2] * levels,
        "n_conv_per_stage_decoder": [2] * given["depth"],
    }
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    every = [Path(entry["label"]).name.split(".")[0] for entry in described["training"]]
    splits = [{"train": [c for c in every if c != case], "val": [case]} for case in given["cases"]]
    (folder / "splits_final.json").write_text(json.dumps(splits))


def _peer_train(given: dict[str, Any]) -> list[float]:
    """Train a fold; returns the seconds of segmenting its case, as `used`."""
    import shutil

    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    folder = _home(given, "preprocessed")
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    trainer = nnUNetTrainer(
        {**plans, "continue_training": False},
        "3d_fullres",
        given["fold"],
        json.loads((folder / "dataset.json").read_text()),
        torch.device("cpu"),
    )
    trainer.num_epochs = EPOCHS
    trainer.num_iterations_per_epoch = given["steps"] // EPOCHS
    trainer.num_val_iterations_per_epoch = 1
    trainer.run_training()
    start = used()
    trainer.inference_allowed_mirroring_axes = None
    trainer.perform_actual_validation(False)
    took = (used() - start).tolist()
    case = given["cases"][given["fold"]]
    kept = Path(given["folder"]) / "theirs" / f"{case}.nii.gz"
    kept.parent.mkdir(exist_ok=True)
    shutil.copy(Path(trainer.output_folder) / "validation" / f"{case}.nii.gz", kept)
    return took


def _home(given: dict[str, Any], kind: str) -> Path:
    """The data set in one of nnU-Net's folders, as `_run` sets them."""
    return Path(given["folder"]) / kind / NAME


def _image(data: Path, case: str) -> Path:
    return data / "imagesTr" / f"{case}.nii.gz"


def _run(words: list[str], folder: Path) -> str:
    """What a process prints, with nnU-Net's folders set; the benchmark ends where it fails."""
    homes = {f"nnUNet_{kind}": str(folder / kind) for kind in ("raw", "preprocessed", "results")}
    own = {"PYTHONPATH": str(REPOSITORY), "nnUNet_n_proc_DA": "2", "nnUNet_def_n_proc": "2"}
    environment = {**os.environ, **homes, **own}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def _fails(words: list[str]) -> bool:
    return subprocess.run(words, capture_output=True).returncode != 0


if __name__ == "__main__":
    main()
