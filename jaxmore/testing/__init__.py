"""Check hand-derived gradients of rules, layers and models against independent oracles."""

from jaxmore.prove import prove_rule
from jaxmore.testing.arguments import parse_args
from jaxmore.testing.hijax import check_hiprim
from jaxmore.testing.model import ModelReport, check_layer, check_model
from jaxmore.testing.named import check_named_rule, load_rule, parse_options
from jaxmore.testing.report import Problem, Report, Row, RuleError
from jaxmore.testing.rule import check_rule
from jaxmore.testing.shipped import check_shipped_models, check_shipped_rules

__all__ = [
    "ModelReport",
    "Problem",
    "Report",
    "Row",
    "RuleError",
    "check_hiprim",
    "check_layer",
    "check_model",
    "check_named_rule",
    "check_rule",
    "check_shipped_models",
    "check_shipped_rules",
    "load_rule",
    "parse_args",
    "parse_options",
    "prove_rule",
]
