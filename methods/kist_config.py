"""Parameters of KIST.

Chosen on the validation splits of elpv and of phantom's weave and brain: ``levelling`` (0 on medical images), the
thresholds ``tau_*`` and ``score_pixels``. The shipped rules for phantom were written by those who drew phantom, and
partly after a look at how attributes of labelled regions split under their true masks: a gain there says little of
what experts' rules are worth. The outside evidence is elpv.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from adbench.datasets.base import Modality
from adbench.datasets.errors import RequestError
from adbench.methods.backbone import BUNDLED, Backbone, check_doubling
from adbench.methods.base import Choice, InputPath, Search, WeaklySupervisedConfig
from adbench.methods.fuzzy_rules import RuleSet, load_rules, rules_path, shipped_rules
from adbench.methods.kist_networks import FeatureSpace, PixelSpace, Space

NO_RULES = "none"


class KISTConfig(WeaklySupervisedConfig):
    """Parameters of KIST; the defaults are ours."""

    knowledge: Annotated[Literal["rules", "none", "wrong", "oracle"], Choice(("rules", "none"))] = Field(
        default="rules",
        description="what makes pseudo-labels: the rules' degree d; none: d = 1; the controls wrong: 1 - d, and "
        "oracle: the labelled images' true masks",
    )
    rules: str = Field(
        default=NO_RULES,
        description="rule set: a shipped one's name, or the path of a YAML file; none: d = 1",
    )
    tau_c: Annotated[float, Search(0.1, 0.8)] = Field(
        default=0.5, ge=0.0, lt=1.0, description="regions are connected pixels of a higher s"
    )
    tau_a: Annotated[float, Search(0.2, 0.9)] = Field(
        default=0.5, gt=0.0, le=1.0, description="pixels of a pseudo-label y from here on are anomalous"
    )
    tau_n: Annotated[float, Search(0.01, 0.3)] = Field(
        default=0.1, ge=0.0, le=1.0, description="pixels of a lower s in labelled images are normal"
    )
    w_suppress: Annotated[float, Search(0.01, 10.0, log=True)] = Field(
        default=0.1, ge=0.0, le=1000.0, description="lambda: weight of [m - e]_+ on anomalous pixels"
    )
    rounds: Annotated[int, Search(1, 5)] = Field(
        default=4, ge=0, le=20, description="T: how often labelled images are labelled anew and training goes on"
    )
    space: Annotated[Literal["pixels", "features"], Choice(("pixels", "features"))] = Field(
        default="features", description="what is rebuilt: pixels of evened contrast, or features of a frozen backbone"
    )
    backbone: str = Field(
        default=BUNDLED, description="timm model whose frozen features are rebuilt (space=features only)"
    )
    weights: InputPath = Field(
        default=None, description="safetensors file with the backbone's weights (space=features only)"
    )
    layers: Annotated[tuple[int, ...], Choice(((3,), (2, 3), (1, 2, 3)), only_if=("space", ("features",)))] = Field(
        default=(2, 3),
        description="the backbone's layers, shallow to deep, at strides that double (space=features only)",
    )
    lr: Annotated[float, Search(3e-4, 1e-2, log=True)] = Field(
        default=3e-3, gt=0.0, le=1.0, description="learning rate at the start of each round"
    )
    epochs: int = Field(default=100, ge=1, le=100_000, description="passes over the normal images in round 0")
    round_epochs: int = Field(default=25, ge=1, le=100_000, description="passes over them in each later round")
    batch_size: int = Field(default=16, ge=1, le=4096, description="normal images per step")
    held_out: float = Field(
        default=0.1, gt=0.0, le=0.5, description="share of the training images that only calibrates s and m"
    )
    width: int = Field(
        default=16,
        ge=4,
        le=256,
        description="channels at half resolution; each halving doubles them (space=pixels only)",
    )
    depth: int = Field(
        default=4, ge=2, le=6, description="halvings of the image on the way to the middle (space=pixels only)"
    )
    latent: int = Field(
        default=64, ge=1, le=1024, description="channels in the middle of the autoencoder (space=pixels only)"
    )
    contrast_window: float = Field(
        default=16.0,
        ge=0.0,
        le=128.0,
        description="sigma of the window, at 256 px, in which images are brought to even contrast; 0: none "
        "(space=pixels only)",
    )
    levelling: Annotated[float, Search(0.0, 1.0)] = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="how far errors are divided by their level at that place of normal images: its power; 0: not",
    )
    smoothing: float = Field(default=2.0, ge=0.0, le=64.0, description="sigma of the error's Gaussian, at 256 px")
    score_pixels: int = Field(
        default=300, ge=1, le=65536, description="image score: mean of this many largest map pixels, at 256 px"
    )

    @classmethod
    def preset(cls, budget: str, modality: Modality) -> dict[str, Any]:
        """Fewer passes at smaller budgets. Medical images have empty places, whose lack of error says nothing."""
        passes: dict[str, Any] = {
            "smoke": {"epochs": 2, "round_epochs": 1, "rounds": 2},
            "quick": {"epochs": 6, "round_epochs": 1, "rounds": 4},
            "full": {},
        }[budget]
        return passes | ({"levelling": 0.0} if modality == "medical" else {})

    @classmethod
    def for_data(cls, dataset: str, category: str) -> dict[str, Any]:
        """The shipped rules for a dataset or for its category."""
        shipped = shipped_rules()
        return next(({"rules": name} for name in (dataset, f"{dataset}-{category}") if name in shipped), {})

    def input_files(self) -> dict[str, Path]:
        """The files of rules and of weights that are in use."""
        rules = {} if self.rules == NO_RULES else {"rules": rules_path(self.rules)}
        return rules | (super().input_files() if self.space == "features" else {})

    def check(self, image_size: int) -> None:
        """There are rules to be wrong about, and they can be read; backbone and weights exist; the middle of the
        network has more than one place."""
        if self.knowledge == "wrong" and self.rules == NO_RULES:
            raise RequestError(
                "method.knowledge=wrong needs rules to be wrong about", remedy="method.rules=NAME or FILE.yaml"
            )
        self.load_rules()
        smallest = 2 ** (self.depth + 1)
        if self.space == "features":
            strides = check_doubling(self.backbone, self.layers, self.weights)
            smallest = 2 * strides[-1] + 1  # The bottleneck halves once more; its norm needs over one place.
        if image_size < smallest:
            raise RequestError(
                f"image_size={image_size} is too small for method.space={self.space} at this depth",
                allowed=f"{smallest} or more",
            )

    def load_rules(self) -> RuleSet | None:
        """The rules, or None without any; RequestError if they cannot be read."""
        return None if self.rules == NO_RULES else load_rules(rules_path(self.rules))

    def make_space(self) -> Space:
        """What is rebuilt, with a fresh network."""
        if self.space == "pixels":
            return PixelSpace(self.contrast_window, self.width, self.depth, self.latent)
        return FeatureSpace(Backbone(self.backbone, self.layers, self.weights))
