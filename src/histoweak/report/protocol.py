"""How figures were obtained: the line that stands under every table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """How figures were obtained; stated under every table.

    Args:
        gate: which classes a prediction may use: "none" (all), "predicted" (those that the
            classifier finds in the patch) or "truth" (those of the true patch labels).
        tta: test-time augmentation, e.g. "none" or "8 flips and rotations".
        selection: what chose the checkpoint: "last", "val-label" or "val-mask".
        split: the split that was scored, e.g. "test".
        seeds: seeds of the trainings behind the figures.
    """

    gate: str
    tta: str
    selection: str
    split: str
    seeds: tuple[int, ...]

    def line(self) -> str:
        """One line for the foot of a table."""
        seeds = ", ".join(str(seed) for seed in self.seeds) or "none"
        return (
            f"Gate: {self.gate} · test-time augmentation: {self.tta} · "
            f"checkpoint selection: {self.selection} · split: {self.split} · seeds: {seeds}"
        )

    def cautions(self) -> tuple[str, ...]:
        """What a reader must know before comparing these figures with others."""
        found = []
        if self.gate == "truth":
            found.append(
                "The gate used the true patch labels, which nobody has for a new patch: "
                "expect lower figures without them."
            )
        if self.selection == "val-mask":
            found.append(
                "The checkpoint was chosen with pixel masks of the validation split: "
                "that is hidden pixel supervision, not supervision by patch labels alone."
            )
        if len(self.seeds) == 1:
            found.append(
                "There was one training (one seed): intervals show the spread between patients, "
                "not between trainings."
            )
        return tuple(found)
