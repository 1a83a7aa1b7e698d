"""Arguments are drawn from text, rules are loaded by name, and errors say what was wrong."""

import gc
import os
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.commands.check import Check
from jaxmore.errors import InputError
from jaxmore.testing import (
    check_named_rule,
    check_shipped_rules,
    load_rule,
    parse_args,
    parse_options,
)
from jaxmore.testing.arguments import LANGUAGE, other_sizes


def test_kinds_of_arguments():
    x, half, ids, bias, key = parse_args("f[2,3] bf16[4] i8[5,2]<3 none key")
    assert (x.shape, x.dtype) == ((2, 3), np.float32)
    assert (half.shape, half.dtype) == ((4,), jnp.bfloat16)
    assert (ids.shape, ids.dtype) == ((5, 2), np.int8)
    assert set(ids.flat) <= {0, 1, 2}
    assert bias is None
    assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    assert parse_args("f[]")[0].shape == ()
    assert parse_args("") == ()


def test_masks_and_raw_keys():
    mask, one, key, counts = parse_args("b[5,3] b[1] rawkey u32[4]<9")
    assert (mask.dtype, mask.shape, set(mask.flat)) == (bool, (5, 3), {True, False})
    assert one.shape == (1,)
    assert (key.dtype, key.shape) == (np.uint32, (2,))
    assert counts.dtype == np.uint32
    jax.random.normal(key, (3,))  # JAX takes it


@pytest.mark.parametrize("text", ["f[*B,E]", "f[*B,I] f[I,O] f[O]", "f[A,B,C] i[D,2*E]<F"])
def test_other_sizes_are_distinct_and_of_other_parity(text: str):
    first = {
        name: axis
        for word, x in zip(text.split(), parse_args(text), strict=True)
        for name, axis in zip(
            word[word.index("[") + 1 : word.index("]")].split(","), x.shape, strict=False
        )
        if name.isalpha() and "*B" not in text
    }
    others = other_sizes(text)
    assert len(others) == 2
    for sizes in others:
        numbers = [size for size in sizes.values() if isinstance(size, int)]
        assert len(set(numbers)) == len(numbers)
        parse_args(text, sizes=sizes)
    for name, size in first.items():
        assert {size % 2, *(sizes[name] % 2 for sizes in others)} == {0, 1}
    assert other_sizes("f[5,3] i[4]<3 b[2] key") == []


def test_options_are_python_values_or_strings():
    options = parse_options(["axis=1", "mode=add", "eps=1e-5", "keep=True", "text='1'"])
    assert options == {"axis": 1, "mode": "add", "eps": 1e-5, "keep": True, "text": "1"}
    for word in ("axis", "=1", "a b=1"):
        with pytest.raises(InputError, match="is no option of a rule; write it like axis=1"):
            parse_options([word])


def test_values():
    plain, scaled, moved, uniform = parse_args("f[500] f[500]*1e3 f[500]*1e-3-2 f[500]=0.5..2")
    assert 0.8 < plain.std() < 1.2
    assert 800 < scaled.std() < 1200
    assert abs(moved + 2).max() < 0.01
    assert moved.std() > 5e-4
    assert 0.5 <= uniform.min() < 0.6
    assert 1.9 < uniform.max() <= 2


@pytest.mark.parametrize("seed", range(20))
def test_ignored_targets_are_among_them(seed: int):
    (ids,) = parse_args("i[2]=-1..7", seed=seed)
    assert sorted(ids == -1) == [False, True]
    (ids,) = parse_args("i[3]=-1..0", seed=seed)
    assert ids.tolist() == [-1, -1, -1]


def test_letters_are_sizes():
    x, w, b = parse_args("f[*B,E] f[E+H,4*H] f[2*E*H]")
    assert (x.shape, w.shape, b.shape) == ((2, 3, 4), (9, 20), (40,))
    x, ids = parse_args("f[*B,E] i[*B]<E", sizes={"B": (7,), "E": 2})
    assert (x.shape, ids.shape) == ((7, 2), (7,))
    assert ids.max() < 2
    sizes = [x.shape[0] for x in parse_args(" ".join(f"f[{c}]" for c in "ABCDEFGH"))]
    assert len(set(sizes)) == 8


