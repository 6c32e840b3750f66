"""Which image is trained on, labelled, validated on or tested on: deterministic, disjoint, grouped."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from adbench.datasets.base import ROLES, Role, Sample, SplitRule
from adbench.datasets.errors import RequestError

SPLIT_COLUMNS = ("role", "image_id", "label", "defect_type")
POOL_SHARE_FOR_VAL = 0.3
"""Share of the anomalies kept from test that val gets where a dataset has no val anomalies of its own."""


@dataclass(frozen=True)
class Split:
    """Disjoint samples of one category; ``labelled`` are anomalies that a weakly supervised method may train on.

    All of ``train`` is taken for normal. Anomalies are in it only where a protocol hides them (see protocol.py).
    """

    train: tuple[Sample, ...]
    labelled: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]

    def of(self, role: Role) -> tuple[Sample, ...]:
        """The samples of one role."""
        samples: tuple[Sample, ...] = getattr(self, role)
        return samples

    @cached_property
    def hash(self) -> str:
        """Hash (hex) of who is in which role; written into every result row."""
        lines = "\n".join(repr(row) for row in self.rows())
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    def rows(self) -> list[tuple[str, str, int, str]]:
        """The split as a table with the columns of SPLIT_COLUMNS."""
        return [
            (role, sample.image_id, sample.label, sample.defect_type)
            for role in ROLES
            for sample in sorted(self.of(role), key=lambda sample: sample.image_id)
        ]


def make_split(samples: Sequence[Sample], category: str, seed: int, rule: SplitRule) -> Split:
    """Deal the samples of ``category`` into roles.

    Deterministic in (image ids or groups, category, seed), whatever the order of ``samples``; no group has images
    in two roles, unless the rule says so of train and labelled, or the dataset's own roles put them there.
    Anomalies that the dataset assigns to train become labelled. Raises RequestError if train or test would be empty.
    """
    order = Order(category, seed)
    roles: dict[Role, list[Sample]] = {role: [s for s in samples if s.role == role] for role in ROLES}
    defects, roles["train"] = _by_label(roles["train"])
    roles["labelled"] += defects
    _deal_unassigned(roles, [sample for sample in samples if sample.role is None], order, rule)
    if rule.labelled_from_test:
        anomalies, rest = _by_label(roles["test"])
        moved, kept = _cut(order.groups(anomalies), (rule.labelled_from_test, 1 - rule.labelled_from_test))
        roles["labelled"] += moved
        roles["test"] = without_groups(rest, moved) + kept
    if rule.train_on_labelled_groups:
        roles["labelled"], of_their_groups = _by_label(roles["labelled"])
        roles["train"] += of_their_groups
    _carve_val(roles, order, rule)
    # A normal image in the labelled pool is a left-over of a mixed group: it must not be trained on as an anomaly.
    roles["labelled"] = [sample for sample in roles["labelled"] if sample.label == 1]
    has_normals = any(sample.label == 0 for sample in roles["train"])
    for missing, what in ((not has_normals, "normal images to train on"), (not roles["test"], "test images")):
        if missing:
            raise RequestError(
                f"category '{category}' has no {what}",
                remedy="add images, or check the layout and the split options of the dataset",
            )
    return Split(*(tuple(order.samples(roles[role])) for role in ROLES))


def leaks(split: Split) -> list[str]:
    """A sentence for val and for test where patients or items of theirs are seen before, as some publish it."""
    fitted = [*split.train, *split.labelled]
    found = []
    for role, judged, before, where in (
        ("val", split.val, fitted, "train"),
        ("test", split.test, [*fitted, *split.val], "train or val"),
    ):
        known = {sample.group for sample in before}
        shared = sorted({sample.group for sample in judged if sample.group is not None and sample.group in known})
        if shared:
            found.append(
                f"LEAK: {len(shared)} patient(s) or item(s) of {role} are in {where} too, such as {shared[0]}"
            )
    return found


def labelled_wanted(n_train: int, ratio: float) -> int:
    """N_a = round(N_n / (1 - r) - N_n): labelled anomalies that make up ``ratio`` of the training images (CKAAD)."""
    return round(n_train / (1.0 - ratio) - n_train)


def choose_labelled(split: Split, ratio: float, classes: int, category: str, seed: int) -> Split:
    """The split with the labelled anomalies that a method with anomaly ratio ``ratio`` may see.

    N_a = round(N_n / (1 - r) - N_n) of them (CKAAD, section on the anomaly ratio), from ``classes`` defect types
    (0: all), fewer if fewer exist. A smaller ratio takes a subset of a larger one's images.
    """
    order = Order(category, seed)
    wanted = labelled_wanted(len(split.train), ratio)
    types = sorted({sample.defect_type for sample in split.labelled}, key=order.key)
    allowed = set(types[:classes] if classes else types)
    pool = order.samples([sample for sample in split.labelled if sample.defect_type in allowed])
    return Split(split.train, tuple(pool[:wanted]), split.val, split.test)


class Order:
    """A pseudo-random order that depends on names alone: an added file does not move the others."""

    def __init__(self, category: str, seed: int) -> None:
        self._salt = f"{seed}/{category}/"

    def key(self, name: str) -> str:
        """What ``name`` is sorted by."""
        return hashlib.sha256((self._salt + name).encode()).hexdigest()

    def samples(self, samples: Iterable[Sample]) -> list[Sample]:
        """The samples, each in a place of its own."""
        return sorted(samples, key=lambda sample: self.key(sample.image_id))

    def groups(self, samples: Iterable[Sample]) -> list[list[Sample]]:
        """The samples of each group together."""
        groups: dict[str, list[Sample]] = {}
        for sample in self.samples(samples):
            groups.setdefault(group_of(sample), []).append(sample)
        return sorted(groups.values(), key=lambda group: self.key(group_of(group[0])))


def group_of(sample: Sample) -> str:
    """The name of the sample's group; one without a group is a group of its own."""
    return f"group/{sample.group}" if sample.group is not None else f"image/{sample.image_id}"


