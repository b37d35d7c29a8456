"""What a check can find, and the words for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from histoweak.data.check.measure import Facts
from histoweak.data.manifest import Manifest, Record

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Item:
    """One case of a finding.

    Args:
        note: what is special about it.
        images: positions of the images concerned in the manifest's records; none where the case
            is about the data set as a whole.
    """

    note: str
    images: tuple[int, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Cases of one kind.

    Args:
        code: a word for machines, which never changes.
        severity: an error makes results wrong or training impossible, a warning may, a note is
            worth knowing.
        title: what was found.
        meaning: why it matters and what to do.
        items: the cases, at least one.
    """

    code: str
    severity: Severity
    title: str
    meaning: str
    items: tuple[Item, ...]


def found(
    code: str, severity: Severity, title: str, meaning: str, items: Sequence[Item]
) -> list[Finding]:
    """A finding in a list, or an empty list where there is no case."""
    return [Finding(code, severity, title, meaning, tuple(items))] if items else []


@dataclass(frozen=True)
class Checked:
    """The data set as it was found: `facts[i]` was measured on `manifest.records[i]`."""

    manifest: Manifest
    facts: tuple[Facts, ...]

    def rows(self) -> list[tuple[int, Record, Facts]]:
        """Position, record and facts of every image."""
        pairs = zip(self.manifest.records, self.facts, strict=True)
        return [(i, record, facts) for i, (record, facts) in enumerate(pairs)]
