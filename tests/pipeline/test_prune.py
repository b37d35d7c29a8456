"""What is given up goes; what the latest run is made of stays."""

from pathlib import Path

import pytest

from histoweak.cli.prune import prune as prune_command
from histoweak.errors import OutputError
from histoweak.pipeline import Run, Stage, StageContext, prune
from histoweak.pipeline.lock import FolderLock
from histoweak.pipeline.store import Store
from histoweak.progress import Progress
from tests.pipeline.toy import FakeManifest, ToyConfig, contents, toy_stages

QUIET = Progress(quiet=True)


def _fail(context: StageContext) -> None:
    (context.out / "half").write_text("done")
    raise ValueError


def _two_settings(folder: Path) -> Run:
    run = Run(folder, FakeManifest(), progress=QUIET)
    for gain in (1.0, 2.0):
        run.execute(toy_stages(ToyConfig(steps=2, gain=gain)))
    return run


def test_finished_stages_of_other_settings_go(tmp_path: Path) -> None:
    fresh = Run(tmp_path / "fresh", FakeManifest(), progress=QUIET)
    fresh.execute(toy_stages(ToyConfig(steps=2, gain=2.0)))
    run = _two_settings(tmp_path / "run")
    found = prune(tmp_path / "run")
    assert len(found) == 3
    assert not any(leftover.folder.exists() for leftover in found)
    assert contents(tmp_path / "run") == contents(tmp_path / "fresh")
    assert set(run.status().values()) == {"done"}
    assert prune(tmp_path / "run") == []


def test_work_of_other_settings_goes_and_that_of_the_latest_stays(tmp_path: Path) -> None:
    run = Run(tmp_path, FakeManifest(), progress=QUIET)
    for gain in (1.0, 2.0):
        with pytest.raises(ValueError):
            run.execute([Stage("a", ToyConfig(gain=gain), (), _fail)])
    before = set((tmp_path / "work").iterdir())
    (gone,) = prune(tmp_path)
    assert gone.bytes == len("done")
    assert set((tmp_path / "work").iterdir()) == before - {gone.folder}


def test_a_dry_run_removes_nothing(tmp_path: Path) -> None:
    _two_settings(tmp_path)
    before = contents(tmp_path)
    planned = prune(tmp_path, dry_run=True)
    assert contents(tmp_path) == before
    assert planned == prune(tmp_path)


def test_what_a_killed_removal_left_is_no_artefact_and_goes_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _two_settings(tmp_path)
    monkeypatch.setattr("histoweak.pipeline.store.shutil.rmtree", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prune(tmp_path)
    monkeypatch.undo()
    run.execute(toy_stages(ToyConfig(steps=2, gain=1.0)))  # made anew, not taken up
    assert set(run.status().values()) == {"done"}
    found = prune(tmp_path)
    assert len(found) == 4
    assert list((tmp_path / "work").iterdir()) == []


def test_remains_of_a_killed_removal_do_not_stand_in_the_way_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _two_settings(tmp_path)
    monkeypatch.setattr("histoweak.pipeline.store.shutil.rmtree", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prune(tmp_path)
    monkeypatch.undo()
    _two_settings(tmp_path)  # the stage whose removal was cut short is made and given up again
    assert len(prune(tmp_path)) == 4
    assert len(list((tmp_path / "stages").iterdir())) == 3
    assert list((tmp_path / "work").iterdir()) == []


def test_a_linked_folder_is_left_alone(tmp_path: Path) -> None:
    _two_settings(tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "run" / "stages" / "mine").symlink_to(elsewhere)
    assert all(leftover.folder.name != "mine" for leftover in prune(tmp_path / "run"))
    assert elsewhere.is_dir()


def test_a_folder_in_use_or_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"run\.json"):
        prune(tmp_path)
    _two_settings(tmp_path)
    with FolderLock(tmp_path / ".lock"), pytest.raises(OutputError):
        prune(tmp_path)
    assert len(Store(tmp_path).leftovers([])) == 6


def test_the_command_names_what_goes_and_how_much(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _two_settings(tmp_path)
    prune_command(tmp_path, dry_run=True)
    said = capsys.readouterr().out.splitlines()
    assert [line.split("-")[0] for line in said[:2]] == ["stages/classifier", "stages/pseudo"]
    assert said[3].startswith("would free: ")