def test_draws_follow_the_seed():
    first, again, other = (parse_args("f[3]", seed=seed)[0] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x[3]", "'x[3]' is no argument"),
        ("f[3", "no argument"),
        ("f[3]<4", "< is for integers"),
        ("b[3]<2", "a mask has no range; write b[3]"),
        ("i[3]", "needs a range"),
        ("i[3]<0", "no integers from 0 to -1"),
        ("i8[3]<200", "to 199 in int8"),
        ("i[3]=0.5..2", "the ends of the range are not integers"),
        ("f[-3]", "'-3' is no size"),
        ("f[E,*E]", "no leading axes"),
        ("f[*B,B]", "B stands for leading axes"),
        ("f[a.b]", "is no size"),
        ("f[3]=2..1", "2.0 is above 1.0"),
    ],
)
def test_bad_text_is_named(text: str, message: str):
    with pytest.raises(InputError) as error:
        parse_args(text)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_the_language_is_as_described():
    for line in LANGUAGE.splitlines():
        for word in line.split():
            if "[" in word and not word.startswith("f[E+"):
                parse_args(word.rstrip(";"))


RULE = """
import jax.numpy as jnp

def swish_fwd(x):
    s = 1 / (1 + jnp.exp(-x))
    return x * s, (x, s)

def swish_bwd(residuals, dy):
    x, s = residuals
    return ((s + x * s * (1 - s)) * dy,)

def wrong(residuals, dy):
    x, s = residuals
    return ((s + x * (1 - s)) * dy,)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "strange_rule.py").write_text(RULE, encoding="utf-8")
    (tmp_path / "broken_rule.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("strange_rule", "broken_rule"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "strange_rule"


def test_a_rule_of_a_users_own(module: str):
    assert check_named_rule(f"{module}:swish_fwd,swish_bwd", "f[5,3]", dtypes=()).passed
    assert check_named_rule(f"{module}.py:swish", "f[5]*9", dtypes=()).passed
    report = check_named_rule(f"{module}:swish_fwd,wrong", "f[5,3]")
    assert not report.passed
    assert report.problems[0].argument == "x"
    assert "swish is wrong" in str(report)
    fwd, bwd = load_rule(f"{module}:swish")
    assert (fwd.__name__, bwd.__name__) == ("swish_fwd", "swish_bwd")


MODERN = """
from __future__ import annotations
from dataclasses import dataclass
import pickle
from typing import NamedTuple

@dataclass
class Options:
    factor: float = 3.0

class Residuals(NamedTuple):
    n: int

def triple_fwd(x, *, axis=0):
    assert pickle.loads(pickle.dumps(Options())).factor == 3
    return Options().factor * x.sum(axis), x

def triple_bwd(x, dy, *, axis=0):
    import jax.numpy as jnp
    return (jnp.broadcast_to(3 * jnp.expand_dims(dy, axis), x.shape),)

def lossy_bwd(x, dy, *, axis=0):
    dx = triple_bwd(x, dy, axis=axis)[0]
    n = len(x) // 2 * 2
    return (dx.at[n:].set(0),)

def swapped_bwd(x, dy, *, axis=0):
    (dx,) = triple_bwd(x, dy, axis=axis)
    return (dx * x.shape[0] / x.shape[1] ,)
