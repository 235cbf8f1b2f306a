"""Sliding-window inference against MONAI's on torch: python benchmarks/inference.py

The same network with the same weights, volume, windows and overlap, on all cores. Each side runs
in processes of its own, taking turns, so that its peak memory can be told; the best of what each
offers counts: float32 and bfloat16, for torch with and without channels-last. Logits in float32
are compared. Needs `pip install torch monai`, here or for the interpreter of --peer.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
SHAPE, PATCH, OVERLAP, CHANNELS, OUTPUTS = (144, 192, 144), (96, 96, 96), 0.5, 4, 3
FILTERS, DEPTH = 8, 3
OURS = ("float32", "mixed_bfloat16")
PEERS = ("float32", "float32 channels-last", "bfloat16", "bfloat16 channels-last")


def main() -> None:
    """Print seconds, ratio, memory, and how far the logits agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="volumes a process")
    parser.add_argument("--peer", default=sys.executable, help="Python that has torch and monai")
    parser.add_argument("--side", nargs=3, help="for the processes that this one starts")
    arguments = parser.parse_args()
    if arguments.side:
        side, variant, folder = arguments.side
        run_side(side, variant, Path(folder), arguments.repeat)
        return
    probe = subprocess.run([arguments.peer, "-c", "import torch, monai"], capture_output=True)
    with tempfile.TemporaryDirectory() as name:
        print(f"{SHAPE} voxels, windows of {PATCH}, overlap {OVERLAP}, {os.cpu_count()} cores")
        ours = [measure(sys.executable, "unet3d", v, name, arguments.repeat) for v in OURS]
        if probe.returncode:
            print("torch or monai is not installed: the peer is left out")
            return
        peers = [measure(arguments.peer, "monai", v, name, arguments.repeat) for v in PEERS]
        best, peer = min(ours, key=seconds), min(peers, key=seconds)
        print(f"{'unet3d / MONAI, best of each':<44}{peer['s'] / best['s']:>8.2f} times faster")
        print(f"{'peak memory, MB: unet3d':<44}{best['mb']:>8.0f}")
        print(f"{'peak memory, MB: MONAI':<44}{peer['mb']:>8.0f}")
        ours_logits, theirs = (np.load(Path(name) / f"{side}.npy") for side in ("unet3d", "monai"))
        difference = np.abs(ours_logits - theirs).max()
        print(f"{'largest difference of a logit of a window, float32':<52}{difference:>8.1e}")


def seconds(result: dict[str, Any]) -> float:
    """A volume's."""
    return result["s"]


def measure(python: str, side: str, variant: str, folder: str, repeat: int) -> dict[str, Any]:
    """Run a side in a process of its own."""
    done = subprocess.run(
        [python, __file__, "--side", side, variant, folder, "--repeat", str(repeat)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    if done.returncode:
        sys.exit(done.stderr)
    result = json.loads(done.stdout.splitlines()[-1])
    told = f"{side} {variant}"
    print(f"{told:<44}{result['s']:>8.2f} s   {result['mb']:>6.0f} MB", flush=True)
    return result


def run_side(side: str, variant: str, folder: Path, repeat: int) -> None:
    """In its own process: one volume to warm up, then `repeat`; the last line is the result."""
    image = np.random.default_rng(0).standard_normal((*SHAPE, CHANNELS), dtype=np.float32)
    segment = (unet3d_side if side == "unet3d" else monai_side)(variant, folder)
    times = []
    segment(image)
    for _ in range(repeat):
        begun = time.perf_counter()
        segment(image)
        times.append(time.perf_counter() - begun)
    if variant == "float32":
        # One window: where several meet, MONAI raises small Gaussian weights, and blends otherwise.
        np.save(folder / f"{side}.npy", segment(image[tuple(slice(size) for size in PATCH)]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"s": median(times), "mb": peak}))


def unet3d_side(precision: str, folder: Path) -> Any:
    """Keras' network; its weights are kept for the peer."""
    import keras
    import tensorflow as tf

    from unet3d.config import ModelConfig
    from unet3d.inference.sliding_window import sliding_window
    from unet3d.models import build_model
    from unet3d.training.validate import make_predictor

    keras.config.set_dtype_policy(precision)
    config = ModelConfig(name="unet3d", filters=FILTERS, depth=DEPTH)
    model = build_model(config, channels=CHANNELS, outputs=OUTPUTS, seed=0)
    np.savez(folder / "weights.npz", **{v.path: np.asarray(v) for v in model.variables})
    predictor = make_predictor(model, tf.distribute.get_strategy(), 1, 1)
    return lambda image: sliding_window(
        predictor.logits, image, PATCH, outputs=OUTPUTS, overlap=OVERLAP
    )


def monai_side(variant: str, folder: Path) -> Any:
    """The same network in torch, under MONAI's sliding window."""
    import torch
    from monai.inferers import sliding_window_inference

    network = torch_twin(dict(np.load(folder / "weights.npz"))).eval()
    precise = variant.startswith("float32")
    layout = torch.channels_last_3d if "channels-last" in variant else torch.contiguous_format
    network = network.to(torch.float32 if precise else torch.bfloat16, memory_format=layout)

    def predict(window: Any) -> Any:
        window = window.to(torch.float32 if precise else torch.bfloat16)
        return network(window.contiguous(memory_format=layout)).float()

    def segment(image: np.ndarray) -> np.ndarray:
        volume = torch.from_numpy(np.moveaxis(image, -1, 0).copy())[None]
        with torch.inference_mode():
            logits = sliding_window_inference(
                volume, PATCH, 1, predict, overlap=OVERLAP, mode="gaussian", sigma_scale=0.125
            )
        return np.moveaxis(logits[0].numpy(), 0, -1)

    return segment


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
