"""What the page says about each place of the network: its formula and its derivation."""

import ast
import inspect
from typing import NamedTuple

from jaxmore.ninja import stepwise


class Place(NamedTuple):
    """A variable of the network, its cotangent, and why that is what it is."""

    formula: str
    """The cotangent, in LaTeX."""
    derivation: str
    """Three sentences: where the variable is used, the slope there, what follows."""


PLACES = {
    "logprobs": Place(
        r"\text{dlogprobs}_{iv} = -\frac{1}{n}\,[v = Y_i]",
        "The loss is minus the mean of the n entries that the targets pick, one in each row. Each "
        "picked entry therefore has the slope −1/n. The loss does not feel any other entry, so its "
        "cotangent is 0.",
    ),
    "probs": Place(
        r"\text{dprobs} = \text{dlogprobs} \,/\, \text{probs}",
        "logprobs is the logarithm of probs, element by element. The slope of log at p is 1/p. So "
        "each cotangent is divided by its probability, and unlikely targets get large ones.",
    ),
    "counts_sum_inv": Place(
        r"\text{dcounts_sum_inv}_i = \sum_v \text{counts}_{iv}\,\text{dprobs}_{iv}",
        "counts_sum_inv multiplies every entry of its row of counts. By the product rule each "
        "entry sends back dprobs times the other factor. One number was broadcast over the row, so "
        "what comes back is summed over the row.",
    ),
    "counts_sum": Place(
        r"\text{dcounts_sum} = -\,\text{counts_sum}^{-2}\;\text{dcounts_sum_inv}",
        "counts_sum_inv is counts_sum to the power −1. The power rule gives the slope −s⁻². The "
        "cotangent is that slope times dcounts_sum_inv.",
    ),
    "counts": Place(
        r"\text{dcounts}_{iv} = \text{counts_sum_inv}_i\,\text{dprobs}_{iv}"
        r" + \text{dcounts_sum}_i",
        "counts is used twice, in probs and in counts_sum. By way of probs it gets dprobs times "
        "the other factor, and by way of the sum every entry gets the row's cotangent. What is "
        "used twice collects both.",
    ),
    "norm_logits": Place(
        r"\text{dnorm_logits} = \text{counts} \odot \text{dcounts}",
        "counts is exp of norm_logits, element by element. exp is its own derivative, so its slope "
        "is counts itself. The cotangent is counts times dcounts.",
    ),
    "logit_maxes": Place(
        r"\text{dlogit_maxes}_i = -\sum_v \text{dnorm_logits}_{iv}",
        "The maximum of a row is subtracted from every entry of it. Each entry has the slope −1, "
        "and the broadcast turns into a sum over the row. It adds up to 0 but for rounding: the "
        "softmax does not depend on what is subtracted.",
    ),
    "logits": Place(
        r"\text{dlogits}_{iv} = \text{dnorm_logits}_{iv}"
        r" + [v = \text{argmax}_u\, \text{logits}_{iu}]\,\text{dlogit_maxes}_i",
        "logits is used twice, in norm_logits and for the maximum. norm_logits hands its cotangent "
        "on as it is, and the maximum hands its own to the largest entry alone. All together this "
        "is (softmax(logits) − onehot(Y)) / n.",
    ),
    "h": Place(
        r"\text{dh} = \text{dlogits}\; W_2^{\top}",
        "Each hidden unit enters all 27 logits of its example, each with a weight of W2. So its "
        "cotangent is the sum of dlogits times these weights. For all units at once, that is a "
        "product with W2 transposed.",
    ),
    "W2": Place(
        r"\text{dW2} = h^{\top}\,\text{dlogits}",
        "A weight connects one hidden unit with one logit, in every example. Its slope there is "
        "the unit's value h. The examples share the weight, so their cotangents are summed.",
    ),
    "b2": Place(
        r"\text{db2}_v = \sum_i \text{dlogits}_{iv}",
        "b2 is added to the logits of every example. The slope is 1. One vector was broadcast over "
        "the batch, so the rows of dlogits are summed.",
    ),
    "hpreact": Place(
        r"\text{dhpreact} = (1 - h^2) \odot \text{dh}",
        "h is tanh of hpreact, element by element. The slope of tanh is 1 − tanh², and tanh is h. "
        "Where a unit is saturated, h² is near 1 and almost nothing passes.",
    ),
    "bngain": Place(
        r"\text{dbngain}_j = \sum_i \text{bnraw}_{ij}\,\text{dhpreact}_{ij}",
        "bngain multiplies bnraw in every example. By the product rule the slope is bnraw. One "
        "row was broadcast over the batch, so what comes back is summed over the batch.",
    ),
    "bnbias": Place(
        r"\text{dbnbias}_j = \sum_i \text{dhpreact}_{ij}",
        "bnbias is added in every example. The slope is 1. One row was broadcast over the batch, "
        "so the rows of dhpreact are summed.",
    ),
    "bnraw": Place(
        r"\text{dbnraw} = \text{bngain} \odot \text{dhpreact}",
        "bnraw is multiplied by bngain and shifted by bnbias. The slope is bngain. The shift does "
        "not matter for it.",
    ),
    "bnvar_inv": Place(
        r"\text{dbnvar_inv}_j = \sum_i \text{bndiff}_{ij}\,\text{dbnraw}_{ij}",
        "bnvar_inv multiplies bndiff in every example. By the product rule the slope is bndiff. "
        "One row was broadcast over the batch, so what comes back is summed over the batch.",
    ),
    "bnvar": Place(
        r"\text{dbnvar} = -\tfrac{1}{2}\,(\text{bnvar} + \epsilon)^{-3/2}"
        r"\;\text{dbnvar_inv}",
        "bnvar_inv is bnvar + ε to the power −½. The power rule brings the −½ down and lowers the "
        "exponent to −3/2. The cotangent is that slope times dbnvar_inv.",
    ),
    "bndiff2": Place(
        r"\text{dbndiff2}_{ij} = \frac{1}{n-1}\,\text{dbnvar}_j",
        "bnvar is the sum of bndiff2 over the batch, divided by n − 1. Every example has the same "
        "slope 1/(n−1). So every row gets the same share of dbnvar.",
    ),
    "bndiff": Place(
        r"\text{dbndiff} = \text{bnvar_inv} \odot \text{dbnraw}"
        r" + 2\,\text{bndiff} \odot \text{dbndiff2}",
        "bndiff is used twice, in bnraw and in bndiff2. By way of bnraw it gets dbnraw times the "
        "other factor, and by way of the square it gets dbndiff2 times 2 bndiff. What is used "
        "twice collects both.",
    ),
    "bnmeani": Place(
        r"\text{dbnmeani}_j = -\sum_i \text{dbndiff}_{ij}",
        "The mean is subtracted in every example. The slope is −1. One row was broadcast over the "
        "batch, so the rows of dbndiff are summed.",
    ),
    "hprebn": Place(
        r"\text{dhprebn}_{ij} = \text{dbndiff}_{ij} + \frac{1}{n}\,\text{dbnmeani}_j",
        "hprebn is used twice: in bndiff = hprebn − bnmeani, with slope 1, and in bnmeani, the "
        "mean of its column, with slope 1/n. So each element collects dbndiff at its own place and "
        "1/n of its column's dbnmeani. Since dbnmeani is minus the column's sum of dbndiff, each "
        "column of dhprebn sums to 0: BatchNorm removes whatever is added to a whole column.",
    ),
    "embcat": Place(
        r"\text{dembcat} = \text{dhprebn}\; W_1^{\top}",
        "Each number of embcat enters every hidden unit of its example, each with a weight of W1. "
        "So its cotangent is the sum of dhprebn times these weights. For all of them at once, that "
        "is a product with W1 transposed.",
    ),
    "W1": Place(
        r"\text{dW1} = \text{embcat}^{\top}\,\text{dhprebn}",
        "A weight connects one number of embcat with one hidden unit, in every example. Its slope "
        "there is that number. The examples share the weight, so their cotangents are summed.",
    ),
    "b1": Place(
        r"\text{db1}_j = \sum_i \text{dhprebn}_{ij} = 0",
        "b1 is added to every example, so its cotangent is the sum of the rows of dhprebn. "
        "BatchNorm subtracts the mean of the batch, and b1 with it. So the sum cancels, but for "
        "rounding, and b1 never learns: bnbias already provides the shift.",
    ),
    "emb": Place(
        r"\text{demb}_{itk} = \text{dembcat}_{i,\,tE+k}",
        "embcat holds the numbers of emb in another shape. Each number is where it was, with the "
        "slope 1. The way back is the reverse reshape.",
    ),
    "C": Place(
        r"\text{dC}_v = \sum_{i,t\,:\,X_{it} = v} \text{demb}_{it}",
        "emb looks up a row of C for each character of each context. A row that is used in many "
        "places has the slope 1 in each. So its cotangent is the sum of demb over all the places "
        "where its character stands.",
    ),
}
"""In the order of the backward pass."""


def source_lines() -> dict[str, str]:
    """The statements of ``stepwise`` that assign each name, with the comments above them.

    Variables stand under their own names, cotangents under theirs, such as ``dlogits``; a helper
    such as ``is_max`` stands with the line below it.
    """
    known = {*stepwise.Intermediates._fields, *(f"d{name}" for name in PLACES)}
    lines: dict[str, list[str]] = {}
    for function in (stepwise.forward, stepwise.backward):
        source = inspect.getsource(inspect.unwrap(function))
        rows = source.splitlines()
        (definition,) = ast.parse(source).body
        helpers: list[str] = []
        for node in ast.walk(definition):
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
                continue
            name = node.targets[0].id
            if name in ("n", "v"):
                continue
            first = node.lineno - 1
            while rows[first - 1].lstrip().startswith("#"):
                first -= 1
            text = inspect.cleandoc("\n".join(rows[first : node.end_lineno]))
            if name not in known:
                helpers.append(text)
                continue
            lines.setdefault(name, []).extend([*helpers, text])
            helpers.clear()
    return {name: "\n".join(texts) for name, texts in lines.items()}
