"""Commands about a data set."""

from __future__ import annotations

from unet3d.cli.arguments import separate_own
from unet3d.cli.command import Command
from unet3d.config.compose import compose_config, from_overrides
from unet3d.config.schema import PlanConfig, PreprocessConfig


def _download(overrides: list[str]) -> None:
    from unet3d.datasets.download import download

    dataset = download(compose_config(overrides).data)
    print(f"{len(dataset.cases)} cases in {dataset.root}")


def _preprocess(overrides: list[str]) -> int:
    from unet3d.cluster.preprocess_command import build_or_verify

    own, of_training = separate_own(PreprocessConfig, overrides)
    settings = from_overrides(PreprocessConfig, own)
    return build_or_verify(compose_config(of_training), settings)


def _doctor(overrides: list[str]) -> None:
    from unet3d.doctor.doctor import doctor
    from unet3d.doctor.layout import with_found_layout

    overrides = with_found_layout(overrides)
    doctor(compose_config(overrides), overrides)


def _plan(overrides: list[str]) -> None:
    from unet3d.doctor.layout import with_found_layout
    from unet3d.doctor.plan import PRESET, plan

    own, of_training = separate_own(PlanConfig, overrides)
    settings = from_overrides(PlanConfig, own)
    of_training = with_found_layout(of_training)
    chosen = any(text.startswith("experiment=") for text in of_training)
    composed = compose_config(of_training if chosen else [f"experiment={PRESET}", *of_training])
    plan(composed, settings, of_training)


DATA = (
    Command(
        "download",
        _download,
        "fetch and unpack a data set",
        (
            "unet3d download data=msd_brain",
            "unet3d download data=msd_brain data.root=/data/Task01_BrainTumour",
            "unet3d download data=msd data.root=<folder> data.source.url=<address of an archive>",
        ),
        of_training=True,
        stopped="stopped; what was downloaded is kept, and the same command resumes",
    ),
    Command(
        "preprocess",
        _preprocess,
        "build the store of a data set, here or over a Ray cluster, or verify it",
        (
            "unet3d preprocess data=msd data.root=<folder>",
            "unet3d preprocess data=msd data.root=<folder> verify=true",
            "unet3d preprocess data=msd data.root=<folder> parallel=experiment nodes=8",
        ),
        schema=PreprocessConfig,
        of_training=True,
        stopped="stopped; finished cases are kept, and the same command resumes",
    ),
    Command(
        "doctor",
        _doctor,
        "check the installation and the data set; suggest patch, batch size and spacing",
        (
            "unet3d doctor",
            "unet3d doctor data.root=<folder>",
            "unet3d doctor data=msd data.root=<folder> model=resunet",
        ),
        of_training=True,
    ),
    Command(
        "plan",
        _plan,
        "plan patch, batch size, spacing and topology for a data set by nnU-Net's rules",
        (
            "unet3d plan data.root=<folder>",
            "unet3d plan data.root=<folder> output=recipe.yaml",
            "unet3d plan data=nnunet data.root=<folder> data.patch_memory=24 output=recipe.yaml",
        ),
        schema=PlanConfig,
        of_training=True,
    ),
)
