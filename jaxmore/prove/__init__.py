"""Proof without a tolerance: rules in exact arithmetic."""

from jaxmore.prove.layers import prove_layers
from jaxmore.prove.lines import prove_lines
from jaxmore.prove.rule import Proof, prove_rule

__all__ = ["Proof", "prove_layers", "prove_lines", "prove_rule"]
