"""Settings of the data: the cases, the store, the split and the patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from omegaconf import MISSING

from unet3d.config.allowed import (
    AT_LEAST_0,
    AT_LEAST_1,
    AT_LEAST_2,
    BELOW_1,
    CHECKSUM,
    FOLDER,
    PART,
    POSITIVE,
    SEED,
    SHARE,
    SPACING,
    SPACING_OR_AUTO,
    VOLUME_SHAPE,
    WEB_ADDRESS,
    one_of,
)
from unet3d.config.setting import NO_EFFECT, group, setting

NORMALIZE = ("zscore", "ct", "percentile", "none")  # beside auto
AUTO = "auto"  # data.patch and data.spacing: chosen from the data set


@dataclass
class SplitConfig:
    """Fractions of the cases for training, validation and test; they sum to 1."""

    train: float = setting(0.7, "share of the cases to train on", SHARE)
    val: float = setting(0.15, "share of the cases to validate on", SHARE)
    test: float = setting(0.15, "share of the cases kept for `unet3d evaluate`", SHARE)


@dataclass
class PhantomConfig:
    """What `data=phantom` writes: seeded brain-like volumes in the Decathlon layout."""

    cases: int = setting(16, "number of volumes", AT_LEAST_2)
    shape: list[int] = setting([72, 80, 64], "voxels of a volume, [x,y,z]", VOLUME_SHAPE)
    spacing: list[float] = setting([2.4, 2.4, 2.4], "size of a voxel in mm", SPACING)
    noise: float = setting(
        0.06, "standard deviation, as a share of white matter's intensity", AT_LEAST_0
    )
    bias_field: float = setting(
        0.25, "peak deviation of the multiplicative bias field from 1", BELOW_1
    )
    seed: int = setting(0, "seed of the anatomy and of the noise", SEED)


@dataclass
class SourceConfig:
    """Where `unet3d download` gets a data set: one archive that holds its folder."""

    url: Optional[str] = setting(
        None, "address of a .tar, .tar.gz, .tgz or .zip", WEB_ADDRESS, NO_EFFECT
    )
    checksum: Optional[str] = setting(
        None, "of the archive, as md5:... or sha256:...; null: not checked", CHECKSUM, NO_EFFECT
    )
    keep: bool = setting(
        False, "keep the archive beside the data set once it is unpacked", effect=NO_EFFECT
    )


@dataclass
class DataConfig:
    """Which cases, how they are preprocessed, and how patches are drawn from them."""

    name: str = setting(MISSING, "the data set, set by data=<choice>")
    root: str = setting(
        MISSING, "folder that holds dataset.json; of data=table, the list itself", path=True
    )
    store: str = setting(
        "${output_dir}/stores",
        "folder of the preprocessed stores, one subfolder for each data set and its settings",
        effect=NO_EFFECT,
        path=True,
    )
    target: str = setting(
        "regions",
        "regions: one sigmoid output for each; classes: one softmax over background and labels",
        one_of("regions", "classes"),
    )
    # Any, as OmegaConf cannot replace a typed mapping by another; config/rules.py checks it.
    regions: Any = setting(
        None, "label values of each region, {name: [values]}; null: one region for each label"
    )
    # Any: a list, a word or null.
    spacing: Any = setting(
        None,
        "mm to resample to, [x,y,z]; auto: the median of all cases, of a coarse axis the tenth "
        "percentile, as nnU-Net; null: each case keeps its own",
        SPACING_OR_AUTO,
    )
    stage_to: Optional[str] = setting(
        None,
        "fast local folder of each node to copy the store to and read from",
        FOLDER,
        NO_EFFECT,
        path=True,
    )
    dtype: str = setting("float16", "type of the stored images", one_of("float16", "bfloat16"))
    on_bad_case: str = setting(
        "fail", "what a broken case does: end the run, or be skipped", one_of("fail", "skip")
    )
    geometry: str = setting(
        "strict",
        "strict: files of a case must lie on each other, within a quarter of a voxel; "
        "image: the same shape is enough, and the image's affine counts",
        one_of("strict", "image"),
        newer=True,
    )
    changed: str = setting(
        "refuse",
        "what a resumed run does whose cases are missing or changed since it began: end, or accept "
        "what there is now; new cases are left out",
        one_of("refuse", "accept"),
        NO_EFFECT,
    )
    workers: Optional[int] = setting(
        None, "threads that preprocess and read; null: one per core", AT_LEAST_1, NO_EFFECT
    )
    split: SplitConfig = group(SplitConfig)
    split_seed: int = setting(0, "seed of the split", SEED)
    train_share: float = setting(
        1.0,
        "share of the training cases that are used, chosen by split_seed; those of a smaller share "
        "are among those of a larger one",
        PART,
        newer=True,
    )
    folds: Optional[int] = setting(
        None, "number of cross-validation folds; null: data.split", AT_LEAST_2
    )
    fold: Optional[int] = setting(
        None, "the fold to validate on, counted from 0; with data.folds", AT_LEAST_0
    )
    # Any: a list, a word or null; config/rules.py checks it.
    patch: Any = setting(
        [96, 96, 96],
        "[x,y,z] in voxels, divisible by the network's stride; auto: what fits in memory; "
        "null: the whole volume",
    )
    patch_memory: Optional[float] = setting(
        None, "patch=auto: GB for a replica's training step; null: its share of memory", POSITIVE
    )
    patches_per_case: int = setting(
        1, "patches that an epoch draws from each training case", AT_LEAST_1
    )
    foreground: float = setting(0.33, "share of patches centred on a foreground voxel", SHARE)
    prefetch: int = setting(
        4, "batches prepared ahead of the training step", AT_LEAST_1, effect=NO_EFFECT
    )
    phantom: Optional[PhantomConfig] = setting(
        None, "phantoms to generate at data.root if it does not exist; null: none"
    )
    # Not Optional: Hydra cannot override a setting below null.
    source: SourceConfig = group(SourceConfig)
    layout: str = setting(
        "decathlon",
        "how the files are arranged, set by data=<choice>",
        one_of("decathlon", "nnunet", "table", "folders"),
        newer=True,
    )
    pattern: Optional[str] = setting(
        None,
        "data=folders: where the images are below data.root, such as "
        "{case}/{case}-{channel}.nii.gz; {group}: cases kept together in a split",
        newer=True,
    )
    channels: Optional[list[str]] = setting(
        None,
        "data=table: columns with the sequences; data=folders: names in the place of {channel}; "
        "null: all there are",
        newer=True,
    )
    label: Optional[str] = setting(
        None,
        "data=table: column of the label file, null: label; data=folders: its name in the place "
        "of {channel}, or a pattern of its own, null: seg, label or mask",
        newer=True,
    )
    # Any, as regions; config/rules.py checks it.
    labels: Any = setting(
        None,
        "data=table, data=folders: {value: name} of the labels; null: those of data.regions",
        newer=True,
    )
    splits: Optional[str] = setting(
        None,
        "data=nnunet: a splits_final.json, whose folds data.fold chooses from; null: that of the "
        "data set, if it has one",
        FOLDER,
        newer=True,
        path=True,
    )
    # Any: a word, or a list of them; config/rules.py checks it.
    normalize: Any = setting(
        "auto",
        "zscore: each case by its own mean and deviation; ct: clipped and scaled by the figures of "
        "the labelled voxels of all training cases; percentile: each case's 0.5 and 99.5 "
        "percentiles become 0 and 1; none; auto: ct for CT, else zscore; a list: for each sequence",
        newer=True,
    )
    # Any, as regions; config/rules.py checks it.
    foreground_shares: Any = setting(
        None,
        "{label value: share} of the patches with a foreground voxel in the middle, as in "
        "{1: 0.2, 2: 0.8}, among the labels that the case has; null: equal shares",
        newer=True,
    )
    plans: Optional[str] = setting(
        None,
        "what to begin with, except what is typed or stands beside it: patch, spacing, batch size, "
        "normalisation, strides and kernels of the 3d_fullres of an nnUNetPlans.json of nnU-Net "
        "v2; or the .yaml of `unet3d plan`",
        FOLDER,
        NO_EFFECT,
        newer=True,
        path=True,
    )
    foreground_of: str = setting(
        "patches",
        "what data.foreground is a share of; patches: each by chance; batch: the last patches of "
        "each global batch of 2 or more, at least one, as in nnU-Net",
        one_of("patches", "batch"),
        newer=True,
    )
    pad_to_patch: bool = setting(
        False,
        "whether data.patch may be larger than all volumes, which then lie amid zeros; false: that "
        "is refused, as it is most often a slip that costs time",
        newer=True,
    )
