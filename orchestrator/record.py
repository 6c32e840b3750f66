"""The facts of a run's row that are known without running it."""

from datetime import UTC, datetime
from typing import Literal, TypedDict

from adbench.orchestrator import environment
from adbench.orchestrator.cell import Cell, canonical_json
from adbench.reports.schema import RunRecord, RunResult


class CellFacts(TypedDict):
    """Columns that follow from the cell, this machine and this installation."""

    run_id: str
    suite: str
    method: str
    method_version: str
    dataset: str
    dataset_params: str
    category: str
    modality: str
    seed: int
    params: str
    preset_params: str
    budget: str
    image_size: int
    metric_version: int
    dataset_fingerprint: str
    split_hash: str
    base_split_hash: str | None
    n_normal: int | None
    noise: float | None
    noise_source: str | None
    multi_class: bool
    sweep_id: str | None
    selection: Literal["none", "val", "test"]
    command: str
    host: str
    git_commit: str | None
    adbench_version: str
    torch_version: str | None
    ray_version: str | None
    python_version: str


def cell_facts(cell: Cell) -> CellFacts:
    """The columns of ``cell`` on this machine."""
    return CellFacts(
        run_id=cell.run_id,
        suite=cell.suite,
        method=cell.method,
        method_version=cell.method_version,
        dataset=cell.dataset,
        dataset_params=canonical_json(cell.dataset_params),
        category=cell.category,
        modality=cell.modality,
        seed=cell.seed,
        params=recorded_params(cell),
        preset_params=canonical_json(cell.preset),
        budget=cell.budget,
        image_size=cell.image_size,
        metric_version=cell.metric_version,
        dataset_fingerprint=cell.fingerprint,
        split_hash=cell.split_hash,
        base_split_hash=cell.base_split_hash,
        n_normal=cell.protocol.n_normal,
        noise=cell.protocol.noise or None,
        noise_source=cell.protocol.noise_source,
        multi_class=cell.protocol.multi_class,
        sweep_id=cell.sweep_id,
        selection=cell.selection,
        command=cell.command,
        host=environment.host(),
        git_commit=environment.git_commit(),
        adbench_version=environment.adbench_version(),
        torch_version=environment.package_version("torch"),
        ray_version=environment.package_version("ray"),
        python_version=environment.python_version(),
    )


def recorded_params(cell: Cell) -> str:
    """The column ``params``. A file is told by its content: the same weights elsewhere are the same parameters."""
    return canonical_json(cell.params | {key: f"sha256:{digest}" for key, digest in cell.files.items()})


def lost_cell(cell: Cell, error: str) -> RunResult:
    """The failed result of a cell that died with its worker, for instance killed for memory."""
    now = datetime.now(UTC)
    return RunResult(
        record=RunRecord(
            **cell_facts(cell),
            status="failed",
            error=error,
            started_at=now,
            finished_at=now,
            hardware=environment.processor(),
        )
    )
