"""Read and write other people's files: PyTorch's .pt, makemore.py's model.pt."""

from jaxmore.interop.conversion import convert
from jaxmore.interop.state_dict import MakemoreModel, from_makemore, to_makemore
from jaxmore.interop.torch_reader import read_torch_file
from jaxmore.interop.torch_writer import write_torch_file

__all__ = [
    "MakemoreModel",
    "convert",
    "from_makemore",
    "read_torch_file",
    "to_makemore",
    "write_torch_file",
]
