"""From a file of words to arrays: words, vocabulary, splits, windows. NumPy alone, no JAX."""

from jaxmore.data.download import NAMES_SHA256, NAMES_URL, download_names
from jaxmore.data.inspection import HiddenCharacter, character_name, hidden_characters, printable
from jaxmore.data.packing import write_pack
from jaxmore.data.packs import Pack, PackedExamples, open_pack
from jaxmore.data.splits import Splits, seen_in_train, split_like_makemore, split_words
from jaxmore.data.torch_generator import TorchGenerator
from jaxmore.data.vocabulary import BOUNDARY, IntArray, Vocabulary, boundary_mark
from jaxmore.data.windows import context_windows, cut_sequences, sequences, trace_windows
from jaxmore.data.words import (
    StrPath,
    corpus_path,
    embedded_corpus,
    is_pack,
    read_words,
    unique_words,
)

__all__ = [
    "BOUNDARY",
    "NAMES_SHA256",
    "NAMES_URL",
    "HiddenCharacter",
    "IntArray",
    "Pack",
    "PackedExamples",
    "Splits",
    "StrPath",
    "TorchGenerator",
    "Vocabulary",
    "boundary_mark",
    "character_name",
    "context_windows",
    "corpus_path",
    "cut_sequences",
    "download_names",
    "embedded_corpus",
    "hidden_characters",
    "is_pack",
    "open_pack",
    "printable",
    "read_words",
    "seen_in_train",
    "sequences",
    "split_like_makemore",
    "split_words",
    "trace_windows",
    "unique_words",
    "write_pack",
]