def _by_label(samples: Iterable[Sample]) -> tuple[list[Sample], list[Sample]]:
    everything = list(samples)
    return [sample for sample in everything if sample.label], [sample for sample in everything if not sample.label]


def without_groups(samples: Iterable[Sample], taken: Iterable[Sample]) -> list[Sample]:
    """The samples that have no group in common with ``taken``."""
    groups = {group_of(sample) for sample in taken}
    return [sample for sample in samples if group_of(sample) not in groups]


def _cut(groups: list[list[Sample]], shares: Sequence[float]) -> list[list[Sample]]:
    """Cut an ordered list of groups into parts of about the given shares of the samples.

    A group goes where its middle lies, so that a large one does not fill a small part.
    """
    total = sum(map(len, groups))
    edges = [round(total * sum(shares[: part + 1]) / sum(shares)) for part in range(len(shares))]
    parts: list[list[Sample]] = [[] for _ in shares]
    dealt = 0
    for group in groups:
        part = next(index for index, edge in enumerate(edges) if dealt + len(group) / 2 < edge)
        parts[part] += group
        dealt += len(group)
    return parts


def _deal_unassigned(roles: dict[Role, list[Sample]], samples: list[Sample], order: Order, rule: SplitRule) -> None:
    groups = order.groups(samples)
    # A group with any anomaly is dealt with the anomalies; its normal images follow it, or are left out of labelled.
    mixed = [group for group in groups if any(sample.label for sample in group)]
    clean = [group for group in groups if not any(sample.label for sample in group)]
    normal_roles: tuple[Role, ...] = ("train", "val", "test")
    anomalous_roles: tuple[Role, ...] = ("labelled", "val", "test")
    for role, part in zip(normal_roles, _cut(clean, rule.normal), strict=True):
        roles[role] += part
    for role, part in zip(anomalous_roles, _cut(mixed, rule.anomalous), strict=True):
        roles[role] += part


def _carve_val(roles: dict[Role, list[Sample]], order: Order, rule: SplitRule) -> None:
    if not any(sample.label == 0 for sample in roles["val"]) and rule.val_from_train:
        _move_to_val(roles, "train", max(1, round(len(roles["train"]) * rule.val_from_train)), order)
    if not any(sample.label for sample in roles["val"]):
        _move_to_val(roles, "labelled", round(len(roles["labelled"]) * POOL_SHARE_FOR_VAL), order)


def _move_to_val(roles: dict[Role, list[Sample]], source: Role, wanted: int, order: Order) -> None:
    """Move groups with about ``wanted`` samples of ``source`` to val, with whatever else train and labelled have of
    them; neither ``source`` nor train is emptied."""
    groups = order.groups(roles[source])
    if wanted:  # At least the smallest group, even where every group is larger than wanted.
        wanted = min(max(wanted, min(map(len, groups), default=0)), len(roles[source]) - 1)
    in_train = Counter(map(group_of, roles["train"]))
    left, taken, chosen = len(roles["train"]), 0, set()
    for group in groups:
        name = group_of(group[0])
        if taken + len(group) <= wanted and (source == "train" or in_train[name] < left):
            chosen.add(name)
            taken += len(group)
            left -= in_train[name]
    for role in ("train", "labelled"):
        roles["val"] += [sample for sample in roles[role] if group_of(sample) in chosen]
        roles[role] = [sample for sample in roles[role] if group_of(sample) not in chosen]
