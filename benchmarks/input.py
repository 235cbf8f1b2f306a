"""The patch stream against MONAI's loaders and against TFRecords: python benchmarks/input.py

Patches a second and CPU seconds a patch, for each augmentation preset, on the same real cases
(data=brats_mini), patch size, batch size and cores, each side in processes of its own, taking
turns. MONAI runs in its two fastest documented ways, a CacheDataset of preprocessed float32 arrays
behind threads or behind processes, with the transforms that come nearest to the preset; TensorFlow
reads whole float32 volumes from TFRecords and crops them. Needs `pip install torch monai`, here or
for the interpreter of --peer.
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
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from unet3d.sampling.patches import PatchStream

REPOSITORY = Path(__file__).resolve().parents[1]
PRESETS = ("none", "light", "full")
BATCH = 2
UNCHANGED = "unet3d, to a device"  # which is to change the intensities
COPIES = 8  # of the four cases, in turn: so many are in a peer's data set


def main() -> None:
    """Print a row a side and preset, then the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default=str(REPOSITORY / "../shared/data/BraTS2013mini"))
    parser.add_argument("--patch", type=int, default=96)
    parser.add_argument("--seconds", type=float, default=8.0, help="of a measurement")
    parser.add_argument("--rounds", type=int, default=2, help="the best of so many counts")
    parser.add_argument("--presets", nargs="+", default=PRESETS, help="of conf/augment")
    parser.add_argument("--peer", default=sys.executable, help="Python that has torch and monai")
    parser.add_argument("--side", nargs=3, help="for the processes that this one starts")
    arguments = parser.parse_args()
    if arguments.side:
        side, preset, folder = arguments.side
        if side == "records":
            write_records(Path(arguments.root), Path(folder))
            return
        run_side(side, preset, Path(folder), arguments)
        return
    if not Path(arguments.root, "dataset.json").is_file():
        sys.exit(f"--root: {arguments.root} holds no data set")
    if shutil.which(arguments.peer) is None:
        sys.exit(f"--peer: {arguments.peer} is not a Python")
    sides = {"unet3d": sys.executable}
    if not subprocess.run([arguments.peer, "-c", "import monai"], capture_output=True).returncode:
        sides |= {"monai threads": arguments.peer, "monai processes": arguments.peer}
    else:
        print("torch or monai is not installed: it is left out")
    with tempfile.TemporaryDirectory() as folder:
        write_peers_data(arguments, Path(folder))
        records = ["--root", arguments.root, "--side", "records", "none", folder]
        subprocess.run(
            [sys.executable, __file__, *records],
            check=True,
            capture_output=True,
        )
        print(f"patches of {arguments.patch}^3, batch {BATCH}, {os.cpu_count()} cores")
        print(f"{'':<26}{'augment':<9}{'patches/s':>10}{'CPU ms/patch':>14}{'MB read/patch':>15}")
        best: dict[tuple[str, str], dict[str, float]] = {}
        jobs = [(side, preset) for preset in arguments.presets for side in sides]
        jobs += [(UNCHANGED, preset) for preset in arguments.presets if preset != "none"]
        if "none" in arguments.presets:
            jobs.append(("tfrecord", "none"))
        for side, preset in jobs * arguments.rounds:
            found = measure(sides.get(side, sys.executable), side, preset, folder, arguments)
            before = best.get((side, preset), found)
            best[side, preset] = max(found, before, key=lambda one: one["rate"])
        for (side, preset), found in best.items():
            read = f"{found['mb']:.2f}" if found["mb"] else "memory"
            print(f"{side:<26}{preset:<9}{found['rate']:>10.1f}{found['cpu']:>14.1f}{read:>15}")
    print_ratios(best)


def print_ratios(best: dict[tuple[str, str], dict[str, float]]) -> None:
    """unet3d's patches a second over the better of MONAI's; bytes read over TFRecord's."""
    for preset in dict.fromkeys(preset for _, preset in best):
        peers = [found for (side, p), found in best.items() if "monai" in side and p == preset]
        if peers:
            rate = max(found["rate"] for found in peers)
            print(f"augment={preset}: {best['unet3d', preset]['rate'] / rate:.2f} times MONAI's")
    if ("unet3d", "none") not in best:
        return
    ours, theirs = best["unet3d", "none"], best["tfrecord", "none"]
    print(f"patches a second: {ours['rate'] / theirs['rate']:.2f} times TFRecord's")
    print(f"bytes read a patch: 1 / {theirs['mb'] / ours['mb']:.1f} of TFRecord's")


