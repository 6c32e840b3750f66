"""EfficientAD of anomalib. See `anomalib_models` and `anomalib_trained`: anomalib's torch model in our training loop.

The paper's teacher was pre-trained on ImageNet; training also shows the student natural images, on which it must stay
silent. Both are files to be given, or downloads to be asked for; there is no substitute for them here.

Deviation: quantiles of the maps come from a tenth of the training images that is held out, as in the paper, not from
validation images.
"""

import math
import shutil
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from adbench.datasets.base import Modality
from adbench.datasets.decode import IMAGE_SUFFIXES, read_image
from adbench.datasets.errors import RequestError
from adbench.datasets.imageset import ImageSet
from adbench.methods.anomalib_models import anomalib, seeded
from adbench.methods.anomalib_trained import Trained
from adbench.methods.base import Choice, InputPath, MethodConfig, Search, to_unit_tensor
from adbench.methods.training import Batch, epoch_seed

_MIN_SIZE = 256
_CPU = torch.device("cpu")
_GREY = (0.299, 0.587, 0.114)


class EfficientADConfig(MethodConfig):
    """Parameters of EfficientAD; anomalib's defaults. Its teacher and ImageNette are downloaded only if asked for."""

    teacher_weights: InputPath = Field(
        default=None, description="pretrained_teacher_small.pth or _medium.pth of anomalib's release"
    )
    imagenette: InputPath = Field(
        default=None,
        description="folder of natural images, such as ImageNette, on which the student must stay silent",
    )
    download: bool = Field(
        default=False, description="let anomalib fetch whichever of the two is not given (40 MB, 1.5 GB)"
    )
    model_size: Annotated[Literal["small", "medium"], Choice(("small", "medium"))] = Field(
        default="small", description="size of teacher and student"
    )
    lr: Annotated[float, Search(1e-5, 1e-3, log=True)] = Field(
        default=1e-4, gt=0.0, le=1.0, description="learning rate, a tenth of it in the last 5 % of the steps"
    )
    weight_decay: Annotated[float, Search(1e-6, 1e-3, log=True)] = Field(
        default=1e-5, ge=0.0, le=1.0, description="weight decay"
    )
    steps: int = Field(
        default=70_000, ge=1, le=10_000_000, description="training steps of one image, rounded up to whole epochs"
    )

    @classmethod
    def preset(cls, budget: str, modality: Modality) -> dict[str, Any]:
        """Fewer steps at smaller budgets."""
        return {"steps": {"smoke": 2, "quick": 1000, "full": 70_000}[budget]}

    def check(self, image_size: int) -> None:
        """Teacher and penalty images exist, or may be downloaded; images are large enough for the autoencoder."""
        for key, kind, given, exists in (
            ("teacher_weights", "file", self.teacher_weights, Path.is_file),
            ("imagenette", "folder", self.imagenette, Path.is_dir),
        ):
            if not (self.download if given is None else exists(Path(given))):
                raise RequestError(
                    f"EfficientAD needs method.{key}, and none is given"
                    if given is None
                    else f"method.{key}={given} is no {kind}",
                    remedy="give method.teacher_weights=FILE.pth (from anomalib's release "
                    "'efficientad_pretrained_weights') and method.imagenette=FOLDER, or let anomalib fetch both: "
                    "method.download=true",
                )
        if image_size < _MIN_SIZE:
            raise RequestError(
                f"image_size={image_size} is too small for EfficientAD's autoencoder",
                allowed=f"{_MIN_SIZE} or more",
            )


