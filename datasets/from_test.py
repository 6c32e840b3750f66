"""Datasets whose anomalies all lie in test: a share of them may be labelled instead."""

from pydantic import Field

from adbench.datasets.base import SplitRule
from adbench.datasets.files import FilesConfig, FilesDataset


class FromTestConfig(FilesConfig):
    """Parameters of a dataset without anomalies to train on."""

    labelled_from_test: float = Field(
        default=0.0,
        ge=0.0,
        le=0.9,
        description="share of the test anomalies that leave the test split to be image-labelled anomalies",
    )


class FromTestDataset(FilesDataset):
    """Official train and test, and the test anomalies that the configuration moves."""

    config: FromTestConfig
    config_class = FromTestConfig

    def split_rule(self) -> SplitRule:
        """The dataset's own roles, with what the configuration moves."""
        return SplitRule(labelled_from_test=self.config.labelled_from_test)
