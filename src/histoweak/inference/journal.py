"""What is finished in a folder of predictions, so that the same command again resumes."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histoweak.atomic import replacing
from histoweak.errors import OutputError
from histoweak.inference.areas import Areas

SETTINGS, DONE = "predict.json", "done.jsonl"


class Journal:
    """Finished images of one folder, all made by one model with one set of settings.

    A line is appended to `done.jsonl` once all files of an image are in place; a line that a
    killed program left half written is dropped.

    Args:
        folder: the output folder, which exists.
        settings: plain data of everything that decides the outputs; kept in `predict.json`.

    Raises:
        OutputError: the folder holds predictions made with other settings, or masks from
            elsewhere.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self._settings(json.loads(json.dumps(settings)))
        self._entries: dict[str, tuple[str, Areas]] = {}
        self._read()

    @property
    def names(self) -> dict[str, str]:
        """Image path -> name of its outputs, of all images ever finished."""
        return {image: areas.name for image, (_, areas) in self._entries.items()}

    @property
    def areas(self) -> list[Areas]:
        """Areas of all finished images, in the order of their paths."""
        return [areas for _, (_, areas) in sorted(self._entries.items())]

    def is_finished(self, image: Path, files: tuple[Path, ...]) -> bool:
        """Whether the image is as it was when its outputs were made, and they are all there."""
        entry = self._entries.get(str(image))
        if entry is None or not all(path.is_file() for path in files):
            return False
        try:
            return entry[0] == content_digest(image)
        except OSError:
            return False

    def add(self, digest: str, areas: Areas) -> None:
        """Note that all files of an image are in place.

        Raises:
            OutputError: the disk is full.
        """
        # In ASCII: a file name may be no Unicode, and comes back as it was.
        line = json.dumps({"sha256": digest, **vars(areas)})
        try:
            with (self.folder / DONE).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise _unwritable(self.folder / DONE, error) from error
        self._entries[areas.image] = (digest, areas)

    def _settings(self, settings: dict[str, Any]) -> None:
        path = self.folder / SETTINGS
        if path.exists():
            present = _read_settings(path)
            differing = sorted(
                k for k in present.keys() | settings if present.get(k) != settings.get(k)
            )
            if differing:
                name = differing[0]
                raise OutputError(
                    f"holds predictions made with another {', '.join(differing)}",
                    where=self.folder,
                    expected=f"{name} = {_short(present.get(name))}, as in {SETTINGS}; "
                    f"now it is {_short(settings.get(name))}",
                    remedy="Choose another folder, or remove this one if nothing needs it",
                )
            return
        if any((self.folder / "masks").glob("[!.]*.png")):
            raise OutputError(
                "holds masks that are not from `histoweak predict`",
                where=self.folder,
                remedy="Choose another folder",
            )
        with replacing(path) as temporary:
            text = json.dumps(settings, indent=2, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")

    def _read(self) -> None:
        path = self.folder / DONE
        if not path.exists():
            return
        content = path.read_bytes()
        for line in content.split(b"\n"):
            try:
                row = json.loads(line)
                digest, size = row.pop("sha256"), tuple(row.pop("size"))
                areas = Areas(size=size, pixels=tuple(row.pop("pixels")), **row)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # an empty or half written line: its image is done again
            self._entries[areas.image] = (digest, areas)
        if content and not content.endswith(b"\n"):
            with path.open("ab") as file:  # so that the next line does not continue a torn one
                file.write(b"\n")


def content_digest(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        values = str(error)
    if isinstance(values, dict):
        return values
    raise OutputError(
        f"cannot be read ({values})",
        where=path,
        expected="what an earlier `histoweak predict` wrote",
        remedy="Choose another folder",
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot be written ({os.strerror(error.errno) if error.errno else error})",
        where=path,
        remedy="Free disk space and run the same command again: finished images are kept",
    )
