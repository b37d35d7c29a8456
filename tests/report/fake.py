"""A report's data with plausible random figures and pictures, made of numpy alone."""

import numpy as np

from histoweak.classes import ClassSet
from histoweak.report import (
    Curve,
    Estimate,
    EvidenceCell,
    EvidenceTable,
    Faithfulness,
    Gallery,
    LadderRow,
    Measure,
    MeasureTable,
    PatientRow,
    Protocol,
    PseudoMaskQuality,
    ReportData,
    Sample,
    Spread,
)

CLASSES = ClassSet(("tumour epithelium", "stroma", "necrosis", "lymphocytes"))
TINTS = np.array(
    [(150, 90, 160), (228, 170, 200), (190, 140, 150), (110, 70, 140), (244, 240, 244)]
)
PROTOCOL = Protocol("predicted", "none", "last", "test", (0,))


def sample(rng: np.random.Generator, name: str, miou: float, size: int = 224) -> Sample:
    """A patch of cells with a nearest seed point each; scores blur the truth."""
    k = len(CLASSES)
    points = rng.uniform(0, size, (7, 2))
    kinds = rng.integers(0, k + 1, 7)
    grid = np.stack(np.mgrid[:size, :size], -1)
    wave = 9 * np.sin(grid[..., ::-1] / 11 + rng.uniform(0, 6, 2))
    distance = np.linalg.norm((grid + wave)[:, :, None] - points, axis=-1)
    region = kinds[distance.argmin(-1)]
    spots = np.kron(rng.normal(0, 1, (size // 4, size // 4)), np.ones((4, 4)))[..., None]
    image = TINTS[region] + 16 * spots + rng.normal(0, 6, (size, size, 3))
    truth = np.where(region == k, 255, region).astype(np.uint8)
    shift = round(40 * (1 - miou))
    prediction = np.roll(truth, (shift, -shift // 2), (0, 1))
    coarse = (np.arange(k)[:, None, None] == truth[::8, ::8]).astype(float)
    scores = (coarse * 0.8 + rng.uniform(0, 0.2, coarse.shape)).clip(0, 1)
    pseudo = np.where(rng.uniform(size=truth.shape) < 2, np.roll(prediction, 9, 0), 255)
    pseudo[: size // 9] = 255
    return Sample(
        name=name,
        patient=f"P{rng.integers(1, 9):02d}",
        image=image.clip(0, 255).astype(np.uint8),
        prediction=prediction,
        miou=miou,
        scores=scores,
        pseudo_mask=pseudo.astype(np.uint8),
        truth=truth,
    )


def _ladder(rng: np.random.Generator) -> tuple[LadderRow, ...]:
    rows = []
    names = ("CAM", "Pseudo-masks", "Segmenter", "Full supervision")
    for name, level in zip(names, (0.47, 0.55, 0.66, 0.78), strict=True):
        iou = (level + np.array([0.12, 0.05, -0.2, 0.03]) + rng.normal(0, 0.02, 4)).tolist()
        miou = float(np.mean(iou))
        rows.append(
            LadderRow(
                name=name,
                iou=iou,
                miou=miou,
                fwiou=Estimate(miou + 0.05, (miou, miou + 0.1)),
                dice=Estimate(2 * miou / (1 + miou)),
                accuracy=Estimate(miou + 0.15, (miou + 0.1, miou + 0.2)),
                miou_zero=Estimate(miou),
                recall=Estimate(miou + 0.1, (miou, miou + 0.15)),
                image_miou=Estimate(miou - 0.05, (miou - 0.1, miou)),
                boundary_f=Estimate(0.4) if name == "Segmenter" else Estimate(None),
                interval=(miou - 0.04, miou + 0.035),
                coverage=0.83 if name == "Pseudo-masks" else 1.0,
                class_intervals=[(v - 0.06, v + 0.05) for v in iou],
                protocol=Protocol("truth", "none", "last", "test", (0,)) if level < 0.6 else None,
                reference=name == "Full supervision",
            )
        )
    return tuple(rows)


def measures(rng: np.random.Generator, names: tuple[str, ...], **about) -> MeasureTable:
    """Random scores of each class, the last one without meaning."""
    found = []
    for name in names:
        low = rng.uniform(-0.1, 0.7, len(CLASSES))
        by_class = [Estimate(v + 0.1, (v, v + 0.2)) for v in low.tolist()]
        by_class[-1] = Estimate(float("nan"))
        mean = Estimate(float(low[:-1].mean()) + 0.1, (0.2, 0.4))
        found.append(Measure(name, f"what {name} says; 1 is best", by_class, mean))
    method = "95 % bootstrap over patients, 500 draws"
    return MeasureTable(found, patches=432, interval_method=method, **about)


def _confusion(rng: np.random.Generator, scale: int) -> np.ndarray:
    shares = rng.dirichlet(np.ones(5) * 0.6, 4) * 0.35 + 0.65 * np.eye(4, 5)
    return (shares * scale * np.array([[5], [4], [0.4], [1]])).astype(np.int64)


def _patients(rng: np.random.Generator) -> tuple[PatientRow, ...]:
    rows = []
    for i in range(9):
        iou = (rng.beta(6, 3, 4)).tolist()
        if i % 3 == 0:
            iou[2] = float("nan")
        confusion = _confusion(rng, 10_000) if i < 6 else None
        miou = float(np.nanmean(iou))
        rows.append(PatientRow(f"P{i + 1:02d}", 20 + 7 * i, miou, iou, confusion))
    return tuple(rows)


def _evidence(rng: np.random.Generator) -> EvidenceTable:
    cells = []
    for n, (class_right, evidence_right) in enumerate(np.ndindex(2, 2)):
        patients = {f"P{i + 1:02d}": int(rng.poisson(3 + 8 * n)) for i in range(9)}
        statistics = {
            "Optical density (mean)": Spread(0.42 + 0.05 * n, 0.36 + 0.05 * n, 0.5 + 0.06 * n),
            "Share of tissue": Spread(0.7 + 0.07 * n, 0.55 + 0.07 * n, 0.78 + 0.07 * n),
            "Area of tumour epithelium": Spread(0.1 + 0.15 * n, 0.05 + 0.1 * n, 0.2 + 0.2 * n),
        }
        cells.append(EvidenceCell(bool(class_right), bool(evidence_right), patients, statistics))
    rule = "at least half of the energy lies on the truth and the IoU at 0.5 is at least 0.3"
    return EvidenceTable(cells, rule)


def _quality(where: str, split: str) -> PseudoMaskQuality:
    return PseudoMaskQuality(
        miou=Estimate(0.55, (0.5, 0.61)),
        coverage=Estimate(0.83),
        accuracy=Estimate(0.81),
        iou=(0.66, 0.6, 0.31, float("nan")),
        precision=(0.84, 0.79, 0.42, float("nan")),
        recall=(0.73, 0.72, 0.55, float("nan")),
        title=f"On {where}",
        reading=f"Made from the scores of {where}.",
        images=120,
        contested=(0.4, 0.7) if split == "train" else None,
        protocol=Protocol("truth", "none", "last", split, (0,)),
    )


def _curves(rng: np.random.Generator) -> tuple[Curve, ...]:
    steps = np.arange(1, 601)
    loss = 1.3 * np.exp(-steps / 150) + 0.25 + rng.normal(0, 0.06, 600)
    epochs = np.arange(20, 601, 20)
    validation = 1.2 * np.exp(-epochs / 150) + 0.38 + epochs / 6000 + rng.normal(0, 0.01, 30)
    rate = 0.01 * (1 - steps / 601) ** 0.9
    miou = 0.66 * (1 - np.exp(-epochs / 120)) + rng.normal(0, 0.01, 30)
    return (
        Curve("training loss", steps.tolist(), loss.tolist(), "Segmenter, loss", 600),
        Curve("validation loss", epochs.tolist(), validation.tolist(), "Segmenter, loss"),
        Curve("mean IoU, validation", epochs.tolist(), miou.tolist(), "Segmenter, mean IoU", 600),
        Curve("learning rate", steps.tolist(), rate.tolist(), "Segmenter, learning rate"),
    )


STEPS = (
    "CAM", "Grad-CAM", "CAM, 8 views", "dropout attention", "random walk", "dense CRF",
    "Pseudo-masks after a random walk and a dense CRF", "segmenter", "segmenter-2", "<b>5</b>",
)  # fmt: skip


def crowded() -> ReportData:
    """A report with many classes and patients and with names that leave no place to break."""
    rng = np.random.default_rng(1)
    wide = [Measure("measure" * 9, "m" * 99, [Estimate(0.5, (0.1, 0.9))] * 8)] * 4
    names = [f"tissue_{i}" for i in range(7)] + ["white_background_or_glass_outside_the_section"]
    rows = [
        LadderRow(name, rng.uniform(0, 1, 8).tolist(), 0.5, interval=(0.4, 0.6), protocol=PROTOCOL)
        for name in (*STEPS, "x" * 90)
    ]
    patients = [
        PatientRow(
            f"TCGA-{i}" + "-long" * i,
            i,
            0.5,
            rng.uniform(0, 1, 8).tolist(),
            np.eye(8, 9, dtype=int),
        )
        for i in range(12)
    ]
    return ReportData(
        title="run_" * 40,
        classes=ClassSet(tuple(names)),
        protocol=PROTOCOL,
        ladder=rows,
        confusion=rng.integers(0, 99, (8, 9)),
        patients=patients,
        labels=MeasureTable(wide, title="t" * 90, counts=[10**6] * 8),
        provenance={"digest" * 30: {"9f2c" * 60: ["ab" * 100, {"key" * 40: "value" * 40}]}},
        notes=["word" * 60],
    )


PROVENANCE = {
    "Software": {"histoweak": "0.1.0", "torch": "2.8.0", "python": "3.11.7", "device": "cpu"},
    "Data": {"manifest": "phantom/manifest.csv", "digest": "9f2c" * 16, "patches": 960},
    "Settings": {
        "classifier": {"encoder": "resnet38d", "epochs": 20, "learning_rate": 0.01},
        "segmenter": {"arch": "deeplabv3plus", "crop": [224, 224], "ignore_index": 255},
    },
    "Stages": [
        {"name": "classifier", "key": "ab12cd34", "seconds": 812.4, "inputs": []},
        {"name": "pseudo-masks", "key": "77e01f9a", "seconds": 93.0, "inputs": ["classifier"]},
    ],
}


def report(seed: int = 0, size: int = 224) -> ReportData:
    """A report with all its parts."""
    rng = np.random.default_rng(seed)
    levels = {"Best": (0.93, 0.91), "Median": (0.68, 0.66), "Worst": (0.12, 0.08)}
    return ReportData(
        title="VGG-CAM and DeepLab V3+ on the phantom",
        classes=CLASSES,
        protocol=PROTOCOL,
        ladder=_ladder(rng),
        created="21 November 2026, 07:30 UTC",
        n_patches=432,
        n_patients=9,
        interval_method="95 % bootstrap over patients, 1000 draws",
        boundaries=[
            measures(rng, ("Boundary F", "Boundary IoU"), title="Segmenter, within 5 microns")
        ],
        confusion=_confusion(rng, 100_000),
        patients=_patients(rng),
        galleries=[
            Gallery(
                title,
                [
                    sample(rng, f"slide{i:02d}_x{512 * i}_y1024.png", m, size)
                    for i, m in enumerate(ms)
                ],
                f"The {len(ms)} patches of rank “{title.lower()}” by mean IoU.",
            )
            for title, ms in levels.items()
        ],
        pseudo_masks=[_quality("held-out images", "test"), _quality("training images", "train")],
        labels=measures(rng, ("AUROC", "AP", "F1", "ECE"), counts=[200, 150, 20, 90]),
        looks=[
            measures(rng, ("Pointing game", "Energy lift"), title="Patch by patch", counts=[9] * 4),
            measures(rng, ("Pixel AP", "Pixel AUROC"), title="Pixel by pixel"),
        ],
        faithfulness=Faithfulness(2, 0.9, 0.31, 0.72, -0.02),
        evidence=_evidence(rng),
        curves=_curves(rng),
        provenance=PROVENANCE,
    )
