"""Output that cannot be written, or belongs to something else: nothing is lost, and runs resume."""

import ctypes
import hashlib
import json
import os
from pathlib import Path

from histoweak.data.manifest import Manifest
from tests import program
from tests.conftest import TINY, write_settings


def words(data: Path, out: Path, folder: Path) -> list[object]:
    settings = write_settings(folder / "tiny.yaml", TINY["vgg-cam"])
    return ["run", "vgg-cam", "--data", data, "--out", out, "--config", settings]


def contents(run: Path) -> dict[str, str]:
    files = [path for path in sorted((run / "stages").rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_folder_of_another_data_set_is_left_alone(
    whole_run: Path, phantom: Path, data: Path, tmp_path: Path
) -> None:
    before = contents(whole_run)
    rows = data.read_text().splitlines()
    data.write_text("\n".join(rows[:-1]))
    ended = program.run(*words(data, whole_run, tmp_path))
    old = json.loads((whole_run / "run.json").read_text())["data"]
    new = Manifest.read(data).without_masks().digest()
    assert ended.error == (
        f"error: {whole_run}: holds a run on {phantom} (digest {old['digest'][:12]}), not on "
        f"{data} (digest {new[:12]}) (expected an empty folder or a run on the same data). Give "
        "another --out, or delete this folder to begin anew\n"
    )
    assert ended.code == 6
    assert contents(whole_run) == before


def test_full_disk_says_so_and_the_run_resumes(
    phantom: Path, whole_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ended = program.run(*words(phantom, run, tmp_path), file_limit=200_000)
    assert ended.code == 6, ended
    assert ended.error.startswith(f"error: {run}")
    assert ended.error.endswith(
        ": the disk or the quota is full ([Errno 27] File too large). Free space and run the same "
        "command again: finished stages stay, and the work goes on where it stopped\n"
    )
    stages = json.loads((run / "run.json").read_text())["stages"]
    assert [s["name"] for s in stages if s["status"] == "failed"] == ["classifier"]
    assert program.run(*words(phantom, run, tmp_path)).code == 0
    names = ("classifier", "segmenter")
    for name in names:
        pair = [next(r.glob(f"stages/{name}-*/model/*.safetensors")) for r in (run, whole_run)]
        assert pair[0].read_bytes() == pair[1].read_bytes()


def obey_permissions() -> None:
    """Give up the superuser's privilege to write and read where permissions forbid it."""
    if os.getuid() != 0:
        return
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of Linux capabilities, this process
    sets = (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    sets[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, of the effective set
    libc.capset(header, sets)


def test_no_permission(phantom: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    run = tmp_path / "locked" / "run"
    ended = program.run(*words(phantom, run, tmp_path), before=obey_permissions)
    assert ended.error == (
        f"error: {run}: cannot be written (Permission denied) (expected a folder that this user "
        "may write in). Correct the permissions or give another --out; finished stages stay\n"
    )
    assert ended.code == 6


def test_losing_the_numbers_names_patches_and_leaves_with_8(phantom: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    sgd = ("--set", "segmenter.fit.optim.name=sgd", "--set", "segmenter.fit.optim.lr=1e12")
    ended = program.run(*words(phantom, run, tmp_path), *sgd, "--set", "segmenter.fit.chunk=1")
    assert ended.code == 8, ended
    assert "error: the loss is not a number at step " in ended.error or "weights" in ended.error
    assert ended.error.endswith(
        "Lower fit.optim.lr or set fit.optim.clip=1.0 and run again: finished stages stay, and "
        "so does the last checkpoint of these settings\n"
    )
    assert list((run / "stages").glob("pseudo-masks-*"))
