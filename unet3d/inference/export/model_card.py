"""The model card beside each export: what the network is, saw and reached, for whoever gets it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from unet3d.config.schema import Config
from unet3d.files import read_text
from unet3d.run_folder import RunFolder
from unet3d.tracking.facts import read_facts

CARD = "MODEL_CARD.md"
NOT_KNOWN = "not recorded"
SHOWN = ("dice", "hd95", "nsd")  # of the test cases' metrics


def model_card(config: Config, about: dict[str, Any], run: RunFolder, name: str) -> str:
    """Markdown from the run's files: network, data, results, use.

    about: of input and output, as `network.json` has it. name: of the network.
    """
    return "\n".join(_lines(config, about, run, name)) + "\n"


def _lines(config: Config, about: dict[str, Any], run: RunFolder, name: str) -> Iterator[str]:
    facts = read_facts(run)
    dataset = facts.dataset
    yield from (
        f"# {facts.name or name}",
        "",
        "A network for the segmentation of 3D medical images.",
    )
    yield from ("", "## Network", "")
    yield f"- {name}, trained by unet3d for {config.epochs} epochs at most, seed {config.seed}"
    yield f"- run {run.run_id}, code {facts.tags.get('mlflow.source.git.commit', NOT_KNOWN)}"
    yield f"- input: {', '.join(about['input']['channels'])}"
    yield f"- output: {', '.join(about['output']['logits_of'])} ({about['output']['read_as']})"
    spacing = config.data.spacing
    yield f"- voxels of {spacing} mm" if spacing else "- voxels as in the files"
    yield from ("", "## Data", "")
    yield f"- {dataset.get('name', config.data.name)}: {dataset.get('cases', NOT_KNOWN)} cases"
    yield f"- digest of all files: {dataset.get('digest', NOT_KNOWN)}"
    yield from ("- where they come from and who is in them: to be added", "", "## Results", "")
    yield from _results(run)
    yield from ("", "## Use", "")
    yield "For research. It is not a medical device, and nobody has approved it for patients."
    yield "Scans of other scanners, protocols or people than those it was trained on may be"
    yield "segmented badly without any sign of it: measure on scans of your own first."
    yield from ("", "Licence, authors and contact: to be added by those who publish it.")


def _results(run: RunFolder) -> Iterator[str]:
    """Of the test cases, where `unet3d evaluate` has opened them."""
    text = read_text(run.test / "summary.csv")
    if text is None:
        yield f"The test cases have not been opened: `unet3d evaluate run={run.run_id}`."
        return
    yield from ("On the test cases, mean and median:", "", "| region | metric | mean | median |")
    yield "|---|---|---|---|"
    for row in csv.DictReader(text.splitlines()):
        if row["metric"] in SHOWN:
            yield f"| {row['region']} | {row['metric']} | {row['mean']} | {row['median']} |"
