"""``jaxmore data``: which words a run would use, and packs of more words than memory holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from jaxmore.commands.flags import Json, Words, try_json, write_json
from jaxmore.errors import InputError
from jaxmore.runs.config import default


@dataclass(frozen=True)
class Data:
    """Describe a file of words, pack it, or download makemore's 32,033 names."""

    input_file: Words = None
    """Words, one per line, or a pack."""
    download: bool = False
    """Fetch names.txt of the makemore repository into the cache folder and print its path."""
    pack: Annotated[str | None, default("no pack", "DIR")] = None
    """Write the words as a pack, which train reads from the disk: for more than memory holds."""
    unique: bool = False
    """With --pack, drop duplicate words."""
    json: Json = None
    """Write the description to a file; without FILE, print it as JSON."""

    def run(self) -> None:
        """Print the path of the words, how many there are, and their characters."""
        if self.unique and self.pack is None:
            raise InputError("--unique needs --pack; to drop duplicates in a run, give it to train")
        try_json(self.json)
        from jaxmore import data
        from jaxmore.terminal import waiting

        if self.download:
            path = data.download_names()
            if self.json is None and self.pack is None:
                print(path)
                return
        else:
            path = data.corpus_path(self.input_file)
        if self.pack is not None:
            with waiting(f"packing {path}"):
                pack = data.write_pack(path, self.pack, unique=self.unique)
            found = _of_pack(pack)
        elif data.is_pack(path):
            found = _of_pack(data.open_pack(path))
        else:
            found = _of_file(path)
        if self.json != "-":
            print(found["file"])
            distinct = f", {found['distinct']:,} distinct" if "distinct" in found else ""
            print(f"{found['words']:,} words{distinct}, up to {found['longest']} long")
            characters = found["characters"]
            print(f"{len(characters)} characters: {data.printable(characters)}")
            for character in found.get("hidden", ()):
                print(character)
        if "hidden" in found:
            names = ("spelling", "name", "looks_like")
            found["hidden"] = [
                {**{name: getattr(h, name) for name in names}, "lines": h.n_lines}
                for h in found["hidden"]
            ]
        write_json(self.json, found)


def _of_file(path: Path) -> dict[str, Any]:
    from jaxmore import data

    words = data.read_words(path)
    return {
        "file": str(path),
        "words": len(words),
        "distinct": len(set(words)),
        "longest": max(map(len, words)),
        "characters": data.Vocabulary.from_words(words).characters,
        "hidden": data.hidden_characters(words),
    }


def _of_pack(pack: Any) -> dict[str, Any]:
    splits = {split: len(ends) for split, ends in pack.ends.items()}
    return {
        "file": str(pack.path),
        "words": sum(splits.values()),
        "longest": pack.longest_word,
        "characters": pack.vocab.characters,
        "splits": splits,
        "unique": pack.unique,
    }
