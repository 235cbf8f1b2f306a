"""Settings of the `unet3d` commands that take none of a training's, or some beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from omegaconf import MISSING

from unet3d.config.allowed import (
    AT_LEAST_0,
    AT_LEAST_1,
    AT_LEAST_2,
    BELOW_1,
    FOLDER_NAME,
    NAME,
    PORT,
    PRECISION,
    RUN_ID,
    RUN_IDS,
    SHARE,
    VOLUME_SHAPE,
    one_of,
)
from unet3d.config.setting import group, setting

# Settings of several commands, each written once: a field belongs to one class.


def _geometry() -> Any:
    """How exactly files must lie on each other; the same for each command that compares some."""
    return setting(
        "strict",
        "strict: files must lie on each other, within a quarter of a voxel; image: the same shape "
        "is enough",
        one_of("strict", "image"),
    )


def _changed(cases: str = "cases") -> Any:
    """What a command does about cases that are not those of a run any more."""
    return setting(
        "refuse",
        f"what is done where {cases} are missing or changed since the run began: end, or accept "
        "what there is now",
        one_of("refuse", "accept"),
    )


def _tta() -> Any:
    return setting(False, "mean over the 8 flips")


def _overlap() -> Any:
    return setting(0.5, "share of a window that the next one overlaps", BELOW_1)


def _windows() -> Any:
    return setting(1, "windows in a forward pass", AT_LEAST_1)


def _precision() -> Any:
    return setting("float32", "type of the computation", PRECISION)


def _output_dir() -> Any:
    return setting("outputs", "folder of the runs", path=True)


def _threads() -> Any:
    return setting(None, "CPU threads of TensorFlow; null: all", AT_LEAST_1)


@dataclass
class PostprocessConfig:
    """What is done to each predicted region, in this order."""

    fill_holes: bool = setting(False, "fill holes that do not reach the outside")
    min_volume: float = setting(0.0, "mm3 below which connected parts are removed", AT_LEAST_0)
    largest: bool = setting(False, "keep only the largest connected part")
    choice: str = setting(
        "none",
        "also postprocess=auto: instead of the above, what `unet3d tune` has chosen for each "
        "region; or a tuned.json that it wrote",
        path=True,
    )


REGIONS = "labels for each alone, brats, msd_brain, or {name: [values]}"
THRESHOLDS = (
    "probability above which a region is predicted: one, [one a region] or {region: one}; auto: "
    "what `unet3d tune` has chosen; not for data.target=classes"
)
CONFIGURATION = (
    "of the sweep, as lr=1e-3,model.norm=batch, or ensemble for what `unet3d ensemble` has chosen; "
    "null: that of the highest mean val/dice"
)


@dataclass
class PreprocessConfig:
    """`unet3d preprocess`: what it takes beside the settings of a training."""

    verify: bool = setting(
        False, "instead, read the complete store again and compare it with its checksums"
    )
    nodes: int = setting(
        1,
        "parallel=experiment or data: nodes of the cluster to wait for; all are used",
        AT_LEAST_1,
    )


@dataclass
class PlanConfig:
    """`unet3d plan`: what it takes beside the settings of a training."""

    output: Optional[str] = setting(
        None, "a .yaml file for the recipe, for data.plans; null: only print it", path=True
    )
    budget: str = setting(
        "memory",
        "memory: the patch and batch whose step fits as this network takes it; nnunet: those that "
        "nnU-Net plans for a GPU of data.patch_memory GB (else 8), whatever a step then takes here",
        one_of("memory", "nnunet"),
    )


@dataclass
class PredictConfig:
    """`unet3d predict`: from scans to segmentations."""

    run: Optional[str] = setting(None, "id of a run, or several as a,b,c for their mean", RUN_IDS)
    input: str = setting(
        MISSING,
        "a scan, the files of its sequences as a,b,c,d or [a,b,c,d], or a folder of scans; the "
        "folder of a DICOM series is a scan, too",
        path=True,
    )
    output: str = setting(
        MISSING, "a .nii.gz file (or .dcm), or a folder if the input is one", path=True
    )
    format: str = setting(
        "nifti",
        "nifti: .nii.gz on the grid of the scan; dicom_seg: DICOM-SEG of a DICOM series",
        one_of("nifti", "dicom_seg"),
    )
    tta: bool = _tta()
    overlap: float = _overlap()
    batch_size: int = _windows()
    precision: str = _precision()
    postprocess: PostprocessConfig = group(PostprocessConfig)
    output_dir: str = _output_dir()
    threads: Optional[int] = _threads()
    sweep: Optional[str] = setting(
        None,
        "instead of run: name of a sweep, for the mean of the runs of its best configuration, as "
        "the folds of sweep.folds",
        FOLDER_NAME,
    )
    configuration: Optional[str] = setting(None, CONFIGURATION)
    thresholds: Any = setting("0.5", THRESHOLDS)
    probabilities: bool = setting(
        False, "also write the probability of each region, as NIfTI, in the folder probabilities"
    )
    uncertainty: bool = setting(
        False,
        "also write the entropy of the prediction, and of several runs the mutual information, as "
        "NIfTI, in the folder uncertainty",
    )


@dataclass
class TuneConfig:
    """`unet3d tune`: thresholds and post-processing, chosen on cases that were not trained on."""

    run: Optional[str] = setting(None, "id of a run, for its validation cases", RUN_ID)
    sweep: Optional[str] = setting(
        None,
        "name of a sweep, for the validation cases of all folds of a configuration",
        FOLDER_NAME,
    )
    configuration: Optional[str] = setting(None, CONFIGURATION)
    changed: str = _changed()
    tta: bool = _tta()
    overlap: float = _overlap()
    batch_size: int = _windows()
    precision: str = _precision()
    output_dir: str = _output_dir()
    threads: Optional[int] = _threads()


@dataclass
class EnsembleConfig:
    """`unet3d ensemble`: trials of a sweep that predict together."""

    sweep: str = setting(MISSING, "name of a sweep", FOLDER_NAME)
    members: int = setting(10, "trials to choose from, the best ones", AT_LEAST_2)
    rounds: int = setting(
        20, "networks in the mean at the most, counted as often as chosen", AT_LEAST_1
    )
    cases: Optional[int] = setting(
        None, "validation cases of each fold to choose by; null: all", AT_LEAST_1
    )
    changed: str = _changed()
    overlap: float = _overlap()
    batch_size: int = _windows()
    precision: str = _precision()
    output_dir: str = _output_dir()
    threads: Optional[int] = _threads()


@dataclass
class ExportConfig:
    """`unet3d export`: a run's network for other programs."""

    run: Optional[str] = setting(None, "id of a run", RUN_ID)
    sweep: Optional[str] = setting(
        None,
        "instead of run: name of a sweep, for the mean of the runs of a configuration as one "
        "network; savedmodel and onnx",
        FOLDER_NAME,
    )
    configuration: Optional[str] = setting(None, CONFIGURATION)
    output: str = setting(MISSING, "a folder, new or empty", path=True)
    format: str = setting(
        "savedmodel", "what is written", one_of("savedmodel", "onnx", "mlflow", "all")
    )
    log: bool = setting(False, "mlflow: log it as a model of the run in the tracking store, too")
    register: Optional[str] = setting(
        None, "mlflow: register it under this name in the model registry; implies log", NAME
    )
    output_dir: str = _output_dir()
    threads: Optional[int] = _threads()


