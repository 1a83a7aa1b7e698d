"""``jaxmore sample``: make more words with a trained model."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from jaxmore.commands.flags import (
    Json,
    WordsOfRun,
    WorkDir,
    as_text,
    note_last,
    try_json,
    words_path,
    write_json,
)
from jaxmore.errors import InputError
from jaxmore.runs.config import Device, check_at_least, check_seed, default


@dataclass(frozen=True)
class Sample:
    """Make more words with a trained model."""

    work_dir: WorkDir = "out"
    """The folder of a trained model: out is a run's best, out/last, with --eval-every, its last."""
    input_file: WordsOfRun = None
    """Words to compare the samples with, to mark each by its split; a pack marks none."""
    n_words: Annotated[int, arg(aliases=["-n"])] = 20
    """Number of words."""
    seed: int = 2147483647
    """Seed for the sampled words."""
    temperature: Annotated[float | None, default("1, microgpt 0.5", "FLOAT")] = None
    """Below 1, samples are more likely words; above 1, more surprising ones."""
    top_k: Annotated[int | None, default("all", "INT")] = None
    """Sample only from the k likeliest characters."""
    prompt: str = ""
    """Prefix of every word."""
    device: Device = None
    """The platform to sample on."""
    json: Json = None
    """Write the words to a file; without FILE, print them as JSON."""

    def run(self) -> None:
        """Print the words as they are sampled, each marked with the split that contains it."""
        check_at_least("n_words", self.n_words, 1)
        check_seed(self.seed)
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"--top-k {self.top_k}: leave it out to draw among all characters")
        try_json(self.json)
        from jaxmore.data import is_pack
        from jaxmore.runs.inference import corpus_of, places_of, print_words, sample_batches
        from jaxmore.runs.trained import load

        trained = load(self.work_dir)
        note_last(self.work_dir)
        path, splits = words_path(self.input_file), None
        if not is_pack(path or trained.record["data"]["file"]):  # a pack has no marks
            try:
                splits = corpus_of(trained, path).splits
            except InputError:  # without -i: the words that it was trained on are gone, no marks
                if path is not None:
                    raise
        found: list[tuple[str, str | None]] = []
        for words in sample_batches(
            trained,
            self.n_words,
            prompt=as_text(self.prompt),
            temperature=self.temperature,
            top_k=self.top_k,
            seed=self.seed,
        ):
            if self.json != "-":
                print_words(words, splits)
            if self.json:
                found += zip(words, places_of(words, splits), strict=True)
        temperature = trained.temperature if self.temperature is None else self.temperature
        write_json(
            self.json,
            {
                "work_dir": self.work_dir,
                "type": trained.type,
                "seed": self.seed,
                "prompt": self.prompt,
                "temperature": temperature,
                "top_k": self.top_k,
                "words": [{"word": word, "found": place} for word, place in found],
            },
        )
