"""DTD, the Describable Textures Dataset: material of simulated anomalies, and each texture against all others."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from adbench.datasets.base import Archive, DatasetRecord, Role
from adbench.datasets.files import FilesConfig, FilesDataset
from adbench.datasets.layout import Found
from adbench.datasets.tables import Row, found_by, inside, read_list

_ROLES: tuple[Role, ...] = ("train", "val", "test")


class DtdConfig(FilesConfig):
    """Parameters of DTD."""

    division: int = Field(
        default=1, ge=1, le=10, description="which of the ten published divisions into train, val and test"
    )


class Dtd(FilesDataset):
    """Forty-seven textures, each a category whose anomalies are images of the others."""

    config: DtdConfig
    config_class = DtdConfig
    normal_everywhere = False
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="dtd",
        title="DTD: describable textures, for simulated anomalies or one texture against all others",
        modality="industrial",
        home="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        licence="for research purposes",
        citation="Cimpoi et al., Describing Textures in the Wild, CVPR 2014",
        layout="images/TEXTURE/TEXTURE_NNNN.jpg and labels/{train,val,test}{1..10}.txt, whose lines are "
        "TEXTURE/TEXTURE_NNNN.jpg; 47 categories. For simulated anomalies: method.textures=FOLDER/images",
        splits="normal images by the published division (40 each in train, val and test); anomalies are adbench's "
        "own choice: the first image of each other texture that the division has there, in train as labelled ones",
        masks="none: image labels only, so pixel metrics are null",
        known_problems="made for the recognition of textures, not of anomalies: an image may show several; what is "
        "anomalous in one category is normal in another, so multi_class=true is refused",
        version="1.0.1",
        archives=(
            Archive(
                "dtd-r1.0.1.tar.gz",
                "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
                "fff73e5086ae6bdbea199a49dfb8a4c1",
            ),
        ),
    )

    def find_categories(self, root: Path) -> dict[str, Path]:
        """The folders of images, where there are tables beside them; every category looks at all of them."""
        if not (root / "images").is_dir() or not (root / "labels").is_dir():
            return {}
        return {path.name: root for path in sorted((root / "images").iterdir()) if path.is_dir()}

    def find(self, category: str, base: Path) -> Found:
        """The rows of the division's tables that the category needs."""
        tables = [base / "labels" / f"{role}{self.config.division}.txt" for role in _ROLES]
        rows = [row for role, table in zip(_ROLES, tables, strict=True) for row in _rows(category, role, table)]
        return found_by(base, rows, tables)


def _rows(category: str, role: Role, table: Path) -> Iterator[Row]:
    """All images of the category, and the first of each other texture."""
    seen = set()
    for place, path in read_list(table):
        texture = path.partition("/")[0]
        if texture == category or texture not in seen:
            seen.add(texture)
            yield Row(place, f"images/{inside(path)}", "good" if texture == category else texture, role)
