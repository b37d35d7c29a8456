"""BCSS-WSSS (Han et al., Medical Image Analysis 80, 2022): patches of BCSS with 4 tissues."""

import re
from pathlib import Path

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.data.layouts.layout import Found, Layout, LayoutMismatchError, Options
from histoweak.data.layouts.names import mpp_in_name, tcga_patient
from histoweak.data.layouts.patches import find_patches

CLASSES = ClassSet(
    ("tumour", "stroma", "lymphocytes", "necrosis"),
    ((255, 0, 0), (0, 255, 0), (0, 0, 255), (153, 0, 255)),
)
VALUES = {0: 0, 1: 1, 2: 2, 3: 3, 4: IGNORE_INDEX}  # 4 is white background or excluded

ROI_NAME = re.compile(r"(?P<slide>TCGA-\w{2}-\w{4}-\w+)_xmin(?P<x>\d+)_ymin(?P<y>\d+)_MPP-")
"""How regions of BCSS are named, and patches cut from them."""


def find(root: Path, options: Options) -> Found:
    """Find the patches: `<name of the BCSS region>+<index>[1001].png`."""
    patches = find_patches(root, CLASSES, _fields, None)
    return Found(CLASSES, tuple(patches.records), VALUES, notes=patches.notes)


def _fields(name: str) -> tuple[str, str, float | None]:
    found = ROI_NAME.match(name)
    if found is None:
        raise LayoutMismatchError(
            "is not named as an image of BCSS",
            where=name,
            expected="TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500+0[1101].png",
            remedy="Give a folder of BCSS-WSSS",
        )
    return tcga_patient(name), found["slide"], mpp_in_name(name)


LAYOUT = Layout(
    name="bcss-wsss",
    title="BCSS-WSSS: breast cancer of TCGA, 4 tissues, patches of 224 px",
    looks_like="train/<BCSS region>+<index>[1001].png; val and test with img/*.png and mask/*.png",
    where="the links in the README of github.com/ChuHan89/WSSS-Tissue; "
    "Han et al., Medical Image Analysis 80 (2022) 102487",
    terms="none stated with these patches; they are cut from BCSS (see there)",
    find=find,
)
