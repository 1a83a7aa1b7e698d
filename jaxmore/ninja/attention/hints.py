"""For each blank of the exercise on attention a question that leads on, and what more to say."""

from jaxmore.ninja.exercise import Hint

_HEADS = Hint(
    "The same numbers in another shape, with two axes exchanged. What is the way back?",
    "Undo the last thing first: exchange axes 1 and 2 again, then give it the shape (8, 5, 12).",
)


def _projection(w: str, a: str, d: str) -> Hint:
    return Hint(
        f"All names share {w}. Which product of {a}, (8, 5, 12), and {d}, (8, 5, 12), is (12, 12) "
        "for each name?",
        f"For each name it is {a} transposed (.mT) times {d}: (8, 12, 12). What the names share "
        "collects the sum, over axis 0.",
    )


HINTS = {
    "logits": Hint(
        "For one position the loss is log(sum(exp(logits))) - logits[y]. What are the slopes?",
        "The first term's is the softmax of logits, the second's a one-hot row for y; and the mean "
        "over all positions divides by n. It is the second exercise of the lecture.",
    ),
    "y": Hint(
        "A matrix product. Which product of dlogits, (8, 5, 27), and Wout, (12, 27), has y's "
        "shape, (8, 5, 12)?",
        "For y = x W the cotangent of x is dy times W transposed; W has two axes and serves every "
        "name.",
    ),
    "Wout": Hint(
        "All names share Wout. Which product of y, (8, 5, 12), and dlogits, (8, 5, 27), is "
        "(12, 27) for each name?",
        "For each name it is y transposed (.mT) times dlogits: (8, 12, 27). What the names share "
        "collects the sum, over axis 0.",
    ),
    "proj": Hint(
        "proj is one of two terms of a sum. What is the slope?",
        "It is 1: the cotangent of the sum goes on to proj as it is (and to x, see there).",
    ),
    "joined": Hint(
        "A matrix product. Which product of dproj, (8, 5, 12), and Wo, (12, 12), is it? Here the "
        "shapes don't tell.",
        "As for y: dy times the weight transposed.",
    ),
    "Wo": _projection("Wo", "joined", "dproj"),
    "heads": Hint(
        "The same numbers in another shape, with two axes exchanged. What is the way back?",
        "Undo the last thing first: split 12 into two heads of 6, (8, 5, 2, 6), as the forward "
        "does with q, then exchange axes 1 and 2.",
    ),
    "probs": Hint(
        "A product of two arrays with four axes: the last two multiply as matrices. Which product "
        "of dheads, (8, 2, 5, 6), and vh, (8, 2, 5, 6), has the shape (8, 2, 5, 5)?",
        "For y = a b it is da = dy times b transposed. Only the last two axes are exchanged: .mT, "
        "not .T.",
    ),
    "vh": Hint(
        "The second factor of a matrix product. Which product of probs, (8, 2, 5, 5), and dheads, "
        "(8, 2, 5, 6), is it?",
        "For y = a b it is db = a transposed (.mT) times dy: a position collects from all that "
        "took something from it.",
    ),
    "masked": Hint(
        "In a softmax every entry of a row moves every other, because they sum to 1. With p the "
        "row, what is the slope of p_i with respect to s_j, for i = j and for i other than j?",
        "It is p_i (1 - p_i) on the diagonal, and -p_i p_j elsewhere. Sum dp_i times that over i: "
        "p_j stands before it all, and what is left in the bracket is dp_j, less one number a row, "
        "the sum of dp_i p_i (axis -1, keepdims=True).",
    ),
    "scores": Hint(
        "Where causal is False, masked holds a constant. What does the loss feel there when the "
        "score moves?",
        "Nothing: 0 there, and elsewhere dmasked as it is. Another jnp.where does it. (On the real "
        "batch dmasked is 0 there already, since probs is; the check puts other numbers for "
        "dmasked, and the line must hold there.)",
    ),
    "qh": Hint(
        "A product of matrices and a factor, scale. Which product of dscores, (8, 2, 5, 5), "
        "and kh, (8, 2, 5, 6), has the shape (8, 2, 5, 6)?",
        "For y = a b it is da = dy times b transposed, and b is kh.mT: transposed twice it is kh. "
        "Don't forget scale.",
    ),
    "kh": Hint(
        "kh stands in the product transposed. What is the cotangent of kh.mT, and then that of kh?",
        "That of kh.mT is qh transposed times dscores; transposing both sides swaps the factors "
        "and transposes each: dscores transposed, times qh. Don't forget scale.",
    ),
    "q": _HEADS,
    "k": _HEADS,
    "v": _HEADS,
    "Wq": _projection("Wq", "normed", "dq"),
    "Wk": _projection("Wk", "normed", "dk"),
    "Wv": _projection("Wv", "normed", "dv"),
    "normed": Hint(
        "normed is used three times, for q, k and v. What becomes of three cotangents?",
        "They add. Each is that of a matrix product: dy times the weight transposed.",
    ),
    "gain": Hint(
        "gain, shape (12,), multiplies each position of each name. Product rule, then which sum?",
        "The other factor, lnraw, times dnormed, (8, 5, 12); then the sum over both axes that gain "
        "was broadcast along, (0, 1).",
    ),
    "bias": Hint(
        "bias, shape (12,), was added to each position of each name. Which sum undoes a broadcast?",
        "The slope is 1: dnormed adds up over both axes that bias was broadcast along, (0, 1).",
    ),
    "lnraw": Hint(
        "The product rule. Each place of lnraw has numbers of its own: is a sum needed?",
        "The other factor, gain, times dnormed: (12,) spreads over names and positions as before.",
    ),
    "lnvar_inv": Hint(
        "lnvar_inv, shape (8, 5, 1), multiplies 12 numbers at each position. Product rule, then "
        "which sum?",
        "The other factor times dlnraw, (8, 5, 12); then the sum over the last axis, with "
        "keepdims=True.",
    ),
    "lnvar": Hint(
        "The power rule, with exponent -0.5: which exponent is left? What stands inside the power?",
        "d(s^a) = a s^(a-1) ds with s = lnvar + 1e-5: a comes to the front, the exponent goes down "
        "by one, and the 1e-5 stays inside.",
    ),
    "lndiff": Hint(
        "lndiff is used twice: in lnvar and in lnraw. What becomes of two cotangents?",
        "They add. By way of lnraw: dlnraw times the other factor. By way of lnvar, a mean of "
        "squares: twice what is squared, times 1/E, times dlnvar, which spreads by itself.",
    ),
    "lnmean": Hint(
        "lnmean, shape (8, 5, 1), was taken away from 12 numbers: a broadcast and a sign.",
        "The slope is -1, and dlndiff adds up over the last axis, with keepdims=True.",
    ),
    "x": Hint(
        "x is used three times: in lnmean, in lndiff and in y. What becomes of three cotangents?",
        "They add. y and lndiff hand theirs on as they are (y's is the skip connection: the loss "
        "reaches x without passing through attention). The mean hands each of the E numbers its "
        "1/E of dlnmean.",
    ),
    "C": Hint(
        "A row of C is used wherever its character stands in X. What if that is at many places?",
        "Each use sends its own row of dx back, and they add: begin with zeros of C's shape; "
        ".at[X].add adds up where an id comes back, .at[X].set keeps only one of them.",
    ),
    "P": Hint(
        "P, shape (5, 12), was added to each of 8 names: a broadcast. Which sum undoes it?",
        "The slope is 1: dx adds up over the names, axis 0.",
    ),
}
