"""Run a recipe for several seeds, with full supervision beside it, and print one table.

    python benchmarks/ladder.py MANIFEST --recipe glas-cpu --seeds 0 1 2 --out runs/glas

Everything resumes: interrupted or repeated, it only computes what is missing.
"""

import argparse
import json
import statistics
from pathlib import Path

from histoweak.api import Finished, run_method


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


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--method", default="vgg-cam")
    parser.add_argument("--reference", default="supervised", help="empty for none")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows: dict[str, list[float]] = {}
    for method in filter(None, (options.method, options.reference)):
        spent = []
        for seed in options.seeds:
            folder = options.out / f"{method}-{seed}"
            done = run_method(method, options.manifest, folder, recipe=options.recipe, seed=seed)
            spent.append(minutes(done))
            for name, value in rungs(done).items():
                label = name if method == options.method else f"{method}: {name}"
                rows.setdefault(label, []).append(value)
        print(f"{method}: {', '.join(f'{m:.1f}' for m in spent)} minutes")
    print(table(rows))


if __name__ == "__main__":
    main()