@dataclass
class EvaluateConfig:
    """`unet3d evaluate`: a run on its test cases, or a folder of segmentations against another."""

    run: Optional[str] = setting(None, "id of a run", RUN_ID)
    again: bool = setting(False, "evaluate a run whose test cases were opened before")
    changed: str = _changed("test cases")
    tta: bool = _tta()
    overlap: float = _overlap()
    batch_size: int = _windows()
    precision: str = _precision()
    workers: Optional[int] = setting(
        None, "processes that compute the metrics; null: one per core", AT_LEAST_1
    )
    postprocess: PostprocessConfig = group(PostprocessConfig)
    pred: Optional[str] = setting(None, "folder of segmentations", path=True)
    truth: Optional[str] = setting(None, "folder of label files of the same names", path=True)
    regions: Any = setting("labels", REGIONS)
    tolerance: float = setting(1.0, "tolerance of NSD, in mm", AT_LEAST_0)
    geometry: str = _geometry()
    output: Optional[str] = setting(
        None, "folder of the tables; null: that of the run, or of the segmentations", path=True
    )
    output_dir: str = _output_dir()
    threads: Optional[int] = _threads()
    sweep: Optional[str] = setting(
        None,
        "name of a sweep: with sweep.folds, each case by the run of its fold that did not train on "
        "it; else the test cases",
        FOLDER_NAME,
    )
    configuration: Optional[str] = setting(None, CONFIGURATION)
    part: str = setting(
        "auto",
        "sweep: auto: cases out of their folds, where there are folds; test: the test cases, by "
        "the mean of all folds",
        one_of("auto", "test"),
    )
    thresholds: Any = setting("0.5", THRESHOLDS)


@dataclass
class ReportConfig:
    """`unet3d report`: what it takes beside the settings of a training."""

    sweep: str = setting("", "name of a sweep")
    format: str = setting(
        "html",
        "html: the page; paper: LaTeX and CSV tables, figures in PDF and SVG, a methods paragraph "
        "and its references, in the sweep's folder",
        one_of("html", "paper"),
    )


@dataclass
class RecordConfig:
    """`unet3d record`: a run's record in the tracking store, from the run's folder."""

    run: str = setting(MISSING, "id of a run")
    uri: Optional[str] = setting(
        None,
        "address of the MLflow store; null: that of the run; MLFLOW_TRACKING_URI, if set, replaces "
        "both",
    )
    experiment: Optional[str] = setting(
        None, "experiment where the store does not know the run; null: that of the run"
    )
    output_dir: str = setting("outputs", "folder of the runs")


@dataclass
class RunsConfig:
    """`unet3d runs`: what it takes beside the settings of a training."""

    close: bool = setting(
        False,
        "instead, close the runs and sweeps whose process has ended: as KILLED, with the reason",
    )


