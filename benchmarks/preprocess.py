"""Preprocessing beside the straightforward recipe: seconds and bytes a case, in one run.

    python benchmarks/preprocess.py [--cases 4] [--repeat 3]

The recipe reads whole volumes with nibabel (float64), standardises each channel, and writes
float32 image and label to a TFRecord. Real cases are tiled to four sequences; phantoms of the
same shape stand in where the real data is absent.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import blosc2
import nibabel
import numpy as np

from unet3d.config.schema import DataConfig, PhantomConfig
from unet3d.datasets.dataset import Case, Dataset
from unet3d.datasets.decathlon import read_decathlon
from unet3d.datasets.phantom import write_nifti, write_phantoms
from unet3d.preprocessing.array_pool import read_window
from unet3d.preprocessing.case import build_case, write_array

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "BraTS2013mini"
PATCH = 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = make_dataset(folder / "raw", options.cases)
        _compare_preprocessing(dataset, folder, options.repeat)
        _compare_formats(dataset, folder, options.repeat)


def make_dataset(root: Path, cases: int) -> Dataset:
    if not REAL.is_dir():
        print(f"the real cases are not at {REAL.name}: phantoms of 240 x 240 x 155 instead")
        write_phantoms(root, PhantomConfig(cases=cases, shape=[240, 240, 155], spacing=[1, 1, 1]))
        return read_decathlon(root)
    real = read_decathlon(REAL)
    chosen = [real.cases[index % len(real.cases)] for index in range(cases)]
    print(f"{cases} real cases, their sequences tiled to four")
    entries = []
    for index, case in enumerate(chosen):
        names = {"image": f"imagesTr/{index}.nii.gz", "label": f"labelsTr/{index}.nii.gz"}
        for kind, source in (("image", case.images[0]), ("label", case.label)):
            volume = nibabel.nifti1.load(real.file(source))
            voxels = np.asanyarray(volume.dataobj)
            if kind == "image":
                voxels = np.concatenate([voxels] * (4 // voxels.shape[3]), axis=3)
            (root / names[kind]).parent.mkdir(parents=True, exist_ok=True)
            write_nifti(root / names[kind], voxels, volume.affine)
        entries.append(names)
    description = {
        "modality": {str(index): str(index) for index in range(4)},
        "labels": {"0": "background", **{str(k): v for k, v in real.labels.items()}},
        "training": entries,
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return read_decathlon(root)


def straightforward(dataset: Dataset, case: Case, path: Path) -> None:
    """The recipe compared with."""
    import tensorflow as tf

    image = nibabel.nifti1.load(dataset.file(case.images[0])).get_fdata()
    label = nibabel.nifti1.load(dataset.file(case.label)).get_fdata()
    for channel in range(image.shape[3]):
        values = image[..., channel]
        image[..., channel] = (values - values.mean()) / values.std()
    feature = {
        name: tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[array.astype(np.float32).tobytes()])
        )
        for name, array in (("image", image), ("label", label))
    }
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        writer.write(example.SerializeToString())


def _compare_preprocessing(dataset: Dataset, folder: Path, repeat: int) -> None:
    data = DataConfig(name="benchmark", root=str(dataset.root))

    def ours(case: Case) -> None:
        target = folder / f"ours-{case.id}"
        target.mkdir(exist_ok=True)
        build_case(dataset, case, data, target)

    def theirs(case: Case) -> None:
        straightforward(dataset, case, folder / f"{case.id}.tfrecord")

    ours(dataset.cases[0])  # imports and first-touch costs are outside the timing, for both
    theirs(dataset.cases[0])
    cores = len(os.sched_getaffinity(0))
    rows = []
    for workers in sorted({1, cores}):
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(repeat):  # alternating, so that a busy moment hits both
            times["ours"].append(_seconds(ours, dataset.cases, workers))
            times["theirs"].append(_seconds(theirs, dataset.cases, workers))
        rows.append((workers, float(np.median(times["ours"])), float(np.median(times["theirs"]))))
    print(f"\n{'seconds a case':24}{'unet3d':>10}{'recipe':>10}{'ratio':>10}")
    for workers, mine, other in rows:
        print(f"{f'{workers} worker(s)':24}{mine:10.3f}{other:10.3f}{other / mine:9.1f}x")
    count = len(dataset.cases)
    mine = sum(file.stat().st_size for file in folder.glob("ours-*/*")) / count / 1e6
    other = sum(file.stat().st_size for file in folder.glob("*.tfrecord")) / count / 1e6
    print(f"{'MB a case':24}{mine:10.1f}{other:10.1f}{mine / other:9.3f}x")


def _seconds(task: Callable[[Case], None], cases: tuple[Case, ...], workers: int) -> float:
    start = perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(task, cases))
    return (perf_counter() - start) / len(cases)


def _compare_formats(dataset: Dataset, folder: Path, repeat: int) -> None:
    case = dataset.cases[0]
    image = read_window(folder / f"ours-{case.id}" / "image.b2nd", None)
    size = tuple(min(PATCH, n) for n in image.shape[:3])
    random = np.random.default_rng(0)
    starts = [
        [int(random.integers(0, n - p + 1)) for n, p in zip(image.shape, size, strict=False)]
        for _ in range(10 * repeat)
    ]
    windows = [tuple(slice(s, s + p) for s, p in zip(start, size, strict=True)) for start in starts]
    print(f"\n{'format of the image':24}{'MB':>10}{'patch ms':>10}   (random {size}, one thread)")
    for codec, level in (("LZ4", 5), ("ZSTD", 1), ("ZSTD", 3)):
        path = folder / f"{codec}{level}.b2nd"
        write_array(path, image, codec, level)
        array = blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
        _row(f"Blosc2 {codec} {level}", path, windows, lambda w, a=array: a[w])
    path = folder / "image.npy"
    np.save(path, image)
    _row(".npy memory map", path, windows, lambda w: np.array(np.load(path, mmap_mode="r")[w]))
    record = folder / f"{case.id}.tfrecord"
    shape = nibabel.nifti1.load(dataset.file(case.images[0])).shape
    _row("TFRecord float32", record, windows[:5], lambda w: _from_record(record, shape)[w].copy())


def _row(name: str, path: Path, windows: list, read: Callable) -> None:
    read(windows[0])
    start = perf_counter()
    for window in windows:
        read(window)
    milliseconds = (perf_counter() - start) / len(windows) * 1e3
    print(f"{name:24}{path.stat().st_size / 1e6:10.1f}{milliseconds:10.1f}")


def _from_record(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    import tensorflow as tf

    (record,) = tf.data.TFRecordDataset(os.fspath(path)).take(1)
    example = tf.io.parse_single_example(record, {"image": tf.io.FixedLenFeature([], tf.string)})
    return np.frombuffer(example["image"].numpy(), np.float32).reshape(shape)


if __name__ == "__main__":
    main()
