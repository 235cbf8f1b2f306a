"""The schema of every setting: dataclasses that Hydra checks overrides against before any work."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from omegaconf import MISSING

AUTO = "auto"  # data.patch: chosen from the data set and the memory


@dataclass
class SplitConfig:
    """Fractions of the cases for training, validation and test; they sum to 1."""

    train: float = 0.7
    val: float = 0.15
    test: float = 0.15


@dataclass
class PhantomConfig:
    """What `data=phantom` writes: seeded brain-like volumes in the Decathlon layout."""

    cases: int = 16
    shape: list[int] = field(default_factory=lambda: [72, 80, 64])
    spacing: list[float] = field(default_factory=lambda: [2.4, 2.4, 2.4])  # mm
    noise: float = 0.06  # standard deviation, as a share of white matter's intensity
    bias_field: float = 0.25  # peak deviation of the multiplicative field from 1
    seed: int = 0


@dataclass
class SourceConfig:
    """Where `unet3d download` gets a data set: one archive that holds its folder."""

    url: Optional[str] = None  # http(s) address of a .tar, .tar.gz, .tgz or .zip; None: no source
    checksum: Optional[str] = None  # md5:<hex>, sha256:<hex>, ...; None: the archive is not checked
    keep: bool = False  # keep the archive beside the data set once it is unpacked


@dataclass
class DataConfig:
    """Which cases, how they are preprocessed, and how patches are drawn from them."""

    name: str = MISSING
    root: str = MISSING  # folder that holds dataset.json
    store: str = "${output_dir}/stores"  # preprocessed cases land here, one folder a key
    target: str = "regions"  # regions: one sigmoid output each | classes: one softmax over labels
    # {name: [label values]}; None: one region a label. Any, since OmegaConf cannot replace a typed
    # mapping by another; unet3d/checks.py checks it.
    regions: Any = None
    spacing: Optional[list[float]] = None  # mm; None keeps each case's own spacing
    stage_to: Optional[str] = None  # a node's own fast folder: the store is copied there, and read
    dtype: str = "float16"  # of stored images: float16 | bfloat16
    on_bad_case: str = "fail"  # fail | skip
    workers: Optional[int] = None  # threads that preprocess and read; None: one a core
    split: SplitConfig = field(default_factory=SplitConfig)
    split_seed: int = 0
    folds: Optional[int] = None
    fold: Optional[int] = None
    # [x, y, z] in voxels | auto: what fits in memory | None: the whole volume
    patch: Any = field(default_factory=lambda: [96, 96, 96])
    patch_memory: Optional[float] = None  # GB of a replica's step with patch=auto; None: its share
    patches_per_case: int = 1  # an epoch draws this many patches from each training case
    foreground: float = 0.33  # share of patches centred on a foreground voxel
    prefetch: int = 4  # batches prepared ahead of the training step
    phantom: Optional[PhantomConfig] = None  # set: the data set is generated at `root` when absent
    # None would be plainer, but Hydra cannot override a setting below it
    source: SourceConfig = field(default_factory=SourceConfig)


@dataclass
class ModelConfig:
    """A network; `name` chooses the builder in unet3d/models."""

    name: str = MISSING
    filters: int = 8  # of the first level; each level doubles them
    max_filters: int = 320
    depth: int = 3  # number of poolings
    norm: str = "batch"  # batch | sync_batch (over all replicas) | group | instance | none
    groups: int = 8  # of norm=group
    activation: str = "relu"  # any Keras activation, or leaky_relu
    dropout: float = 0.0
    deep_supervision: bool = False


@dataclass
class LossConfig:
    """A loss; `name` chooses the function in unet3d/losses.py."""

    name: str = MISSING
    smooth: float = 1e-5
    ce_weight: float = 1.0  # dice_ce: weight of the cross-entropy beside Dice
    gamma: float = 2.0  # focal: focusing exponent (Lin et al. 2017)
    alpha: float = 0.25  # focal: weight of the foreground
    fp_weight: float = 0.3  # tversky: weight of false positives (Salehi et al. 2017)
    fn_weight: float = 0.7  # tversky: weight of false negatives


@dataclass
class OptimizerConfig:
    """An optimizer of keras.optimizers, with what applies to all of them."""

    name: str = MISSING
    clip_norm: Optional[float] = None  # of the global gradient
    ema: Optional[float] = None  # decay of the weights' moving average; validation then uses it


@dataclass
class AdamConfig(OptimizerConfig):
    name: str = "adam"
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False


@dataclass
class AdamWConfig(AdamConfig):
    name: str = "adamw"
    weight_decay: float = 1e-2


@dataclass
class SGDConfig(OptimizerConfig):
    name: str = "sgd"
    momentum: float = 0.99
    nesterov: bool = True
    weight_decay: Optional[float] = None


@dataclass
class ScheduleConfig:
    """The learning rate over a run, as a factor of `lr`, after a linear warm-up."""

    name: str = MISSING  # constant | poly | cosine
    warmup_epochs: float = 0.0
    power: float = 0.9  # poly
    final: float = 0.0  # cosine: factor reached at the end


@dataclass
class AugmentConfig:
    """Probability and range of each stateless augmentation; a probability of 0 turns it off."""

    name: str = MISSING
    flip: float = 0.0  # an axis
    rotate: float = 0.0
    max_angle: float = 30.0  # degrees
    scale: float = 0.0
    scale_range: list[float] = field(default_factory=lambda: [0.7, 1.4])
    noise: float = 0.0
    max_noise: float = 0.1  # standard deviation, in standard deviations of the image
    blur: float = 0.0
    blur_sigma: list[float] = field(default_factory=lambda: [0.5, 1.0])  # voxels
    gamma: float = 0.0
    gamma_range: list[float] = field(default_factory=lambda: [0.7, 1.5])
    contrast: float = 0.0
    contrast_range: list[float] = field(default_factory=lambda: [0.75, 1.25])
    # Where these four are computed: host | device | auto, on GPUs where there are any
    intensity_on: str = "auto"


@dataclass
class ParallelConfig:
    """Where and over how many devices a run trains."""

    name: str = MISSING  # none | data | experiment
    devices: Optional[int] = None  # replicas with nodes=1; None: all GPUs. No GPU: logical CPUs
    address: Optional[str] = None  # of a Ray cluster, or auto; None: RAY_ADDRESS, else none
    gpus_per_node: Optional[int] = None  # None: as many as the poorest node has
    cpus_per_node: Optional[int] = None  # None: as many as the poorest node has
    wait_for_nodes: float = 0.0  # seconds, for a cluster that is starting
    max_failures: int = 3  # lost workers after which a run is given up
    elastic: bool = False  # go on with fewer workers, at the same global batch, when a node is lost
    hang_timeout: float = 60.0  # seconds without an answer after which a worker counts as lost
    lr_scaling: str = "none"  # of lr by the number of replicas: none | linear | sqrt
    warmup_epochs: float = 1.0  # of a scaled lr whose schedule has no warm-up of its own
    communication: str = "auto"  # between nodes: auto | ring | nccl
    pack_mb: float = 0.0  # gradients sent at once, in MB; 0: TensorFlow decides
    compression: str = "none"  # of gradients on their way: none | float16
    baseline: Optional[str] = None  # id of a one-replica run, for perf/scaling_efficiency
    gpus_per_trial: Optional[float] = None  # of a sweep, 0.5 too; None: 1 where there are GPUs
    cpus_per_trial: Optional[int] = None  # of a sweep; None: the GPU's share, or 1 without GPUs
    trials_at_once: Optional[int] = None  # of a sweep; None: as many as fit


@dataclass
class TrackingConfig:
    """Where runs are recorded. MLFLOW_TRACKING_URI wins over `uri` when it is set."""

    name: str = MISSING  # mlflow | server | none
    uri: str = "sqlite:///${output_dir}/mlflow.db"
    artifacts: str = "${output_dir}/mlartifacts"  # of a data base's new experiments
    experiment: str = "unet3d"
    run_name: Optional[str] = None
    parent: Optional[str] = None  # id of the run that this one is shown under
    tags: dict[str, str] = field(default_factory=dict)  # of the run, beside its own
    host: Optional[str] = None  # tracking=server: to listen on; None: this machine in its cluster
    port: int = 5000  # tracking=server
    system_metrics: bool = True
    system_interval: float = 5.0  # seconds between samples


@dataclass
class ValidationConfig:
    """Sliding-window validation over whole volumes."""

    overlap: float = 0.5  # of neighbouring windows
    batch_size: int = 1  # windows a forward pass
    cases: Optional[int] = None  # None: all validation cases


@dataclass
class Config:
    """All settings of a run; `conf/config.yaml` holds the defaults."""

    data: DataConfig = MISSING
    model: ModelConfig = MISSING
    loss: LossConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    schedule: ScheduleConfig = MISSING
    augment: AugmentConfig = MISSING
    parallel: ParallelConfig = MISSING
    tracking: TrackingConfig = MISSING
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    lr: float = 1e-3
    epochs: int = 20
    batch_size: int = 2  # global: over all replicas
    accumulate: int = 1  # parts in which a batch is computed, to save memory; same result
    steps_per_epoch: Optional[int] = None  # None: cases * patches_per_case / batch_size
    seed: int = 0
    precision: str = "float32"  # float32 | mixed_float16 | mixed_bfloat16
    nodes: int = 1
    resume: Optional[str] = None  # id of a run to go on with
    val_every: int = 1  # epochs between validations
    patience: Optional[int] = None  # validations without a better val/dice before stopping
    output_dir: str = "outputs"
    threads: Optional[int] = None  # CPU threads of TensorFlow; None: all


@dataclass
class SweepConfig:
    """How a sweep chooses its trials, repeats lost ones and stops poor ones."""

    name: Optional[str] = None  # None: made from what is swept, so that the same command goes on
    retries: int = 2  # times that a trial which was lost starts again from its checkpoint
    early_stopping: str = "none"  # none | asha | median: of trials that fall behind in val/dice
    min_epochs: int = 1  # asha, median: no trial is stopped before
    reduction_factor: int = 3  # asha: one trial in so many goes on
    startup_trials: int = 5  # median: trials that end before any is stopped
    trials: int = 20  # hydra/sweeper=optuna: how many
    sampler: str = "tpe"  # hydra/sweeper=optuna: tpe | random | qmc | cmaes | gp
    seed: int = 0  # of the sampler
    storage: Optional[str] = None  # SQLAlchemy URL of the study; None: a file of the sweep's folder


@dataclass
class SweepRunConfig(Config):
    """What sweep.py is given: the settings of each trial, and those of the sweep."""

    sweep: SweepConfig = field(default_factory=SweepConfig)
    dry_run: bool = False  # print the trials and the resources of each, and end


@dataclass
class PostprocessConfig:
    """What is done to each predicted region, in this order."""

    fill_holes: bool = False
    min_volume: float = 0.0  # mm3: smaller connected parts are removed
    largest: bool = False  # only the largest connected part is kept


@dataclass
class PreprocessConfig:
    """What `unet3d preprocess` takes beside the settings of a training."""

    verify: bool = False  # read the complete store again instead, against its checksums
    nodes: int = 1  # parallel=experiment or data: of the cluster, to wait for; all are used


@dataclass
class PredictConfig:
    """`unet3d predict`: from scans to segmentations."""

    run: str = MISSING  # id of a run, or several as a,b,c: their mean
    input: str = MISSING  # a scan, the files of its sequences as a,b,c,d, or a folder
    output: str = MISSING  # a .nii.gz file, or a folder where the input is one
    tta: bool = False  # mean over the 8 flips
    overlap: float = 0.5  # of neighbouring windows
    batch_size: int = 1  # windows a forward pass
    precision: str = "float32"  # float32 | mixed_bfloat16 | mixed_float16
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    output_dir: str = "outputs"  # where the runs are
    threads: Optional[int] = None  # CPU threads of TensorFlow; None: all


@dataclass
class ExportConfig:
    """`unet3d export`: a run's network for other programs."""

    run: str = MISSING  # id of a run
    output: str = MISSING  # a folder, new or empty
    format: str = "savedmodel"  # savedmodel | onnx | mlflow | all
    log: bool = False  # mlflow: also as a model of the run in the tracking store
    register: Optional[str] = None  # mlflow: also under this name in the model registry; logs it
    output_dir: str = "outputs"  # where the runs are
    threads: Optional[int] = None  # CPU threads of TensorFlow; None: all


