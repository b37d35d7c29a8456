"""Stage `frames`: decode the training images once, at the working scale."""

from functools import partial

from pydantic import Field

from histoweak.config import StrictConfig
from histoweak.data.frames import build_frames
from histoweak.data.skips import Skips
from histoweak.pipeline import Stage, StageContext


class FramesConfig(StrictConfig):
    """How training images are read.

    `mpp` is the working scale in microns per pixel, null to take images as they are.
    `assemble` lays patches back on the image they were cut from; without it every patch stands
    alone, as in the published systems. `max_skipped` is the share of images that may be unusable.
    """

    mpp: float | None = Field(None, gt=0)
    assemble: bool = True
    max_skipped: float = Field(0.05, ge=0, le=1)


def frames_stage(config: FramesConfig, *, with_masks: bool = False) -> Stage:
    """Make the stage.

    Args:
        config: its settings.
        with_masks: also store the masks of the training split: full supervision only.
    """
    name = "frames-with-masks" if with_masks else "frames"
    return Stage(name, config, (), partial(_run, config, with_masks))


def _run(config: FramesConfig, with_masks: bool, context: StageContext) -> None:
    records = context.manifest.split("train")
    skipped = context.out / "skipped.csv"
    skips = Skips(len(records), config.max_skipped, skipped)
    build_frames(
        records,
        len(context.manifest.classes),
        context.out,
        mpp=config.mpp,
        assemble=config.assemble,
        with_masks=with_masks,
        skips=skips,
        progress=context.progress,
    )
    skips.write(skipped)
    if skips:
        context.progress.say(f"{len(skips)} of {len(records)} images skipped, see {skipped.name}")
