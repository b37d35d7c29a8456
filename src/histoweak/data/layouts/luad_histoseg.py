"""LUAD-HistoSeg (Han et al., Medical Image Analysis 80, 2022): lung adenocarcinoma, 4 tissues."""

import re
from pathlib import Path

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.data.layouts.bcss_wsss import ROI_NAME
from histoweak.data.layouts.layout import Found, Layout, LayoutMismatchError, Options
from histoweak.data.layouts.names import tcga_patient
from histoweak.data.layouts.patches import find_patches

CLASSES = ClassSet(
    ("tumour epithelium", "necrosis", "lymphocytes", "tumour-associated stroma"),
    ((205, 51, 51), (0, 255, 0), (65, 105, 225), (255, 165, 0)),
)
VALUES = {0: 0, 1: 1, 2: 2, 3: 3, 4: IGNORE_INDEX}  # 4 is white background or excluded

PATCH_NAME = re.compile(r"(?P<patient>.+?)-\d+-\d+")
"""`<patient>-<x>-<y>`."""


def find(root: Path, options: Options) -> Found:
    """Find the patches: `<patient>-<x>-<y>-[1 0 0 1].png`, in val and test without the label."""
    patches = find_patches(root, CLASSES, _fields, options.mpp)
    return Found(CLASSES, tuple(patches.records), VALUES, notes=patches.notes)


def _fields(name: str) -> tuple[str, str, float | None]:
    if ROI_NAME.match(name):
        # The same four digits, but index 1 is stroma there and necrosis here.
        raise LayoutMismatchError(
            "is named as an image of BCSS, whose classes stand in another order",
            where=name,
            expected="<patient>-<x>-<y>-[1 0 0 1].png",
            remedy="Give a folder of LUAD-HistoSeg",
        )
    found = PATCH_NAME.fullmatch(name)
    slide = found["patient"] if found else ""
    return tcga_patient(slide) or slide, slide, None


LAYOUT = Layout(
    name="luad-histoseg",
    title="LUAD-HistoSeg: lung adenocarcinoma, 4 tissues, patches of 224 px at 10x",
    looks_like="train/<patient>-<x>-<y>-[1 0 0 1].png; val and test with img/*.png and mask/*.png",
    where="the links in the README of github.com/ChuHan89/WSSS-Tissue; "
    "Han et al., Medical Image Analysis 80 (2022) 102487",
    terms="none stated with the data; ask its authors",
    find=find,
    takes=("mpp",),
)
