"""``jaxmore explore``: a page in which the notebooks' network trains, as one file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from jaxmore.errors import InputError
from jaxmore.runs.config import WORDS, default

FILE = "explore.html"
PATHS = {
    "C": "embedding.weight",
    "W1": "hidden.weight",
    "b1": "hidden.bias",
    "W2": "head.weight",
    "b2": "head.bias",
    "bngain": "norm.gain",
    "bnbias": "norm.bias",
}
"""Where a trained mlp-bn keeps the parameters that the notebooks call by these names."""


@dataclass(frozen=True)
class Explore:
    """Write a page that shows backpropagation: the notebooks' network, live in a browser.

    The page is one file. It opens from disk, without a server and without a network.
    """

    work_dir: Annotated[str | None, default("fresh parameters", "DIR", "-o")] = None
    """The folder of a trained mlp-bn to start from."""
    page: Annotated[str | None, default(f"{FILE}, in DIR where one is given", "FILE")] = None
    """Where the page goes."""
    input_file: Annotated[str | None, default(WORDS, "FILE", "-i")] = None
    """Words, one per line."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> None:
        """Write the page and print its path."""
        path = Path(self.page or Path(self.work_dir or ".") / FILE)
        if path.exists() and not self.overwrite:
            raise InputError(f"{path} is there already: --overwrite replaces it")
        from jaxmore import explore

        words, vocab, trained = self._trained() if self.work_dir else (*self._fresh(), None)
        if not path.parent.is_dir():
            raise InputError(f"cannot write {path}: {path.parent} is no folder")
        html = explore.page(words, vocab, trained)
        try:
            explore.write_page(path, html)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        print(path)

    def _fresh(self) -> tuple[Any, Any]:
        from jaxmore import data

        words = data.read_words(data.corpus_path(self.input_file))
        return words, data.Vocabulary.from_words(words)

    def _trained(self) -> tuple[Any, Any, Any]:
        import numpy as np

        from jaxmore.explore import Trained
        from jaxmore.layers import by_path
        from jaxmore.runs.corpus import read_corpus
        from jaxmore.runs.trained import load

        folder = str(self.work_dir)
        saved = load(folder)
        if saved.type != "mlp-bn" or not saved.options["hidden_bias"]:
            raise InputError(f"{folder} holds a {saved.type}: the page runs the notebooks' mlp-bn")
        about = saved.record["data"]
        path = Path(self.input_file or about["file"])
        corpus = read_corpus(path, saved.reads, unique=about["unique"])
        if extra := set(corpus.vocab.characters) - set(saved.vocab.characters):
            raise InputError(f"{corpus.name} has characters that the run has not: {sorted(extra)}")
        leaves = by_path(saved.params)
        params = {name: np.asarray(leaves[path]) for name, path in PATHS.items()}
        words = [word for split in corpus.splits for word in split]
        return words, saved.vocab, Trained(folder, params)
