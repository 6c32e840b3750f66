"""A dataset whose categories are folders that are all arranged alike."""

from pathlib import Path
from typing import ClassVar

from adbench.datasets.files import FilesDataset
from adbench.datasets.layout import Found, Layout, find


class TreeDataset(FilesDataset):
    """Every category is a folder that holds all ``parts`` and is arranged as ``tree`` says."""

    tree: ClassVar[Layout]
    parts: ClassVar[tuple[str, ...]]

    def find_categories(self, root: Path) -> dict[str, Path]:
        """Folders that hold all parts, by name."""
        folders = sorted(path for path in root.iterdir() if path.is_dir())
        return {path.name: path for path in folders if all((path / part).is_dir() for part in self.parts)}

    def find(self, category: str, base: Path) -> Found:
        """Images, and masks paired by their names."""
        return find(base, self.tree, lambda paths: self.unmarked(base, paths))
