"""`adbench merge`: the results folders of several machines into one."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from adbench.datasets.errors import RequestError
from adbench.orchestrator.run import guarded
from adbench.reports.errors import StoreError
from adbench.reports.files import LocalFolder
from adbench.reports.page import render_page
from adbench.reports.schema import SearchRecord, SuitePlan
from adbench.reports.store import RUN_ID, ResultStore
from adbench.reports.studies import JOURNAL
from adbench.reports.taking import Taken, maps_of, take

MOST_RUNS = 20_000  # that are copied at once, and
MOST_BYTES = 2**31  # of their maps: others wait for the folder meanwhile, and an interruption loses as much

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class _Source:
    """A folder to merge, as it was when it was checked: its runs by status, and the sizes of its maps."""

    store: ResultStore
    statuses: Mapping[str, str]
    maps: Mapping[str, int]

    @property
    def has_studies(self) -> bool:
        return self.store.folder.exists(JOURNAL)


def merge(sources: Sequence[str], destination: str, tell: Callable[[str], None]) -> Path:
    """Copy into ``destination`` what it lacks of the ``sources``, and tell what that was; the page's path.

    All folders are checked before anything is written. An interrupted merge is completed by the same merge.
    """
    target = ResultStore(destination)
    opened = [_opened(one, target) for one in dict.fromkeys(sources)]
    _check_target(target)
    studies = any(one.has_studies for one in opened)
    if studies:
        from adbench.orchestrator.merge_studies import check_journal  # late: Optuna is slow to import

        for store in (*(one.store for one in opened), target):
            check_journal(store.folder)
    target.prepare()
    with ExitStack() as stack:
        if studies and isinstance(target.folder, LocalFolder):
            from adbench.orchestrator.study import alone

            stack.enter_context(alone(target.folder.local / JOURNAL, "merge into another folder"))
        stack.enter_context(guarded(destination))
        for one in opened:
            for line in _merge_one(one, target):
                tell(line)
        target.compact()
        tell(f"{target.out}: {len(target.statuses())} run(s)")
        return render_page(target)


def _opened(out: str, target: ResultStore) -> _Source:
    """A source that can be merged. RequestError or StoreError if it holds no runs, is damaged, or is the target."""
    store = ResultStore(out)
    if _place(store) == _place(target):
        raise RequestError(f"{out} is the destination too", remedy="name the folders to merge, then another one last")
    statuses = store.statuses()
    if not statuses:
        where = store.folder.local if isinstance(store.folder, LocalFolder) else out
        raise RequestError(f"no runs in {where}", remedy="name folders that `adbench run` has written, as its out=")
    odd = [run_id for run_id in statuses if not (run_id and RUN_ID.fullmatch(run_id))]
    if odd or not set(statuses.values()) <= {"ok", "failed"}:
        raise StoreError(
            f"The runs table of {out!r} is none of adbench's: it has "
            + (
                f"run_id={odd[0]!r}." if odd else f"status={next(iter(set(statuses.values()) - {'ok', 'failed'}))!r}."
            ),
            "Name a folder that `adbench run` has written, or move out of its runs/ what does not belong there.",
        )
    store.verify()
    with store.folder.explained("read the results folder"):
        return _Source(store, statuses, store.folder.sizes("maps"))


def _place(store: ResultStore) -> tuple[object, str]:
    """What two stores have in common only if they are one folder."""
    folder = store.folder
    if isinstance(folder, LocalFolder):
        return "", str(folder.local.resolve())
    return folder.filesystem, folder.root


def _check_target(target: ResultStore) -> None:
    """RequestError for a folder of other things, StoreError for damaged results."""
    if isinstance(target.folder, LocalFolder) and target.folder.local.is_dir():
        names = {path.name for path in target.folder.local.iterdir() if not path.name.startswith(".")}
        if names and "runs" not in names:
            raise RequestError(
                f"{target.folder.local} holds no results, but other things",
                allowed="a folder of results, an empty or a new one",
                remedy="name the destination last, after the folders to merge",
            )
    target.verify()


def _merge_one(source: _Source, target: ResultStore) -> Iterator[str]:
    """Merge one folder, and say what that came to."""
    store = source.store
    plans, splits = _merge_plans(store, target), _merge_splits(store, target)
    taken = sum((take(store, target, part, source.maps) for part in _parts(source, target)), Taken())
    searches = _merge_searches(store, target)
    added = taken.ok + taken.failed
    there = len(source.statuses) - added - taken.replaced
    yield f"{store.out}: {added} run(s) added ({taken.failed} failed), {taken.replaced} in place of failed ones, " + (
        f"{there} there already"
    )
    others = {"plan(s) of suites": plans, "split(s)": splits, "search(es)": searches}
    if found := ", ".join(f"{count} {name}" for name, count in others.items() if count):
        yield f"  added or completed: {found}"
    if source.has_studies:
        from adbench.orchestrator.merge_studies import merge_studies

        for line in merge_studies(store.folder, target.folder):
            yield f"  {line}"


def _parts(source: _Source, target: ResultStore) -> Iterator[dict[str, str]]:
    """The source's runs that may be wanted, by status, in parts that can be copied at once."""
    there = target.statuses()
    part: dict[str, str] = {}
    size = 0
    for run_id, status in sorted(source.statuses.items()):
        if there.get(run_id) == "ok" or there.get(run_id) == status:
            continue
        part[run_id] = status
        size += sum(source.maps[name] for name in maps_of([run_id], source.maps))
        if len(part) == MOST_RUNS or size >= MOST_BYTES:
            yield part
            part, size = {}, 0
    if part:
        yield part