def measure(
    python: str, side: str, preset: str, folder: str, arguments: argparse.Namespace
) -> dict[str, float]:
    """Run a side in a process of its own."""
    values = {"--root": arguments.root, "--patch": arguments.patch, "--seconds": arguments.seconds}
    settings = [str(word) for pair in values.items() for word in pair]
    done = subprocess.run(
        [python, __file__, "--side", side, preset, folder, *settings],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def run_side(side: str, preset: str, folder: Path, arguments: argparse.Namespace) -> None:
    """In its own process: batches to warm up, then for some seconds; the last line is the result.

    CPU time is that of the process and of those that it started.
    """
    own = {"unet3d": unet3d_side, UNCHANGED: unet3d_side, "tfrecord": tfrecord_side}
    make = own.get(side, monai_side)
    batches, megabytes = make(side, preset, folder, arguments)
    for _ in range(8):
        next(batches)
    count, begun, cpu = 0, time.perf_counter(), cpu_seconds()
    while time.perf_counter() - begun < arguments.seconds:
        image, label, *_ = next(batches)
        assert len(image) == len(label) == BATCH
        count += BATCH
    took, cpu = time.perf_counter() - begun, cpu_seconds() - cpu
    print(json.dumps({"rate": count / took, "cpu": 1000 * cpu / count, "mb": megabytes}))
    sys.stdout.flush()
    os._exit(0)  # loaders that run ahead are not waited for


def cpu_seconds() -> float:
    """CPU time of this process and its children."""
    ticks = 0
    own = os.getpid()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if own in (int(path.parent.name), int(fields[1])):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def brats_config(arguments: argparse.Namespace, folder: Path, preset: str) -> Any:
    """Settings of a training on the real cases."""
    from unet3d.config.compose import compose_config

    return compose_config(
        [
            *("data=brats_mini", f"data.root={arguments.root}", f"output_dir={folder}"),
            *(f"data.patch={[arguments.patch] * 3}", f"augment={preset}"),
            f"batch_size={BATCH}",
        ]
    )


def write_peers_data(arguments: argparse.Namespace, folder: Path) -> None:
    """The preprocessed cases as float32 .npz, channels first, as MONAI has them."""
    from unet3d.preprocessing.preprocess import preprocess

    store = preprocess(brats_config(arguments, folder, "none").data, progress=False)
    for number, case in enumerate(store.cases):
        image: np.ndarray = np.moveaxis(store.image(case).astype(np.float32), -1, 0)
        np.savez(folder / f"{number}.npz", image=image, label=store.label(case)[np.newaxis])


def write_records(root: Path, folder: Path) -> None:
    """The files' whole volumes as one TFRecord a case, float32 and uncompressed."""
    import nibabel
    import tensorflow as tf

    from unet3d.datasets.decathlon import read_decathlon

    dataset = read_decathlon(root)
    for case in dataset.cases:
        scan: Any = nibabel.load(dataset.file(case.images[0]))
        segmentation: Any = nibabel.load(dataset.file(case.label))
        image = scan.get_fdata(dtype=np.float32)
        label = np.asarray(segmentation.dataobj, np.uint8)
        features = {
            key: tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[tf.io.serialize_tensor(values).numpy()])
            )
            for key, values in (("image", image), ("label", label))
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        with tf.io.TFRecordWriter(str(folder / f"{case.id}.tfrecord")) as out:
            out.write(example.SerializeToString())


def unet3d_side(
    side: str, preset: str, folder: Path, arguments: argparse.Namespace
) -> tuple[Iterator[Any], float]:
    """The stream of a training; megabytes: of the compressed chunks that a patch touches, mean."""
    from unet3d.training.setup import make_data, stream_of

    config = brats_config(arguments, folder, preset)
    store, _, record = make_data(config)
    stream = stream_of(config, store, record.split)
    return iter(stream.dataset(for_device=side == UNCHANGED)), chunk_megabytes(stream)


