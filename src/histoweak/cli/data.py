"""`histoweak data`: make, cut and split data sets."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from histoweak.cli.check import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from histoweak.classes import ClassSet
    from histoweak.data.manifest import Manifest, Record

app = typer.Typer(help="Make, cut and split data sets.", no_args_is_help=True)
app.command()(check)

Out = Annotated[Path, typer.Option(help="Folder to write to.")]
Workers = Annotated[int, typer.Option(min=1, help="Images worked on at once.")]
_CORES = os.cpu_count() or 1


@app.command()
def phantom(
    folder: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="Folder to write to.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The same, as other commands take it.")] = None,
    patches: Annotated[int | None, typer.Option(min=1, help="Number of patches.")] = None,
    patch_size: Annotated[int | None, typer.Option(min=1, help="Side in pixels.")] = None,
    mpp: Annotated[float | None, typer.Option(help="Microns per pixel.")] = None,
    patients: Annotated[int | None, typer.Option(min=1, help="Number of patients.")] = None,
    single_tissue: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of patches of one tissue only.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 0,
    workers: Workers = _CORES,
) -> None:
    """Draw synthetic H&E patches with exact masks."""
    target = folder or out
    if target is None or (folder and out):
        raise typer.BadParameter("name one folder to write to", param_hint="'OUT' or '--out'")
    from histoweak.config import build_config
    from histoweak.data.phantom import PhantomConfig, write_phantom
    from histoweak.progress import Progress

    asked: dict[str, Any] = {
        "patches": patches,
        "patch_size": patch_size,
        "mpp": mpp,
        "patients": patients,
        "single_tissue": single_tissue,
        "seed": seed,
    }
    given = {key: value for key, value in asked.items() if value is not None}
    config = build_config(PhantomConfig, given, where="histoweak data phantom")
    with Progress() as progress:
        manifest = write_phantom(target, config, workers, progress)
    _report(manifest)


@app.command()
def tile(
    images: Annotated[
        Path, typer.Argument(help="Folder of images, or a manifest (.csv, .parquet) with masks.")
    ],
    out: Out,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of index masks named as the images.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Names of mask values 0, 1, ...: 'other,gland'; or a classes.json."),
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Side of a patch in pixels.")] = 112,
    stride: Annotated[int, typer.Option(min=1, help="Step between patches in pixels.")] = 56,
    presence: Annotated[
        float, typer.Option(min=0, max=1, help="A class counts above this share of a patch.")
    ] = 0.05,
    flush: Annotated[bool, typer.Option(help="Last row and column end at the border.")] = True,
    keep_empty: Annotated[bool, typer.Option(help="Keep patches without any class.")] = False,
    mpp: Annotated[
        float | None, typer.Option(help="Microns per pixel of images that state none.")
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Split of a folder's images.")
    ] = "train",
    keep_whole: Annotated[str, typer.Option(help="Splits that are not cut, e.g. 'val,test'.")] = "",
    limit: Annotated[
        float, typer.Option(min=0, max=1, help="Share of images that may be unusable.")
    ] = 0.05,
    workers: Workers = _CORES,
) -> None:
    """Cut annotated images into labelled patches."""
    from histoweak.config import build_config
    from histoweak.data.tile import TileConfig, tile_images
    from histoweak.progress import Progress

    settings = {
        "size": size, "stride": stride, "presence": presence,
        "flush": flush, "keep_empty": keep_empty, "mpp": mpp,
    }  # fmt: skip
    config = build_config(TileConfig, settings, where="histoweak data tile")
    class_set = _class_set(classes)
    records, class_set = _annotated(images, masks, class_set, split, mpp)
    with Progress() as progress:
        manifest, _ = tile_images(
            records,
            out,
            class_set,
            config,
            keep_whole=_splits("--keep-whole", keep_whole),
            workers=workers,
            progress=progress,
            limit=limit,
        )
    assert manifest.path is not None  # noqa: S101 - it has just been written
    _report_tiles(manifest.path)


@app.command()
def glas(
    root: Annotated[Path, typer.Argument(help="Folder with train and testA (and testB).")],
    out: Out,
    workers: Workers = _CORES,
) -> None:
    """Make the weakly labelled data set of GlaS: 112 px patches for training, whole images to test.

    The data set is for research use; get it from the organisers of the GlaS challenge.
    """
    from histoweak.data.glas import prepare_glas
    from histoweak.progress import Progress

    with Progress() as progress:
        path = prepare_glas(root, out, workers, progress)
    _report_tiles(path)


@app.command()
def split(
    manifest: Annotated[Path, typer.Argument(help="Manifest, .csv or .parquet.")],
    out: Annotated[
        Path, typer.Option(help="Manifest to write; a folder with --folds or --leave-one-out.")
    ],
    val: Annotated[float, typer.Option(min=0, max=1, help="Share of val.")] = 0.0,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of test.")] = 0.2,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Cross-validation: one manifest per fold.")
    ] = None,
    leave_one_out: Annotated[bool, typer.Option(help="One manifest per patient.")] = False,
    hold: Annotated[
        Literal["val", "test"], typer.Option(help="What the held-out part becomes.")
    ] = "test",
    keep: Annotated[str, typer.Option(help="Splits that stay as they are, e.g. 'test'.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same splits.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
) -> None:
    """Assign train, val and test by patient, keeping the mix of labels."""
    from histoweak.config import build_config
    from histoweak.data.manifest import Manifest
    from histoweak.data.split import SplitConfig, split_manifest, write_splits
    from histoweak.errors import ConfigError

    if folds is not None and leave_one_out:
        raise ConfigError(
            "--folds and --leave-one-out together",
            where="histoweak data split",
            remedy="Choose one of the two",
        )
    mode = "folds" if folds is not None else "leave-one-out" if leave_one_out else "shares"
    settings: dict[str, Any] = {
        "mode": mode, "val": val, "test": test, "hold": hold, "seed": seed,
        "keep": _splits("--keep", keep),
    }  # fmt: skip
    if folds is not None:
        settings["folds"] = folds
    config = build_config(SplitConfig, settings, where="histoweak data split")
    source = Manifest.read(manifest, check_splits=False)
    for path in write_splits(split_manifest(source, config), out, config, overwrite):
        _report(path)


@app.command("import")
def import_(
    layout: Annotated[str, typer.Argument(help="One of those that `data layouts` lists.")],
    src: Annotated[Path, typer.Argument(help="Folder (or table) of the data set.")],
    out: Annotated[Path, typer.Option(help="Manifest to write, .csv or .parquet.")],
    classes: Annotated[
        str | None, typer.Option(help="Class names in order, where the layout fixes none.")
    ] = None,
    values: Annotated[
        str | None, typer.Option(help="image-mask: mask value of each class, e.g. '0,255'.")
    ] = None,
    ignore: Annotated[
        str | None, typer.Option(help="image-mask: mask values that are ignored, e.g. '4'.")
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(help="Pattern found in every path; its group is the patient: '/(P[0-9]+)_'."),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"] | None,
        typer.Option(help="Split of images whose layout states none."),
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="Microns per pixel of images whose layout states none.")
    ] = None,
    part_patients: Annotated[
        bool,
        typer.Option(
            "--part-patients", help="Keep published splits that divide patients (see the guide)."
        ),
    ] = False,
    limit: Annotated[
        float, typer.Option(min=0, max=1, help="Share of masks that may be unusable.")
    ] = 0.05,
) -> None:
    """Make a manifest of a public data set as it is distributed; images stay where they are."""
    from histoweak.data.layouts.importing import import_data
    from histoweak.data.layouts.layout import Options
    from histoweak.data.layouts.registry import find_layout
    from histoweak.progress import Progress

    options = Options(
        classes=() if classes is None else tuple(name.strip() for name in classes.split(",")),
        values=None if values is None else _mask_values("--values", values),
        ignore=() if ignore is None else _mask_values("--ignore", ignore),
        mpp=mpp,
        split=split or "",
    )
    pattern = None if patient is None else _pattern(patient)
    with Progress() as progress:
        imported = import_data(
            find_layout(layout), src, out, options, patient=pattern,
            part_patients=part_patients, limit=limit, progress=progress,
        )  # fmt: skip
    _report_tiles(out)
    for note in imported.notes:
        typer.echo(f"note: {note}")


@app.command()
def layouts() -> None:
    """List the layouts of `data import`: where the data is to be had, and under what terms."""
    from histoweak.data.layouts.registry import LAYOUTS

    for layout in LAYOUTS.values():
        typer.echo(f"{layout.name}\n    {layout.title}\n    looks like: {layout.looks_like}")
        typer.echo(f"    from: {layout.where}\n    terms: {layout.terms}")


def _class_set(text: str | None) -> "ClassSet | None":
    from histoweak.classes import ClassSet

    if text is None:
        return None
    if text.endswith(".json"):
        return ClassSet.read(Path(text))
    return ClassSet(tuple(name.strip() for name in text.split(",")))


def _annotated(
    images: Path, masks: Path | None, classes: "ClassSet | None", split: str, mpp: float | None
) -> "tuple[Sequence[Record], ClassSet]":
    """Images to cut and what their masks mean, from a manifest or two folders."""
    from histoweak.data.annotated import pair_folders
    from histoweak.data.manifest import Manifest
    from histoweak.errors import ConfigError

    if images.suffix.lower() in {".csv", ".parquet"}:
        manifest = Manifest.read(images, check_splits=False, classes=classes)
        return manifest.records, manifest.classes
    if masks is None or classes is None:
        option = "--masks" if masks is None else "--classes"
        raise ConfigError(
            f"{option} is missing",
            where="histoweak data tile",
            expected="a folder of images needs --masks and --classes",
            remedy=f"Add {option}, or give a manifest instead of a folder",
        )
    return pair_folders(images, masks, split, mpp), classes


def _splits(option: str, text: str) -> tuple[str, ...]:
    from histoweak.data.columns import SPLITS
    from histoweak.errors import ConfigError

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in SPLITS:
            raise ConfigError(
                f"{option} {name!r}",
                expected=", ".join(SPLITS),
                remedy="Name splits, separated by commas",
            )
    return names


def _report(path: Path) -> "Manifest":
    """Print what was written and what it holds."""
    from histoweak.data.manifest import Manifest

    manifest = Manifest.read(path, check_files=False, check_splits=False)
    typer.echo(f"wrote {path}")
    for name in dict.fromkeys(r.split for r in manifest.records):
        typer.echo(f"  {name or 'unassigned'}: {_summary(manifest, name)}")
    return manifest


def _report_tiles(path: Path) -> None:
    """As `_report`, and what may be wrong with the images that were cut."""
    from histoweak.data.table import read_table

    manifest, skipped = _report(path), path.parent / "skipped.csv"
    for i, name in enumerate(manifest.classes.names):
        if not any(r.labels[i] for r in manifest.records if r.labels):
            typer.echo(f"note: no image holds {name!r}; its mask value is {i}, 255 means ignored")
    if skipped.exists():
        typer.echo(f"skipped {len(read_table(skipped).rows)} images, listed in {skipped}")


def _summary(manifest: "Manifest", split: str) -> str:
    records = manifest.split(split)
    labelled = [r for r in records if r.labels]
    shares = (
        f"{name} {sum(r.labels[i] for r in labelled)}"
        for i, name in enumerate(manifest.classes.names)
    )
    patients = len({r.patient for r in records})
    return f"{len(records)} images of {patients} patients; with {', '.join(shares)}"


def _mask_values(option: str, text: str) -> tuple[int, ...]:
    from histoweak.errors import ConfigError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) <= 255 for part in parts):
        raise ConfigError(
            f"{option} {text!r}", expected="0 to 255, separated by commas", remedy="Correct it"
        )
    return tuple(int(part) for part in parts)


def _pattern(text: str) -> "re.Pattern[str]":
    from histoweak.errors import ConfigError

    try:
        return re.compile(text)
    except re.error as error:
        raise ConfigError(
            f"--patient {text!r} is no regular expression ({error})",
            expected="for example '/(P[0-9]+)_'",
            remedy="Correct the pattern",
        ) from error
