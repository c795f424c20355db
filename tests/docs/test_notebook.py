"""The notebook of the documents runs from top to bottom, and shows its videos."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from running_server import ROOT

NOTEBOOK = ROOT / "docs/notebook.ipynb"


def test_the_notebook_holds_no_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(cell.get("outputs") for cell in cells)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    (tmp_path / "faces").symlink_to(ROOT / "docs/faces")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3")
    client.execute(cwd=str(tmp_path))
    shown = {
        cell.id: [output.get("data", {}) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    }
    for cell in ("video", "array"):
        assert any("data:video/mp4;base64," in data.get("text/html", "") for data in shown[cell]), cell
    assert any("image/png" in data for data in shown["sheet"])