@dataclass
class EvaluateConfig:
    """`unet3d evaluate`: a run on its test cases, or a folder of segmentations against another."""

    run: Optional[str] = None  # id of a run
    again: bool = False  # evaluate a run whose test cases were opened before
    tta: bool = False
    overlap: float = 0.5
    batch_size: int = 1
    precision: str = "float32"
    workers: Optional[int] = None  # processes that compute the metrics; None: one a core
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    pred: Optional[str] = None  # folder of segmentations
    truth: Optional[str] = None  # folder of label files of the same names
    regions: Any = "labels"  # labels: each alone | brats | msd_brain | {name: [values]}
    tolerance: float = 1.0  # mm, of NSD
    output: Optional[str] = None  # folder of the tables; None: the run's, or the segmentations'
    output_dir: str = "outputs"
    threads: Optional[int] = None


@dataclass
class ViewConfig:
    """`unet3d view`: a picture, a film and a page of one segmented case."""

    image: str = MISSING  # a scan
    pred: str = MISSING  # its segmentation
    truth: Optional[str] = None  # its label file
    regions: Any = "labels"  # as of evaluate
    channel: int = 0  # of the scan's sequences, counted from 0
    # [black, white] in the scan's values, for CT say [-160,240]; None: percentiles 0.5 and 99.5
    window: Optional[list[float]] = None
    output: Optional[str] = None  # folder; None: <pred>_view beside the segmentation


