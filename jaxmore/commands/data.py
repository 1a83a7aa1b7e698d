"""``jaxmore data``: which words a run would use."""

from dataclasses import dataclass

from jaxmore.commands.flags import Words


@dataclass(frozen=True)
class Data:
    """Tell which words a run would use, or fetch makemore's 32,033 names."""

    input_file: Words = None
    """Words, one per line."""
    download: bool = False
    """Fetch names.txt of the makemore repository into the cache folder and print its path."""

    def run(self) -> None:
        from jaxmore import data

        if self.download:
            print(data.download_names())
            return
        path = data.corpus_path(self.input_file)
        words = data.read_words(path)
        vocab = data.Vocabulary.from_words(words)
        print(f"{path}")
        print(
            f"{len(words):,} words, {len(set(words)):,} distinct, up to {max(map(len, words))} long"
        )
        print(f"{len(vocab.characters)} characters: {data.printable(vocab.characters)}")
        for hidden in data.hidden_characters(words):
            print(hidden)