"""


def test_a_file_is_loaded_as_python_would(tmp_path: Path):
    """Dataclasses in the file find their module, and options reach both functions."""
    path = tmp_path / "modern.py"
    path.write_text(MODERN, encoding="utf-8")
    for axis in (0, 1):
        options = parse_options([f"axis={axis}"])
        assert check_named_rule(f"{path}:triple", "f[5,3]", dtypes=(), options=options).passed


def test_options_and_a_single_dtype_on_the_command_line(tmp_path: Path, capsys):
    path = tmp_path / "modern.py"
    path.write_text(
        MODERN.replace("3 * jnp.expand_dims", "(3 if axis else 4) * jnp.expand_dims"),
        encoding="utf-8",
    )
    check = Check(f"{path}:triple", args="f[5,3]", only_dtype="float32", option=("axis=1",))
    check.run()
    assert "checked in float32 alone" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        replace(check, option=("axis=0",)).run()
    with pytest.raises(InputError, match="need a rule of yours"):
        Check(rule=("tanh",), option=("axis=1",)).run()


@pytest.mark.slow
def test_a_mistake_at_odd_sizes_shows_at_one_of_several(tmp_path: Path):
    path = tmp_path / "modern.py"
    path.write_text(MODERN, encoding="utf-8")
    spec = f"{path}:triple_fwd,lossy_bwd"
    assert check_named_rule(spec, "f[4,3]", dtypes=()).passed  # even: nothing shows
    report = check_named_rule(spec, "f[R,C]", dtypes=())
    assert not report.passed
    assert "at R = 5, C = 8; at the sizes tried before, it was right" in report.notes
    report = check_named_rule(f"{path}:triple", "f[R,C]", dtypes=())
    assert report.passed
    assert report.notes == ["also right at R = 5, C = 8", "also right at R = 6, C = 3"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("strange_rule", "names no rule"),
        (":a,b", "names no rule"),
        ("nowhere:a,b", "cannot import nowhere: ModuleNotFoundError"),
        ("nowhere.py:a,b", "cannot import nowhere.py"),
        ("broken_rule:a,b", "No module named 'nothing_of_that_name'"),
        ("strange_rule:swish_fwd,none", "no function 'none'"),
        ("strange_rule:silu", "no function 'silu_fwd'"),
    ],
)
def test_what_names_no_rule(module: str, spec: str, message: str):
    with pytest.raises(InputError) as error:
        load_rule(spec)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sys.exit()", "SystemExit"),  # which would end with exit code 0, as a right rule does
        ("sys.exit('no such data')", "SystemExit: no such data"),
        ("raise Silent", "Silent"),
    ],
)
def test_a_module_that_ends_or_whose_error_has_no_text(tmp_path: Path, line: str, message: str):
    path = tmp_path / "ends.py"
    silent = "class Silent(Exception):\n    def __str__(self):\n        raise Exception\n"
    path.write_text(f"import sys\n{silent}{line}\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_rule(f"{path}:a,b")
    assert str(error.value) == f"cannot import {path}: {message}"


def test_a_rule_that_ends_the_process_is_refused(tmp_path: Path):
    path = tmp_path / "ends.py"
    path.write_text(
        RULE.replace("    return", "    raise SystemExit\n    return"), encoding="utf-8"
    )
    with pytest.raises(InputError, match="SystemExit"):
        check_named_rule(f"{path}:swish", "f[3]", dtypes=())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_module_and_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        load_rule(f"{tmp_path / 'pipe.py'}:a,b")


@pytest.mark.parametrize(
    "line",
    [
        "sys.stdout.close()",
        "sys.stdout = sys.stderr = None",
        "with sys.stdout as out: out.reconfigure if hasattr(out, 'reconfigure') else None",
        "import io; assert isinstance(sys.stdout, io.TextIOBase)",
    ],
    ids=["close", "none", "with", "text"],
)
@pytest.mark.quick("close")
def test_a_module_does_not_take_standard_output_away(tmp_path: Path, line: str, capsys):
    path = tmp_path / "closes.py"
    path.write_text(f"import sys\nprint('loading')\n{line}\n{RULE}", encoding="utf-8")
    load_rule(f"{path}:swish")
    gc.collect()  # a stream that is collected is closed
    print("a report")
    assert capsys.readouterr().out == "loading\na report\n"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ("i[3]<5", {}, "no argument is a float"),
        ("f[3] f[3]", {}, "TypeError"),
        ("f[3]*1e4", {}, "not finite"),
        ("f[3]", {"dtypes": ["int8"]}, "no dtype 'int8'"),
    ],
)
def test_what_cannot_be_checked(module: str, arguments: str, options: dict, message: str):
    (Path(f"{module}.py")).write_text(
        RULE.replace("1 / (1 + jnp.exp(-x))", "jnp.exp(x)"), encoding="utf-8"
    )
    with pytest.raises(InputError) as error:
        check_named_rule(f"{module}.py:swish", arguments, **options)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_shipped_rules_by_name():
    (report,) = check_shipped_rules(["tanh"], dtypes=["float32"])
    assert report.passed
    assert report.name == "tanh"
    assert list(report.rows[0].narrow) == ["float32"]
    with pytest.raises(InputError, match="no rule 'tan'; there are batch_norm, "):
        check_shipped_rules(["tan"])
