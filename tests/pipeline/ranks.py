"""One process of a run of several, in the manner of Lightning; started by test_follow.

    python -m tests.pipeline.ranks FOLDER MEETING [--fail]

The stage in the middle is distributed: its processes wait for each other in the folder MEETING
and the first one fails there if asked to.
"""

import os
import sys
import time
from pathlib import Path

from histoweak.errors import HistoweakError
from histoweak.pipeline import Run, Stage, StageContext, is_leader
from histoweak.progress import Progress
from tests.pipeline.toy import FakeManifest, ToyConfig


def main() -> None:
    folder, meeting = Path(sys.argv[1]), Path(sys.argv[2])
    name = f"rank{os.environ.get('LOCAL_RANK', '0')}"

    def note(stage: str) -> None:
        with (meeting / "calls").open("a") as file:
            file.write(f"{stage} {name}\n")

    def alone(context: StageContext) -> None:
        note("alone")
        (context.out / "result").write_text("alone")

    def together(context: StageContext) -> None:
        note("together")
        context.log(step=1, loss=0.5)
        (meeting / name).write_text((context.inputs["before"] / "result").read_text())
        while not ((meeting / "rank0").exists() and (meeting / "rank1").exists()):
            time.sleep(0.01)
        if "--fail" in sys.argv and is_leader():
            raise HistoweakError("the loss is not a number", remedy="Lower the learning rate")
        if is_leader():
            (context.out / "result").write_text("together")

    config = ToyConfig()
    stages = [
        Stage("before", config, (), alone),
        Stage("fit", config, ("before",), together, distributed=True),
        Stage("after", config, ("fit",), alone),
    ]
    run = Run(folder, FakeManifest(), progress=Progress(quiet=True), grace=30)
    try:
        done = run.execute(stages)
    except HistoweakError as error:
        sys.exit(str(error))
    print(*(f"{name}={(path / 'result').read_text()}" for name, path in done.items()))


if __name__ == "__main__":
    main()
