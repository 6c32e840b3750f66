"""The table of datasets: one line each, or an entry point in the group ``adbench.datasets`` of any package."""

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from adbench.datasets.base import Dataset
from adbench.datasets.errors import unknown_name
from adbench.datasets.files import FilesDataset
from adbench.datasets.parameters import validate
from adbench.datasets.tiles import Tiled

_TABLE = {
    "bmad": "adbench.datasets.bmad:Bmad",
    "br35h": "adbench.datasets.br35h:Br35h",
    "braintumor": "adbench.datasets.medianomaly:BrainTumor",
    "brats2021": "adbench.datasets.brats2021:Brats2021",
    "btad": "adbench.datasets.btad:Btad",
    "camelyon16": "adbench.datasets.camelyon16:Camelyon16",
    "chest_xray2017": "adbench.datasets.kermany:ChestXray2017",
    "dagm": "adbench.datasets.dagm:Dagm",
    "dtd": "adbench.datasets.dtd:Dtd",
    "elpv": "adbench.datasets.elpv:Elpv",
    "folder": "adbench.datasets.folder:Folder",
    "isic2018": "adbench.datasets.isic2018:Isic2018",
    "kolektor_sdd": "adbench.datasets.kolektor:KolektorSdd",
    "kolektor_sdd2": "adbench.datasets.kolektor:KolektorSdd2",
    "lag": "adbench.datasets.medianomaly:Lag",
    "mpdd": "adbench.datasets.mpdd:Mpdd",
    "mvtec_ad": "adbench.datasets.mvtec_ad:MvtecAd",
    "mvtec_ad2": "adbench.datasets.mvtec_ad2:MvtecAd2",
    "mvtec_loco": "adbench.datasets.mvtec_loco:MvtecLoco",
    "oct2017": "adbench.datasets.kermany:Oct2017",
    "phantom": "adbench.datasets.phantom:Phantom",
    "real_iad": "adbench.datasets.real_iad:RealIad",
    "rsna": "adbench.datasets.medianomaly:Rsna",
    "vincxr": "adbench.datasets.medianomaly:VinCxr",
    "visa": "adbench.datasets.visa:Visa",
}


def dataset_names() -> tuple[str, ...]:
    """Every known dataset, sorted."""
    return tuple(sorted({*_TABLE, *(point.name for point in entry_points(group="adbench.datasets"))}))


def dataset_class(name: str) -> type[Dataset]:
    """The class behind a name; RequestError with the nearest name if there is none."""
    if name in _TABLE:
        module, _, attribute = _TABLE[name].partition(":")
        found: type[Dataset] = getattr(importlib.import_module(module), attribute)
        return found
    for point in entry_points(group="adbench.datasets", name=name):
        loaded: type[Dataset] = point.load()
        return loaded
    raise unknown_name("dataset", name, dataset_names(), remedy="`adbench ls datasets` lists them")


def open_dataset(name: str, params: Mapping[str, Any]) -> Dataset:
    """A dataset opened with validated parameters; RequestError names a wrong one."""
    kind = dataset_class(name)
    dataset = kind(validate(kind.config_class, params, prefix="dataset.", owner=name))
    return Tiled(dataset) if isinstance(dataset, FilesDataset) and dataset.config.tile else dataset
