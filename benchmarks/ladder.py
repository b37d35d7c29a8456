r"""Run a recipe for several seeds, with full supervision beside it, and print one table.

    python benchmarks/ladder.py MANIFEST --recipe glas-cpu --seeds 0 1 2 --out runs/glas

Variants of it, each with a name and its own settings, are compared in the same table:

    python benchmarks/ladder.py MANIFEST --method drs --recipe glas-cpu --out runs/drs \
        --variant as-it-is --variant plain classifier.net.suppression=null

They share a run folder per seed, and so every stage that they have in common. Everything resumes:
interrupted or repeated, it only computes what is missing.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histoweak.api import Finished, run_method
from histoweak.config import parse_setting

Variants = Mapping[str, Sequence[Mapping[str, Any]]]
"""Settings on top of the recipe, by the name of the variant."""


def rungs(finished: Finished) -> dict[str, float]:
    """Return the mIoU of every rung of one run."""
    if finished.evaluation is None:
        raise SystemExit("the manifest has no held-out masks to score")
    figures = json.loads(finished.evaluation.read_text(encoding="utf-8"))
    return {rung["name"]: rung["miou_present"] for rung in figures["ladder"]}


def minutes(finished: Finished) -> float:
    """Minutes that the stages took, without pauses between attempts."""
    stages = [json.loads((f / "stage.json").read_text()) for f in finished.artefacts.values()]
    return sum(stage["seconds"] for stage in stages) / 60


def table(rows: dict[str, list[float]]) -> str:
    """Markdown table of mean and standard deviation over seeds."""
    lines = ["| rung | mIoU per seed | mean | sd |", "|---|---|---|---|"]
    for name, values in rows.items():
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        each = ", ".join(f"{v:.4f}" for v in values)
        lines.append(f"| {name} | {each} | {statistics.mean(values):.4f} | {spread:.4f} |")
    return "\n".join(lines)


def run_all(
    method: str, variants: Variants, options: argparse.Namespace, title: str = ""
) -> dict[str, list[float]]:
    """Run a method for all variants and seeds; mIoU of each rung by its name in the table.

    Args:
        method: which.
        variants: settings of each; a variant without a name is the recipe as it is.
        options: manifest, recipe, seeds and output folder.
        title: what the names of rungs begin with.
    """
    rows: dict[str, list[float]] = {}
    for name, settings in variants.items():
        label = ": ".join(part for part in (title, name) if part)
        spent = []
        for seed in options.seeds:
            done = run_method(
                method,
                options.manifest,
                options.out / f"{method}-{seed}",
                recipe=options.recipe,
                settings=settings,
                seed=seed,
            )
            spent.append(minutes(done))
            for rung, value in rungs(done).items():
                rows.setdefault(f"{label}: {rung}" if label else rung, []).append(value)
        each = ", ".join(f"{m:.1f}" for m in spent)
        print(f"{' '.join(part for part in (method, name) if part)}: {each} minutes")
    return rows


def parse_variants(groups: Sequence[Sequence[str]]) -> Variants:
    """Names and settings from the words behind each `--variant`."""
    return {name: [parse_setting(text) for text in settings] for name, *settings in groups}


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--method", default="vgg-cam")
    parser.add_argument("--reference", default="supervised", help="empty for none")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--variant",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "KEY=VALUE"),
        help="a name and settings on top of the recipe; may be repeated",
    )
    options = parser.parse_args()
    as_it_is: Variants = {"": []}
    rows = run_all(options.method, parse_variants(options.variant) or as_it_is, options)
    if options.reference:
        rows |= run_all(options.reference, as_it_is, options, title=options.reference)
    print(table(rows))


if __name__ == "__main__":
    main()
