"""Sliding-window inference against MONAI's on torch: python benchmarks/inference.py

From a volume to the regions of each voxel, by the same network with the same weights, windows and
overlap, on all cores. Each side runs in processes of its own, taking turns, so that its peak memory
can be told; the best of what each offers counts: float32 and bfloat16, for torch with and without
channels-last. Logits in float32 are compared. Needs `pip install torch monai`, here or for the
interpreter of --peer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
SHAPE = (240, 240, 155)  # of a BraTS scan
PATCH, OVERLAP, CHANNELS, OUTPUTS = (96, 96, 96), 0.5, 4, 3
FILTERS, DEPTH = 8, 3
OURS = ("float32", "mixed_bfloat16")
PEERS = ("float32", "float32 channels-last", "bfloat16", "bfloat16 channels-last")


def main() -> None:
    """Print seconds, ratio, memory, and how far the logits agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE, help="of the volume, voxels")
    parser.add_argument(
        "--rounds", type=int, default=2, help="processes a variant; the best counts"
    )
    parser.add_argument("--repeat", type=int, default=2, help="volumes a process")
    parser.add_argument("--peer", default=sys.executable, help="Python that has torch and monai")
    parser.add_argument("--side", nargs=3, help="for the processes that this one starts")
    arguments = parser.parse_args()
    if arguments.side:
        side, variant, folder = arguments.side
        run_side(side, variant, Path(folder), tuple(arguments.shape), arguments.repeat)
        return
    probe = subprocess.run([arguments.peer, "-c", "import torch, monai"], capture_output=True)
    sides = [("unet3d", sys.executable, variant) for variant in OURS]
    if probe.returncode:
        print("torch or monai is not installed: the peer is left out")
    else:
        sides += [("monai", arguments.peer, variant) for variant in PEERS]
    shape = " x ".join(map(str, arguments.shape))
    print(f"{shape} voxels, windows of {PATCH}, overlap {OVERLAP}, {os.cpu_count()} cores")
    print(f"{'':<36}{'s':>8}{'peak MB':>10}{'without libraries':>20}")
    best: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            for side, python, variant in sides:
                result = measure(python, side, variant, folder, arguments)
                best[side] = min(best.get(side, result), result, key=lambda found: found["s"])
        if "monai" not in best:
            return
        ratio = best["monai"]["s"] / best["unet3d"]["s"]
        print(f"unet3d {ratio:.2f} times as fast as MONAI, the best of each")
        for what, told in (("mb", "peak memory"), ("own_mb", "without the imported libraries")):
            ours, theirs = best["unet3d"][what], best["monai"][what]
            print(f"{told}: {ours:.0f} MB against {theirs:.0f} MB, {ours / theirs:.2f} of it")
        logits, others = (np.load(Path(folder) / f"{side}.npy") for side in ("unet3d", "monai"))
        print(f"largest difference of a logit, float32: {np.abs(logits - others).max():.1e}")


