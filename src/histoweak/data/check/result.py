"""The whole check of a manifest, and its result as plain data."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from histoweak import __version__
from histoweak.data.check.config import CheckConfig
from histoweak.data.check.duplicates import find_duplicates
from histoweak.data.check.finding import SEVERITIES, Checked, Finding
from histoweak.data.check.labels import find_balance, find_label_faults
from histoweak.data.check.leakage import find_leakage
from histoweak.data.check.outliers import find_outliers
from histoweak.data.check.readable import find_odd, find_unreadable
from histoweak.data.check.scale import find_scale_faults
from histoweak.data.check.scan import scan
from histoweak.data.check.summary import SplitSummary, summarise
from histoweak.data.manifest import Manifest
from histoweak.progress import Progress

SCHEMA = 1
"""Version of the plain data; grows when a key changes its meaning or goes."""


@dataclass(frozen=True)
class CheckResult:
    """What was found.

    Args:
        checked: the data set with what was measured on each image.
        config: the thresholds.
        findings: errors first.
        splits: what each split holds.
    """

    checked: Checked
    config: CheckConfig
    findings: tuple[Finding, ...]
    splits: tuple[SplitSummary, ...]

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of findings of each severity."""
        return {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON.

        Keys: `schema` (1), `histoweak` (version), `manifest` (path), `classes` (names),
        `thresholds` (the settings), `counts` (findings by severity), `splits` (see
        `SplitSummary`), and `findings`: a list of `code`, `severity`, `title`, `meaning`, `count`
        and `items`, each with a `note` and its `images` as `row` (line of the table), `image`
        (path) and `split`. All cases are listed.
        """
        records = self.checked.manifest.records
        return {
            "schema": SCHEMA,
            "histoweak": __version__,
            "manifest": str(self.checked.manifest.path),
            "classes": list(self.checked.manifest.classes.names),
            "thresholds": self.config.model_dump(mode="json"),
            "counts": self.counts,
            "splits": [asdict(split) for split in self.splits],
            "findings": [
                {
                    "code": finding.code,
                    "severity": finding.severity,
                    "title": finding.title,
                    "meaning": finding.meaning,
                    "count": len(finding.items),
                    "items": [
                        {
                            "note": item.note,
                            "images": [
                                {
                                    "row": records[i].row,
                                    "image": str(records[i].image),
                                    "split": records[i].split,
                                }
                                for i in item.images
                            ],
                        }
                        for item in finding.items
                    ],
                }
                for finding in self.findings
            ],
        }

    def columns(self) -> dict[str, list[Any]]:
        """What was measured, as columns of a table with one row per image.

        `haematoxylin`, `eosin` and `other_color` are mean optical densities, `focus` the variance
        of the Laplacian, all over the tissue; `sha256` is over size and decoded pixels.
        """
        records, facts = self.checked.manifest.records, self.checked.facts
        return {
            "row": [r.row for r in records],
            "image": [str(r.image) for r in records],
            "split": [r.split for r in records],
            "problem": [f.problem or f.mask_problem for f in facts],
            "height": [f.size[0] if f.size else None for f in facts],
            "width": [f.size[1] if f.size else None for f in facts],
            "mode": [f.mode for f in facts],
            "format": [f.format for f in facts],
            "white": [_rounded(f.white) for f in facts],
            "haematoxylin": [_rounded(f.stain[0] if f.stain else None) for f in facts],
            "eosin": [_rounded(f.stain[1] if f.stain else None) for f in facts],
            "other_color": [_rounded(f.stain[2] if f.stain else None) for f in facts],
            "focus": [_rounded(f.focus) for f in facts],
            "sha256": [f.digest.hex() for f in facts],
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def check_manifest(
    manifest: Manifest,
    config: CheckConfig | None = None,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> CheckResult:
    """Look through a data set.

    Args:
        manifest: read with `check_files=False, check_splits=False`, so that missing files and
            divided patients become findings rather than an error.
        config: thresholds.
        workers: processes that read images.
        progress: shows how far it is.

    Raises:
        ImageError: a process that read images died.
    """
    config = config or CheckConfig()
    facts = scan(
        manifest.records,
        len(manifest.classes),
        config.white_rule,
        workers,
        progress or Progress(quiet=True),
    )
    checked = Checked(manifest, facts)
    findings = [
        *find_unreadable(checked),
        *find_leakage(checked),
        *find_duplicates(checked),
        *find_label_faults(checked, config),
        *find_balance(checked, config),
        *find_scale_faults(checked),
        *find_outliers(checked, config),
        *find_odd(checked, config),
    ]
    ordered = sorted(findings, key=lambda f: SEVERITIES.index(f.severity))
    return CheckResult(checked, config, tuple(ordered), summarise(checked))
