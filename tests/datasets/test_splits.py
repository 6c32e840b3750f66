"""Splits: disjoint, grouped, the same on every machine, and never at the cost of test."""

import dataclasses
import random
from collections import defaultdict

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from adbench.datasets.base import ROLES, Role, Sample, SplitRule
from adbench.datasets.errors import RequestError
from adbench.datasets.splits import SPLIT_COLUMNS, Split, choose_labelled, leaks, make_split

DEFECTS = ("crack", "dent", "stain")


def normals(count: int, role: Role | None = None, prefix: str = "good") -> list[Sample]:
    return [Sample(f"{role}/{prefix}/{n:04d}", 0, role=role) for n in range(count)]


def anomalies(count: int, role: Role | None = None, defects: tuple[str, ...] = DEFECTS) -> list[Sample]:
    return [
        Sample(f"{role}/{defects[n % len(defects)]}/{n:04d}", 1, defects[n % len(defects)], "structural", role)
        for n in range(count)
    ]


@st.composite
def unassigned(draw: st.DrawFn, groups: bool) -> list[Sample]:
    """Samples without a role; where grouped, patients of very different sizes with mixed labels."""
    labels = draw(st.lists(st.booleans(), min_size=3, max_size=60))
    patients = draw(st.lists(st.integers(0, 12), min_size=len(labels), max_size=len(labels)))
    return [
        Sample(
            f"scan/{n:03d}",
            int(anomalous),
            DEFECTS[n % 3] if anomalous else "good",
            "structural" if anomalous else "good",
            group=f"patient{patient}" if groups else None,
        )
        for n, (anomalous, patient) in enumerate(zip(labels, patients, strict=True))
    ]


@st.composite
def official(draw: st.DrawFn) -> list[Sample]:
    """Samples with roles of their own; patients stay on their side of the line between training and test."""
    counts = draw(st.tuples(*[st.integers(0, 20)] * 6))
    n_train, n_labelled, n_val, n_val_anomalous, n_test, n_test_anomalous = counts
    samples = normals(max(n_train, 1), "train") + anomalies(n_labelled, "labelled")
    samples += normals(n_val, "val") + anomalies(n_val_anomalous, "val")
    samples += normals(max(n_test, 1), "test") + anomalies(n_test_anomalous, "test")
    sides = {"train": "a", "labelled": "a", "val": "b", "test": "c"}
    grouped = draw(st.booleans())
    patients = draw(st.lists(st.integers(0, 8), min_size=len(samples), max_size=len(samples)))
    return [
        dataclasses.replace(sample, group=f"{sides[sample.role]}{patient}" if grouped and sample.role else None)
        for sample, patient in zip(samples, patients, strict=True)
    ]


def split_or_skip(samples: list[Sample], rule: SplitRule, seed: int = 0, category: str = "screw") -> Split:
    try:
        return make_split(samples, category, seed, rule)
    except RequestError:
        assume(False)
        raise


def assert_sound(split: Split, samples: list[Sample]) -> None:
    dealt = [sample for role in ROLES for sample in split.of(role)]
    ids = [sample.image_id for sample in dealt]
    assert len(set(ids)) == len(ids)
    assert set(dealt) <= set(samples)
    assert split.train and split.test
    assert all(sample.label == 0 for sample in split.train)
    assert all(sample.label == 1 for sample in split.labelled)
    roles_of_group = defaultdict(set)
    for role in ROLES:
        for sample in split.of(role):
            if sample.group is not None:
                # Both are trained on: a dataset's own roles may mix a patient's images there.
                roles_of_group[sample.group].add("fit" if role in ("train", "labelled") else role)
    assert all(len(roles) == 1 for roles in roles_of_group.values()), dict(roles_of_group)


@given(samples=unassigned(groups=False), seed=st.integers(0, 2**31))
def test_ungrouped_samples_are_all_dealt(samples: list[Sample], seed: int) -> None:
    split = split_or_skip(samples, SplitRule(), seed)
    assert_sound(split, samples)
    assert sum(len(split.of(role)) for role in ROLES) == len(samples)


