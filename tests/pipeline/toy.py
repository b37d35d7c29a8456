"""A toy run for the tests of the pipeline; as a program it is the child that gets killed.

python -m tests.pipeline.toy FOLDER [--steps N] [--pause SECONDS]
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from histoweak.atomic import atomic_write_bytes, atomic_write_text
from histoweak.config import StrictConfig
from histoweak.pipeline import Run, Stage, StageContext
from histoweak.progress import Progress


@dataclass(frozen=True)
class FakeManifest:
    """What the pipeline needs of a manifest."""

    text: str = "data"
    path: Path | None = Path("table.csv")

    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


class ToyConfig(StrictConfig):
    steps: int = 12
    gain: float = 1.0
    pause: float = Field(default=0.0, json_schema_extra={"affects_result": False})


def chain(config: ToyConfig) -> Callable[[StageContext], None]:
    """A stage in the likeness of a training: each state is made from the one before."""

    def run(context: StageContext) -> None:
        checkpoint = context.scratch / "state.json"
        state = {"step": 0, "hash": f"{context.seed} {config.gain}"}
        for name, folder in sorted(context.inputs.items()):
            state["hash"] += name + (folder / "final.bin").read_bytes().hex()
        if checkpoint.exists():
            state = json.loads(checkpoint.read_text())
        with context.progress.task(config.steps, "steps", done=state["step"]) as task:
            while state["step"] < config.steps:
                time.sleep(config.pause)
                digest = hashlib.sha256(state["hash"].encode()).hexdigest()
                state = {"step": state["step"] + 1, "hash": digest}
                context.log(step=state["step"], loss=int(digest[:4], 16) / 65536)
                pieces = context.out / "pieces"
                pieces.mkdir(exist_ok=True)
                atomic_write_bytes(pieces / f"{state['step']}.bin", digest.encode() * 50)
                if state["step"] % 2 == 0:
                    atomic_write_text(checkpoint, json.dumps(state))
                task.advance()
        atomic_write_bytes(context.out / "final.bin", state["hash"].encode() * 1000)

    return run


def toy_stages(config: ToyConfig) -> list[Stage]:
    return [
        Stage("classifier", config, (), chain(config)),
        Stage("pseudo-masks", config, ("classifier",), chain(config)),
        Stage("segmenter", config, ("classifier", "pseudo-masks"), chain(config)),
    ]


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of each file below `stages/`, except the records with their times."""
    files = (path for path in (folder / "stages").rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.name != "stage.json"
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--pause", type=float, default=0.0)
    asked = parser.parse_args()
    config = ToyConfig(steps=asked.steps, pause=asked.pause)
    run = Run(asked.folder, FakeManifest(), 3, progress=Progress(quiet=True))
    print("ready", flush=True)
    run.execute(toy_stages(config))


if __name__ == "__main__":
    main()