def _merge_plans(source: ResultStore, target: ResultStore) -> int:
    """How many suites' plans were new or had something new."""
    there, count = target.plans(), 0
    for name, plan in source.plans().items():
        both = _union(there[name], plan) if name in there else plan
        if both != there.get(name):
            target.write_plan(both)
            count += 1
    return count


def _union(one: SuitePlan, other: SuitePlan) -> SuitePlan:
    """What the suite asked for on both machines; a dataset is missing if neither had cells of it."""
    cells = _firsts(lambda cell: cell.run_id, one.cells, other.cells)
    here = {cell.dataset for cell in cells}
    missing = _firsts(lambda dataset: dataset.name, one.missing, other.missing)
    return replace(
        one,
        cells=cells,
        published=tuple(dict.fromkeys((*one.published, *other.published))),
        missing=tuple(dataset for dataset in missing if dataset.name not in here),
        cards=_firsts(lambda card: (card.kind, card.name), one.cards, other.cards),
    )


def _firsts(key: Callable[[_Item], Hashable], one: Sequence[_Item], other: Sequence[_Item]) -> tuple[_Item, ...]:
    """Both in their order, of those with an equal key the first."""
    found: dict[Hashable, _Item] = {}
    for item in (*one, *other):
        found.setdefault(key(item), item)
    return tuple(found.values())


def _merge_splits(source: ResultStore, target: ResultStore) -> int:
    """How many files of splits were new; those of one name have one content."""
    with target.writing() as folder:
        names = {name for name in source.folder.names("splits") if name.endswith(".csv") and name[0] != "."}
        new = sorted(names - folder.names("splits"))
        if new:
            folder.make("splits")
            for name in new:
                folder.take(source.folder, f"splits/{name}")
            folder.sync("splits")
    return len(new)


def _merge_searches(source: ResultStore, target: ResultStore) -> int:
    """How many searches' records were new, or tell of more trials than the one that was there."""
    there, count = target.searches(), 0
    for sweep_id, search in source.searches().items():
        if sweep_id not in there or _trials(search) > _trials(there[sweep_id]):
            target.write_search(search)
            count += 1
    return count


def _trials(search: SearchRecord) -> int:
    return search.complete + search.stopped + search.failed
