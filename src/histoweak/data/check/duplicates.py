"""Pictures that stand in a data set more than once, exactly or nearly, and where that leaks."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from histoweak.data.check.finding import Checked, Finding, Item, found
from histoweak.data.check.fingerprint import TURNS, details, hashes, stack, turned

Int = npt.NDArray[np.int64]

BANDS = ((0, 11), (11, 11), (22, 11), (33, 11), (44, 10), (54, 10))
"""First bit and length of the six parts of a hash by which pairs are looked up."""

NEAR_BITS = 10
"""Differing bits of 64 up to which two hashes are alike. A pair is looked at when one of the six
bands is equal: always where up to five bits differ, mostly where up to ten do."""

NEAR_DETAIL = 0.8
"""Correlation of detail from which on two images with like hashes are one picture."""

FLAT = 1.0
"""Standard deviation of detail, in grey values, below which an image shows nothing to compare."""

_CHUNK = 1 << 20
_PAIRS = 1 << 13


class Groups:
    """Sets of positions that grow together (union-find)."""

    def __init__(self, size: int) -> None:
        self.parent = np.arange(size)

    def find(self, position: int) -> int:
        """The least member of a position's set."""
        root = position
        while self.parent[root] != root:
            root = int(self.parent[root])
        self.parent[position] = root
        return root

    def join(self, first: int, second: int) -> None:
        """Make one set of two."""
        low, high = sorted((self.find(first), self.find(second)))
        self.parent[high] = low

    def members(self) -> list[list[int]]:
        """Sets of more than one, each in order."""
        sets: dict[int, list[int]] = defaultdict(list)
        for position in range(len(self.parent)):
            sets[self.find(position)].append(position)
        return [members for members in sets.values() if len(members) > 1]


def near_groups(thumbnails: Sequence[bytes]) -> list[list[int]]:
    """Positions of thumbnails that show the same picture, also rotated or reflected.

    The work grows with the number of like hashes, not with the square of the number of images.

    Args:
        thumbnails: as `fingerprint.thumbnail` makes them.
    """
    if not thumbnails:
        return []
    small = stack(list(thumbnails))
    detail, spread = details(small)
    groups = Groups(len(small))
    (shown,) = np.nonzero(spread >= FLAT)
    for first, second, turn in _alike(hashes(small[shown])):
        # Of many copies most pairs are known by now to belong together.
        new = groups.parent[shown[first]] != groups.parent[shown[second]]
        first, second, turn = first[new], second[new], turn[new]
        ways = detail[shown[second]]
        aligned = np.empty_like(ways)
        for way in range(TURNS):
            aligned[turn == way] = turned(ways[turn == way], way)
        correlation = np.einsum("nij,nij->n", detail[shown[first]], aligned)
        same = correlation >= NEAR_DETAIL
        for a, b in zip(shown[first[same]], shown[second[same]], strict=True):
            groups.join(int(a), int(b))
    return groups.members()


def _alike(found_hashes: npt.NDArray[np.uint64]) -> Iterator[tuple[Int, Int, Int]]:
    """Pairs first < second with like hashes when the second is turned, in pieces."""
    every = found_hashes.ravel()
    for begin_bit, length in BANDS:
        mask = np.uint64((1 << length) - 1)
        keys = ((every >> np.uint64(begin_bit)) & mask).astype(np.uint16)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        wanted = keys[::TURNS]  # unturned
        begin = np.searchsorted(ordered, wanted, "left")
        count = np.searchsorted(ordered, wanted, "right") - begin
        for start, stop in _slices(count):
            lengths = count[start:stop]
            first = np.repeat(np.arange(start, stop), lengths)
            within = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
            other = order[np.repeat(begin[start:stop], lengths) + within]
            second, turn = other // TURNS, other % TURNS
            bits = np.bitwise_count(every[first * TURNS] ^ every[other])
            (like,) = np.nonzero((bits <= NEAR_BITS) & (first < second))
            for piece in range(0, len(like), _PAIRS):
                at = like[piece : piece + _PAIRS]
                yield first[at], second[at], turn[at]


