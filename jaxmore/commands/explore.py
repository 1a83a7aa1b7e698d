"""``jaxmore explore``: a single-file page that shows backpropagation and trains in the browser."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from tyro.conf import Positional

from jaxmore.commands.flags import as_text, words_path
from jaxmore.errors import InputError
from jaxmore.files import check_output, write_output
from jaxmore.runs.config import WORDS, default

if TYPE_CHECKING:
    from jaxmore.data import Splits

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
"""The path in a trained mlp-bn of each parameter that the notebooks name."""


@dataclass(frozen=True)
class Explore:
    """Write a page that shows backpropagation live in a browser.

    The page is one file and needs neither a server nor the internet. It shows the notebooks'
    network (with -o, as a run has trained it), or how the model of a run processes a word.
    """

    word: Positional[
        Annotated[str | None, default("mlp-bn none, other types the first training word", "WORD")]
    ] = None
    """The word that the page follows through the model of a run. Needs -o."""
    work_dir: Annotated[str | None, default("fresh parameters", "DIR", "-o")] = None
    """The folder of a trained model."""
    page: Annotated[str | None, default(f"{FILE}, in DIR where one is given", "FILE")] = None
    """File to write the page to."""
    input_file: Annotated[str | None, default(f"the run's, else {WORDS}", "FILE", "-i")] = None
    """Words, one per line."""
    overwrite: bool = False
    """Replace an existing page."""

    def run(self) -> None:
        """Write the page and print its path."""
        path = Path(self.page or Path(self.work_dir or ".") / FILE)
        if path.exists() and not self.overwrite:
            raise InputError(f"{path} exists already: --overwrite replaces it")
        saved = None
        if self.work_dir:
            from jaxmore.runs.trained import load

            saved = load(self.work_dir)
        check_output(path)
        html = self._of_run(saved) if saved else self._fresh()
        write_output(path, html.encode("utf-8", "backslashreplace"))  # the folder may be any bytes
        print(path)

    def _fresh(self) -> str:
        from jaxmore import data, explore

        if self.word is not None:
            raise InputError(
                f"the word {self.word!r} needs a trained model: give its folder with -o"
            )
        words = data.read_words(data.corpus_path(self.input_file))
        return explore.page(words, data.Vocabulary.from_words(words))

    def _of_run(self, saved: Any) -> str:
        import numpy as np

        from jaxmore import explore
        from jaxmore.layers import by_path
        from jaxmore.runs.inference import corpus_of

        folder = str(self.work_dir)
        corpus = corpus_of(saved, words_path(self.input_file), packs=False)
        splits = cast("Splits", corpus.splits)  # no pack
        if extra := set(corpus.vocab.characters) - set(saved.vocab.characters):
            raise InputError(
                f"{corpus.name} has characters that the model does not know: {sorted(extra)}"
            )
        if self.word is None and saved.type == "mlp-bn" and saved.options["hidden_bias"]:
            leaves = by_path(saved.params)
            params = {name: np.asarray(leaves[path]) for name, path in PATHS.items()}
            words = [word for split in splits for word in split]
            return explore.page(words, saved.vocab, explore.Trained(folder, params))
        words = splits.train
        word = words[0] if self.word is None else as_text(self.word)
        return explore.page_of_word(folder, saved, words, word, corpus.block_size(saved.options))
