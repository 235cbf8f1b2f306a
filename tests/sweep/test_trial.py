"""What makes two trials the same, and how they are named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.config.compose import compose_config
from unet3d.sweep.resources import TrialResources
from unet3d.sweep.trial import Trial, make_name, swept_keys

# Of sweeps on disk: one that is resumed finds its trials by them.
KEYS = [
    ("3e4c6c8af818", ""),
    ("2503cf4fd6b3", "experiment=smoke"),
    ("27735ee752b3", "experiment=paper_regions data.root=x"),
    ("3abd44810853", "experiment=paper_grid data.root=x"),
    ("fa9c373d0c53", "optimizer=sgd lr=1e-2"),
    ("5bf6fce8701d", "optimizer=adamw optimizer.weight_decay=0.1"),
    ("ef9679da5a68", "model=resunet augment=full loss=dice"),
    (
        "ff4538226ecf",
        "parallel=data nodes=2 parallel.lr_scaling=linear parallel.warmup_epochs=2",
    ),
    (
        "3e4c6c8af818",
        "tracking=none threads=3 data.workers=2 "
        "data.prefetch=9 data.stage_to=/x output_dir=outputs",
    ),
    ("688c1fb6d778", "data=msd data.root=x data.source.url=http://x/a.tar"),
    (
        "a61e065a1ef3",
        "data=msd data.root=x data.regions={lesion:[1,2]} data.spacing=[1,1,2] data.patch=auto",
    ),
    (
        "cdff9f34b003",
        "data=brats_mini schedule=cosine epochs=30 patience=3 val_every=2 validation.overlap=0.25",
    ),
    (
        "6bf98e95b7e4",
        "data.folds=5 data.fold=1 accumulate=2 "
        "precision=mixed_bfloat16 augment.intensity_on=host data.on_bad_case=skip",
    ),
]


def trial(tmp_path: Path, *overrides: str, swept: dict[str, str] | None = None) -> Trial:
    return Trial(3, overrides, swept or {}, small_config(tmp_path, *overrides))


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        (["threads=1", "data.workers=3", "data.prefetch=1"], True),
        (["tracking.experiment=other", "parallel.cpus_per_trial=2"], True),
        (["parallel=data", "nodes=2"], True),  # replicas compute what one computes
        (["lr=2e-3"], False),
        (["epochs=2"], False),
        (["model.norm=group"], False),
        (["parallel=data", "nodes=2", "parallel.lr_scaling=linear"], False),
    ],
)
def test_key_follows_from_what_the_result_depends_on(
    tmp_path: Path, overrides: list[str], same: bool
) -> None:
    """A trial that ran is not run again for where it runs, and is for what it computes."""
    assert (trial(tmp_path, *overrides).key == trial(tmp_path).key) is same


@pytest.mark.parametrize(("key", "overrides"), KEYS)
def test_keys_stay_what_they_are(key: str, overrides: str) -> None:
    """A sweep that began with an earlier version does not run its trials again."""
    assert Trial(0, (), {}, compose_config(overrides.split())).key == key


def test_key_does_not_depend_on_the_output_folder(tmp_path: Path) -> None:
    """The same sweep may be moved to another disk."""
    moved = trial(tmp_path)
    data = dataclasses.replace(moved.config.data, store="elsewhere")
    config = dataclasses.replace(moved.config, output_dir="elsewhere", data=data)
    assert dataclasses.replace(moved, config=config).key == trial(tmp_path).key


def test_names_are_short_and_unambiguous(tmp_path: Path) -> None:
    """The last word of each key, unless two keys end alike; sampled numbers in four digits."""
    swept = {"lr": "0.0044303752", "model.norm": "batch"}
    assert trial(tmp_path, swept=swept).name == "lr=0.00443, norm=batch"
    alike = {"model.name": "a", "loss.name": "b"}
    assert trial(tmp_path, swept=alike).name == "model.name=a, loss.name=b"
    assert trial(tmp_path).name == "trial 3"


def test_command_is_of_one_training(tmp_path: Path) -> None:
    """What sets the sweep or the place is left out; what a shell would take apart is quoted."""
    one = trial(tmp_path, "lr=0.1", "data.patch=[16,16,16]", "parallel=experiment", "threads=1")
    assert one.command == "python train.py lr=0.1 'data.patch=[16,16,16]' threads=1"


def test_command_has_the_replicas_that_the_result_depends_on(tmp_path: Path) -> None:
    """With norm=batch another number of replicas is another result; so it is with scaled rates."""
    overrides = ("lr=0.1", "parallel=data", "nodes=2", "parallel.lr_scaling=linear")
    one = trial(tmp_path, *overrides, "parallel.max_failures=1")
    assert one.command == "python train.py " + " ".join(overrides)
    four = TrialResources(cpus=1, gpus=4, workers_per_trial=2, at_once=1)
    assert four.replicas(one.config) == ("parallel.gpus_per_node=4",)
    alone = trial(tmp_path, "parallel=data")
    assert alone.command_with(four.replicas(alone.config)) == (
        "python train.py parallel=data parallel.devices=4"
    )
    assert four.replicas(trial(tmp_path).config) == ()


def test_command_says_that_the_patch_is_chosen(tmp_path: Path) -> None:
    """A preset may ask for data.patch=auto; the report then puts in what was chosen."""
    one = trial(tmp_path, "data.patch=auto")
    assert dataclasses.replace(one, overrides=()).command == "python train.py data.patch=auto"


def test_what_a_sweep_varies(tmp_path: Path) -> None:
    """A key that some trials do not have differs too; the name is the same for the same sweep."""
    lists = [["a=1", "b=2", "+c=1"], ["a=1", "b=3"]]
    assert swept_keys(lists) == ["b", "c"]
    assert make_name(["b", "m.c"], "x") == make_name(["b", "m.c"], "x")
    assert make_name(["b", "m.c"], "x") != make_name(["b", "m.c"], "y")
    assert make_name(["b", "m.c"], "x").startswith("b-c-")
    assert make_name(["b"], "x", ["asha"]) == make_name(["b"], "x").replace("b-", "b-asha-")


def test_settings_added_later_leave_the_keys_of_trials_on_disk() -> None:
    """A sweep begun before repeat_batch existed finds its trials again; one with it is another."""
    config = compose_config([])
    configs = [dataclasses.replace(config, repeat_batch=value) for value in (False, True)]
    keys = [Trial(0, (), {}, config).key for config in configs]
    assert keys[0] == "3e4c6c8af818" != keys[1]
