"""What the user has set for threads and memory stays."""

import ctypes
import os

import pytest

from histoweak.cli import process


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What glibc is told, with an environment that sets nothing."""
    calls: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, name: int, value: int) -> int:
            calls.append((name, value))
            return 1

    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(process.sys, "platform", "linux")
    return calls


def test_threads_spin_briefly_and_memory_is_kept(told: list[tuple[int, int]]) -> None:
    process.settle()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    assert told == [(-3, 256 * 2**20), (-1, 2**30)]


@pytest.mark.parametrize(
    ("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")]
)
def test_a_wish_about_threads_is_heard(
    told: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    process.settle()
    assert os.environ[name] == value
    assert os.environ.get("GOMP_SPINCOUNT") == (value if name == "GOMP_SPINCOUNT" else None)


def test_a_wish_about_memory_is_heard(
    told: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    process.settle()
    assert told == []


def test_other_systems_are_left_alone(
    told: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process.sys, "platform", "darwin")
    process.settle()
    assert told == []
