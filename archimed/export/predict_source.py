"""predict.py: the functions of `archimed.export.standalone` written out as one file, for one format."""

from collections.abc import Sequence

from archimed.export.definitions import Closure
from archimed.export.expressions import Reference
from archimed.export.network_source import file_text

STANDALONE = "archimed.export.standalone"
LOADING = "archimed.export.standalone_loading"
LOADERS = {"source": "network_from_source", "pt2": "network_from_pt2", "onnx": "network_from_onnx"}
ABOUT = """Answers of the exported network to images: python predict.py IMAGE... --out predictions.csv

Images are pictures, NIfTI volumes or arrays; preprocess.json tells what is done to them, README.md what is needed.
"""


def predict_source(form: str) -> str:
    """The text of predict.py for an export of this form."""
    loader = LOADERS[form]
    closure = Closure([Reference(STANDALONE, "main"), Reference(LOADING, loader)], None)
    return file_text(ABOUT, closure, f'if __name__ == "__main__":\n    main({loader})')


def functions_source(about: str, names: Sequence[tuple[str, str]], called: Sequence[str]) -> str:
    """The text of a file of some functions and classes, each by module and name, and of what they need.

    `called` are methods that are called from elsewhere.
    """
    return file_text(about, Closure([Reference(*name) for name in names], None, called), "")
