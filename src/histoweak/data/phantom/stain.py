"""From stain concentrations to colour: Beer-Lambert, one style per patient, and the scanner."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from histoweak.data.phantom.noise import Plane, Window, normal, subkey

# Optical density per channel (R, G, B) of haematoxylin and eosin, unit length.
# Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI
# 2009 (reference matrix of the public implementations), and Ruifrok & Johnston, "Quantification
# of histochemical staining by color deconvolution", 2001.
MACENKO = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
RUIFROK = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
# Red cells: haemoglobin under eosin absorbs blue and green about alike.
BLOOD = np.array([0.15, 0.76, 0.60])


@dataclass(frozen=True)
class PatientStyle:
    """What differs from patient to patient and stays within one.

    Args:
        stains: (3, 3) rows haematoxylin, eosin, blood; optical density (base e) per channel.
        strength: factors on the concentration of haematoxylin and of eosin.
        white: brightness of empty glass per channel, 0 to 1.
        psf_um: standard deviation of the microscope's blur, microns.
        noise: standard deviation of the scanner's noise, 0 to 1.
        counterstain: (4, 2) additions to haematoxylin and eosin of each tissue's ground.
        nuclear_size: factor on the diameters of tumour nuclei.
        nuclear_tone: factor on the haematoxylin of tumour nuclei.
        glandular: 0 (solid nests) to 1 (glands everywhere).
    """

    stains: npt.NDArray[np.float64]
    strength: tuple[float, float]
    white: tuple[float, float, float]
    psf_um: float
    noise: float
    counterstain: npt.NDArray[np.float64]
    nuclear_size: float
    nuclear_tone: float
    glandular: float

    @classmethod
    def draw(cls, sequence: np.random.SeedSequence) -> "PatientStyle":
        """A random patient."""
        rng = np.random.default_rng(sequence)
        share = rng.uniform(0.1, 0.55)
        pair = (1 - share) * MACENKO + share * RUIFROK
        stains = np.vstack([pair, BLOOD]) + rng.normal(0, 0.025, (3, 3))
        stains = np.clip(stains, 0.03, None)
        glass = rng.uniform(0.90, 0.97)
        tint = rng.normal(0, 0.008, 3)
        return cls(
            stains=stains / np.linalg.norm(stains, axis=1, keepdims=True),
            strength=(rng.uniform(0.82, 1.2), rng.uniform(0.8, 1.2)),
            white=tuple(float(v) for v in np.clip(glass + tint, 0, 1)),  # type: ignore[arg-type]
            psf_um=rng.uniform(0.28, 0.55),
            noise=rng.uniform(0.005, 0.011),
            counterstain=rng.normal(0, 1, (4, 2)) * (0.05, 0.10),
            nuclear_size=rng.uniform(0.9, 1.2),
            nuclear_tone=rng.uniform(0.8, 1.2),
            glandular=rng.uniform(0, 1),
        )


def beer_lambert(
    concentration: npt.NDArray[np.float32],
    stains: npt.NDArray[np.float64],
    white: tuple[float, float, float],
) -> npt.NDArray[np.float32]:
    """Light that passes: white * exp(-concentration @ stains).

    Args:
        concentration: (S, H, W), not negative.
        stains: (S, 3) optical density (base e) of one unit of each stain.
        white: light without tissue, 0 to 1 per channel.

    Returns:
        (3, H, W), 0 to 1.
    """
    # Stain by stain, not as a matrix product: the threads of BLAS would spin for long after it, in
    # every process that draws, and its rounding depends on the tile's size.
    density = np.zeros((3, *concentration.shape[1:]), np.float32)
    for amount, spectrum in zip(concentration, stains.astype(np.float32), strict=True):
        density += spectrum[:, None, None] * amount
    return np.asarray(np.exp(-density) * np.array(white, np.float32)[:, None, None], np.float32)


def scan(
    light: npt.NDArray[np.float32], window: Window, key: int, style: PatientStyle, halo: int
) -> npt.NDArray[np.uint8]:
    """Blur by the optics, add the sensor's noise, round to 8 bits.

    Args:
        light: (3, h, w) of `window` grown by `halo` pixels.
        window: what to return.
        key: of the field; the noise is a function of it and of the pixel.
        style: blur and noise.
        halo: pixels around `window`; the blur is cut off there.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    sigma = style.psf_um / window.mpp
    blurred = ndimage.gaussian_filter(light, (0, sigma, sigma), truncate=3.0)
    inner = blurred[:, halo : halo + window.height, halo : halo + window.width]
    rows = np.arange(window.y0, window.y0 + window.height)[:, None]
    columns = np.arange(window.x0, window.x0 + window.width)[None, :]
    shot = [normal(subkey(key, f"scanner{c}"), rows, columns) for c in range(3)]
    # Photon noise grows with the light; half of it hits all channels alike.
    common = normal(subkey(key, "scanner"), rows, columns)
    noise: Plane = (np.stack(shot) + common) * np.float32(style.noise / np.sqrt(2))
    noisy = inner + noise * np.sqrt(np.maximum(inner, np.float32(0.05)))
    levels = np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(levels, 0, -1))
