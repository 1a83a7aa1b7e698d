"""For each blank of the exercise on the GRU a question that leads on, and what more can be said."""

from jaxmore.ninja.exercise import Hint


def _step(t: int) -> dict[str, Hint]:
    """The hints of what is inside step t; they are the same for every step."""
    p = t - 1
    return {
        f"hhat{t}": Hint(
            f"hhat{t} is used once, in h{t}. Which factor stands beside it?",
            f"The product rule: that factor, a gate, times dh{t}.",
        ),
        f"z{t}": Hint(
            f"z{t} stands twice on one line, once behind a minus. What is the slope of h{t} there?",
            f"Sort the line by z{t}: h{t} = h{p} + z{t} times (what?). The new candidate pulls one "
            f"way, the old state the other. That difference, times dh{t}.",
        ),
        f"ah{t}": Hint(
            "The slope of tanh can be told from its output alone. How?",
            f"tanh' = 1 - tanh^2, and tanh(ah{t}) has a name already. Times dhhat{t}.",
        ),
        f"xrh{t}": Hint(
            f"A matrix product. Which product of dah{t}, (32, 20), and Wh, (30, 20), has its "
            "shape, (32, 30)?",
            "For y = x W the cotangent of x is dy times W transposed.",
        ),
        f"r{t}": Hint(
            f"r{t} is in the last 20 of the 30 columns of xrh{t}, and there times h{p}. What do "
            "the first 10 have to do with it?",
            f"Nothing, they are the character's. Cut the last H columns out of dxrh{t}, with "
            "[:, E:], and use the product rule on them.",
        ),
        f"ar{t}": Hint(
            "The slope of the logistic function can be told from its output alone. How?",
            f"sigmoid' = sigmoid (1 - sigmoid), and sigmoid(ar{t}) has a name already. Times "
            f"dr{t}.",
        ),
        f"az{t}": Hint(
            "The slope of the logistic function can be told from its output alone. How?",
            f"sigmoid' = sigmoid (1 - sigmoid), and sigmoid(az{t}) has a name already. Times "
            f"dz{t}.",
        ),
        f"xh{t}": Hint(
            f"xh{t} is used twice, by both gates. What becomes of two cotangents?",
            "They add. Each is that of a matrix product: dy times the weight transposed, (32, 20) "
            "times (20, 30).",
        ),
    }


def _state(t: int) -> Hint:
    """The hint of a state that the next step uses, too."""
    u = t + 1
    return Hint(
        f"h{t} is used four times: once in hs, and three times by step {u}. What becomes of four "
        "cotangents?",
        f"They add. From hs: the slice of dhs where h{t} was put, as for h3. From h{u}: dh{u} "
        f"times the factor beside h{t}. From xrh{u}: the last H columns of dxrh{u}, [:, E:], times "
        f"the other factor there. From xh{u}: the last H columns of dxh{u} as they are.",
    )


def _weight(gate: str, x: str) -> dict[str, Hint]:
    return {
        f"W{gate}": Hint(
            f"W{gate} is used at three steps. What does one step give, and what becomes of three?",
            f"One step gives {x} transposed times da{gate} of that step, (30, 32) times (32, 20); "
            "the examples are summed over. What is used at every step collects the sum of all.",
        ),
        f"b{gate}": Hint(
            f"b{gate}, shape (20,), was added to 32 rows at each of three steps: a broadcast, and "
            "three uses.",
            f"Add the rows of da{gate} up, at each step, and the three steps together.",
        ),
    }


HINTS = {
    "logits": Hint(
        "For one position the loss is log(sum(exp(logits))) - logits[y]. What are the slopes?",
        "The first term's is the softmax of logits, the second's a one-hot row for y; and the mean "
        "over all positions divides by n. It is the second exercise of the lecture.",
    ),
    "hs": Hint(
        "A matrix product. Which product of dlogits, (32, 3, 27), and Wout, (20, 27), has the "
        "shape of hs, (32, 3, 20)?",
        "For y = x W the cotangent of x is dy times W transposed; W serves every name.",
    ),
    "Wout": Hint(
        "All names and steps share Wout. Which product of hs, (32, 3, 20), and dlogits, "
        "(32, 3, 27), is (20, 27) for each name?",
        "For each name it is hs transposed (.mT) times dlogits: (32, 20, 27), in which the steps "
        "are summed over. What the names share collects the sum, over axis 0.",
    ),
    "bout": Hint(
        "bout, shape (27,), was added for each name and each step. Which sum undoes a broadcast?",
        "The slope is 1: dlogits adds up over both axes that bout was broadcast along, (0, 1).",
    ),
    "h3": Hint(
        "h3 is used once: hs holds the three states side by side. Which part of dhs is h3's?",
        "It was put at place 2 of axis 1 (counting from 0): cut that slice out of dhs, all names "
        "and all H numbers. No step comes after it.",
    ),
    **_step(3),
    "h2": _state(2),
    **_step(2),
    "h1": _state(1),
    **_step(1),
    "h0": Hint(
        "h0 is used three times, all in step 1. Is it in hs?",
        "It is not. The other three terms are those of h1 and h2, one step earlier.",
    ),
    "start": Hint(
        "start, shape (20,), was copied to each of 32 names. Which sum undoes a broadcast?",
        "Every name begins with the same numbers: add the rows of dh0 up.",
    ),
    **_weight("z", "xh"),
    **_weight("r", "xh"),
    **_weight("h", "xrh"),
    "emb": Hint(
        "emb[:, 0], the first character, is used twice: in xh1 and in xrh1. Which of their columns "
        "are its own?",
        "The first E of each, [:, :E]; they add. So for each step, and jnp.stack([...], 1) puts "
        "the three side by side, as the forward does with the states.",
    ),
    "C": Hint(
        "A row of C is used wherever its character stands in X. What if that is at many places?",
        "Each use sends its own row of demb back, and they add: begin with zeros of C's shape; "
        ".at[X].add adds up where an id comes back, .at[X].set keeps only one of them.",
    ),
}
