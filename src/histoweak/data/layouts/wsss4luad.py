"""WSSS4LUAD (Han et al., arXiv 2204.06455): lung adenocarcinoma, 3 tissues, many sizes."""

from pathlib import Path

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.data.layouts.layout import Found, Layout, Options
from histoweak.data.layouts.luad_histoseg import PATCH_NAME
from histoweak.data.layouts.names import tcga_patient
from histoweak.data.layouts.patches import find_patches

CLASSES = ClassSet(("tumour", "stroma", "normal"), ((0, 64, 128), (64, 128, 0), (243, 152, 0)))
VALUES = {0: 0, 1: 1, 2: 2, 3: IGNORE_INDEX, IGNORE_INDEX: IGNORE_INDEX}  # 3 is background


def find(root: Path, options: Options) -> Found:
    """Find the images: train `<patient>-<x>-<y>-[1, 1, 0].png`; val and test `00.png`, ...

    Val and test name no patients: each image counts as its own. Where there is a folder
    `background-mask`, its pixels other than 0 are ignored.
    """
    patches = find_patches(root, CLASSES, _fields, options.mpp)
    return Found(CLASSES, tuple(patches.records), VALUES, patches.backgrounds, patches.notes)


def _fields(name: str) -> tuple[str, str, float | None]:
    found = PATCH_NAME.fullmatch(name)
    slide = found["patient"] if found else ""
    return tcga_patient(slide) or slide, slide, None


LAYOUT = Layout(
    name="wsss4luad",
    title="WSSS4LUAD: lung adenocarcinoma, 3 tissues, images of many sizes",
    looks_like="1.training/<patient>-<x>-<y>-[1, 1, 0].png; 2.validation and 3.testing with "
    "img/*.png, mask/*.png and background-mask/*.png",
    where="the WSSS4LUAD challenge, wsss4luad.grand-challenge.org; Han et al., arXiv 2204.06455",
    terms="those of the challenge; see its pages",
    find=find,
    takes=("mpp",),
)
