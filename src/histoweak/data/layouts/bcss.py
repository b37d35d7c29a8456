"""BCSS (Amgad et al., Bioinformatics 35, 2019): regions of breast cancer slides of TCGA."""

from pathlib import Path

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.data.annotated import pair_folders
from histoweak.data.layouts.bcss_wsss import ROI_NAME
from histoweak.data.layouts.folders import IMAGE_FOLDERS, MASK_FOLDERS, homes, named
from histoweak.data.layouts.layout import Found, Layout, LayoutMismatchError, Options
from histoweak.data.layouts.names import mpp_in_name, tcga_patient
from histoweak.data.manifest import Record

CLASSES = ClassSet(
    ("tumour", "stroma", "inflammatory", "necrosis", "other"),
    ((255, 0, 0), (0, 255, 0), (0, 0, 255), (153, 0, 255), (160, 160, 160)),
)

# Codes of the data set's gtruth_codes.tsv in the five groups of its authors' baseline.
_GROUPS = {
    0: (1, 19, 20),  # tumour, angioinvasion, dcis
    1: (2,),  # stroma
    2: (3, 10, 11),  # lymphocytic infiltrate, plasma cells, other immune infiltrate
    3: (4,),  # necrosis or debris
    4: (5, 6, 8, 9, 12, 13, 14, 15, 16, 17, 18, 21),  # secretions, blood, fat, nerve, ...
    IGNORE_INDEX: (0, 7),  # outside the region, excluded
}
VALUES = {code: group for group, codes in _GROUPS.items() for code in codes}

TEST_INSTITUTES = frozenset({"OL", "LL", "E2", "EW", "GM", "S3"})
"""Second field of the names of the regions that the authors' baseline tests on."""

FOLDERS = ("rgbs_colorNormalized", "rgbs", *IMAGE_FOLDERS)


def find(root: Path, options: Options) -> Found:
    """Find the regions: equally named PNG files in `images` and `masks`.

    The split is that of the authors' baseline, by institute: train and test.
    """
    for home in homes(root):
        images, masks = named(home, FOLDERS), named(home, MASK_FOLDERS)
        if images is not None and masks is not None:
            records = pair_folders(images, masks)
            return Found(CLASSES, tuple(_region(record) for record in records), VALUES)
    raise LayoutMismatchError(
        "no folder of images beside a folder of masks",
        where=root,
        expected=f"{' or '.join(FOLDERS)}, and masks",
        remedy="Give the folder that holds them",
    )


def _region(record: Record) -> Record:
    name = record.image.stem
    found = ROI_NAME.match(name)
    if found is None or "+" in name:
        raise LayoutMismatchError(
            "is not named as a region of BCSS",
            where=record.image,
            expected="TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500.png",
            remedy="Give a folder of BCSS",
        )
    institute = name.split("-")[1]
    return Record(
        image=record.image,
        mask=record.mask,
        patient=tcga_patient(name),
        slide=found["slide"],
        split="test" if institute in TEST_INSTITUTES else "train",
        mpp=mpp_in_name(name),
    )


LAYOUT = Layout(
    name="bcss",
    title="BCSS: 151 regions of breast cancer slides of TCGA, 22 codes in 5 groups",
    looks_like="images (or rgbs_colorNormalized) and masks, each with "
    "TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500.png, ...",
    where="github.com/PathologyDataScience/BCSS (formerly CrowdsourcingDataset-Amgadetal2019); "
    "Amgad et al., Bioinformatics 2019, doi 10.1093/bioinformatics/btz083",
    terms="CC0 1.0, as copies of the data set state; see the repository",
    find=find,
)
