"""What each patch of a data set is: its patient, split, tissues and seed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histoweak.data.manifest import SPLITS
from histoweak.data.phantom.config import PhantomConfig
from histoweak.data.phantom.noise import Window, subkey
from histoweak.data.phantom.regions import TISSUES, Layout, partition

# Children of the data set's seed: one for the plan, one for patients, one for patches.
_PLAN, _PATIENTS, _PATCHES = range(3)
_ATTEMPTS = 24


@dataclass(frozen=True)
class PatchPlan:
    """One patch before it is rendered.

    Args:
        index: its number in the data set.
        patient: number of its patient.
        split: train, val or test.
        tissues: indices of the tissues it is to hold.
        white: whether it is to hold white background.
    """

    index: int
    patient: int
    split: str
    tissues: tuple[int, ...]
    white: bool

    @property
    def name(self) -> str:
        """Stem of its files."""
        return f"p{self.patient:03d}_{self.index:06d}"


def portions(total: int, shares: npt.NDArray[np.float64], least: int = 0) -> list[int]:
    """Divide `total` things by shares, whole and exact (largest remainders).

    Args:
        total: how many.
        shares: relative shares, not negative, not all 0.
        least: the smallest count that a share above 0 gets.
    """
    wanted = total * shares / shares.sum()
    counts = np.floor(wanted).astype(int)
    for extra in np.argsort(counts - wanted, kind="stable")[: total - counts.sum()]:
        counts[extra] += 1
    for short in np.flatnonzero((shares > 0) & (counts < least)):
        counts[np.argmax(counts)] -= least - counts[short]
        counts[short] = least
    return [int(count) for count in counts]


def _shuffled_flags(count: int, total: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    return rng.permutation(np.arange(total) < count)


def plan_patches(config: PhantomConfig) -> tuple[PatchPlan, ...]:
    """Plan a data set: patients in turn, proportions exact, order at random."""
    rng = np.random.default_rng(np.random.SeedSequence((config.seed, _PLAN)))
    counts = portions(config.patients, np.array(config.splits), least=1)
    splits = rng.permutation(np.repeat(np.array(SPLITS), counts))
    chance = np.array(config.proportions) / sum(config.proportions)
    singles = round(config.single_tissue * config.patches)
    single = _shuffled_flags(singles, config.patches, rng)
    white = _shuffled_flags(round(config.white_share * config.patches), config.patches, rng)
    alone = iter(rng.permutation(np.repeat(np.arange(len(TISSUES)), portions(singles, chance))))
    several = np.arange(2, 1 + np.count_nonzero(chance))
    odds = np.array([0.5, 0.35, 0.15])[: several.size]
    plans = []
    for index in range(config.patches):
        if single[index]:
            tissues = [int(next(alone))]
        else:
            size = rng.choice(several, p=odds / odds.sum())
            tissues = sorted(rng.choice(len(TISSUES), size, replace=False, p=chance).tolist())
        patient = index % config.patients
        split = str(splits[patient])
        plans.append(PatchPlan(index, patient, split, tuple(tissues), bool(white[index])))
    return tuple(plans)


def patient_sequence(config: PhantomConfig, patient: int) -> np.random.SeedSequence:
    """The seed of one patient's style."""
    return np.random.SeedSequence((config.seed, _PATIENTS, patient))


def arrange(plan: PatchPlan, config: PhantomConfig) -> tuple[int, Layout]:
    """The seed and layout of a patch that holds what is planned.

    Smooth random fields may leave a planned tissue out, so seeds are tried in order until two
    tissues (one, if one is planned), and the white if planned, are present. Where none will do
    the one that comes nearest is taken; the labels always follow the mask.
    """
    extent = config.patch_size * config.mpp
    region = min(config.region_um, extent / 3)
    white = -0.7 if plan.white else None
    layout = Layout(plan.tissues, (0.0,) * len(plan.tissues), white, region)
    sequence = np.random.SeedSequence((config.seed, _PATCHES, plan.index))
    window = Window(0, 0, config.patch_size, config.patch_size, config.mpp)
    best, best_score = 0, -1.0
    for number in sequence.generate_state(_ATTEMPTS, np.uint64):
        seed = int(number)
        if len(plan.tissues) == 1 and not plan.white:
            return seed, layout
        mask = partition(window, subkey(seed, "regions"), layout).mask
        share = np.bincount(mask.ravel(), minlength=256) / mask.size
        wanted = sorted(share[: len(TISSUES)])[-min(2, len(plan.tissues))]
        score = min(wanted, share[255]) if plan.white else wanted
        if score > config.presence:
            return seed, layout
        if score > best_score:
            best, best_score = seed, score
    return best, layout
