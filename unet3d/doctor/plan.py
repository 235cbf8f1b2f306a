"""`unet3d plan`: the recipe by nnU-Net's rules for a data set and this memory, as YAML to edit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.config.command_line import train_command
from unet3d.config.schema import AUTO, Config, PlanConfig
from unet3d.datasets.read import read_dataset, with_regions
from unet3d.distributed.worker import SINGLE_WORKER
from unet3d.doctor.doctor import count_replicas
from unet3d.errors import ConfigError
from unet3d.files import write_text
from unet3d.models import build_model
from unet3d.planning.memory import Memory, replica_memory
from unet3d.planning.patch import format_gigabytes, format_sizes, step_cost
from unet3d.planning.recipe import (
    LEAST_BATCH,
    Recipe,
    feature_values,
    nnunet_values,
    plan_recipe,
)
from unet3d.planning.rules import SHARE_OF_DATA
from unet3d.preprocessing.auto_spacing import Spacing, choose_spacing
from unet3d.preprocessing.channel_methods import with_methods
from unet3d.preprocessing.fingerprint import CaseFingerprint, read_cases
from unet3d.preprocessing.geometry import resampled_shape
from unet3d.preprocessing.preprocess import preprocess
from unet3d.sampling.targets import make_targets

log = logging.getLogger(__name__)
PRESET = "nnunet"  # of conf/experiment
RESENC = "resenc"  # the network of nnU-Net's residual presets
NNUNET_GB = 8.0  # of the GPU that nnU-Net plans for where nothing else is asked of it
VALUE_BYTES = 12  # of a convolution's output, its norm's and its activation's in float32
ATTEMPTS = 8  # to meet the memory of the network as it is built
MARGIN = 0.97


def plan(config: Config, settings: PlanConfig, overrides: Sequence[str]) -> None:
    """Print the recipe, and write it to `output`; `overrides`: as they were typed.

    The data set is preprocessed at its own spacing unless it was. Raises ConfigError where no patch
    fits, and where the file cannot be written.
    """
    store = preprocess(replace(config.data, spacing=None))
    cases = read_cases(store)
    spacing = choose_spacing([case.spacing for case in cases], [case.cropped for case in cases])
    if config.data.spacing not in (None, AUTO):
        spacing = Spacing(tuple(config.data.spacing), None, False)
    dataset = read_dataset(config.data)
    methods = with_methods(config.data, dataset).normalize
    names = make_targets(with_regions(config.data, dataset), dataset.labels, dataset.ignore).names
    local, replicas = count_replicas(config)
    memory = replica_memory(config, SINGLE_WORKER, local)
    build = partial(build_model, channels=len(store.channels), outputs=len(names), seed=config.seed)
    gigabytes = None
    if settings.budget == "nnunet":
        gigabytes = config.data.patch_memory or NNUNET_GB
    volume, recipe, needed = fitting_recipe(
        config, cases, spacing.mm, memory, build, len(names), gigabytes
    )
    sizes = f"{format_sizes(volume)} voxels of {format_sizes(spacing.mm)} mm"
    step = f"a step on {recipe.batch_size} patches takes about {format_gigabytes(needed)}"
    if gigabytes is None:
        step += f" of {format_gigabytes(memory.bytes)} ({memory.origin})"
    else:
        step += f" here; patch and batch are nnU-Net's for a GPU of {gigabytes:g} GB"
    facts = [
        f"{len(cases)} cases, median {sizes}",
        step,
        "edit what you know better; a setting that is typed counts before this file",
    ]
    file = settings.output or "<this file>"
    typed = [text for text in overrides if not text.startswith("data.plans=")]
    facts.append(train_command([*typed, f"data.plans={file}"]))
    chosen = [t.partition("=")[2] for t in overrides if t.startswith("experiment=")]
    preset = chosen[-1] if chosen else PRESET
    text = recipe_text(recipe_settings(config, recipe, spacing, methods, replicas, preset), facts)
    print(text, end="")
    if settings.output:
        try:
            Path(settings.output).parent.mkdir(parents=True, exist_ok=True)
            write_text(Path(settings.output), text)
        except OSError as error:
            reason = f"cannot be written ({error.strerror})"
            raise ConfigError(f"output: {settings.output} {reason}") from error
        log.info("plan: %s is written", settings.output)


def fitting_recipe(
    config: Config,
    cases: Sequence[CaseFingerprint],
    spacing: Sequence[float],
    memory: Memory,
    build: Any,
    outputs: int,
    gigabytes: float | None = None,
) -> tuple[list[float], Recipe, float]:
    """The median volume in voxels, the recipe for one replica, and the bytes of its step.

    nnU-Net's count of values is scaled to what the network takes as it is built here, or with
    `gigabytes` taken as nnU-Net does for a GPU of that memory. build: a network of ModelConfig.
    Raises ConfigError where no patch fits.
    """
    sizes = [resampled_shape(case.cropped, case.spacing, list(spacing)) for case in cases]
    volume: list[float] = np.median(sizes, axis=0).tolist()
    model = config.model
    residual = model.name == RESENC
    count = partial(
        feature_values,
        filters=model.filters,
        max_filters=model.max_filters,
        outputs=outputs,
        blocks=model.blocks_at if residual else None,
    )
    share = 1.0 if residual else SHARE_OF_DATA
    most = memory.bytes / (LEAST_BATCH * VALUE_BYTES)
    if gigabytes is not None:
        most = nnunet_values(gigabytes, residual)
    for attempt in range(ATTEMPTS):
        recipe = plan_recipe(volume, spacing, len(cases), most, count, share)
        if recipe is None:
            break
        if not recipe.topology.strides:
            raise ConfigError(
                f"data.spacing: a volume of {format_sizes(volume)} voxels is too small to be "
                "pooled; type a finer data.spacing"
            )
        network = build(replace(model, **recipe.topology.settings()))
        cost = step_cost(config, network, recipe.patch, recipe.batch_size).training_bytes
        if gigabytes is not None or (cost <= memory.bytes and attempt):
            return volume, recipe, cost
        most *= memory.bytes / cost * (MARGIN if attempt else 1)
    raise ConfigError(
        f"data.patch: no patch of a volume of {format_sizes(volume)} voxels fits in "
        f"{format_gigabytes(memory.bytes)} ({memory.origin}); type a smaller model.filters, or a "
        "larger data.patch_memory"
    )


def recipe_settings(
    config: Config,
    recipe: Recipe,
    spacing: Spacing,
    methods: list[str],
    replicas: int,
    preset: str,
) -> dict[str, Any]:
    """The settings of the recipe file; a spacing that all files have is left as it is."""
    return {
        "experiment": preset,
        "batch_size": recipe.batch_size * replicas * config.accumulate,
        "data": {
            "spacing": None if spacing.uniform else list(spacing.mm),
            "patch": list(recipe.patch),
            "normalize": methods,
        },
        "model": {"filters": config.model.filters, **recipe.topology.settings()},
    }


def recipe_text(settings: dict[str, Any], facts: Sequence[str]) -> str:
    """The recipe as YAML, with `facts` as comments above."""
    import yaml

    comments = "".join(f"# {fact}\n" for fact in facts)
    return comments + yaml.safe_dump(settings, sort_keys=False, default_flow_style=None)