def chunk_megabytes(stream: PatchStream) -> float:
    """Bytes of the chunks under a patch, a mean; of them a read decodes some blocks only."""
    import blosc2

    sizes = []
    for position in range(64):
        draw = stream._draw(0, position)
        folder, start = stream.store.path / "cases" / draw.case, draw.start
        for name in ("image.b2nd", "label.b2nd"):
            array = blosc2.open(str(folder / name), mode="r")
            grid = [
                -(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)
            ]
            first = [max(s, 0) // c for s, c in zip(start, array.chunks, strict=False)]
            last = [
                min(s + p - 1, size - 1) // c
                for s, p, size, c in zip(
                    start, stream.patch_shape, array.shape, array.chunks, strict=False
                )
            ]
            chunks = array.schunk.iterchunks_info()
            bytes_of = [blosc2.get_cbuffer_sizes(chunk.lazychunk)[1] for chunk in chunks]
            for x in range(first[0], last[0] + 1):
                for y in range(first[1], last[1] + 1):
                    for z in range(first[2], last[2] + 1):
                        sizes.append(bytes_of[(x * grid[1] + y) * grid[2] + z])
    return sum(sizes) / 64 / 1e6


def tfrecord_side(
    side: str, preset: str, folder: Path, arguments: argparse.Namespace
) -> tuple[Iterator[Any], float]:
    """Whole volumes from TFRecords, a random crop of each; read, parsed and cropped in parallel."""
    import tensorflow as tf

    files = sorted(str(path) for path in folder.glob("*.tfrecord"))
    patch = [arguments.patch] * 3

    def crop(record: Any) -> Any:
        kinds = {key: tf.io.FixedLenFeature([], tf.string) for key in ("image", "label")}
        found = tf.io.parse_single_example(record, kinds)
        image = tf.io.parse_tensor(found["image"], tf.float32)
        label = tf.io.parse_tensor(found["label"], tf.uint8)
        room = tf.maximum(tf.shape(label) - patch, 0)
        start = tf.cast(tf.random.uniform([3]) * tf.cast(room + 1, tf.float32), tf.int32)
        image = tf.slice(image, tf.concat([start, [0]], 0), [*patch, tf.shape(image)[3]])
        return image, tf.slice(label, start, patch)

    records = tf.data.Dataset.from_tensor_slices(files).repeat().shuffle(len(files))
    records = records.interleave(
        tf.data.TFRecordDataset, cycle_length=2, num_parallel_calls=tf.data.AUTOTUNE
    )
    batches = records.map(crop, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
    size = sum(Path(file).stat().st_size for file in files) / len(files) / 1e6
    return iter(batches.prefetch(tf.data.AUTOTUNE)), size


def monai_side(
    side: str, preset: str, folder: Path, arguments: argparse.Namespace
) -> tuple[Iterator[Any], float]:
    """A CacheDataset and MONAI's random transforms; the cases are in memory, nothing is read."""
    import torch
    from monai.data import CacheDataset, DataLoader, ThreadDataLoader

    torch.set_num_threads(1)  # the loader's workers are what runs side by side
    cases = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            cases.append({key: torch.from_numpy(file[key]) for key in ("image", "label")})
    data = CacheDataset(cases * COPIES, monai_transforms(preset, arguments.patch), progress=False)
    workers = os.cpu_count()
    if side == "monai threads":
        settings = {"use_thread_workers": True, "buffer_size": 4, "prefetch_factor": 2}
        loader = ThreadDataLoader(
            data, batch_size=BATCH, shuffle=True, num_workers=workers, **settings
        )
    else:
        loader = DataLoader(
            data, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=True
        )

    def batches() -> Iterator[Any]:
        while True:
            for batch in loader:
                yield batch["image"], batch["label"]

    return batches(), 0.0


def monai_transforms(preset: str, size: int) -> Any:
    """conf/augment's presets in MONAI's words: the same probabilities and ranges.

    The patch is cropped first, then moved, which is the cheap order: its corners become 0.
    """
    from monai import transforms as t

    both, patch = ("image", "label"), [size] * 3
    steps: list[Any] = [
        t.SpatialPadd(both, patch),
        t.RandCropByPosNegLabeld(both, "label", patch, pos=1, neg=1, num_samples=1),
    ]
    if preset == "full":
        angle = np.radians(30)
        modes = {"mode": ("bilinear", "nearest"), "padding_mode": "zeros", "cache_grid": True}
        affine = {"spatial_size": patch, "prob": 0.2, **modes}
        steps += [
            t.RandAffined(both, rotate_range=[angle] * 3, **affine),
            t.RandAffined(both, scale_range=[(-0.3, 0.4)] * 3, **affine),
        ]
    if preset != "none":
        steps += [t.RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(3)]
    if preset == "full":
        sigma = (0.5, 1.0)
        steps.append(
            t.RandGaussianSmoothd("image", prob=0.1, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma)
        )
    if preset != "none":
        gamma = 0.3 if preset == "full" else 0.15
        steps += [
            t.RandScaleIntensityd("image", prob=0.15, factors=(-0.25, 0.25)),
            t.RandAdjustContrastd("image", prob=gamma, gamma=(0.7, 1.5)),
            t.RandGaussianNoised("image", prob=0.1, std=0.1),
        ]
    return t.Compose([*steps, t.SelectItemsd(both), t.ToTensord(both, track_meta=False)])


if __name__ == "__main__":
    main()
