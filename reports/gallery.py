"""Images of the gallery as small tiles (data URIs), within a budget of bytes."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from plotly import colors

from adbench.reports.leaderboard import Leaderboard
from adbench.reports.schema import Gallery, GalleryCase, TrainingMaps

TILE = 128  # pixels
BUDGET = 2_400_000  # bytes of all data URIs together
MOST_RUNS = 240  # beyond that the budget leaves not one case for each
MOST_LEARNED = 3  # training images of a run
MOST_ROUNDS = 5  # maps of each
_KEPT = ("worst", "best", "typical")  # the order in which cases are kept while there is room
_SHOWN = ("best", "typical", "worst")
_ANCHORS = np.array([colors.hex_to_rgb(color) for color in colors.sequential.Inferno], dtype=np.float64)
COLOUR_MAP: NDArray[np.uint8] = np.stack(
    [np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(_ANCHORS)), channel) for channel in _ANCHORS.T],
    axis=-1,
).astype(np.uint8)
"""Inferno, uint8 [256, 3]: dark is the least anomalous."""


@dataclass(frozen=True)
class TileCase:
    """One case: indices into the tiles; ``mask`` is None where there is none."""

    case: str
    image_id: str
    label: int
    defect_type: str
    score: float
    image: int
    mask: int | None
    map: int


@dataclass(frozen=True)
class TileLearned:
    """A training image and, by name, what a method made of it in its rounds: indices into the tiles."""

    image_id: str
    image: int
    rounds: dict[str, int]


@dataclass(frozen=True)
class GalleryRow:
    """The cases of one method in one category, all maps in the one colour range ``low`` to ``high``.

    Those of ``learned`` go from 0 to 1.
    """

    method: str
    budget: str
    seed: int
    low: float
    high: float
    cases: tuple[TileCase, ...]
    learned: tuple[TileLearned, ...]


@dataclass(frozen=True)
class GalleryView:
    """``datasets``: dataset -> category label -> rows. ``tiles``: data URIs. ``left_out``: cases too many."""

    datasets: dict[str, dict[str, list[GalleryRow]]]
    tiles: tuple[str, ...]
    shown: int
    left_out: int
    left_out_runs: int


@dataclass
class _Tiles:
    """Data URIs, each kept once: methods of a category show the same images."""

    uris: list[str] = field(default_factory=list)
    index: dict[str, int] = field(default_factory=dict)
    size: int = 0

    def add(self, uri: str) -> int:
        if uri not in self.index:
            self.index[uri] = len(self.uris)
            self.uris.append(uri)
            self.size += len(uri)
        return self.index[uri]

    def cost(self, uris: Sequence[str | None]) -> int:
        return sum(len(uri) for uri in set(uris) if uri is not None and uri not in self.index)


def _uri(pixels: NDArray[np.uint8], lossless: bool = False) -> str:
    image = Image.fromarray(pixels)
    if max(image.size) > TILE:
        image.thumbnail((TILE, TILE), Image.Resampling.NEAREST if lossless else Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=72, method=4, lossless=lossless)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def colour(anomaly_map: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """An anomaly map [S, S] as uint8 [S, S, 3]: COLOUR_MAP over ``low`` to ``high``; NaN is ``low``."""
    span = high - low if high > low else 1.0
    scaled = np.nan_to_num((anomaly_map.astype(np.float64) - low) / span, nan=0.0, posinf=1.0, neginf=0.0)
    return COLOUR_MAP[np.rint(255 * np.clip(scaled, 0, 1)).astype(np.intp)]


def _uris(case: GalleryCase, low: float, high: float) -> tuple[str, str | None, str]:
    mask = None if case.mask is None else _uri(case.mask.astype(np.uint8) * 255, lossless=True)
    return _uri(case.image), mask, _uri(colour(case.anomaly_map, low, high))


def _in_turn(cases: Sequence[GalleryCase]) -> list[GalleryCase]:
    """The worst, the best and a typical case first, then the second of each: any prefix is balanced."""
    seen: dict[str, int] = {}
    keyed: list[tuple[tuple[int, int], int, GalleryCase]] = []
    for case in cases:
        turn = seen.get(case.case, 0)
        seen[case.case] = turn + 1
        keyed.append(((turn, _KEPT.index(case.case)), len(keyed), case))
    return [case for *_, case in sorted(keyed, key=lambda item: item[:2])]


def chosen_runs(board: Leaderboard) -> list[tuple[str, int, int, str, int]]:
    """One run (run_id, entry, place, budget, seed) of each method, category and budget, in the order of the gallery.

    It is the lowest seed that succeeded. The board's first budget comes first, and in each budget the first
    categories of all datasets, so that any prefix covers as many datasets as it can.
    """
    runs = board.sorted.current
    runs = runs[runs["status"] == "ok"]
    runs = runs.assign(turn=runs["budget"].map({budget: turn for turn, budget in enumerate(board.budgets)}))
    runs = runs.sort_values("seed", kind="stable").drop_duplicates(["budget", "entry", "place"])
    nth: dict[int, int] = {}
    counts: dict[str, int] = {}
    for place in sorted(runs["place"].unique()):
        dataset = board.categories[place].dataset
        nth[place] = counts[dataset] = counts.get(dataset, -1) + 1
    runs = runs.assign(nth=runs["place"].map(nth)).sort_values(["turn", "nth", "place", "entry"], kind="stable")
    names = ["run_id", "entry", "place", "budget", "seed"]
    return [
        (str(run_id), int(entry), int(place), str(budget), int(seed))
        for run_id, entry, place, budget, seed in runs[names].itertuples(index=False, name=None)
    ]


def _learned(kept: Sequence[TrainingMaps], tiles: _Tiles, limit: int) -> list[TileLearned]:
    """The first training images, each with the maps of its first round, its last and some between, while there is
    room: the tiles may come to ``limit`` bytes."""
    chosen = [kept[row] for row in np.unique(np.linspace(0, len(kept) - 1, min(len(kept), MOST_ROUNDS)).astype(int))]
    found: list[TileLearned] = []
    for row in range(min([MOST_LEARNED, *(len(one.images) for one in chosen)]) if chosen else 0):
        image = _uri(chosen[0].images[row])
        rounds = {one.name: _uri(colour(one.maps[row], 0, 1)) for one in chosen}
        if tiles.size + tiles.cost([image, *rounds.values()]) > limit:
            break
        places = {name: tiles.add(uri) for name, uri in rounds.items()}
        found.append(TileLearned(chosen[0].image_ids[row], tiles.add(image), places))
    return found


def build_gallery(
    board: Leaderboard,
    load: Callable[[str], Gallery | None],
    load_training: Callable[[str], Sequence[TrainingMaps]] = lambda run_id: (),
    budget: int = BUDGET,
) -> GalleryView:
    """Tiles of the runs that ``chosen_runs`` names, in at most ``budget`` bytes of data URIs.

    ``load`` gives a run's gallery by run_id, ``load_training`` its maps over training images. Where not all fits,
    every run keeps as many cases as its share of the budget allows, and the rest is counted.
    """
    runs = chosen_runs(board)
    tiles = _Tiles()
    shown = left_out = 0
    rows: dict[int, list[GalleryRow]] = {}
    for position, (run_id, entry, place, run_budget, seed) in enumerate(runs[:MOST_RUNS]):
        gallery = load(run_id)
        if gallery is None:
            continue
        share = tiles.size + (budget - tiles.size) // (min(len(runs), MOST_RUNS) - position)
        cases: list[TileCase] = []
        for case in _in_turn(gallery.cases):
            image, mask, anomaly_map = _uris(case, gallery.low, gallery.high)
            limit = share if cases else budget
            if tiles.size + tiles.cost([image, mask, anomaly_map]) > limit:
                break
            cases.append(
                TileCase(
                    case=case.case,
                    image_id=case.image_id,
                    label=case.label,
                    defect_type=case.defect_type,
                    score=case.score,
                    image=tiles.add(image),
                    mask=None if mask is None else tiles.add(mask),
                    map=tiles.add(anomaly_map),
                )
            )
        shown += len(cases)
        left_out += len(gallery.cases) - len(cases)
        cases.sort(key=lambda case: _SHOWN.index(case.case))
        if cases:
            learned = tuple(_learned(load_training(run_id), tiles, share))
            label = board.entries[entry].label
            row = GalleryRow(label, run_budget, seed, gallery.low, gallery.high, tuple(cases), learned)
            rows.setdefault(place, []).append(row)
    datasets: dict[str, dict[str, list[GalleryRow]]] = {}
    for place in sorted(rows):
        category = board.categories[place]
        datasets.setdefault(category.dataset, {}).setdefault(category.label, []).extend(rows[place])
    return GalleryView(datasets, tuple(tiles.uris), shown, left_out, max(0, len(runs) - MOST_RUNS))
