"""What an experiment leaves in a folder: data (NetCDF), a figure (PNG) and a text, under its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from hamjl.files import save, write_whole


class Report:
    """The files of one experiment; `written` has the paths of those there are."""

    def __init__(self, name: str, folder: str | Path) -> None:
        self.name, self.folder = name, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.written: list[Path] = []

    def axes(self, rows: int, columns: int, size: tuple[float, float], **options: Any) -> Any:
        """The axes of its figure, (row, column)."""
        import matplotlib

        matplotlib.use("agg")
        import matplotlib.pyplot as plt

        self._figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)
        return axes

    def data(self, dataset: xr.Dataset, part: str | None = None) -> None:
        """Write a Dataset, or one of several."""
        name = self.name if part is None else f"{self.name}-{part}"
        self.written.append(save(dataset, self.folder / f"{name}.nc"))

    def close(self, text: str) -> None:
        """Write the figure as it is now, and the text."""
        import matplotlib.pyplot as plt

        self._write("png", lambda path: self._figure.savefig(path, dpi=160))
        plt.close(self._figure)
        self._write("txt", lambda path: path.write_text(text, encoding="utf-8"))

    def _write(self, suffix: str, write: Any) -> None:
        self.written.append(write_whole(self.folder / f"{self.name}.{suffix}", write))