def _slices(count: Int) -> Iterator[tuple[int, int]]:
    """Runs of positions whose counts sum to about `_CHUNK` at most."""
    total = np.concatenate([[0], count.cumsum()])
    start = 0
    while start < len(count):
        stop = int(np.searchsorted(total, total[start] + _CHUNK, "right")) - 1
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def find_duplicates(checked: Checked) -> list[Finding]:
    """Pictures that occur twice: across splits, with different labels, or merely twice."""
    exact: dict[bytes, list[int]] = defaultdict(list)
    for i in _showing(checked):
        exact[checked.facts[i].digest].append(i)
    firsts = [members[0] for members in exact.values()]
    same = [tuple(members) for members in exact.values() if len(members) > 1]
    near = [
        tuple(sorted(i for k in group for i in exact[checked.facts[firsts[k]].digest]))
        for group in near_groups([checked.facts[i].thumbnail for i in firsts])
    ]
    inside = {i for group in near for i in group}
    exact_only = [group for group in same if group[0] not in inside]
    return [
        *_leaks(checked, exact_only, near),
        *_contradictions(checked, same),
        *_repeats(checked, exact_only, near),
    ]


def _showing(checked: Checked) -> list[int]:
    """Images that show something; empty glass looks the same everywhere, its copies say nothing."""
    read = [i for i, facts in enumerate(checked.facts) if not facts.problem]
    _, spread = details(stack([checked.facts[i].thumbnail for i in read]))
    return [i for i, value in zip(read, spread, strict=True) if value >= FLAT]


def _splits(checked: Checked, group: Sequence[int]) -> list[str]:
    return sorted({s for i in group if (s := checked.manifest.records[i].split)})


def _leaks(
    checked: Checked, same: list[tuple[int, ...]], near: list[tuple[int, ...]]
) -> list[Finding]:
    items = [
        Item(f"{kind} in {' and '.join(splits)}", _one_per_split_first(checked, group))
        for kind, groups in (("the same pixels", same), ("nearly the same picture", near))
        for group in groups
        if len(splits := _splits(checked, group)) > 1
    ]
    return found(
        "picture-in-two-splits", "error", "The same picture in two splits",
        "What was seen in training is no test. Keep the copies of one split, or split anew by "
        "patient.", items,
    )  # fmt: skip


def _one_per_split_first(checked: Checked, group: tuple[int, ...]) -> tuple[int, ...]:
    """One image of each split before the others, so that few pictures show the leak."""
    splits: dict[str, int] = {}
    for i in group:
        splits.setdefault(checked.manifest.records[i].split, i)
    return (*splits.values(), *(i for i in group if i not in splits.values()))


def _contradictions(checked: Checked, same: list[tuple[int, ...]]) -> list[Finding]:
    items = [
        Item("the same pixels, different labels", group)
        for group in same
        if len({r.labels for i in group if (r := checked.manifest.records[i]).labels}) > 1
    ]
    return found(
        "duplicate-with-other-label", "error", "Copies with different labels",
        "One of the labels is wrong. Correct it and keep one copy.", items,
    )  # fmt: skip


def _repeats(
    checked: Checked, same: list[tuple[int, ...]], near: list[tuple[int, ...]]
) -> list[Finding]:
    def within(groups: list[tuple[int, ...]]) -> list[Item]:
        return [
            Item(f"{len(group)} times", group)
            for group in groups
            if len(_splits(checked, group)) <= 1
        ]

    return [
        *found(
            "duplicate", "warning", "Images with the same pixels",
            "Copies count twice in training and in figures. Keep one of each.", within(same),
        ),
        *found(
            "near-duplicate", "warning", "Nearly the same picture",
            "Copies that were compressed, scaled, brightened, rotated or reflected. They were "
            "found by 64-bit difference hashes and confirmed by their detail. Keep one of each.",
            within(near),
        ),
    ]  # fmt: skip