@given(samples=unassigned(groups=True), seed=st.integers(0, 2**31))
def test_no_group_is_in_two_roles(samples: list[Sample], seed: int) -> None:
    split = split_or_skip(samples, SplitRule(), seed)
    assert_sound(split, samples)
    groups = [{sample.group for sample in split.of(role)} for role in ROLES]
    assert sum(map(len, groups)) == len(set().union(*groups))


@settings(max_examples=200)
@given(
    samples=official(),
    seed=st.integers(0, 2**31),
    from_test=st.sampled_from([0.0, 0.3, 0.9]),
    val_share=st.sampled_from([0.0, 0.1, 0.5]),
)
@example(  # A patient with normal and labelled images must not be validated on by half.
    samples=[
        *[Sample(f"t{n}", 0, role="train", group=f"g{n}") for n in range(4)],
        *[Sample(f"a{n}", 1, "crack", "structural", "labelled", f"g{n}") for n in range(4)],
        Sample("z", 1, "crack", "structural", "test"),
    ],
    seed=0,
    from_test=0.0,
    val_share=0.5,
)
@example(  # One large patient must not drain train.
    samples=[
        Sample("0", 0, role="train", group="small"),
        *[Sample(f"1{n}", 0, role="train", group="large") for n in range(30)],
        Sample("z", 1, "crack", "structural", "test"),
    ],
    seed=0,
    from_test=0.0,
    val_share=0.1,
)
def test_official_roles_stand(samples: list[Sample], seed: int, from_test: float, val_share: float) -> None:
    split = split_or_skip(samples, SplitRule(val_from_train=val_share, labelled_from_test=from_test), seed)
    assert_sound(split, samples)
    assert all(s.role == "train" for s in split.train)
    assert all(s.role == "test" for s in split.test)
    assert not any(s.role == "test" for s in split.val if not s.label)
    if not from_test:
        assert {s for s in samples if s.role == "test"} == set(split.test)
        assert not any(s.role == "test" for s in split.val)
    if any(s.role == "val" and not s.label for s in samples) and any(s.role == "val" and s.label for s in samples):
        assert {s for s in samples if s.role == "val"} == set(split.val)
        assert {s for s in samples if s.role == "train"} == set(split.train)


@given(
    samples=st.one_of(unassigned(groups=True), unassigned(groups=False), official()),
    shuffled=st.randoms(use_true_random=False),
    seed=st.integers(0, 5),
)
def test_order_of_samples_does_not_matter(samples: list[Sample], shuffled: random.Random, seed: int) -> None:
    split = split_or_skip(samples, SplitRule(labelled_from_test=0.3), seed)
    other = list(samples)
    shuffled.shuffle(other)
    assert make_split(other, "screw", seed, SplitRule(labelled_from_test=0.3)) == split


def test_seed_and_category_deal_differently_and_the_hash_tells() -> None:
    samples = normals(40) + anomalies(20)
    splits = [make_split(samples, category, seed, SplitRule()) for category, seed in (("a", 0), ("a", 1), ("b", 0))]
    assert len({split.hash for split in splits}) == 3
    assert splits[0].hash == make_split(samples, "a", 0, SplitRule()).hash
    rows = splits[0].rows()
    assert len(rows) == 60 and all(len(row) == len(SPLIT_COLUMNS) for row in rows)


def test_split_is_the_same_as_ever() -> None:
    """A published result must be repeatable: another deal of the same names needs a deliberate change here."""
    split = make_split(normals(10) + anomalies(6), "screw", 0, SplitRule())
    assert split.hash == "88f6732aa65e2ef2"
    assert [len(split.of(role)) for role in ROLES] == [6, 2, 3, 5]


def test_an_added_image_moves_few_others() -> None:
    before = make_split(normals(200), "screw", 0, SplitRule())
    after = make_split(normals(201), "screw", 0, SplitRule())
    moved = [role for role in ROLES if len(set(before.of(role)) - set(after.of(role))) > 1]
    assert moved == []


