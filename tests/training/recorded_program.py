"""The command line, with each process writing down which crops it asks for.

RECORD=FILE python -m tests.training.recorded_program run ...

Lightning starts further processes by the same words, so they record as well.
"""

import os

from histoweak.cli import main
from histoweak.data.crops import Crop, CropDataset, Key

if __name__ == "__main__":
    record = os.environ["RECORD"]
    original = CropDataset.__getitem__

    def recorded(self: CropDataset, key: Key) -> Crop:
        kind = "classifier" if self.mask_of is None else "segmenter"
        with open(record, "a") as file:  # noqa: PTH123 - one short line, appended at once
            file.write(f"{kind} {os.environ.get('LOCAL_RANK', '0')} {key[0]} {key[1]}\n")
        return original(self, key)

    CropDataset.__getitem__ = recorded  # type: ignore[method-assign]
    main()
