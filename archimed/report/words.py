"""Names and numbers as a reader wants them, and the glossary."""

import re
from collections.abc import Iterable, Mapping

from archimed.report.reading import Record, number

UNDEFINED = "undefined"
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # no XML file may hold these

METRIC_NAMES: Mapping[str, str] = {  # in the order of the report's columns
    "auc": "AUC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "quadratic_kappa": "Quadratic kappa",
    "mean_absolute_error": "Mean absolute error",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "macro_f1": "Macro-F1",
    "exact_match": "Exact match",
    "label_accuracy": "Label-wise accuracy",
    "normal_weighted_tpr_fpr": "Weighted TPR & FPR of normal",
    "normal_sensitivity": "TPR of normal",
    "normal_specificity": "1 - FPR of normal",
    "normal_precision": "Precision of normal",
    "normal_f1": "F1 of normal",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "dice": "Dice",
    "jaccard": "Jaccard",
    "surface_dice": "Surface Dice",
    "hausdorff_95": "95 % Hausdorff distance",
    "AUC": "AUC (MedMNIST)",
    "ACC": "Accuracy (MedMNIST)",
}
LEADING = ("auc", "dice", "accuracy")  # the headline's metric: the first of these that a task has

NETWORK_NAMES: Mapping[str, str] = {
    "mstf-nas": "MSTF-NAS",
    "darts": "DARTS",
    "zen-nas": "Zen-NAS",
    "deepmad": "DeepMAD",
    "shapley-nas": "Shapley-NAS",
    "mm-nas": "MM-NAS",
    "emars": "EMARS",
    "random-search": "Random search",
    "random-search-100": "Random search (100)",
    "parameters": "Most parameters",
    "macs": "Most MACs",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "densenet121": "DenseNet-121",
    "mc3-18": "MC3-18",
    "early-fusion": "Early fusion",
    "late-fusion": "Late fusion",
    "central-slice": "Central slice",
    "largest-slice": "Largest slice",
    "radiomics": "Radiomics, random forest",
    "mixsearch": "MixSearch",
    "unet": "U-Net",
    "unet-plus-plus": "U-Net++",
    "attention-unet": "Attention U-Net",
    "dynunet": "DynUNet",
}

GLOSSARY: Mapping[str, str] = {
    "Accuracy": "The share of cases whose class is told right. With unequal classes a network can score high by always "
    "naming the frequent one; balanced accuracy, the mean over the classes, cannot be deceived so.",
    "AUC": "Area under the ROC curve: the chance that the network gives a random positive case a higher score than a "
    "random negative one. 0.5 is guessing, 1 is perfect. With several classes, the mean over them.",
    "Sensitivity": "The share of positive cases that are found. With several classes, the mean over them.",
    "Specificity": "The share of negative cases that are left alone. With several classes, the mean over them.",
    "Precision": "The share of the cases called positive that are positive.",
    "Macro-F1": "The harmonic mean of precision and sensitivity of each class, averaged over the classes.",
    "Quadratic kappa": "How far answered grades agree with the true ones, beyond chance: 0 is guessing, 1 is perfect. "
    "An answer two grades off counts four times as much as one a single grade off.",
    "Mean absolute error": "How many grades the answer is off on average: the lower, the better.",
    "Exact match": "The share of cases of which every label is told right.",
    "Label-wise accuracy": "The share of single answers, label by label, that are right. Where labels are rare it is "
    "high for every network, as most answers are no.",
    "Weighted TPR & FPR": "(TPR + 1 - FPR) / 2: half the share of a label's cases that are found, and half the share "
    "of the others that are not given it. 0.5 is guessing. TPR is the sensitivity, 1 - FPR the specificity.",
    "Threshold of a label": "The probability above which a network is taken to say yes, chosen on validation cases.",
    "Log loss, Brier score": "Two errors of the stated probabilities: the lower, the better. Being sure and wrong "
    "costs most.",
    "Dice": "How far an answered mask agrees with the true one: twice the area that both mark, over the sum of both "
    "areas. 1 is the same, 0 is nothing in common. The mean over the cases, then over the classes.",
    "Jaccard": "The area that both masks mark, over the area that either marks. It orders masks as Dice does, and is "
    "lower.",
    "95 % Hausdorff distance": "How far the two outlines are apart at their worst, leaving out the worst 5 %: the "
    "lower, the better. In millimetres where the data tell how large a pixel is, else in pixels.",
    "Surface Dice": "The share of the two outlines that lies within a tolerance of the other one.",
    "95 % interval": "The range of values that agree with these test cases: other patients of the same kind would give "
    "another number, mostly within it. A small test set makes it wide.",
    "Inside the noise": "The difference between two networks is no larger than chance alone makes it, at this number "
    "of test cases and repeats. It is no evidence that one is better.",
    "Baseline": "A network that had no benefit of the search under test: a fixed one such as ResNet-18, or the winner "
    "of a simpler search (where the search learns, one architecture drawn at random), trained by the same recipe on "
    "the same cases.",
    "PET only, CT only and the like": "Baselines that see one modality alone.",
    "Early fusion, late fusion": "Baselines of several modalities: all channels at once into one network, or a network "
    "for each modality whose features meet before the answer.",
    "Central slice, largest slice": "Baselines that see one slice of the volume: the middle one, or that in which most "
    "of the PET, else of the first channel, is bright.",
    "Radiomics": "A baseline without a network: shape, brightness and texture measured by formulas, and a random "
    "forest that answers from them.",
    "Training, validation, test": "The cases a network learns from; those that choose between epochs and networks; and "
    "those kept away until the end, on which the results of this report are measured.",
    "Calibration": "Whether a stated probability holds: of the cases given 80 %, do 80 % have the class?",
    "Genotype": "A network written as a list of choices, one option for each.",
    "Cell, block": "A block is a normal cell, which extracts features, and a reduction cell, which halves the image "
    "and pools it over several sizes at once. In DARTS and MM-NAS a cell is a graph of nodes that add operations; the "
    "network repeats two of them, and the reduction cell halves the image.",
    "Weave": "The networks of MixSearch: maps of features in rows by size and columns by layer. At each place cells "
    "from the row above (down), the same row (normal) and the row below (up) meet, each with a weight, beta.",
    "Output, exit": "A place at which a network already answers. Stopping at an early one saves time; the last one is "
    "the answer that is measured.",
    "MACs": "Multiply-accumulate operations for one image; half the number of floating-point operations.",
    "Parameters": "The numbers that training sets; four bytes each on disk.",
    "Indicator": "A number computed from an untrained network and one batch of images, meant to tell how well it will "
    "do once trained. It is cheap and imperfect.",
    "naswot": "Indicator: how differently an untrained network responds to different images (MSTF-NAS, Eq. 3-4).",
    "synflow, log_synflow": "Indicator: how much signal can pass through all the weights; and its logarithm.",
    "Supernet": "The network of a search that learns: it computes every option of every edge and adds them by weight.",
    "Alpha, mixture": "Alpha are the numbers that such a search learns, one for each option of each edge; the mixture "
    "is their softmax, the weights of the options. The derived network keeps the strongest.",
    "Entropy of the mixture": "How undecided it is: 1 where all options weigh the same, 0 where one is all.",
    "Skip connection": "The operation that hands features on unchanged.",
    "Pareto front": "The networks that no other one beats in every objective at once.",
    "Generation": "One round of the evolutionary search: new networks are bred from the best of the round before.",
    "Seed, repeat": "The number that fixes all chance of a run. Another seed is another repeat of the same experiment.",
}