@dataclass
class UiConfig:
    """`unet3d ui`: what it takes beside the settings of a training."""

    sweep: Optional[str] = setting(
        None, "name of a sweep, to open on its trials; null: on all runs", FOLDER_NAME
    )
    page: str = setting(
        "compare",
        "what opens of a sweep: compare, its trials side by side, or table, all runs",
        one_of("compare", "table"),
    )
    port: Optional[int] = setting(None, "to listen on; null: the first free one from 5000", PORT)
    open: bool = setting(True, "open a browser, where there is a screen; the address is printed")


@dataclass
class CleanConfig:
    """`unet3d clean`: what it takes beside the settings of a training."""

    yes: bool = setting(False, "remove what is shown; else nothing is removed")
    what: str = setting(
        "all",
        "resume: states to resume from, of runs that have finished; stores: of data sets that are "
        "gone; jobs: what dead processes have left",
        one_of("all", "resume", "stores", "jobs"),
    )
    days: float = setting(7.0, "only what nothing has written to for so many days", AT_LEAST_0)


@dataclass
class ViewConfig:
    """`unet3d view`: a picture, an animated GIF and a page of one segmented case."""

    image: str = setting(MISSING, "a scan, or the folder of a DICOM series", path=True)
    pred: str = setting(MISSING, "its segmentation", path=True)
    truth: Optional[str] = setting(None, "its label file", path=True)
    regions: Any = setting("labels", REGIONS)
    channel: int = setting(0, "which of the scan's sequences, counted from 0", AT_LEAST_0)
    window: Optional[list[float]] = setting(
        None,
        "[black,white] in the scan's values, for CT say [-160,240]; null: percentiles 0.5 and 99.5",
    )
    geometry: str = _geometry()
    output: Optional[str] = setting(
        None, "folder; null: <pred>_view beside the segmentation", path=True
    )


@dataclass
class SimulateConfig:
    """`unet3d simulate`: what it takes beside the settings of a training."""

    gpus: list[int] = setting([1, 2, 4, 8, 16, 32], "numbers of GPUs to simulate, as 1,2,4")
    gpus_per_node: int = setting(4, "GPUs of a node", AT_LEAST_1)
    timing: Optional[str] = setting(
        None, "file of a machine's constants, or paper, v100; null: fitted to runs of output_dir"
    )
    runs: Optional[str] = setting(
        None, "runs to fit to: ids as a,b,c, or the name of a sweep or study; null: the newest"
    )
    price: Optional[float] = setting(None, "of a GPU-hour", AT_LEAST_0)
    losses: float = setting(0.0, "losses of a node, an hour", AT_LEAST_0)
    weak: bool = setting(
        False, "batch_size is that of a replica, as in the paper, not that of all replicas"
    )
    warm: bool = setting(True, "whether a process trains one trial after another")
    seed: int = setting(0, "of the trials' spread and of the losses", AT_LEAST_0)
    volume: list[int] = setting(
        [240, 240, 152], "voxels of a volume, where the data are not here", VOLUME_SHAPE
    )
    cases: int = setting(484, "number of cases, where the data are not here", AT_LEAST_2)
    sequences: int = setting(4, "sequences of a case, where the data are not here", AT_LEAST_1)


@dataclass
class StudyConfig:
    """A study's trials, repeats and name."""

    trials: Optional[int] = setting(
        None,
        "trials that every mode trains, each of its own seed; null: 4, or those of a grid",
        AT_LEAST_2,
    )
    repeats: int = setting(1, "times that each part is measured", AT_LEAST_1)
    fraction: float = setting(1.0, "share of the epochs, rounded up", SHARE)
    weak: Optional[bool] = setting(
        None,
        "batch_size is that of a replica, as in the paper, not that of all replicas; null: only "
        "where the devices cannot share it",
    )
    name: str = setting("study", "of the study's folder; the same resumes it", FOLDER_NAME)
    runs: Optional[str] = setting(
        None,
        "also scaling.from: runs, as a,b,c, or a sweep or study by whose times each part is "
        "forecast; null: no forecast",
    )


@dataclass
class ScalingConfig:
    """`unet3d scaling`: what it takes beside the settings of a training."""

    devices: list[int] = setting(
        [1, 2], "numbers of GPUs, or of CPUs or a cluster's nodes where there are none, as 1,2"
    )
    modes: list[str] = setting(
        ["experiment", "data"], "of experiment, data and hybrid (two devices a trial)"
    )
    scaling: StudyConfig = group(StudyConfig)


# A command without its own schema takes the settings of a training alone.
COMMANDS: dict[str, type] = {
    "preprocess": PreprocessConfig,
    "plan": PlanConfig,
    "predict": PredictConfig,
    "evaluate": EvaluateConfig,
    "tune": TuneConfig,
    "ensemble": EnsembleConfig,
    "export": ExportConfig,
    "view": ViewConfig,
    "report": ReportConfig,
    "record": RecordConfig,
    "runs": RunsConfig,
    "clean": CleanConfig,
    "ui": UiConfig,
    "scaling": ScalingConfig,
    "simulate": SimulateConfig,
}
