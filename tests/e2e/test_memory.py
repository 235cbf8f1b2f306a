"""A trainer's memory: neither the data set's size nor time count, parts of a batch do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import REPOSITORY
from unet3d.config.schema import PhantomConfig
from unet3d.datasets.phantom import ensure_phantoms

TRAINER = """
import json, sys
import unet3d.training.loop as loop
from unet3d.config.compose import compose_config
from unet3d.logs import log_to_console
from unet3d.training.run import run_training

resident, epoch = [], loop.run_epoch

def measured(*arguments):
    times = epoch(*arguments)
    words = dict(line.split(":", 1) for line in open("/proc/self/status"))
    resident.append([int(words[name].split()[0]) for name in ("VmRSS", "VmHWM")])
    return times

loop.run_epoch = measured
log_to_console()
run_training(compose_config(sys.argv[1:]))
print(json.dumps(resident))
"""


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders 20 and 200 of as many cases, 2.4 MB each: links to the files of four phantoms."""
    folder = tmp_path_factory.mktemp("many")
    ensure_phantoms(folder / "few", PhantomConfig(cases=4, shape=[56, 56, 48], spacing=[3.0] * 3))
    description = json.loads((folder / "few" / "dataset.json").read_text())
    few = description["training"]
    for count in (20, 200):
        root = folder / str(count)
        entries = []
        for number in range(count):
            entry = {}
            for kind in ("image", "label"):
                source = folder / "few" / few[number % 4][kind]
                target = root / source.parent.name / f"case_{number:03d}.nii.gz"
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(source, target)
                entry[kind] = f"./{source.parent.name}/{target.name}"
            entries.append(entry)
        text = json.dumps({**description, "training": entries, "numTraining": count})
        (root / "dataset.json").write_text(text)
    return folder


def measure(folder: Path, *settings: str) -> list[list[int]]:
    """Resident memory of a training process and its peak, kB, after each epoch."""
    done = subprocess.run(
        [
            *(sys.executable, "-c", TRAINER, "experiment=smoke", "tracking=none", "val_every=100"),
            *(f"output_dir={folder / 'outputs'}", *settings),
        ],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def resident(folder: Path, cases: int, epochs: int) -> list[int]:
    """After each epoch of 100 small steps on so many cases."""
    told = measure(
        folder,
        *("data=msd", f"data.root={folder / str(cases)}", "data.patch=[16,16,16]", "batch_size=1"),
        *(f"epochs={epochs}", "steps_per_epoch=100", "augment=full", "validation.cases=1"),
        *("data.split={train:0.98,val:0.01,test:0.01}", "model.filters=2", "model.depth=1"),
    )
    return [now for now, _ in told]


def test_memory_is_steady(data_sets: Path) -> None:
    """200 cases need no more than 20 do, and 500 further steps no more than the first 100.

    The 180 cases more are 430 MB; between two equal runs resident memory differs by up to 50 MB.
    """
    many, few = resident(data_sets, 200, 6), resident(data_sets, 20, 1)
    assert max(many[1:]) < many[0] + 50_000, many
    assert many[0] < few[0] + 110_000, (many, few)


def test_accumulation_saves_memory(tmp_path: Path) -> None:
    """A batch in four parts peaks lower: a part begins when the one before has its gradients."""
    peaks = []
    for parts in (1, 4):
        ((_, peak),) = measure(
            tmp_path,
            *("data.phantom.shape=[72,72,72]", "data.patch=[60,60,60]", "batch_size=8"),
            *("epochs=1", "steps_per_epoch=2", f"accumulate={parts}", "augment=none"),
            *("model.filters=8", "model.depth=2", "data.prefetch=1", "validation.cases=1"),
        )
        peaks.append(peak)
    assert peaks[1] < peaks[0] - 400_000, peaks
