"""The protocols of runs, in words: what tells few-shot, noisy and multi-class runs from others."""

from typing import Any

import pandas as pd


def protocol_label(n_normal: Any, noise: Any, multi_class: Any) -> str:
    """What was asked of a run's training images, such as "n_normal=8, noise=0.1"; null or None: nothing."""
    parts = [] if pd.isna(n_normal) else [f"n_normal={n_normal:.0f}"]
    parts += [] if pd.isna(noise) else [f"noise={float(noise)}"]
    return ", ".join([*parts, *([] if pd.isna(multi_class) or not multi_class else ["multi-class"])])


def protocol_labels(runs: pd.DataFrame) -> "pd.Series[str]":
    """The label of each of ``runs``, which have different indices; "" for ordinary ones."""
    multi_class = runs["multi_class"].isin([True])
    asked = runs[runs["n_normal"].notna() | runs["noise"].notna() | multi_class]
    columns = (asked[name] for name in ("n_normal", "noise", "multi_class"))
    labels = [protocol_label(*row) for row in zip(*columns, strict=True)]
    return pd.Series(labels, index=asked.index, dtype=object).reindex(runs.index, fill_value="")


def labels_of_own_tests(runs: pd.DataFrame) -> "pd.Series[str]":
    """The same of those from whose test images were taken, so that nothing else has their test; "" for all others."""
    return (protocol_labels(runs) + " from test").where(runs["noise_source"] == "test", "")
