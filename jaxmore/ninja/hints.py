"""For each blank of the exercise a question that leads on, and what more can be said."""

from jaxmore.ninja.exercise import Hint

HINTS = {
    "logprobs": Hint(
        "The loss looks up one number in each row. What does it feel when any other one moves?",
        "The mean over n examples, with a minus sign, gives each number that is looked up the same "
        "slope, and the others zero. Begin with zeros and set the places [jnp.arange(n), Y].",
    ),
    "probs": Hint(
        "Elementwise: what is the slope of log?",
        "The slope of log p is 1/p. Multiply it at each element by the cotangent of logprobs "
        "there.",
    ),
    "counts_sum_inv": Hint(
        "One number a row, shape (32, 1), was broadcast over 27 columns. Which sum undoes a "
        "broadcast?",
        "Two steps. The product rule: each factor gets dprobs times the other factor, here a "
        "whole (32, 27). Then the 27 columns of a row all belong to one number: they add up, and "
        "keepdims=True keeps the shape (32, 1).",
    ),
    "counts_sum": Hint(
        "The power rule, with exponent -1. What becomes of the exponent, and of the sign?",
        "The slope of s^a is a s^(a-1), here with a = -1. Multiply it by the cotangent "
        "dcounts_sum_inv.",
    ),
    "counts": Hint(
        "counts is used twice: in probs and in counts_sum. What becomes of two cotangents?",
        "They add. By way of probs: dprobs times the other factor. By way of counts_sum: a sum "
        "moves as much as each of its terms, so every entry of a row gets that row's number.",
    ),
    "norm_logits": Hint(
        "Which function is its own derivative?",
        "The slope of exp(x) is exp(x), and exp(norm_logits) has a name on that very line.",
    ),
    "logit_maxes": Hint(
        "One number a row was taken away from 27 of them: a broadcast and a minus sign.",
        "Undo the broadcast by a sum over the axis it went along (keep the axis), and mind the "
        "sign. On the real batch it comes out as zero, since the loss does not depend on what is "
        "subtracted. In a terminal, jaxmore check puts other numbers for dnorm_logits, and the "
        "line must hold there, too.",
    ),
    "logits": Hint(
        "logits is used twice: for the maximum, and in norm_logits. Which entries does a maximum "
        "feel?",
        "norm_logits hands its cotangent on as it is. The maximum of a row hands its own to one "
        "entry, the largest: jax.nn.one_hot(logits.argmax(1), 27) marks it. Add the two. (The "
        "short form of the whole is Exercise 2. In a terminal, jaxmore check puts other numbers "
        "above this line.)",
    ),
    "h": Hint(
        "A matrix product. Which product of dlogits, (32, 27), and W2, (64, 27), has h's shape?",
        "For y = x W the cotangent of x is dy times W transposed: only so do the shapes fit.",
    ),
    "W2": Hint(
        "A matrix product. Which product of h, (32, 64), and dlogits, (32, 27), has W2's shape?",
        "For y = x W the cotangent of W is x transposed times dy: the examples are summed over.",
    ),
    "b2": Hint(
        "b2, shape (27,), was added to each of 32 rows: a broadcast. Which sum undoes it?",
        "Every row has the same b2 in it, with slope 1: add the rows up.",
    ),
    "hpreact": Hint(
        "The slope of tanh can be told from its output alone. How?",
        "tanh' = 1 - tanh^2, and tanh(hpreact) has a name already.",
    ),
    "bngain": Hint(
        "bngain, shape (1, 64), multiplies each of 32 rows. Product rule, then which sum?",
        "The other factor times dhpreact, (32, 64); then the sum over the axis that bngain was "
        "broadcast along, with keepdims=True.",
    ),
    "bnbias": Hint(
        "bnbias, shape (1, 64), was added to each of 32 rows. Which sum undoes a broadcast?",
        "The slope is 1: the rows of dhpreact add up, with keepdims=True.",
    ),
    "bnraw": Hint(
        "The product rule. Each row of bnraw has numbers of its own: is a sum needed?",
        "The other factor, bngain, times dhpreact: (1, 64) spreads over the 32 rows as before.",
    ),
    "bnvar_inv": Hint(
        "bnvar_inv, shape (1, 64), multiplies each of 32 rows. Product rule, then which sum?",
        "The other factor times dbnraw, (32, 64); then the sum over the axis that bnvar_inv was "
        "broadcast along, with keepdims=True.",
    ),
    "bnvar": Hint(
        "The power rule, with exponent -0.5: which exponent is left? What stands inside the power?",
        "The slope of s^a is a s^(a-1), with s = bnvar + 1e-5: a comes to the front, the exponent"
        " goes down by one, and the 1e-5 stays inside.",
    ),
    "bndiff2": Hint(
        "bnvar is a sum over 32 rows, with a factor before it. What does each row get?",
        "Here the forward line sums, so the backward line copies: a sum hands its cotangent to "
        "every row alike, times the factor 1/(n-1). The shape must be (32, 64): let "
        "jnp.ones_like(bndiff2) spread it.",
    ),
    "bndiff": Hint(
        "bndiff is used twice: in bndiff2 and in bnraw. What becomes of two cotangents?",
        "They add. By way of bnraw: dbnraw times the other factor. By way of bndiff2: the slope of "
        "a square is twice what is squared.",
    ),
    "bnmeani": Hint(
        "bnmeani, shape (1, 64), was taken away from each of 32 rows: a broadcast and a sign.",
        "The slope is -1, and the rows of dbndiff add up, with keepdims=True.",
    ),
    "hprebn": Hint(
        "hprebn is used twice: in bnmeani and in bndiff. What becomes of two cotangents?",
        "They add. bndiff hands its cotangent on as it is. The mean hands each row its 1/n of "
        "dbnmeani, and that broadcast goes the right way by itself.",
    ),
    "embcat": Hint(
        "A matrix product. Which product of dhprebn, (32, 64), and W1, (30, 64), has its shape?",
        "As for h: dy times the weight transposed.",
    ),
    "W1": Hint(
        "A matrix product. Which product of embcat, (32, 30), and dhprebn, (32, 64), has its "
        "shape?",
        "As for W2: the input transposed, times dy.",
    ),
    "b1": Hint(
        "b1, shape (64,), was added to each of 32 rows: a broadcast. Which sum undoes it?",
        "Add the rows of dhprebn up. On the real batch it comes out as zero: BatchNorm takes the "
        "mean away, and b1 with it. In a terminal, jaxmore check puts other numbers for dhprebn, "
        "and the line must hold there, too.",
    ),
    "emb": Hint(
        "The same numbers in another shape. What is the way back?",
        "A reshape moves nothing: give dembcat the shape (32, 3, 10).",
    ),
    "C": Hint(
        "A row of C is used wherever its character stands in X. What if that is at many places?",
        "Each use sends its own row of demb back, and they add: begin with zeros of C's shape; "
        ".at[X].add adds up where an id comes back, .at[X].set keeps only one of them.",
    ),
    "logits_fast": Hint(
        "For one example the loss is log(sum(exp(logits))) - logits[y]. What is the slope of each?",
        "The first term's is the softmax of logits, the second's a one-hot row for y; and the mean "
        "over the batch divides by n.",
    ),
    "hprebn_fast": Hint(
        "hprebn moves bnraw directly, by its mean and by its variance. Which two sums over the "
        "batch are left when all is put together?",
        "The sums over axis 0 of dhpreact and of dhpreact * bnraw. The first is taken away with a "
        "factor 1/n, the second with bnraw/(n-1), and bngain * bnvar_inv stands before it all.",
    ),
}