class ConfigError(ValueError):
    """A setting that cannot work; the message names the key, the value and what is allowed."""


SCHEMAS: dict[tuple[str | None, str], type] = {
    ("schema", "train"): Config,
    ("schema", "sweep"): SweepRunConfig,
    ("data", "base_data"): DataConfig,
    ("model", "base_model"): ModelConfig,
    ("loss", "base_loss"): LossConfig,
    ("optimizer", "base_adam"): AdamConfig,
    ("optimizer", "base_adamw"): AdamWConfig,
    ("optimizer", "base_sgd"): SGDConfig,
    ("schedule", "base_schedule"): ScheduleConfig,
    ("augment", "base_augment"): AugmentConfig,
    ("parallel", "base_parallel"): ParallelConfig,
    ("tracking", "base_tracking"): TrackingConfig,
}


def register_schema() -> None:
    """Put the dataclasses where Hydra's defaults lists find them (`base_data`, `base_model`...)."""
    from hydra.core.config_store import ConfigStore

    for (group, name), node in SCHEMAS.items():
        ConfigStore.instance().store(group=group, name=name, node=node)


def as_dict(config: Any) -> dict[str, Any]:
    """The settings as plain nested containers, as written to YAML and to MLflow."""
    return asdict(config)


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of dotted keys: {"data.split.train": 0.7, ...}."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
