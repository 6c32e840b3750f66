"""Protocols that change what is trained on: few normal images (few-shot), anomalies hidden among them (noise), and
all categories together (multi-class; see multi_class.py)."""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from adbench.datasets.base import Sample
from adbench.datasets.errors import RequestError
from adbench.datasets.splits import Order, Split, group_of, labelled_wanted, without_groups


@dataclass(frozen=True)
class Protocol:
    """What is asked of the images that are trained on as normal ones.

    ``n_normal`` (at least 1) says how many normal images of a category are trained on; None: all. ``noise`` (0 to
    below 0.5) is the share of hidden anomalies among the training images. They come from the labelled pool and, where
    it does not suffice and ``noise_from_test`` is set, from test. ``multi_class``: one model is trained on all
    categories of a dataset.
    """

    n_normal: int | None = None
    noise: float = 0.0
    noise_from_test: bool = False
    multi_class: bool = False

    @property
    def noise_source(self) -> Literal["labelled", "test"] | None:
        """Where hidden anomalies may come from; "test" stands for the labelled pool and test."""
        return ("test" if self.noise_from_test else "labelled") if self.noise else None

    def asked(self) -> dict[str, Any]:
        """The values that differ from the default, by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


def follow_protocol(split: Split, protocol: Protocol, category: str, seed: int) -> Split:
    """The split of a category under a protocol; val stays as it is, and test too unless anomalies are taken from it.

    Deterministic in (image ids or groups, category, seed). Fewer normal images and less noise take subsets of what
    more take. A hidden anomaly is in no other role, nor is its group: the rest of it is left out of the labelled pool
    and of test. Raises RequestError if there are no anomalies to hide.
    """
    order = Order(category, seed)
    train = order.samples(split.train)[: protocol.n_normal]
    wanted = labelled_wanted(len(train), protocol.noise)
    # The labelled anomalies of small ratios are the pool's first: hidden are its last, so that they stay the same.
    hidden = _group_by_group(reversed(order.samples(split.labelled)))[:wanted]
    from_test: list[Sample] = []
    if protocol.noise_from_test:
        from_test = _spared_by_test(split, order)[: wanted - len(hidden)]
    if wanted and not hidden and not from_test:
        raise _nothing_to_hide(protocol, category)
    return Split(
        train=tuple(order.samples([*train, *hidden, *from_test])),
        labelled=tuple(without_groups(split.labelled, [*hidden, *from_test])),
        val=split.val,
        test=tuple(without_groups(split.test, from_test)),
    )


def seen_as_normal(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Training images as a method sees them: nothing tells hidden anomalies from normal images."""
    return tuple(dataclasses.replace(sample, label=0, defect_type="good", kind="good") for sample in samples)


def n_hidden(split: Split) -> int:
    """How many anomalies are hidden in train."""
    return sum(sample.label for sample in split.train)


def shortfalls(split: Split, protocol: Protocol) -> list[str]:
    """A sentence for each wish of the protocol that the split could not fulfil."""
    hidden = n_hidden(split)
    normal = len(split.train) - hidden
    wanted = labelled_wanted(normal, protocol.noise)
    found = []
    if protocol.n_normal is not None and normal < protocol.n_normal:
        found.append(f"n_normal={protocol.n_normal}: only {normal} normal training images exist")
    if protocol.noise and not wanted:
        found.append(f"noise={protocol.noise:g} of {normal} normal images is less than one anomaly: none is hidden")
    if hidden < wanted:
        found.append(
            f"noise={protocol.noise:g} asks for {wanted} hidden anomalies, only {hidden} are at hand: "
            f"true share {hidden / len(split.train):.3f}"
        )
    return found


def _group_by_group(samples: Iterable[Sample]) -> list[Sample]:
    """The samples reordered so that those of a group stand together, where its first one stood."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(group_of(sample), []).append(sample)
    return [sample for group in groups.values() for sample in group]


def _spared_by_test(split: Split, order: Order) -> list[Sample]:
    """Anomalies that may leave test one after the other, with their groups: test keeps a normal image and an anomaly
    if it has them, and no group that is validated on gets into train."""
    left = Counter(sample.label for sample in split.test)
    of_group: dict[str, Counter[int]] = {}
    for sample in split.test:
        of_group.setdefault(group_of(sample), Counter())[sample.label] += 1
    spared: list[Sample] = []
    anomalies = [sample for sample in split.test if sample.label]
    for group in order.groups(without_groups(anomalies, split.val)):
        leaving = of_group[group_of(group[0])]
        if all(count < left[label] for label, count in leaving.items()):
            left -= leaving
            spared += group
    return spared


def _nothing_to_hide(protocol: Protocol, category: str) -> RequestError:
    pool = f"category '{category}' has no anomalies to hide (noise={protocol.noise:g}): its labelled pool is empty"
    if protocol.noise_from_test:
        return RequestError(f"{pool}, and test cannot spare any", remedy="leave the category out, or drop noise=")
    return RequestError(
        pool, remedy="noise_from_test=true takes them from test, which they then leave; or leave the category out"
    )
