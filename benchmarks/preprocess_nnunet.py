"""Preprocessing beside nnU-Net v2's: python benchmarks/preprocess_nnunet.py [--cases 12]

Both preprocess the same cases at their own spacing: read .nii.gz, crop, z-score, index the
foreground, write Blosc2. nnU-Net gets a file a sequence, with the background set to 0, as it crops
to what is not 0. First a case on one core, in a warm process, where nnU-Net's fingerprint is left
out and ours is in; then the two commands on all cores, from files to what a training needs. Each
side runs in processes of its own, taking turns; the best counts. Needs `pip install nnunetv2`,
here or for the interpreter of --peer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
NAME = "Dataset001_benchmark"


def main() -> None:
    """Print a row a process, then the ratios of the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3, help="processes a side; the best counts")
    parser.add_argument("--peer", default=sys.executable, help="Python that has nnunetv2")
    parser.add_argument("--side", nargs=2, help="for the processes that this one starts")
    arguments = parser.parse_args()
    if arguments.side:
        side, folder = arguments.side
        result = (ours if side == "unet3d" else theirs)(Path(folder))
        print(json.dumps({**result, "mb": peak()}))
        return
    if shutil.which(arguments.peer) is None:
        sys.exit(f"--peer: {arguments.peer} is not a Python")
    if subprocess.run([arguments.peer, "-c", "import nnunetv2"], capture_output=True).returncode:
        sys.exit("nnunetv2 is not installed: pip install nnunetv2, or name a Python with --peer")
    sides = {"unet3d": sys.executable, "nnU-Net": arguments.peer}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.cases)
        cores = len(os.sched_getaffinity(0))
        print(f"\nthe commands, {arguments.cases} cases on {cores} cores, seconds")
        commands: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(arguments.rounds):
            for side, python in sides.items():
                commands[side].append(command(side, python, folder, cores))
                print(f"{side:<12}{commands[side][-1]:>10.1f}", flush=True)
        print(f"\na case on one core\n{'':<12}{'seconds':>10}{'peak MB':>10}{'MB written':>12}")
        best: dict[str, dict[str, Any]] = {}
        for _ in range(arguments.rounds):
            for side, python in sides.items():
                found = run([python, __file__, "--side", side, str(folder)], folder)
                told = dict(json.loads(found.splitlines()[-1]))
                print(f"{side:<12}{told['s']:>10.2f}{told['mb']:>10.0f}{told['disk']:>12.1f}")
                best[side] = min(best.get(side, told), told, key=lambda one: one["s"])
    ours_s, theirs_s = (min(times) for times in commands.values())
    mine, other = best.values()
    print(f"\nthe command: unet3d {theirs_s / ours_s:.1f} times as fast")
    print(f"a case on one core: unet3d {other['s'] / mine['s']:.1f} times as fast")
    print(f"peak memory {mine['mb'] / other['mb']:.2f}, bytes {mine['disk'] / other['disk']:.2f}")


def run(words: list[str], folder: Path) -> str:
    """What a process prints, with nnU-Net's folders set."""
    homes = {f"nnUNet_{kind}": str(folder / kind) for kind in ("raw", "preprocessed", "results")}
    settings = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **homes, **settings}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def command(side: str, python: str, folder: Path, cores: int) -> float:
    """Seconds of the command that a user types, with nothing there yet."""
    if side == "unet3d":
        result = folder / "outputs"
        data = ["data=msd", f"data.root={folder / 'decathlon'}", f"output_dir={result}"]
        words = ["-m", "unet3d.cli", "preprocess", *data]
    else:
        result = folder / "preprocessed" / NAME
        workers = ["-npfp", str(cores), "-np", str(cores)]
        module = "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints"
        start = f"from {module} import plan_and_preprocess_entry as main; main()"
        words = ["-c", start, "-d", "1", "-c", "3d_fullres", *workers]
    shutil.rmtree(result, ignore_errors=True)
    begun = time.perf_counter()
    run([python, *words], folder)
    return time.perf_counter() - begun


def prepare(folder: Path, cases: int) -> None:
    """The cases in the Decathlon's layout, and again in nnU-Net's."""
    import nibabel
    import numpy as np

    from benchmarks.preprocess import make_dataset
    from unet3d.datasets.phantom import write_nifti
    from unet3d.preprocessing.background import background_value

    dataset = make_dataset(folder / "decathlon", cases)
    raw = folder / "raw" / NAME
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    for number, case in enumerate(dataset.cases):
        volume = nibabel.nifti1.load(dataset.file(case.images[0]))
        image = np.asanyarray(volume.dataobj)
        for channel in range(image.shape[3]):
            voxels = image[..., channel]
            path = raw / "imagesTr" / f"case_{number:03}_{channel:04}.nii.gz"
            value = background_value(voxels)
            write_nifti(path, voxels if value is None else voxels - value, volume.affine)
        label = np.asanyarray(nibabel.nifti1.load(dataset.file(case.label)).dataobj)
        write_nifti(raw / "labelsTr" / f"case_{number:03}.nii.gz", label, volume.affine)
    description = {
        "channel_names": {str(index): f"MRI {index}" for index in range(len(dataset.channels))},
        "labels": {"background": 0, **{f"label {value}": value for value in dataset.labels}},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(description))


def ours(folder: Path) -> dict[str, Any]:
    """build_case of every case, on this thread."""
    from unet3d.config.schema import DataConfig
    from unet3d.datasets.decathlon import read_decathlon
    from unet3d.preprocessing.case import build_case

    dataset = read_decathlon(folder / "decathlon")
    data = DataConfig(name="benchmark", root=str(dataset.root))
    with tempfile.TemporaryDirectory(dir=folder) as name:

        def build(case: Any, target: str) -> Any:
            path = Path(name) / target
            path.mkdir()
            return build_case(dataset, case, data, path)

        build(dataset.cases[0], "warm")
        begun = time.perf_counter()
        stored = [build(case, case.id) for case in dataset.cases]
        seconds = (time.perf_counter() - begun) / len(stored)
        size = sum(f.stat().st_size for case in stored for f in (Path(name) / case.id).iterdir())
    return {"s": seconds, "disk": size / len(stored) / 1e6}


def theirs(folder: Path) -> dict[str, Any]:
    """run_case_save of every case, on this thread, by the plan that the command has made."""
    import torch
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    torch.set_num_threads(1)
    home = folder / "preprocessed" / NAME
    raw = folder / "raw" / NAME
    labels = sorted((raw / "labelsTr").iterdir())
    plans = PlansManager(str(home / "nnUNetPlans.json"))
    description = json.loads((raw / "dataset.json").read_text())
    preprocessor = DefaultPreprocessor(verbose=False)
    with tempfile.TemporaryDirectory(dir=folder) as name:

        def build(label: Path, target: str) -> None:
            case = label.name.removesuffix(".nii.gz")
            images = [str(path) for path in sorted((raw / "imagesTr").glob(f"{case}_*"))]
            preprocessor.run_case_save(
                str(Path(name) / target),
                images,
                str(label),
                plans,
                plans.get_configuration("3d_fullres"),
                description,
            )

        build(labels[0], "warm")
        begun = time.perf_counter()
        for number, label in enumerate(labels):
            build(label, f"case_{number}")
        seconds = (time.perf_counter() - begun) / len(labels)
        size = sum(file.stat().st_size for file in Path(name).glob("case_*"))
    return {"s": seconds, "disk": size / len(labels) / 1e6}


def peak() -> float:
    """The most memory that this process has taken, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main()
