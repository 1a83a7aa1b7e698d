"""The notebooks' networks and minibatches, compared with every value that they print."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import rules, stepwise
from jaxmore.data import TorchGenerator, Vocabulary, context_windows, split_words
from jaxmore.ninja import notebook_003, notebook_004
from jaxmore.ninja.notebooks import SEED, UNSEEDED_002, UNSEEDED_003

# Notebook 003, cells 20 to 46, value by value. Of a matrix it prints the corners: the first and the
# last three rows, of each the first and the last three columns.
PRINTED = {
    "emb[0]": """
        -4.7125e-01  7.8682e-01 -3.2843e-01 -4.3297e-01  1.3729e+00
         2.9334e+00  1.5618e+00 -1.6261e+00  6.7716e-01 -8.4039e-01
        -4.7125e-01  7.8682e-01 -3.2843e-01 -4.3297e-01  1.3729e+00
         2.9334e+00  1.5618e+00 -1.6261e+00  6.7716e-01 -8.4039e-01
        -9.6478e-01 -2.3211e-01 -3.4762e-01  3.3244e-01 -1.3263e+00
         1.1224e+00  5.9641e-01  4.5846e-01  5.4011e-02 -1.7400e+00""",
    "emb[1]": """
         1.2815e+00 -6.3182e-01 -1.2464e+00  6.8305e-01 -3.9455e-01
         1.4388e-02  5.7216e-01  8.6726e-01  6.3149e-01 -1.2230e+00
         4.6827e-01 -6.5650e-01  6.1662e-01 -6.2197e-01  5.1007e-01
         1.3563e+00  2.3445e-01 -4.5585e-01 -1.3132e-03 -5.1161e-01
        -4.7125e-01  7.8682e-01 -3.2843e-01 -4.3297e-01  1.3729e+00
         2.9334e+00  1.5618e+00 -1.6261e+00  6.7716e-01 -8.4039e-01""",
    "hprebn corners": """
        -1.2944e+00 -1.6063e+00  5.8236e-01  2.8577e+00 -6.9102e-01  1.4514e+00
        -2.4448e+00  7.3323e-04 -2.5433e+00 -1.4529e+00  4.0477e-01 -1.4181e-01
        -1.4482e+00  9.7922e-01  1.4362e+00  3.0377e-01 -1.2690e+00  1.4736e+00
        -1.7455e-01 -2.8238e-01 -4.0602e-01 -1.1733e+00  2.5727e-01  1.6736e+00
        -1.9748e+00 -2.0943e+00  7.6590e-01  3.5904e-01  2.3257e+00 -1.4833e+00
         2.5080e+00 -3.0651e-01 -8.6864e-01 -1.7992e+00 -2.5073e+00  4.5976e-02""",
    "bnmeani": """
        -0.2923 -0.0526 -0.6841  0.7001 -0.5036  0.4972 -0.0668 -0.1110
        -0.4643  0.0302  0.6675 -0.3830 -0.4715 -0.3956 -0.5209  0.3950
         0.0292 -1.6880  0.3933  0.8486 -0.6091 -1.2410 -0.0519 -0.2812
         0.2267  1.3896 -0.6374  0.3277 -0.5348  1.1896  0.3176  0.6083
         0.7051 -0.5859 -0.2753  1.9107 -1.1769 -0.7579  0.1236  0.4828
         0.2302  0.2900  0.5919 -1.0644 -0.2177  0.7055  0.4917 -0.3559
         0.6701  1.5317 -0.5005 -0.2265  1.7797  0.6933  1.5666 -1.1398
        -0.4648 -0.8345  0.6744 -0.1985 -1.3676 -0.5960  0.1881  0.7816""",
    "bndiff corners": """
        -1.0021 -1.5537  1.2665  3.4537 -0.8792  0.6698
        -2.1525  0.0533 -1.8592 -0.8569  0.2166 -0.9234
        -1.1559  1.0318  2.1204  0.8998 -1.4571  0.6920
         0.1178 -0.2298  0.2781 -0.5773  0.0691  0.8920
        -1.6825 -2.0417  1.4501  0.9550  2.1376 -2.2649
         2.8003 -0.2539 -0.1845 -1.2032 -2.6954 -0.7357""",
    "bndiff2 corners": """
        1.0042e+00 2.4139e+00 1.6040e+00 1.1928e+01 7.7294e-01 4.4859e-01
        4.6332e+00 2.8452e-03 3.4566e+00 7.3430e-01 4.6927e-02 8.5274e-01
        1.3360e+00 1.0647e+00 4.4960e+00 8.0959e-01 2.1232e+00 4.7888e-01
        1.3866e-02 5.2797e-02 7.7355e-02 3.3327e-01 4.7776e-03 7.9563e-01
        2.8309e+00 4.1687e+00 2.1026e+00 9.1209e-01 4.5692e+00 5.1298e+00
        7.8419e+00 6.4469e-02 3.4037e-02 1.4477e+00 7.2654e+00 5.4118e-01""",
    "bnvar": """
        2.9677 1.2682 2.1554 1.4667 4.6703 2.9705 2.0831 1.4324 1.3041
        1.2941 1.5416 1.3771 3.7823 1.3272 1.0750 2.1390 2.0086 4.0767
        0.9473 2.6632 5.2006 1.3070 2.7925 2.8935 1.6161 2.7019 1.9697
        1.4905 2.7771 1.8918 1.4346 3.3289 2.6032 1.7041 2.5652 3.1497
        2.4295 3.7256 0.3788 1.5171 1.6284 2.5108 2.3224 1.2441 1.9543
        2.9438 1.9290 2.3941 1.5941 2.6831 2.9968 1.2193 3.5117 2.7399
        3.2270 3.6581 1.3968 2.2523 2.1150 0.7927 1.5964 3.3448 2.2397
        1.8453""",
    "bnvar_inv": """
        0.5805 0.8880 0.6811 0.8257 0.4627 0.5802 0.6928 0.8355 0.8757
        0.8790 0.8054 0.8522 0.5142 0.8680 0.9645 0.6837 0.7056 0.4953
        1.0274 0.6128 0.4385 0.8747 0.5984 0.5879 0.7866 0.6084 0.7125
        0.8191 0.6001 0.7270 0.8349 0.5481 0.6198 0.7661 0.6244 0.5635
        0.6416 0.5181 1.6249 0.8119 0.7836 0.6311 0.6562 0.8965 0.7153
        0.5828 0.7200 0.6463 0.7920 0.6105 0.5777 0.9056 0.5336 0.6041
        0.5567 0.5228 0.8461 0.6663 0.6876 1.1232 0.7915 0.5468 0.6682
        0.7361""",
    "bnraw corners": """
        -0.5817 -1.3797  0.8627  1.8884 -0.5875  0.4930
        -1.2495  0.0474 -1.2664 -0.4685  0.1448 -0.6798
        -0.6710  0.9163  1.4443  0.4920 -0.9736  0.5094
         0.0684 -0.2040  0.1894 -0.3157  0.0462  0.6566
        -0.9767 -1.8131  0.9877  0.5222  1.4283 -1.6673
         1.6255 -0.2255 -0.1257 -0.6579 -1.8011 -0.5415""",
    # From here on bngain and bnbias count, whose seed the notebook doesn't show.
    "hpreact corners": """
        -0.6044 -1.4444  0.8227  1.9963 -0.6541  0.5122
        -1.2776  0.0673 -1.6394 -0.6261  0.0124 -0.8218
        -0.6944  0.9877  1.4953  0.4426 -1.0056  0.5308
         0.0508 -0.1990  0.0442 -0.4560 -0.0773  0.6982
        -1.0026 -1.9035  0.9673  0.4762  1.1808 -1.9450
         1.6206 -0.2217 -0.3202 -0.8368 -1.7588 -0.6646""",
    "h corners": """
        -0.5402 -0.8946  0.6766  0.9638 -0.5744  0.4716
        -0.8559  0.0672 -0.9274 -0.5554  0.0124 -0.6760
        -0.6008  0.7564  0.9043  0.4158 -0.7639  0.4860
         0.0508 -0.1964  0.0442 -0.4268 -0.0771  0.6033
        -0.7627 -0.9565  0.7475  0.4432  0.8277 -0.9599
         0.9247 -0.2181 -0.3097 -0.6841 -0.9424 -0.5814""",
    "logits[0]": """
         7.7128e-01  9.3263e-01 -5.1015e-01  4.1128e-01 -5.0394e-01
         9.7078e-01 -2.9692e-01  9.7793e-02 -6.0967e-01  1.5935e-01
         1.3660e-01  1.3891e-01  1.6699e-01 -1.8374e-01  9.1531e-02
        -7.9658e-01 -1.3272e+00 -4.8379e-01 -6.4224e-01  6.0472e-01
         3.9351e-01 -3.6342e-01 -3.2196e-01  7.8311e-01  7.0067e-01
        -2.3011e-01 -4.0359e-01""",
    "logit_maxes": """
        0.9708 0.8140 1.2211 0.6820 1.7148 0.9150 0.7778 1.5061
        1.0722 1.0249 1.7570 2.0432 1.0086 0.8913 0.5998 0.7661
        0.9427 0.7801 1.0086 0.8390 0.8303 1.0503 1.0086 1.1103
        1.5602 0.9252 1.1188 0.8919 0.9395 0.7835 1.1258 0.8638""",
    "norm_logits[0]": """
        -0.1995 -0.0381 -1.4809 -0.5595 -1.4747  0.0000 -1.2677 -0.8730 -1.5805
        -0.8114 -0.8342 -0.8319 -0.8038 -1.1545 -0.8792 -1.7674 -2.2979 -1.4546
        -1.6130 -0.3661 -0.5773 -1.3342 -1.2927 -0.1877 -0.2701 -1.2009 -1.3744""",
    "counts[0]": """
        0.8191 0.9626 0.2274 0.5715 0.2288 1.0000 0.2815 0.4177 0.2059
        0.4442 0.4342 0.4352 0.4476 0.3152 0.4151 0.1708 0.1005 0.2335
        0.1993 0.6935 0.5614 0.2634 0.2745 0.8289 0.7633 0.3009 0.2530""",
    "counts_sum": """
        11.8491 11.1105  8.7165 14.0813  5.7018 12.1429 12.4093  7.7319
        10.7903 10.8823  6.5783  5.1394 10.9708 11.8559 16.1933 12.3383
        11.7193 12.3621 10.9708 11.2925 12.5316 10.9061 10.9708  9.6062
         6.4158 12.5034  8.4255 11.3254 12.4496 13.3811 11.6646 12.5479""",
    "counts_sum_inv": """
        0.0844 0.0900 0.1147 0.0710 0.1754 0.0824 0.0806 0.1293
        0.0927 0.0919 0.1520 0.1946 0.0912 0.0843 0.0618 0.0810
        0.0853 0.0809 0.0912 0.0886 0.0798 0.0917 0.0912 0.1041
        0.1559 0.0800 0.1187 0.0883 0.0803 0.0747 0.0857 0.0797""",
    "probs[0]": """
        0.0691 0.0812 0.0192 0.0482 0.0193 0.0844 0.0238 0.0353 0.0174
        0.0375 0.0366 0.0367 0.0378 0.0266 0.0350 0.0144 0.0085 0.0197
        0.0168 0.0585 0.0474 0.0222 0.0232 0.0700 0.0644 0.0254 0.0214""",
    "logprobs[0]": """
        -2.6717 -2.5104 -3.9532 -3.0318 -3.9470 -2.4723 -3.7400 -3.3452 -4.0527
        -3.2837 -3.3064 -3.3041 -3.2760 -3.6268 -3.3515 -4.2396 -4.7702 -3.9268
        -4.0853 -2.8383 -3.0495 -3.8064 -3.7650 -2.6599 -2.7424 -3.6731 -3.8466""",
    "losses": """
        4.0527 2.9667 3.5661 3.3178 4.0940 3.5239 3.0496 4.0385
        3.2198 4.2614 3.1726 1.6369 2.8379 2.9222 3.0287 3.1440
        3.9667 3.0623 3.6613 3.2564 2.8960 2.9260 4.2945 3.9861
        3.5233 2.8240 2.9169 3.8597 2.8218 3.3063 3.2330 3.1199""",
    "dprobs of the targets": "-1.7985 -0.6071 -1.1056",
    "loss": "3.3277",
}
TARGETS = [
    8, 14, 15, 22, 0, 19, 9, 14, 5, 1, 20, 3, 8, 14, 12, 0,
    11, 0, 26, 9, 25, 0, 1, 1, 7, 18, 9, 3, 5, 9, 0, 18,
]  # fmt: skip

# Notebook 002, cells 23, 30, 66 and 99: drawn without a generator.
C_ROWS = "0.4246 -0.0144 -0.8650 1.1346 1.4501 -1.1544 0.3911 -1.0933"  # rows 1, 5, 6, 7
FIRST_PROBS = """
    4.0566e-08 8.0922e-04 1.1215e-04 3.2266e-08 3.4230e-10 3.5458e-04
    7.3422e-02 4.9846e-11 1.0692e-06 5.5262e-17 3.8316e-07 3.0864e-06
    5.4867e-09 3.0371e-17 6.2880e-12 1.4152e-09 1.8369e-10 2.4629e-08
    5.3184e-08 1.9197e-10 1.4355e-12 5.7702e-03 2.1948e-11 1.6727e-06
    1.9351e-04 4.9451e-08 3.5400e-01 2.4573e-21 3.6991e-11 9.8634e-17
    1.7046e-05 1.4627e-06"""


def assert_as_printed(values, printed, rounding=None):
    """Each value agrees to the last digit printed, but for `rounding` (else float32's of a sum).

    One value of notebook 003 needs it: hprebn[1, 1], 7.3323e-04 there, is what is left of terms of
    up to 0.7. Here it is 7.3311e-04, in float64 and in torch's float32 too.
    """
    values = np.ravel(values).astype(np.float64)
    if rounding is None:
        rounding = np.finfo(np.float32).eps * np.abs(values).max()
    tokens = printed.split()
    for value, token, slack in zip(
        values, tokens, np.broadcast_to(rounding, values.shape), strict=True
    ):
        mantissa, _, exponent = token.partition("e")
        last_digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        assert abs(value - float(token)) <= 0.5 * last_digit + slack, (value, token)


def corners(matrix):
    edge = [0, 1, 2, -3, -2, -1]
    return np.asarray(matrix)[np.ix_(edge, edge)]


@pytest.fixture(scope="module")
def batch(seed_names):
    return notebook_003(seed_names)


def test_notebook_003_to_all_printed_digits(batch):
    values = stepwise.forward(*batch)
    d = stepwise.backward(*batch, values)
    rows = np.arange(32)
    ours = {
        "losses": -values.logprobs[rows, batch.Y],
        "dprobs of the targets": d.probs[rows, batch.Y][:3],
    }
    for name in PRINTED.keys() - ours.keys():
        field, first, second = re.fullmatch(r"(\w+)(?:\[(\d)\]|( corners))?", name).groups()
        value = getattr(values, field)
        ours[name] = value[int(first)] if first else corners(value) if second else value
    for name, printed in PRINTED.items():
        assert_as_printed(ours[name], printed)


def test_the_minibatch_of_notebooks_000_and_003(batch):
    assert batch.Y.tolist() == TARGETS


def test_the_windows_of_the_notebooks(seed_names):
    vocab = Vocabulary.from_words(seed_names)
    assert vocab.size == 27
    assert len(context_windows(seed_names, vocab, 3)[0]) == 228_146
    sizes = [len(context_windows(split, vocab, 3)[0]) for split in split_words(seed_names)]
    assert sizes == [182_625, 22_655, 22_866]


def test_notebook_000_probs_commute_bit_for_bit(batch):
    values = stepwise.forward(*batch)
    probs = np.asarray(values.counts * values.counts_sum_inv)
    assert probs.shape == (32, 27)
    assert probs.tobytes() == np.asarray(values.counts_sum_inv * values.counts).tobytes()


def test_notebook_004_loss(seed_names):
    batch = notebook_004(seed_names)
    assert sum(p.size for p in batch.params if p is not None) == 12_097
    assert_as_printed(stepwise.forward(*batch).loss, "3.5586")


def test_notebook_002_unseeded_values(seed_names):
    generator = TorchGenerator(UNSEEDED_002)
    generator.random(70)
    C = generator.randn(27, 2)
    assert_as_printed(C[[1, 5, 6, 7]], C_ROWS)
    generator.random(732)
    W1, b1 = generator.randn(6, 100), generator.randn(100)
    generator.random(16425)
    W2, b2 = generator.randn(100, 27), generator.randn(27)
    X, Y = context_windows(seed_names[:5], Vocabulary.from_words(seed_names), 3)
    h = np.tanh(C.astype(np.float64)[X].reshape(32, 6) @ W1 + b1)
    counts = np.exp(h @ W2 + b2)
    probs = (counts / counts.sum(1, keepdims=True))[np.arange(32), Y]
    # exp turns the rounding of logits up to 50 into this much of each value.
    assert_as_printed(probs, FIRST_PROBS, rounding=2e-5 * probs)


def test_notebook_002_overflow_case_is_finite():
    logits = jnp.array([[-50.0, 2.0, 3.0, 100.0]])
    for target, expected in enumerate([150.0, 98.0, 97.0, 0.0]):
        loss, res = rules.softmax_cross_entropy_fwd(logits, jnp.array([target]))
        (dlogits, _) = rules.softmax_cross_entropy_bwd(res, jnp.ones_like(loss))
        assert float(loss) == expected
        one_hot = np.eye(4)[target]
        np.testing.assert_allclose(dlogits[0], np.array([0, 0, 0, 1]) - one_hot, atol=1e-30)


def test_closed_forms_against_autograd_on_32_words(oracle, seed_names, batch):
    """As notebook 001 does it: 32 words make one batch. Its maxdiffs were 1.2e-9 and 1.1e-11."""
    vocab = Vocabulary.from_words(seed_names)
    X, Y = map(jnp.array, context_windows(split_words(seed_names).train[:32], vocab, 3))
    params = batch.params
    values = stepwise.forward(params, X, Y)
    d = stepwise.backward(params, X, Y, values)
    _, expected = oracle.network(params._asdict(), X, Y)
    norm = params.bngain, values.bnraw, values.bnvar_inv, d.hpreact
    for dlogits in (stepwise.dlogits_outer, stepwise.dlogits_closed):
        ours, theirs = dlogits(values.logits, Y), expected["logits"].value
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-9)
    for dhprebn in (stepwise.dhprebn_outer, stepwise.dhprebn_closed):
        ours, theirs = dhprebn(*norm), expected["hprebn"].value
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-9)


def test_parameters_are_torchs(oracle, seed_names, batch):
    """Seeds 003 and 004 as they wrote their parameters, by torch's own generator."""
    torch = pytest.importorskip("torch")
    g = torch.Generator().manual_seed(SEED)
    unseeded = torch.Generator().manual_seed(UNSEEDED_003)
    scale = (5 / 3) / ((10 * 3) ** 0.5)
    expected = [
        torch.randn((27, 10), generator=g),
        torch.randn((30, 64), generator=g) * scale,
        torch.randn(64, generator=g) * 0.1,
        torch.randn((64, 27), generator=g) * 0.1,
        torch.randn(27, generator=g) * 0.1,
        torch.randn((1, 64), generator=unseeded) * 0.1 + 1.0,
        torch.randn((1, 64), generator=unseeded) * 0.1,
    ]
    for ours, theirs in zip(batch.params, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=4e-6)
    values = stepwise.forward(*batch)
    theirs, _ = oracle.network(dict(zip(batch.params._fields, expected, strict=True)), *batch[1:])
    assert float(values.loss) == pytest.approx(float(theirs["loss"].value), abs=1e-6)


def test_other_words_make_the_same_network():
    words = ["ava", "mia", "zoe", "emma", "lia", "ida", "bo", "ann", "eva", "leo"]
    params, X, Y = notebook_003(words)
    assert params.C.shape == (Vocabulary.from_words(words).size, 10)
    assert X.shape == (32, 3)
    assert np.isfinite(stepwise.forward(params, X, Y).loss)
