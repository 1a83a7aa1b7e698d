"""Proof without a tolerance: rules in exact arithmetic, and their digits in floating point."""

from jaxmore.prove.digits import Certificate, certify_digits
from jaxmore.prove.layers import prove_layers
from jaxmore.prove.lines import prove_lines
from jaxmore.prove.rule import Proof, prove_rule

__all__ = ["Certificate", "Proof", "certify_digits", "prove_layers", "prove_lines", "prove_rule"]
