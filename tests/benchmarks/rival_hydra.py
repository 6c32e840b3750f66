"""An empty Hydra application, for a multirun of many jobs."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base=None, config_path=None)  # type: ignore[untyped-decorator]
def empty(config: DictConfig) -> None:
    """What Hydra calls for each job."""


if __name__ == "__main__":
    empty()
