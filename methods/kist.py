"""KIST: knowledge-informed self-training (Qian, Lao, Li, arXiv 2402.14246).

Known are normal images, image-labelled anomalies, and what experts know of a defect, written as fuzzy IF-THEN rules
about regions. Rules turn anomaly scores into pixel pseudo-labels; the loss rebuilds normal pixels and suppresses the
rebuilding of anomalous ones; repeated, this is self-training. Knowledge makes labels and nothing else: the map of an
image is a function of that image alone.

The paper's text could not be had beyond this idea. Reconstructed by us is the rest: an autoencoder of pixels (evened
contrast) or, by default, of a frozen backbone's features, because pixels show fine textures badly; the error e of a
place is the channel-mean squared error, or the sum over layers of 1 - cosine, Gaussian-smoothed, divided by the level
that it has there in normal images; its quantiles come from held-out training normals;
s = clip((e - q50) / (q99.5 - q50), 0, 1); regions are the connected components of s > tau_c in labelled images; the
pseudo-label is y = s * d with the degree d of the region's rules; A = {y >= tau_a}, N = {s < tau_n}, the rest is
ignored. The image's label says that there is an anomaly: without regions tau_c is halved, down to 1e-3, until there
is one, and where A is empty the best region is taken. If there is none even so (s = 0 everywhere, or nearly), A stays
empty, and the image counts as a normal one in that round;

    L = mean over N and all normal images of e + lambda * mean over A of [m - e]_+,  m the q99.9 of normal e,

both means per image first, the first of errors not yet divided by their level, but by its mean. Weights go on from
round to round, q and m follow them; the learning rate falls from step to step within each round. Without labelled
images, patches of normal ones are warped and shaded, and y is known. On which data settings were chosen, and who
wrote the rules: kist_config.py.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from adbench.datasets.imageset import ImageSet
from adbench.methods.anomaly_maps import smooth, top_mean
from adbench.methods.base import Context, KeptMaps, Method, to_unit_tensor
from adbench.methods.kist_config import KISTConfig
from adbench.methods.kist_networks import Inputs
from adbench.methods.pseudo_anomalies import elastic_anomalies
from adbench.methods.regions import Regions, Values, find_regions, pseudo_label
from adbench.methods.training import Batch, epoch_seed, optimise, train

_KEPT_MAPS, _KEPT_IMAGES = 12, 4
_MIN_LABELLED_IN_BATCH = 4
_SIMULATED = 64
_BATCH = 32
_LEVEL_FLOOR = 0.5
"""Share of the mean level that is added everywhere: where normal images have no error, noise would count as one."""

_LEVEL_SMOOTHING = 8.0
_QUANTILES = (0.5, 0.995, 0.999)
_CALIBRATING = 256
"""Images at most from which levels and quantiles are taken."""

_LAST_LR = 0.1
_LEAST_THRESHOLD = 1e-3
"""No region is sought in lower scores s: they are rounding errors."""

_PATCH_SMOOTHING = 16.0
_PATCH_SHARE = 0.03
"""Of simulated anomalies: smoothness, in pixels at 256 px, and share of the image."""


@dataclass
class _Labels:
    """Pseudo-labels of the n labelled images: bool [n, S, S] each."""

    anomalous: Tensor
    normal: Tensor


class KIST(Method):
    """Autoencoder of features or pixels, trained in rounds before which labelled images get pixel pseudo-labels."""

    version = "1"
    paper: ClassVar[str] = (
        "Qian, Lao, Li, Reconstruction-Based Anomaly Localization via Knowledge-Informed Self-Training, "
        "arXiv 2402.14246"
    )
    config_class = KISTConfig

    def __init__(self, config: KISTConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config: KISTConfig = config
        # Built on the CPU under a seed of its own: the same initial weights on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch_seed(context.seed, -1))
            self.space = config.make_space().to(context.device)
        self.network = self.space.network
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=config.lr)
        self._rules = config.load_rules()
        size = context.image_size
        self._level = torch.ones(size, size, device=context.device)
        self._quantiles = torch.tensor([0.0, 1.0, 1.0], device=context.device)
        self._normals: Inputs | None = None
        self._labelled: Inputs | None = None
        self._rows = self._held_out = torch.empty(0, dtype=torch.int64)
        self._labelled_pixels = np.empty((0, size, size, 3), np.uint8)
        self._labelled_ids: tuple[str, ...] = ()
        self._truth: NDArray[np.bool_] | None = None
        self._labels: _Labels | None = None
        self._kept: list[NDArray[np.float32]] = []
        self._step, self._steps_in_epoch, self._steps_in_round = 0, 1, 1

    def fit(self, train_images: ImageSet, labelled: ImageSet) -> None:
        """Round 0 on normal images, then rounds with pseudo-labels of the labelled ones."""
        self._normals = self.space.inputs(train_images, self.context.cache, self.context.device)
        self._hold_out(len(train_images))
        self._take_labelled(train_images, labelled)
        config = self.config
        self._steps_in_epoch = -(-len(self._rows) // config.batch_size)
        rounds = config.rounds if self._labelled is not None else 0
        train(
            self,
            self.context,
            n_images=len(self._rows),
            batch_size=config.batch_size,
            epochs=config.epochs + rounds * config.round_epochs,
        )
        self._calibrate()
        self._normals = self._labelled = self._truth = self._labels = None

    def start_epoch(self, epoch: int) -> None:
        """The place in the round, of which the learning rate is a function; at the start of each after 0, the
        pseudo-labels."""
        config = self.config
        after = epoch - config.epochs
        if after >= 0 and after % config.round_epochs == 0:
            self._calibrate()
            self._relabel()
        place, length = (after % config.round_epochs, config.round_epochs) if after >= 0 else (epoch, config.epochs)
        self._step, self._steps_in_round = place * self._steps_in_epoch, length * self._steps_in_epoch

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step on normal and, after round 0, labelled images."""
        assert self._normals is not None
        device = self.context.device
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.lr * learning_rate_factor(self._step / self._steps_in_round)
        self._step += 1
        normals = self._normals.batch(self._rows[batch.indices], device)
        if self._labels is None or self._labelled is None:
            errors = self.space.errors(normals, self.context.image_size)
            loss = errors.mean(dim=(1, 2)).sum() / _fair_share(batch.total, batch)
            optimise(loss, self._optimizer, self.network.parameters())
            return {"loss": loss}
        known = len(self._labelled)
        count = min(known, max(_MIN_LABELLED_IN_BATCH, round(batch.total * known / len(self._rows))))
        chosen = batch.share(torch.randperm(known, generator=batch.generator)[:count])
        anomalies = self._labelled.batch(chosen, device)
        both = [torch.cat(pair) for pair in zip(normals, anomalies, strict=True)]
        errors = self.space.errors(both, self.context.image_size)
        own = errors[len(batch.indices) :]
        rebuilding, suppression = kist_loss(
            errors[: len(batch.indices)],
            own,
            self._relative(own),
            self._labels.anomalous[chosen].to(device),
            self._labels.normal[chosen].to(device),
            self._quantiles[2],
            (_fair_share(batch.total, batch), _fair_share(count, batch)),
        )
        # In units of the normal level, as the other term is.
        rebuilding = rebuilding / self._level.mean()
        loss = rebuilding + self.config.w_suppress * suppression
        optimise(loss, self._optimizer, self.network.parameters())
        return {"loss": loss, "rebuilding": rebuilding, "suppression": suppression}

    def predict_checked(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map: the error over its level in normal images. Score: mean of its largest pixels."""
        self.network.eval()
        maps = self._relative(self.space.errors(self.space.take(images), images.shape[-1]))
        return top_mean(maps, self.config.score_pixels), maps

    def kept_maps(self) -> Sequence[KeptMaps]:
        """The pseudo-labels y of the first labelled images, one for every round."""
        ids, images = self._labelled_ids[:_KEPT_MAPS], self._labelled_pixels[:_KEPT_IMAGES]
        return [KeptMaps(f"pseudo-labels, round {n + 1}", ids, maps, images) for n, maps in enumerate(self._kept)]

    def state_dict(self) -> dict[str, Tensor]:
        """The network's weights and what calibrates its errors."""
        return {
            **{f"network.{name}": value for name, value in self.network.state_dict().items()},
            "level": self._level,
            "quantiles": self._quantiles,
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore network and calibration."""
        weights = {n.removeprefix("network."): v for n, v in state.items() if n.startswith("network.")}
        self.network.load_state_dict(weights)
        self._level, self._quantiles = (state[name].to(self.context.device) for name in ("level", "quantiles"))

    def train_state(self) -> dict[str, Any]:
        """Network, optimiser, and the labels of this round, which a later network would not find again."""
        labels = None if self._labels is None else (self._labels.anomalous, self._labels.normal)
        kept = [torch.from_numpy(maps) for maps in self._kept]
        return {
            "learned": self.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "labels": labels,
            "kept": kept,
        }

    def load_train_state(self, state: dict[str, Any]) -> None:
        """Restore ``train_state``."""
        self.load_state_dict(state["learned"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._labels = None if state["labels"] is None else _Labels(*(mask.cpu() for mask in state["labels"]))
        self._kept = [maps.cpu().numpy() for maps in state["kept"]]

    def _hold_out(self, count: int) -> None:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(epoch_seed(self.context.seed, -2)))
        held = min(count - 1, max(1, min(_CALIBRATING, round(self.config.held_out * count))))
        self._held_out, self._rows = order[:held], order[held:]
        if held == 0:  # A single image: calibrated on what was trained on.
            self._held_out = self._rows

    def _take_labelled(self, normals: ImageSet, labelled: ImageSet) -> None:
        config = self.config
        if config.anomaly_ratio == 0 or config.rounds == 0:
            return
        if len(labelled):
            self._labelled = self.space.inputs(labelled, self.context.cache, self.context.device)
            self._labelled_pixels, self._labelled_ids = labelled.pixels(slice(None)), labelled.ids
            self._truth = labelled.masks(range(len(labelled))) if config.knowledge == "oracle" else None
            if config.knowledge == "rules" and self._rules is None:
                self.context.notes.append("no rules for this data: every region counts as anomalous (d = 1)")
            return
        self.context.notes.append("no labelled anomalies: trained on simulated ones, whose place is known")
        rows = self._rows[:_SIMULATED].numpy()
        seed = epoch_seed(self.context.seed, -3)
        self._labelled_pixels, self._truth = simulated_anomalies(normals.pixels(rows), seed)
        self._labelled = self.space.inputs_of(self._labelled_pixels, self.context.device)
        self._labelled_ids = tuple(normals.ids[row] for row in rows)

    def _relative(self, errors: Tensor) -> Tensor:
        """e: errors [N, S, S], smoothed, over the level of normal images at each place."""
        return smooth(errors, self.config.smoothing) / self._level

    def _errors_of(self, inputs: Inputs, rows: Tensor) -> Iterator[Tensor]:
        """Smoothed errors [n, S, S] on the CPU of the chosen inputs, in batches, not yet relative to a level."""
        self.network.eval()
        for part in rows.split(_BATCH):  # type: ignore[no-untyped-call]
            errors = self.space.errors(inputs.batch(part, self.context.device), self.context.image_size)
            yield smooth(errors, self.config.smoothing).cpu()

    @torch.no_grad()
    def _calibrate(self) -> None:
        """The level of the error at each place of normal images; q50, q99.5 and m of held-out ones."""
        assert self._normals is not None
        rows = self._rows[:_CALIBRATING]
        total = sum((errors.sum(dim=0) for errors in self._errors_of(self._normals, rows)), torch.zeros(()))
        level = smooth(total[None] / len(rows), _LEVEL_SMOOTHING)[0]
        level = level.mean() * (level / level.mean() + _LEVEL_FLOOR) ** self.config.levelling
        relative = torch.cat([errors / level for errors in self._errors_of(self._normals, self._held_out)])
        quantiles = np.quantile(relative.numpy(), _QUANTILES).astype(np.float32)
        self._level = level.to(self.context.device)
        self._quantiles = torch.from_numpy(quantiles).to(self.context.device)

    @torch.no_grad()
    def _relabel(self) -> None:
        """Pseudo-labels of every labelled image from the network as it is."""
        assert self._labelled is not None
        low, high, _ = self._quantiles.tolist()
        level = self._level.cpu()
        count = len(self._labelled)
        anomalous, normal = (np.zeros((count, *level.shape), np.bool_) for _ in range(2))
        kept: list[NDArray[np.float32]] = []
        # One batch of errors after the other: of all labelled images there is room for masks, not for scores.
        errors = itertools.chain.from_iterable(self._errors_of(self._labelled, torch.arange(count)))
        for row, error in enumerate(errors):
            scores = ((error / level - low) / max(high - low, 1e-12)).clamp(0, 1).numpy()
            label, anomalous[row] = self._label(scores, row)
            normal[row] = (scores < self.config.tau_n) & ~anomalous[row]
            if row < _KEPT_MAPS:
                kept.append(label)
        self._labels = _Labels(torch.from_numpy(anomalous), torch.from_numpy(normal))
        self._kept.append(np.stack(kept))

    def _label(self, scores: NDArray[np.float32], row: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """y and A of the labelled image at ``row``, both [S, S]."""
        if self._truth is not None:
            return self._truth[row].astype(np.float32), self._truth[row]
        image, threshold = self._labelled_pixels[row], self.config.tau_c
        regions = find_regions(scores, image, threshold)
        # The image is anomalous somewhere: look lower.
        while len(regions) == 0 and (threshold := 0.5 * min(threshold, float(scores.max()))) >= _LEAST_THRESHOLD:
            regions = find_regions(scores, image, threshold)
        return pseudo_label(scores, regions, self._degrees(regions), self.config.tau_a)

    def _degrees(self, regions: Regions) -> Values:
        """d [R] of regions."""
        if self._rules is None or self.config.knowledge == "none":
            return np.ones(len(regions))
        degrees = self._rules.degrees(regions.attributes)
        return 1 - degrees if self.config.knowledge == "wrong" else degrees


def learning_rate_factor(progress: float) -> float:
    """Of the highest learning rate, after a share ``progress`` of a round: half a cosine from 1 to a tenth."""
    return _LAST_LR + (1 - _LAST_LR) * 0.5 * (1 + math.cos(math.pi * progress))


def kist_loss(
    normals: Tensor,
    labelled: Tensor,
    relative: Tensor,
    anomalous: Tensor,
    normal: Tensor,
    margin: Tensor,
    counts: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """(mean of the error over N and all normal images, mean over A of [m - e]_+), both as means of images' means.

    ``normals`` [B, S, S] and ``labelled`` [C, S, S] are errors of the space (1 - cosine, summed over layers, or
    squared differences of pixels), ``relative`` [C, S, S] is e, ``anomalous`` (A) and ``normal`` (N) are bool
    [C, S, S], ``margin`` is m, ``counts`` is B and C, or what they are on average where several processes share a
    batch.
    """
    rebuilding = normals.mean(dim=(1, 2)).sum() + _mean_where(labelled, normal).sum()
    suppression = _mean_where(functional.relu(margin - relative), anomalous).sum()
    return rebuilding / sum(counts), suppression / counts[1]


def _fair_share(count: int, batch: Batch) -> float:
    """How many of ``count`` images a process has on average: shares may differ by one, and losses are averaged."""
    return count / batch.world if count >= batch.world else count


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of each of ``values`` [N, S, S] where ``mask``; 0 where it is empty."""
    return (values * mask).sum(dim=(1, 2)) / mask.sum(dim=(1, 2)).clamp(min=1)


def simulated_anomalies(images: NDArray[np.uint8], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Images [n, S, S, 3] with a smooth patch of each elastically warped and shaded, and the patches [n, S, S]."""
    generator = torch.Generator().manual_seed(seed)
    clean = to_unit_tensor(images, torch.device("cpu"))
    field = smooth(torch.randn(clean[:, 0].shape, generator=generator), _PATCH_SMOOTHING)
    # The highest few per cent of a smooth field are one to three round patches.
    edge = torch.quantile(field.flatten(1), 1 - _PATCH_SHARE, dim=1)
    patches = field > edge[:, None, None]
    shade = 1 + 0.4 * (2 * torch.rand((len(images), 1, 1, 1), generator=generator) - 1)
    changed = (elastic_anomalies(clean, 200.0, 5.0, generator) * shade).clamp(0, 1)
    mixed = torch.where(patches[:, None], changed, clean)
    return (mixed * 255).round().byte().permute(0, 2, 3, 1).numpy(), patches.numpy()
