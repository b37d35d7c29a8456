"""The canvas that tissues paint on: concentrations of stain before any light falls through."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histoweak.data.phantom.cells import Ellipses, Profile, add_ellipses
from histoweak.data.phantom.noise import Plane, Points, Window, scatter, smooth_noise, subkey
from histoweak.data.phantom.regions import Regions
from histoweak.data.phantom.stain import PatientStyle


@dataclass(frozen=True)
class Canvas:
    """One window of a field while it is painted.

    Args:
        window: where, with the halo that blur and nuclei need.
        key: of the field.
        style: the patient's.
        regions: which tissue is where.
        ground: (2, h, w) haematoxylin and eosin of the ground substance. One smooth field for
            all tissues: a region is not told by its hue.
        matter: (2, h, w) haematoxylin and eosin of everything but nuclei.
        nuclei: (h, w) haematoxylin of nuclei.
        blood: (h, w) red cells.
        clear: (h, w) how much of everything is missing: lumina, clefts, vacuoles.
    """

    window: Window
    key: int
    style: PatientStyle
    regions: Regions
    ground: npt.NDArray[np.float32]
    matter: npt.NDArray[np.float32]
    nuclei: Plane
    blood: Plane
    clear: Plane

    @classmethod
    def blank(cls, window: Window, key: int, style: PatientStyle, regions: Regions) -> "Canvas":
        """A canvas with nothing but the ground's tone decided."""
        shape = (window.height, window.width)
        drift = [smooth_noise(window, subkey(key, f"drift{s}"), 110.0) for s in range(2)]
        ground = np.stack([0.20 + 0.055 * drift[0], 0.55 + 0.13 * drift[1]])
        return cls(
            window,
            key,
            style,
            regions,
            np.clip(ground, 0.05, None).astype(np.float32),
            np.zeros((2, *shape), np.float32),
            np.zeros(shape, np.float32),
            np.zeros(shape, np.float32),
            np.zeros(shape, np.float32),
        )

    def where(self, tissue: int) -> npt.NDArray[np.bool_]:
        """(h, w) true in one tissue."""
        return np.asarray(self.regions.mask == tissue)

    def noise(self, name: str, scale: float) -> Plane:
        """Smooth noise of this field, named so that two uses never coincide."""
        return smooth_noise(self.window, subkey(self.key, name), scale)

    def points(
        self,
        name: str,
        spacing: float,
        tissue: int,
        depth: float,
        density: Plane | None = None,
        jitter: float = 0.33,
    ) -> Points:
        """Scattered points in one tissue.

        Args:
            name: which scatter.
            spacing: microns between neighbours.
            tissue: index of the tissue.
            depth: microns that points keep from the tissue's border.
            density: (h, w) share of points kept, 0 to 1; all where None.
            jitter: irregularity, in units of `spacing`.
        """
        found = scatter(self.window, subkey(self.key, name), spacing, jitter)
        at = self.window.at
        keep = at(self.regions.mask, found.y, found.x) == tissue
        keep &= at(self.regions.depth, found.y, found.x) >= depth
        if density is not None:
            keep &= found.draws[:, 5] < at(density, found.y, found.x)
        return found.keep(keep)

    def paint(self, tissue: int, haematoxylin: Plane, eosin: Plane) -> None:
        """Lay the ground of a tissue: factors on the field's ground, plus the patient's tint."""
        area = self.where(tissue)
        for stain, texture in enumerate((haematoxylin, eosin)):
            tint = np.float32(self.style.counterstain[tissue, stain])
            tone = np.maximum(self.ground[stain] + tint, np.float32(0.06))
            np.copyto(self.matter[stain], np.maximum(texture, 0) * tone, where=area)

    def add_nuclei(self, shapes: Ellipses, profile: Profile) -> None:
        """Add nuclei to the haematoxylin of this canvas."""
        add_ellipses(self.nuclei, self.window, shapes, profile)

    def open(self, amount: Plane, tissue: int) -> None:
        """Clear part of a tissue: 0 leaves it, 1 empties it."""
        np.maximum(self.clear, np.where(self.where(tissue), amount, 0), out=self.clear)