def measure(
    python: str, side: str, variant: str, folder: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Run a side in a process of its own."""
    settings = ["--repeat", str(arguments.repeat), "--shape", *map(str, arguments.shape)]
    done = subprocess.run(
        [python, __file__, "--side", side, variant, folder, *settings],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    if done.returncode:
        sys.exit(done.stderr)
    result = json.loads(done.stdout.splitlines()[-1])
    told = f"{side} {variant}"
    print(
        f"{told:<36}{result['s']:>8.2f}{result['mb']:>10.0f}{result['own_mb']:>20.0f}", flush=True
    )
    return result


def run_side(side: str, variant: str, folder: Path, shape: tuple[int, ...], repeat: int) -> None:
    """In its own process: two windows to warm up, then `repeat` volumes; the last line tells."""
    segment, logits = (unet3d_side if side == "unet3d" else monai_side)(variant, folder)
    libraries = resident("VmRSS")
    image = make_image(shape, np.float16 if side == "unet3d" else np.float32)
    segment(image[: PATCH[0], : PATCH[1], : PATCH[2]])
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        segment(image)
        times.append(time.perf_counter() - begun)
    peak = resident("VmHWM")
    if variant == "float32":
        # One window: where several meet, MONAI raises small Gaussian weights, and blends otherwise.
        np.save(folder / f"{side}.npy", logits(image[tuple(slice(size) for size in PATCH)]))
    print(json.dumps({"s": min(times), "mb": peak, "own_mb": peak - libraries}))


def make_image(shape: tuple[int, ...], kind: type) -> np.ndarray:
    """Numbers of 16 bits, in the type that a side keeps a scan in: unet3d in 16 bits as well."""
    random = np.random.default_rng(0)
    image: np.ndarray = np.empty((*shape, CHANNELS), kind)
    for plane in image:
        plane[...] = random.standard_normal(plane.shape, dtype=np.float32).astype(np.float16)
    return image


def resident(key: str) -> float:
    """This process' memory now (VmRSS) or at most (VmHWM), MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def unet3d_side(precision: str, folder: Path) -> Any:
    """Keras' network; its weights are kept for the peer."""
    import tensorflow as tf

    from unet3d.config.schema import DataConfig, ModelConfig
    from unet3d.inference.label_maps import code_type, encode
    from unet3d.inference.network import for_inference
    from unet3d.inference.predictor import make_predictor
    from unet3d.inference.sliding_window import planes, sliding_window
    from unet3d.models import build_model
    from unet3d.sampling.targets import make_targets

    config = ModelConfig(name="unet3d", filters=FILTERS, depth=DEPTH)
    model = build_model(config, channels=CHANNELS, outputs=OUTPUTS, seed=0)
    np.savez(folder / "weights.npz", **{v.path: np.asarray(v) for v in model.variables})
    predictor = make_predictor(
        for_inference(model, config, precision), tf.distribute.get_strategy(), 1, 1
    )
    targets = make_targets(
        DataConfig(name="", root=""), {label: f"region {label}" for label in range(1, OUTPUTS + 1)}
    )
    settings: dict[str, Any] = {"outputs": OUTPUTS, "overlap": OVERLAP}

    def segment(image: np.ndarray) -> np.ndarray:  # as unet3d.inference.predict does
        codes = np.empty(image.shape[:3], code_type(targets))
        for x, logits in enumerate(planes(predictor.logits, image, PATCH, **settings)):
            codes[x] = encode(logits, targets)
        return codes

    return segment, lambda image: sliding_window(predictor.logits, image, PATCH, **settings)


def monai_side(variant: str, folder: Path) -> Any:
    """The same network in torch, under MONAI's sliding window: to regions, and to logits."""
    import torch
    from monai.inferers import sliding_window_inference

    network = torch_twin(dict(np.load(folder / "weights.npz"))).eval()
    precise = variant.startswith("float32")
    layout = torch.channels_last_3d if "channels-last" in variant else torch.contiguous_format
    network = network.to(torch.float32 if precise else torch.bfloat16, memory_format=layout)

    def predict(window: Any) -> Any:
        window = window.to(torch.float32 if precise else torch.bfloat16)
        return network(window.contiguous(memory_format=layout)).float()

    def infer(image: np.ndarray) -> Any:
        volume = torch.from_numpy(np.moveaxis(image, -1, 0).copy())[None]
        with torch.inference_mode():
            return sliding_window_inference(
                volume, PATCH, 1, predict, overlap=OVERLAP, mode="gaussian", sigma_scale=0.125
            )

    def segment(image: np.ndarray) -> np.ndarray:
        return (infer(image)[0] > 0).numpy()

    return segment, lambda image: np.moveaxis(infer(image)[0].numpy(), 0, -1)


def torch_twin(weights: dict[str, np.ndarray]) -> Any:
    """unet3d's network in torch, with Keras' weights."""
    import torch
    from torch import nn

    def tensor(name: str) -> Any:
        return torch.from_numpy(np.ascontiguousarray(weights[name]))

    def conv_norm_act(name: str) -> Any:
        kernel = tensor(f"{name}_conv/kernel").permute(4, 3, 0, 1, 2).contiguous()
        conv = nn.Conv3d(kernel.shape[1], kernel.shape[0], 3, padding=1, bias=False)
        conv.weight.data = kernel
        norm = nn.BatchNorm3d(kernel.shape[0], eps=1e-5)
        norm.weight.data, norm.bias.data = tensor(f"{name}_norm/gamma"), tensor(f"{name}_norm/beta")
        norm.running_mean = tensor(f"{name}_norm/moving_mean")
        norm.running_var = tensor(f"{name}_norm/moving_variance")
        return nn.Sequential(conv, norm, nn.ReLU())

    def block(name: str) -> Any:
        return nn.Sequential(*(conv_norm_act(f"{name}_{index}") for index in range(2)))

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList(block(f"enc{level}") for level in range(DEPTH + 1))
            self.up = nn.ModuleList(self._up(level) for level in range(DEPTH))
            self.after = nn.ModuleList(block(f"dec{level}") for level in range(DEPTH))
            kernel = tensor("logits0/kernel").permute(4, 3, 0, 1, 2).contiguous()
            self.head = nn.Conv3d(kernel.shape[1], OUTPUTS, 1)
            self.head.weight.data, self.head.bias.data = kernel, tensor("logits0/bias")

        def _up(self, level: int) -> Any:
            kernel = tensor(f"dec{level}_up/kernel").permute(4, 3, 0, 1, 2).contiguous()
            up = nn.ConvTranspose3d(kernel.shape[0], kernel.shape[1], 2, stride=2)
            up.weight.data, up.bias.data = kernel, tensor(f"dec{level}_up/bias")
            return up

        def forward(self, x: Any) -> Any:
            skips = []
            for level, down in enumerate(self.down):
                if level:
                    skips.append(x)
                    x = nn.functional.max_pool3d(x, 2)
                x = down(x)
            for level in reversed(range(DEPTH)):
                x = self.after[level](torch.cat([skips[level], self.up[level](x)], dim=1))
            return self.head(x)

    return Twin()


if __name__ == "__main__":
    main()