def printable(words: object) -> str:
    """Text without the characters that no page or drawing may hold."""
    return UNPRINTABLE.sub("\ufffd", str(words))


def metric_name(metric: str) -> str:
    """A metric as a column head."""
    return METRIC_NAMES.get(metric, metric.replace("_", " ").capitalize())


def network_name(name: str) -> str:
    """A network as readers know it: pet-only is "PET only"; what follows in brackets stays."""
    name, bracket, rest = name.partition(" (")
    if bracket:
        return f"{network_name(name)} ({rest}"
    modality = name.removesuffix("-only").replace("-", " ")
    if name in NETWORK_NAMES or not name.endswith("-only") or not modality:
        return NETWORK_NAMES.get(name, name)
    return f"{modality.upper() if len(modality) <= 5 else modality.capitalize()} only"


def indicator_name(name: str) -> str:
    """An indicator as readers know it: the names of the command line, but for what is counted."""
    return {"macs": "MACs", "parameters": "parameters"}.get(name, name)


def metric_order(metrics: Iterable[str]) -> list[str]:
    """Metrics in the report's order, the unknown ones last."""
    known = list(METRIC_NAMES)
    return sorted(dict.fromkeys(metrics), key=lambda m: (known.index(m) if m in known else len(known), m))


def decimal(value: object, places: int = 3) -> str:
    """A number with fixed decimals, or `undefined`."""
    found = number(value)
    return UNDEFINED if found is None else f"{found:.{places}f}"


def interval(cell: object, places: int = 3) -> str:
    """The limits of a metric's interval, "0.83–0.94"; empty where it has none."""
    if not isinstance(cell, Mapping):
        return ""
    low, high = number(cell.get("low")), number(cell.get("high"))
    return "" if low is None or high is None else f"{low:.{places}f}–{high:.{places}f}"


def span_words(low: object, high: object) -> str:
    """From low to high in words, "−0.02 to 0.05"; one of them if they are the same."""
    words = [str(limit).replace("-", "−") for limit in (low, high)]
    return words[0] if words[0] == words[1] else f"{words[0]} to {words[1]}"


def p_words(value: object) -> str:
    """A p-value with three decimals; "< 0.001" where they would be zeros."""
    found = number(value)
    return "< 0.001" if found is not None and found < 0.0005 else decimal(value)


def count(value: object) -> str:
    """A whole number with thousands separated by narrow spaces: 1 240."""
    found = number(value)
    return "" if found is None else f"{round(found):,}".replace(",", "\u202f")


def amount(value: object) -> str:
    """A large number in a few digits: 4.47 M."""
    found = number(value)
    if found is None:
        return ""
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(found) >= limit:
            return f"{found / limit:.3g} {letter}"
    return f"{found:.4g}"


def duration(value: object) -> str:
    """Seconds in words: 42 s, 3 min 12 s, 2 h 05 min."""
    found = number(value)
    if found is None:
        return ""
    if found < 10:
        return f"{found:.2g} s"
    seconds = round(found)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def listing(words: Iterable[str]) -> str:
    """Words joined as in a sentence: a, b and c."""
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def flat(value: object, name: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) pairs."""
    if isinstance(value, Mapping) and value:
        return [pair for key, inner in value.items() for pair in flat(inner, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list | tuple):
        return [(name, ", ".join(str(plain(item)) for item in value) or "none")]
    return [(name, str(plain(value)))]


def plain(value: object) -> object:
    """A setting in words."""
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


def cell_of(results: Record, split: str, metric: str) -> object:
    """The cell {"value", "low", "high"} of a network's metric; None if it has none."""
    metrics = results.get(split)
    return metrics.get(metric) if isinstance(metrics, Mapping) else None