def test_shares_of_unassigned_samples() -> None:
    split = make_split(normals(200) + anomalies(100), "screw", 0, SplitRule())
    counts = {
        role: (sum(1 - s.label for s in split.of(role)), sum(s.label for s in split.of(role))) for role in ROLES
    }
    assert counts == {"train": (120, 0), "labelled": (0, 35), "val": (30, 15), "test": (50, 50)}


def test_val_is_carved_from_training_normals_and_the_labelled_pool() -> None:
    samples = normals(50, "train") + anomalies(20, "labelled") + normals(10, "test") + anomalies(10, "test")
    split = make_split(samples, "screw", 0, SplitRule())
    assert sum(s.label == 0 for s in split.val) == 5 and {s.role for s in split.val if not s.label} == {"train"}
    assert sum(s.label == 1 for s in split.val) == 6 and {s.role for s in split.val if s.label} == {"labelled"}
    assert len(split.train) == 45 and len(split.labelled) == 14 and len(split.test) == 20


def test_labelled_from_test_leave_test() -> None:
    samples = normals(50, "train") + normals(10, "test") + anomalies(40, "test")
    one_class = make_split(samples, "screw", 0, SplitRule())
    assert one_class.labelled == () and len(one_class.test) == 50
    split = make_split(samples, "screw", 0, SplitRule(labelled_from_test=0.5))
    left = set(one_class.test) - set(split.test)
    assert len(left) == 20 and all(sample.label for sample in left)
    assert left == set(split.labelled) | {sample for sample in split.val if sample.label}


def test_normals_of_a_moved_patient_leave_test_too() -> None:
    samples = normals(10, "train") + [
        Sample(f"p{n}/{part}", int(part == "sick"), "crack" if part == "sick" else "good", role="test", group=f"p{n}")
        for n in range(10)
        for part in ("sick", "well")
    ]
    split = make_split(samples, "chest", 0, SplitRule(labelled_from_test=0.5))
    assert len(split.test) == 10
    assert {s.group for s in split.test}.isdisjoint({s.group for s in (*split.labelled, *split.val)} - {None})


@pytest.mark.parametrize("seed", range(4))
def test_a_large_patient_does_not_fill_a_small_part(seed: int) -> None:
    sick = [Sample(f"large/{n}", 1, "crack", "structural", "test", "large") for n in range(30)]
    sick.append(Sample("small/0", 1, "crack", "structural", "test", "small"))
    split = make_split([*normals(9, "train"), *sick], "chest", seed, SplitRule(labelled_from_test=0.3))
    assert set(sick[:30]) <= set(split.test)


@pytest.mark.parametrize("seed", range(4))
def test_val_anomalies_do_not_cost_all_normals(seed: int) -> None:
    known = [Sample(f"known/{n}", 0, role="train", group="known") for n in range(5)]
    labelled = [Sample(f"{group}/x", 1, "crack", "structural", "labelled", group) for group in ("known", "other")]
    split = make_split([*known, *labelled, *normals(2, "test")], "chest", seed, SplitRule())
    assert set(split.train) == set(known)
    assert set(split.labelled) == set(labelled[:1]) and set(split.val) == set(labelled[1:])


@pytest.mark.parametrize(
    ("samples", "missing"),
    [
        (normals(9, "train"), "test images"),
        (normals(9, "test"), "normal images to train on"),
        (anomalies(9, "labelled") + anomalies(9, "test"), "normal images to train on"),
        ([], "normal images to train on"),
    ],
)
def test_empty_train_or_test_is_refused(samples: list[Sample], missing: str) -> None:
    with pytest.raises(RequestError, match=f"'screw' has no {missing}"):
        make_split(samples, "screw", 0, SplitRule())


def test_an_anomaly_is_never_trained_on_as_a_normal() -> None:
    samples = normals(9, "train") + anomalies(3, "train") + normals(3, "test")
    split = make_split(samples, "screw", 0, SplitRule())
    assert all(sample.label == 0 for sample in split.train)


