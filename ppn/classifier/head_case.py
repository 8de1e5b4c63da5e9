"""What computing on input has shown about a classifier's head, in numbers and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ppn.classifier.placement import LOCATED, Placed

if TYPE_CHECKING:
    from ppn.classifier.cut_point import Read
    from ppn.classifier.layout import Layout
    from ppn.classifier.norms import NormKind
    from ppn.classifier.tail import Affine

HeadCase = Literal["mean_linear", "mean_norm_linear", "class_token", "pre_logits"]


@dataclass(frozen=True)
class HeadWords:
    """What is said of a head case; commands, reports and explanations say it in these words.

    Attributes:
        short: Two or three words for a column of a table.
        case: What the case is.
        level: What may be said of an explanation.
        maps: What a map is, and is not.
        limit: One or two sentences on what maps do not show.
        factor: Sentence on the factor of one image, a format string of `scale`; empty where
            contributions carry none.
    """

    short: str
    case: str
    level: str
    maps: str
    limit: str
    factor: str = ""


WORDS: dict[str, HeadWords] = {
    "mean_linear": HeadWords(
        short="mean",
        case="mean, linear: logits are sums over patches",
        level="contributions and maps exact",
        maps="a map's mean is the part's contribution to the logit",
        limit="The sum of a class's maps is its class activation map; what is new is the split.",
    ),
    "mean_norm_linear": HeadWords(
        short="mean, norm",
        case="mean, norm, linear: sums over patches, times one factor per image",
        level="contributions and maps exact, times one positive factor per image",
        maps="a map's mean is the part's contribution to the logit",
        limit=(
            "The sum of a class's maps is its class activation map, times one factor per image; "
            "what is new is the split."
        ),
        factor=(
            "The classifier normalises its pooled features: contributions carry this image's "
            "factor 1/s = {scale:.3g}."
        ),
    ),
    "class_token": HeadWords(
        short="class token",
        case="class token: logits are not sums over patches",
        level="contributions exact, maps indicative",
        maps=(
            "the class token alone is classified; maps show which patches are like a part in its "
            "space, and add up to nothing"
        ),
        limit=(
            "Maps are indicative: this black box classifies its class token alone. Contributions "
            "are exact; a map shows which patch tokens are like a part in the class token's "
            "space, not what they contribute."
        ),
    ),
    "pre_logits": HeadWords(
        short="layers between",
        case=("layers between patches and the last linear one: logits are not sums over patches"),
        level="contributions exact, maps by gradient times token",
        maps=(
            "maps are the gradient of a part's contribution times the patch features; their mean "
            "misses the contribution by the completeness error"
        ),
        limit=(
            "Maps are the gradient of a contribution times the patch features: layers lie between "
            "patches and the last linear one. Contributions are exact; a map's mean misses its "
            "contribution by the completeness error."
        ),
    ),
}
"""Every `HeadCase`, the weakest claim last."""


@dataclass(frozen=True)
class HeadInspection:
    """What computing on input has shown about a classifier's head.

    Attributes:
        case: "mean_linear": logits = W mean(f) + b; "mean_norm_linear": a norm in between that
            divides by one number per image; "class_token": the head reads no patch token;
            "pre_logits": anything else before a last linear layer.
        layout: How the last features are laid out.
        prefix: Leading tokens that are not patches.
        suffix: Trailing tokens that are not patches.
        features: Name of the module that gives the last features; None for timm's
            `forward_features`.
        leaf: Which of the features' tensors holds the patches, where they are several.
        linears: Names of the last linear layers.
        reads: What of the output of each goes on, where it acts on a sequence.
        mix: The share of each in the logits; 1/2 each where two heads are averaged.
        norms: For each of them, the norm that stands between the mean token and it, by name and
            kind; ("", None) for none. Empty where the head does not act on the mean token.
        single: Whether a patch can be lifted on a map of one cell; see `ppn.classifier.cut.lift`.
        width: D, the length of the vector on which the effective head acts.
        grid: Rows and columns of patches at the inspected input size.
        outputs: Whether the head acts on what the module in `linears` gives: a head of parameters
            without a linear layer.
        after: What follows that module, if anything, as one affine function.
        places: Of the patches that were tried, the share whose own token moves most when their
            region of the image changes, in [0, 1], as `ppn.classifier.placement` compares it.
        in_place: Whether the features are the module's output after functions behind it have
            changed it in place.
        error: Max |logit - black box's logit| over the standard deviation of the latter.
        completeness_error: How far the maps' means are from the contributions, max over classes
            and images, over the contributions' standard deviation; None where maps are only
            indicative and claim no such thing.
    """

    case: HeadCase
    layout: Layout
    prefix: int
    suffix: int
    features: str | None
    leaf: int
    linears: tuple[str, ...]
    reads: tuple[Read, ...]
    mix: tuple[float, ...]
    norms: tuple[tuple[str, NormKind | None], ...] = ()
    single: bool = False
    width: int = 0
    grid: tuple[int, int] = (0, 0)
    outputs: bool = False
    after: Affine | None = field(default=None, repr=False, compare=False)
    places: float = 1.0
    in_place: bool = False
    error: float = 0.0
    completeness_error: float | None = None

    @property
    def located(self) -> bool:
        """Whether patch tokens are of their region of the image; otherwise maps are indicative."""
        return self.places > LOCATED

    @property
    def placed(self) -> Placed | None:
        """Where patches are, for who loads the same classifier again; None if that is in doubt."""
        if not self.located:
            return None
        return Placed(self.features, self.leaf, self.layout, self.prefix, self.suffix, self.places)

    @property
    def averages(self) -> bool:
        """Whether the head acts on the mean patch token."""
        return self.case in ("mean_linear", "mean_norm_linear")

    @property
    def norm(self) -> str | None:
        """Name of the norm that multiplies each image's mean token by a factor of its own."""
        return next((name for name, kind in self.norms if kind in ("layer", "rms")), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for results files."""
        values = asdict(replace(self, after=None))
        return {**values, "after": self.after is not None, "level": self.level}

    @property
    def indicative(self) -> bool:
        """Whether maps only hint at places: the head reads no patches, or they have no place."""
        return self.case == "class_token" or not self.located

    @property
    def words(self) -> HeadWords:
        """What is said of the case, and of patches that were not found in their place."""
        words = WORDS[self.case]
        if self.located or self.case == "class_token":
            return words
        return replace(
            words,
            level=WORDS["class_token"].level,
            maps=(
                f"only {self.places:.0%} of the patches follow their region of the image, so maps "
                "are hints at places"
            ),
            limit=(
                "Maps are indicative: where a region of the image changes, its own patch token is "
                "mostly not the one that moves. Contributions are exact."
            ),
        )

    @property
    def level(self) -> str:
        """What may be said of explanations, in words."""
        return self.words.level

    @property
    def exactness(self) -> str:
        """One sentence on what is exact about explanations."""
        error = self.completeness_error
        measured = f" (completeness error {error:.1e})" if error and not self.averages else ""
        return f"{self.level.capitalize()}: {self.words.maps}{measured}."