class AnomalibEfficientAD(Trained):
    """A student and an autoencoder learn a small teacher's features of normal images."""

    paper: ClassVar[str] = "Batzner et al., EfficientAD, WACV 2024, arXiv 2303.14535; model of anomalib"
    config_class = EfficientADConfig
    frozen = ("teacher.",)
    milestones = (0.95,)

    def build(self) -> nn.Module:
        """Teacher with its weights, student, autoencoder."""
        module = anomalib("models.image.efficient_ad.torch_model")
        model: Any = module.EfficientAdModel(model_size=module.EfficientAdModelSize(self.config.model_size))
        path = teacher_file(self.config)
        try:
            model.teacher.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises many kinds for a file that holds something else.
            raise RequestError(
                f"method.teacher_weights={path} cannot be loaded: {str(error).splitlines()[0]}",
                allowed=f"pretrained_teacher_{self.config.model_size}.pth of anomalib's release",
            ) from error
        self._penalties = image_files(penalty_folder(self.config))
        return model  # type: ignore[no-any-return]

    def trained_parameters(self) -> Any:
        """Student and autoencoder."""
        return [*self.model.student.parameters(), *self.model.ae.parameters()]

    def build_optimizer(self) -> torch.optim.Optimizer:
        """Adam, as in anomalib."""
        return torch.optim.Adam(self.parameters, lr=self.config.lr, weight_decay=self.config.weight_decay)

    def fit(self, train_images: ImageSet, labelled: ImageSet) -> None:
        """Train one image at a time on nine tenths; the others show how large normal maps are."""
        generator = torch.Generator().manual_seed(epoch_seed(self.context.seed, -2))
        order = torch.randperm(len(train_images), generator=generator).numpy()
        held = order[: max(1, len(order) // 10)]
        used = np.sort(order[len(held) :]) if len(order) > 1 else held
        self.model.mean_std.update(self._teacher_statistics(train_images, used))
        self.train_on(train_images, used, 1, math.ceil(self.config.steps / len(used)))
        self.model.quantiles.update(self._map_quantiles(train_images, held))

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """Hard features and silence on natural images; the autoencoder's, and the student's of it."""
        device = self.context.device
        images, penalty = self.pixels(batch).to(device), self._penalty(batch.seeds).to(device)
        # Augmentation and dropout draw from the global generators.
        with seeded(int(batch.seeds[0]), device):
            student, autoencoder, both = self.model(images, penalty)
        return {"loss": student + autoencoder + both, "student": student, "autoencoder": autoencoder, "both": both}

    def _penalty(self, seeds: Tensor) -> Tensor:
        """A natural image for each seed, as anomalib reads them: twice the size, sometimes grey, the centre kept."""
        size = self.context.image_size
        found = torch.empty(len(seeds), 3, size, size)
        generator = torch.Generator()
        for row, seed in enumerate(seeds.tolist()):
            which, grey = torch.rand(2, generator=generator.manual_seed(seed)).tolist()
            pixels = read_image(self._penalties[int(which * len(self._penalties))]).copy()
            image = to_unit_tensor(pixels[None], _CPU)
            large = functional.interpolate(image, (2 * size, 2 * size), mode="bilinear", antialias=True)[0]
            if grey < 0.3:
                large = (large * torch.tensor(_GREY)[:, None, None]).sum(0, keepdim=True)
            edge = size // 2
            found[row] = large[:, edge : edge + size, edge : edge + size]
        return found

    @torch.no_grad()
    def _teacher_statistics(self, images: ImageSet, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Mean and standard deviation [1, C, 1, 1] of the teacher's channels."""
        sums = squares = torch.zeros((), dtype=torch.float64)
        for row in rows:
            found = self.model.teacher(to_unit_tensor(images.pixels([int(row)]), self.context.device)).double().cpu()
            sums, squares = sums + found.mean((0, 2, 3)), squares + found.square().mean((0, 2, 3))
        mean = sums / len(rows)
        std = (squares / len(rows) - mean.square()).clamp_min(0).sqrt()
        shaped = {"mean": mean, "std": std.clamp_min(1e-6)}
        return {name: value.float().view(1, -1, 1, 1).to(self.context.device) for name, value in shaped.items()}

    @torch.no_grad()
    def _map_quantiles(self, images: ImageSet, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The 90 % and 99.5 % quantiles of both maps."""
        self.model.eval()
        maps = [self.model.get_maps(to_unit_tensor(images.pixels([int(row)]), self.context.device)) for row in rows]
        found = {}
        for name, pieces in zip(("st", "ae"), zip(*maps, strict=True), strict=True):
            values = torch.cat(pieces).double().cpu().numpy()
            for share, quantile in (("qa", 0.9), ("qb", 0.995)):
                found[f"{share}_{name}"] = torch.tensor(np.quantile(values, quantile)).float().to(self.context.device)
        return found


def teacher_file(config: EfficientADConfig) -> Path:
    """The teacher's weights: as given, or in anomalib's cache, fetched if need be."""
    if config.teacher_weights is not None:
        return Path(config.teacher_weights)
    name = "efficientad_pretrained_weights"
    folder = Path(anomalib("utils.path").get_pretrained_weights_dir()) / name
    _fetch(folder, "WEIGHTS_DOWNLOAD_INFO", name)
    return folder / f"pretrained_teacher_{config.model_size}.pth"


def penalty_folder(config: EfficientADConfig) -> Path:
    """The folder of natural images: as given, or in anomalib's cache, fetched if need be."""
    if config.imagenette is not None:
        return Path(config.imagenette)
    folder = Path(anomalib("utils.path").get_datasets_dir()) / "imagenette"
    _fetch(folder, "IMAGENETTE_DOWNLOAD_INFO", ".")
    return folder


def image_files(folder: Path) -> list[Path]:
    """The images of a folder and its subfolders, sorted; RequestError if there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise RequestError(f"no images in method.imagenette={folder}", allowed=", ".join(sorted(IMAGE_SUFFIXES)))
    return found


def _fetch(target: Path, info: str, inside: str) -> None:
    """Unless ``target`` exists: download with anomalib, which checks the archive, and keep its folder ``inside``."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.is_dir():
            return
        partial = target.with_name(f".{target.name}-partial")
        shutil.rmtree(partial, ignore_errors=True)
        where = getattr(anomalib("models.image.efficient_ad.lightning_model"), info)
        try:
            anomalib("data.utils").download_and_extract(partial, where)
        except (OSError, ValueError) as error:
            raise RequestError(
                f"{where.url} cannot be downloaded: {error}",
                remedy="give method.teacher_weights=FILE.pth and method.imagenette=FOLDER",
            ) from error
        (partial / inside).rename(target)