@given(
    n_normal=st.integers(1, 80),
    pool=st.integers(0, 60),
    ratio=st.floats(0, 0.5),
    classes=st.integers(0, 4),
    seed=st.integers(0, 100),
)
def test_labelled_anomalies_are_as_many_and_of_as_many_types_as_asked(
    n_normal: int, pool: int, ratio: float, classes: int, seed: int
) -> None:
    split = Split(tuple(normals(n_normal)), tuple(anomalies(pool)), (), tuple(anomalies(1, "test")))
    chosen = choose_labelled(split, ratio, classes, "screw", seed)
    assert (chosen.train, chosen.val, chosen.test) == (split.train, split.val, split.test)
    assert set(chosen.labelled) <= set(split.labelled)
    types = {sample.defect_type for sample in split.labelled}
    allowed = min(classes, len(types)) if classes else len(types)
    assert len({sample.defect_type for sample in chosen.labelled}) <= allowed
    wanted = round(n_normal / (1 - ratio) - n_normal)
    if not classes:
        assert len(chosen.labelled) == min(wanted, pool)
    # With every anomaly asked for, exactly the allowed number of types appears.
    everything = choose_labelled(split, 0.99, classes, "screw", seed)
    assert len({sample.defect_type for sample in everything.labelled}) == allowed


@given(ratios=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)), classes=st.integers(0, 3), seed=st.integers(0, 100))
def test_a_smaller_ratio_takes_a_subset(ratios: tuple[float, float], classes: int, seed: int) -> None:
    split = Split(tuple(normals(60)), tuple(anomalies(40)), (), ())
    fewer, more = (choose_labelled(split, r, classes, "screw", seed).labelled for r in sorted(ratios))
    assert set(fewer) <= set(more)


def test_fewer_classes_take_a_subset_of_types() -> None:
    split = Split(tuple(normals(60)), tuple(anomalies(40)), (), ())
    types = [
        {sample.defect_type for sample in choose_labelled(split, 0.5, k, "screw", 3).labelled} for k in (1, 2, 3, 0)
    ]
    assert [len(kind) for kind in types] == [1, 2, 3, 3]
    assert types[0] < types[1] < types[2] == types[3]


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, 0), (0.01, 1), (0.05, 5), (0.1, 11), (0.2, 25)])
def test_the_paper_s_numbers_of_labelled_anomalies(ratio: float, expected: int) -> None:
    split = Split(tuple(normals(100)), tuple(anomalies(90)), (), ())
    assert len(choose_labelled(split, ratio, 0, "screw", 0).labelled) == expected


@given(samples=unassigned(groups=True), seed=st.integers(0, 2**31))
def test_groups_of_labelled_anomalies_may_be_trained_on(samples: list[Sample], seed: int) -> None:
    rule = SplitRule(train_on_labelled_groups=True)
    split = split_or_skip(samples, rule, seed)
    assert_sound(split, samples)
    assert sum(len(split.of(role)) for role in ROLES) == len(samples)  # None is left out.


def test_where_each_group_has_an_anomaly_there_are_normal_images_to_train_on_if_the_rule_says_so() -> None:
    samples = [
        Sample(f"item{n}/{part}", int(part == 0), "good" if part else "crack", group=f"item{n}")
        for n in range(20)
        for part in range(4)
    ]
    with pytest.raises(RequestError, match="no normal images to train on"):
        make_split(samples, "item", 0, SplitRule())
    split = make_split(samples, "item", 0, SplitRule(anomalous=(0.5, 0.1, 0.4), train_on_labelled_groups=True))
    assert [len(split.of(role)) for role in ROLES] == [30, 10, 8, 32]


def test_groups_that_are_trained_on_and_judged_are_told() -> None:
    def of(*groups: str | None) -> tuple[Sample, ...]:
        return tuple(Sample(f"{groups}/{number}", 0, group=group) for number, group in enumerate(groups))

    sound = Split(of("a", None), of("a"), of("b"), of("c", None))
    assert leaks(sound) == []
    leaking = dataclasses.replace(sound, val=of("a", "b"), test=of("c", "b", "a", "a"))
    assert leaks(leaking) == [
        "LEAK: 1 patient(s) or item(s) of val are in train too, such as a",
        "LEAK: 2 patient(s) or item(s) of test are in train or val too, such as a",
    ]
