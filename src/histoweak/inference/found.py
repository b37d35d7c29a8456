"""The images that a person means, and names for what is made of them."""

import glob
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from histoweak.data.images import SUFFIXES
from histoweak.errors import ImageError


def find_images(inputs: Sequence[Path | str], exclude: Sequence[Path] = ()) -> list[Path]:
    """Expand files, folders (with their subfolders) and patterns such as `scans/*.png`.

    A file that is named but missing stays in the list, so that it is reported as skipped.

    Args:
        inputs: what was asked for.
        exclude: folders whose files are left out, since they are the program's own output.

    Returns:
        Absolute paths, each once, in order of their names within each input.

    Raises:
        ImageError: a folder or pattern holds no image.
    """
    found: dict[Path, None] = {}
    left_out = [folder.resolve() for folder in exclude]
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            matches = _pictures(p for p in path.rglob("*") if not _is_hidden(p, path))
        elif not path.exists() and glob.has_magic(str(given)):
            matches = _pictures(Path(p) for p in glob.glob(str(given), recursive=True))  # noqa: PTH207 - takes any root
        else:
            matches = [path]
        resolved = [p.resolve() for p in matches]
        kept = [p for p in resolved if not any(p.is_relative_to(folder) for folder in left_out)]
        if not kept:
            raise ImageError(
                "holds no image",
                where=str(given),
                expected=f"files that end in {', '.join(sorted(SUFFIXES))}",
                remedy="Correct the path or the pattern",
            )
        found.update(dict.fromkeys(kept))
    return list(found)


def output_names(images: Iterable[Path], taken: Mapping[str, str] | None = None) -> dict[Path, str]:
    """A name for the outputs of each image: its stem, and more only where stems clash.

    Images of one stem are told apart by their folder, then by their suffix, then by a number.
    Names that differ only in case count as equal, as on many file systems.

    Args:
        images: different paths.
        taken: names given earlier, path -> name; they stay.
    """
    images = list(images)
    names = {path: taken[str(path)] for path in images if taken and str(path) in taken}
    used = {name.casefold() for name in (taken or {}).values()}
    stems = Counter(path.stem.casefold() for path in images)
    for path in images:
        if path in names:
            continue
        beside = f"{path.parent.name}_{path.stem}"
        suffixed = f"{beside}_{path.suffix[1:]}"
        candidates = [beside, suffixed, *(f"{suffixed}_{i}" for i in range(2, len(images) + 3))]
        if stems[path.stem.casefold()] == 1:
            candidates.insert(0, path.stem)
        names[path] = next(
            (c for c in candidates if c.casefold() not in used),
            f"{suffixed}_{len(used)}",
        )
        used.add(names[path].casefold())
    return {path: names[path] for path in images}


def _pictures(paths: Iterable[Path]) -> list[Path]:
    return sorted(p for p in paths if p.suffix.lower() in SUFFIXES and p.is_file())


def _is_hidden(path: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(below).parts)
