"""`histoweak compare`: do two runs differ, beyond what the choice of patients explains?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Group

    from histoweak.report.scored import ScoredRun


def compare(
    run_a: Annotated[Path, typer.Argument(help="Run folder.")],
    run_b: Annotated[Path, typer.Argument(help="Another run, scored on the same images.")],
    draws: Annotated[
        int, typer.Option(min=100, help="Bootstrap samples, and most swaps of the test.")
    ] = 9999,
    seed: Annotated[int, typer.Option(min=0, help="Decides draws and swaps.")] = 0,
    json_: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
) -> None:
    """Compare the last rungs of two runs by a paired test over patients.

    Intervals of the difference draw patients with replacement, the same for both runs; p is that
    of the two-sided sign-flip test, which swaps the runs within patients.
    """
    from rich.console import Console

    from histoweak.report.scored import read_scored, require_comparable

    a, b = read_scored(run_a), read_scored(run_b)
    require_comparable(a, b)
    figures = comparison(a, b, draws, seed)
    console = Console()
    console.print(comparison_table(figures))
    for note in figures["notes"]:
        console.print(note, highlight=False, markup=False)
    if json_ is not None:
        from histoweak.cli.tables import write_json

        write_json(json_, figures)


def comparison(a: "ScoredRun", b: "ScoredRun", draws: int, seed: int) -> dict[str, Any]:
    """Test mean IoU, mean Dice, and IoU and Dice of each class.

    Returns:
        `a` and `b` (run and protocol), `patients` (their number), `draws`, `scores` (name ->
        `a`, `b`, `difference` (a - b), `low`, `high`, `p_value`; None without meaning) and `notes`.
    """
    import numpy as np

    from histoweak.metrics.groups import paired
    from histoweak.metrics.intervals import paired_test
    from histoweak.metrics.ratio import FloatArray, plain
    from histoweak.metrics.scores import dice, iou, mean_dice, miou_present

    def statistic(sums: FloatArray) -> FloatArray:
        means = np.stack([miou_present(sums), mean_dice(sums)], -1)
        return np.concatenate([means, iou(sums), dice(sums)], -1)

    left, right = paired(a.patients, b.patients)
    found = paired_test(left, right, statistic, draws=draws, seed=seed).to_dict()
    found["difference"] = found.pop("estimate")
    names = ["mean IoU", "mean Dice"]
    names += [f"{kind} {name}" for kind in ("IoU", "Dice") for name in a.classes.names]
    values = {
        "a": plain(statistic(left.sum(0).astype(float))),
        "b": plain(statistic(right.sum(0).astype(float))),
        **found,
    }
    return {
        "a": _side(a),
        "b": _side(b),
        "patients": len(left),
        "draws": draws,
        "seed": seed,
        "scores": {name: {k: v[i] for k, v in values.items()} for i, name in enumerate(names)},
        "notes": list(_notes(len(left), a, b)),
    }


def comparison_table(figures: dict[str, Any]) -> "Group":
    """Lay out a comparison; the title says how both sides came about."""
    from rich.markup import escape
    from rich.table import Table

    from histoweak.cli.tables import cell, protocol_line, titled

    sides = "\n".join(
        f"{side.upper()}: {figures[side]['run']}, {figures[side]['rung']}; "
        f"{protocol_line(figures[side])}"
        for side in ("a", "b")
    )
    title = f"{sides}\n{figures['patients']} patients, 95 % intervals, {figures['draws']} draws"
    table = Table()
    for column in ("", "A", "B", "A - B", "from", "to", "p"):
        table.add_column(column, justify="right" if column else "left")
    for name, scores in figures["scores"].items():
        kinds = ("a", "b", "difference", "low", "high", "p_value")
        table.add_row(escape(name), *(cell(scores[kind]) for kind in kinds))
    return titled(title, table)


def _side(scored: "ScoredRun") -> dict[str, Any]:
    figures = scored.figures
    protocol = {k: figures[k] for k in ("gate", "selection", "split", "seed")}
    tta = scored.last.get("tta", figures["tta"])
    named = {"run": str(scored.run), "method": scored.record["method"], "rung": scored.last["name"]}
    return {**named, **protocol, "tta": tta}


def _notes(patients: int, a: "ScoredRun", b: "ScoredRun") -> list[str]:
    notes = []
    least = 2 / 2**patients
    if least > 0.05:
        notes.append(
            f"With {patients} patients p cannot fall below {least:.3g}, however different the "
            "runs are; intervals over so few are too narrow."
        )
    for what in ("gate", "tta", "selection"):
        left, right = _side(a)[what], _side(b)[what]
        if left != right:
            notes.append(f"The protocols differ: {what} is {left} in A and {right} in B.")
    notes.append(
        "One training each: the test speaks about these two trained models, not about other seeds."
    )
    return notes
