"""MVTec LOCO AD: structural and logical anomalies, each defect with an area of its own that saturates."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from adbench.datasets.base import Archive, DatasetRecord, Mask, Sample, Saturation
from adbench.datasets.decode import read_mask_values
from adbench.datasets.errors import RequestError
from adbench.datasets.from_test import FromTestConfig, FromTestDataset
from adbench.datasets.layout import Found, Images, Layout
from adbench.datasets.trees import TreeDataset

_CONFIG = "defects_config.json"
_KEYS = ("defect_name", "pixel_value", "saturation_threshold", "relative_saturation")
_COUNTS = {
    "breakfast_box": {"train normal": 351, "val normal": 62, "test normal": 102, "test anomalous": 90 + 83},
    "juice_bottle": {"train normal": 335, "val normal": 54, "test normal": 94, "test anomalous": 94 + 142},
    "pushpins": {"train normal": 372, "val normal": 69, "test normal": 138, "test anomalous": 81 + 91},
    "screw_bag": {"train normal": 360, "val normal": 60, "test normal": 122, "test anomalous": 82 + 137},
    "splicing_connectors": {"train normal": 360, "val normal": 60, "test normal": 119, "test anomalous": 85 + 108},
}


class MvtecLoco(FromTestDataset, TreeDataset):
    """Compositions of parts with rules on what belongs where."""

    tree = Layout(
        (
            Images("train/good/{name}", "train", defect="good"),
            Images("validation/good/{name}", "val", defect="good"),
            Images("test/{defect}/{name}", "test", masks=("ground_truth/{defect}/{name}/",)),
        ),
        kinds={"logical_anomalies": "logical"},
    )
    parts = ("train/good", "test/good")
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="mvtec_loco",
        title="MVTec LOCO AD: logical and structural anomalies",
        modality="industrial",
        home="https://www.mvtec.com/company/research/datasets/mvtec-loco",
        licence="CC BY-NC-SA 4.0",
        citation="Bergmann et al., IJCV 130 (2022) 947-969",
        layout="CATEGORY/{train/good,validation/good,test/{good,logical_anomalies,structural_anomalies},"
        "ground_truth/TYPE/NNN/MMM.png,defects_config.json}; 5 categories",
        splits="train, validation (normal images alone) and test are official; "
        "dataset.labelled_from_test=0.3 turns that share of the test anomalies into labelled ones",
        masks="ground_truth/TYPE/NNN/MMM.png, a file for each defect, whose pixels have the value that "
        "defects_config.json gives a saturation",
        known_problems="the archive has 6 training images and 1 validation image of splicing_connectors more than "
        "the paper says; the defect type is logical_anomalies or structural_anomalies, not the name in "
        "defects_config.json",
        version="2022",
        counts=_COUNTS,
        archives=(Archive("mvtec_loco_anomaly_detection.tar.xz", md5="d40f092ac6f88433f609583c4a05f56f"),),
    )

    def __init__(self, config: FromTestConfig) -> None:
        super().__init__(config)
        self._configs: dict[str, dict[int, Saturation]] = {}
        self._known: dict[Path, Saturation] = {}

    def find(self, category: str, base: Path) -> Found:
        """Images and masks; the defect configuration is a table."""
        found = super().find(category, base)
        return replace(found, tables=(_CONFIG,) if (base / _CONFIG).is_file() else ())

    def load_mask(self, category: str, sample: Sample) -> Mask | None:
        """A channel for each defect of an anomalous image, with its saturation; None without mask files.

        RequestError names a mask file that does not hold one defect, and one whose defect is not configured.
        """
        mask = super().load_mask(category, sample)
        if mask is None:
            return None
        base, paths = self.base(category), self.found(category).masks[sample.image_id]
        return Mask(mask.channels, tuple(self._saturation(category, base / path) for path in paths))

    def saturation_defined(self, category: str) -> bool:
        """Every defect has one."""
        return True

    def verify(self, category: str) -> list[str]:
        """What is wrong with the files, the defect configuration, and what the masks mark."""
        problems, facts = super().verify(category), self._facts(category)
        try:
            self._config_of(category)
        except RequestError as error:
            return [*problems, error.problem]
        for own in self.found(category).masks.values():
            for path in own:
                if facts[path].error:
                    continue
                try:
                    self._saturation(category, self.base(category) / path)
                except RequestError as error:
                    problems.append(error.problem)
        return problems

    def _saturation(self, category: str, path: Path) -> Saturation:
        if path not in self._known:
            found = np.unique(read_mask_values(path)).tolist()
            defects = [value for value in found if value > 0]
            if len(defects) != 1:
                what = f"holds the values {', '.join(map(str, defects))}" if defects else "marks nothing"
                raise RequestError(
                    f"mask {path} {what}", allowed="one value besides 0", remedy="unpack the archive again"
                )
            configured = self._config_of(category)
            if defects[0] not in configured:
                raise RequestError(
                    f"mask {path} has the value {defects[0]}, of which {self.base(category) / _CONFIG} knows nothing",
                    allowed=f"pixel_value: {', '.join(map(str, sorted(configured)))}",
                    remedy="unpack the archive again",
                )
            self._known[path] = configured[defects[0]]
        return self._known[path]

    def _config_of(self, category: str) -> dict[int, Saturation]:
        if category not in self._configs:
            self._configs[category] = _read_config(self.base(category) / _CONFIG)
        return self._configs[category]


def _read_config(path: Path) -> dict[int, Saturation]:
    """The saturation of each defect by the value of its pixels."""
    if not path.is_file():
        raise _wrong(path, "is not a file" if path.exists() else "is missing")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(path, f"cannot be read: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise _wrong(path, "is no list of defects")
    saturations: dict[int, Saturation] = {}
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not _is_defect(entry):
            raise _wrong(path, f"has a wrong entry, number {number}: {entry}")
        if entry["pixel_value"] in saturations:
            raise _wrong(path, f"has pixel_value {entry['pixel_value']} twice")
        saturations[entry["pixel_value"]] = Saturation(entry["saturation_threshold"], entry["relative_saturation"])
    return saturations


def _is_defect(entry: dict[str, Any]) -> bool:
    """Whether all keys are there and their values in their ranges."""
    value, threshold, relative = (entry.get(key) for key in _KEYS[1:])
    if type(value) is not int or not isinstance(threshold, int | float) or type(relative) is not bool:
        return False
    return type(threshold) is not bool and 1 <= value <= 255 and 0 < threshold <= (1 if relative else float("inf"))


def _wrong(path: Path, what: str) -> RequestError:
    return RequestError(
        f"defect configuration {path} {what}",
        allowed=f"a list of objects with {', '.join(_KEYS)}; pixel_value in 1..255, saturation_threshold above 0, "
        "as a share at most 1",
        remedy="unpack the archive again",
    )
