"""Read the masks that will be scored before training, so that a wrong one costs no training."""

from collections.abc import Sequence

from histoweak.data.images import probe, read_mask
from histoweak.data.manifest import Record
from histoweak.data.skips import Skips
from histoweak.progress import Progress


def check_masks(
    records: Sequence[Record], n_classes: int, max_skipped: float, progress: Progress
) -> None:
    """Read each mask at the size of its image.

    Args:
        records: rows with masks.
        n_classes: K.
        max_skipped: share of the rows that may be unusable.
        progress: shows how far it is.

    Raises:
        ImageError: too many cannot be used.
    """
    skips = Skips(len(records), max_skipped)
    for record in progress.track(records, len(records), "checking masks"):
        with skips.catch(record.image):
            if record.mask is not None:
                read_mask(record.mask, n_classes, probe(record.image).size)
