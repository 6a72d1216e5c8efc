"""What the README promises: its ten lines run, its lists are complete, its pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import parabolic_ma as pma
from parabolic_ma import catalog
from parabolic_ma.cli import app

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()


def block(language: str) -> list[str]:
    """The contents of every fenced block of a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_ten_lines_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="they draw: install the extra plot")
    monkeypatch.chdir(tmp_path)
    lines, _, _ = block("python")
    space: dict[str, object] = {}
    exec(lines, space)  # noqa: S102 - our own text
    assert "CONVERGED" in capsys.readouterr().out
    assert pma.load(tmp_path / "two_modes.h5").converged
    assert (tmp_path / "two_modes.png").stat().st_size > 10_000


def test_the_lines_about_flows_run() -> None:
    _, lines, _ = block("python")
    space: dict[str, pma.Solution] = {}
    exec(lines, space)  # noqa: S102 - our own text
    assert space["half"].history["t"][-1] == 0.5
    assert space["more"].history["t"][-1] == 6.0
    assert space["more"].kl < space["flow"].kl < space["half"].kl


def test_the_lines_about_networks_run() -> None:
    pytest.importorskip("torch", reason="they train: install the extra neural")
    _, _, lines = block("python")
    space: dict[str, pma.Solution] = {}
    exec(lines, space)  # noqa: S102 - our own text
    assert space["fitted"].kl < 0.05
    assert space["learned"].converged


def test_the_two_commands_are_single_lines_after_their_markers() -> None:
    """The continuous integration pastes them."""
    for marker in ("main-command", "test-command"):
        (command,) = re.findall(rf"<!-- {marker} -->\n```bash\n(.*?)```", TEXT, flags=re.DOTALL)
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv ")


def test_every_problem_and_command_is_listed() -> None:
    for name in catalog.names():
        assert f"`{name}`" in TEXT
    row = next(line for line in TEXT.splitlines() if line.startswith("| Command line |"))
    listed = set(re.findall(r"[a-z]+", row.split("parabolic-ma")[1]))
    assert listed == {name for name in app if not name.startswith("-")}


def test_every_figure_of_the_certificate_is_explained() -> None:
    for name in pma.Certificate().figures():
        assert f"`{name}`" in TEXT


def test_links_lead_somewhere_and_pictures_are_small() -> None:
    links = re.findall(r"\]\(((?!http)[^)]+)\)", TEXT)
    assert len(links) >= 5
    for link in links:
        assert (ROOT / link).is_file(), link
        if link.endswith(".png"):
            assert (ROOT / link).stat().st_size < 400_000, link
    shown = {Path(link).name for link in links}
    assert {path.name for path in (ROOT / "examples" / "gallery").iterdir()} <= shown
