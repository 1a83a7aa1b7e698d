"""``jaxmore data``: which words a run would use."""

from dataclasses import dataclass

from jaxmore.commands.flags import Json, Words, try_json, write_json


@dataclass(frozen=True)
class Data:
    """Tell which words a run would use, or fetch makemore's 32,033 names."""

    input_file: Words = None
    """Words, one per line."""
    download: bool = False
    """Fetch names.txt of the makemore repository into the cache folder and print its path."""
    json: Json = None
    """Write what is told to a file; without FILE print it as JSON."""

    def run(self) -> None:
        """Print the path of the words, how many there are, and their characters."""
        try_json(self.json)
        from jaxmore import data

        if self.download:
            path = data.download_names()
            if self.json is None:
                print(path)
                return
        else:
            path = data.corpus_path(self.input_file)
        words = data.read_words(path)
        vocab = data.Vocabulary.from_words(words)
        distinct, longest, hidden = (
            len(set(words)),
            max(map(len, words)),
            data.hidden_characters(words),
        )
        if self.json != "-":
            print(f"{path}")
            print(f"{len(words):,} words, {distinct:,} distinct, up to {longest} long")
            print(f"{len(vocab.characters)} characters: {data.printable(vocab.characters)}")
            for character in hidden:
                print(character)
        write_json(
            self.json,
            {
                "file": str(path),
                "words": len(words),
                "distinct": distinct,
                "longest": longest,
                "characters": vocab.characters,
                "hidden": [
                    {
                        "spelling": h.spelling,
                        "name": h.name,
                        "looks_like": h.looks_like,
                        "lines": h.n_lines,
                    }
                    for h in hidden
                ],
            },
        )
