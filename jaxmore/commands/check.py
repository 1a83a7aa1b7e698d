"""``jaxmore check``: prove gradients."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from tyro.conf import Positional, arg

from jaxmore.commands.flags import Json, Words, as_text, try_json, write_json
from jaxmore.errors import InputError
from jaxmore.runs.config import default
from jaxmore.terminal import paint

DTYPES = ("float32", "bfloat16", "float16")


def _show(check: str) -> None:
    """Show on a terminal which check is running."""
    if sys.stderr.isatty():
        print(f"\r\x1b[Kchecking {check} ..." if check else "\r\x1b[K", end="", file=sys.stderr)


def _painted(result: Any) -> str:
    """Colour the first line of a report or a proof by its verdict."""
    first, newline, rest = str(result).partition("\n")
    return paint(first, "green" if result.passed else "red") + newline + rest


class _Rule(NamedTuple):
    """A rule and what it is tried on."""

    fwd: Any
    bwd: Any
    args: Sequence[Any]
    options: Mapping[str, Any]
    op: Any = None
    name: str | None = None


@dataclass(frozen=True)
class Check:
    """Check gradients: of the notebooks' network, of jaxmore's rules and models, of your rules.

    Without a flag, compare the 26 hand-derived cotangents of the notebooks' network with autodiff.
    """

    spec: Annotated[Positional[str | None], default("none", "MODULE:FWD,BWD | FILE")] = None
    """A rule of yours: two functions of a module, or of a file.py. Or the file of an exercise."""
    args: str = ""
    """The arguments of your rule, such as "f[5,3] f[3] i[5]<7": floats by shape, ids below 7."""
    rule: Annotated[tuple[str, ...], default("none", "NAME ...")] = ()
    """Rules of jaxmore; "all" for every one."""
    model: Annotated[tuple[str, ...], default("none", "TYPE ...")] = ()
    """Models of jaxmore; "all" for every one."""
    dtype: Annotated[tuple[str, ...], arg(metavar="DTYPE ...")] = DTYPES
    """The narrower dtypes to check in, besides float64."""
    only_dtype: Annotated[str | None, default("none", "DTYPE")] = None
    """Check a rule of yours in this dtype alone: for one that cannot run in float64."""
    option: Annotated[tuple[str, ...], default("none", "NAME=VALUE ...")] = ()
    """Keyword options of a rule of yours, such as axis=1 mode=add."""
    json: Json = None
    """Write what was measured to a file; without FILE print it in place of the table."""
    input_file: Words = None
    """Words that the notebooks' batch is drawn from."""
    prove: bool = False
    """Prove exactly the rules given, else the 26 lines. --rule all: rules, layers and 26 lines."""
    digits: bool = False
    """Count the digits of a rule that are right in float32 and float64, by ball arithmetic."""
    dump: bool = False
    """Print every intermediate of the notebooks' network and its cotangent, without a check."""
    hint: bool = False
    """Say more about the first wrong line of an exercise or, if none is wrong, the first blank."""

    def run(self) -> None:
        if self.json and (self.json.endswith(".py") or ".py:" in self.json):
            raise InputError(
                f"--json {self.json}: write the rule before --json, or a file after it"
            )
        if self.prove or self.digits:
            self._prove_exactly()
        elif self.spec and self.spec.endswith(".py"):
            if self != Check(self.spec, hint=self.hint):
                raise InputError("the exercise's file takes no other flag than --hint")
            self._judge_exercise()
        elif self.hint:
            raise InputError("--hint needs the file of an exercise")
        elif self.spec or self.rule or self.model:
            if self.dump:
                raise InputError("--dump takes no rule and no model")
            self._prove()
        elif self.args or self.json or self.dtype != DTYPES or self.option or self.only_dtype:
            raise InputError(
                "--args, --dtype, --only-dtype, --option and --json need a rule or a model"
            )
        else:
            self._compare_with_the_notebooks()

    @property
    def _spec(self) -> str:
        """The rule: a path as the system gives it, and names, which are text."""
        path, colon, functions = (self.spec or "").partition(":")
        return path + colon + as_text(functions)

    def _judge_exercise(self) -> None:
        from jaxmore import ninja

        report = ninja.check(Path(self.spec or ""), more=self.hint)
        print(report)
        if not report.passed:
            raise SystemExit(1)

    def _prove(self) -> None:
        from jaxmore import testing

        try_json(self.json)
        reports: list[Any] = []
        if self.spec:
            reports.append(
                testing.check_named_rule(
                    self._spec,
                    self.args,
                    dtypes=self.dtype,
                    only_dtype=self.only_dtype,
                    options=testing.parse_options(map(as_text, self.option)),
                    progress=_show,
                )
            )
        elif self.args or self.option or self.only_dtype:
            raise InputError("--args, --option and --only-dtype need a rule of yours")
        if self.rule:
            names = () if "all" in self.rule else self.rule
            reports += testing.check_shipped_rules(names, dtypes=self.dtype)
        if self.model:
            types = () if "all" in self.model else self.model
            reports += testing.check_shipped_models(types, dtypes=self.dtype)
        self._tell(reports, "\n\n")

    def _prove_exactly(self) -> None:
        from jaxmore.ninja.proof import prove_stepwise
        from jaxmore.prove import certify_digits, prove_layers, prove_rule

        flag = "--digits" if self.digits else "--prove"
        if self.prove and self.digits:
            raise InputError("give --digits or --prove, not both")
        if self.model or self.dump or self.hint or self.only_dtype or self.dtype != DTYPES:
            raise InputError(f"{flag} takes only a rule, --args, --option and --json")
        if (self.option or self.args) and not self.spec:
            raise InputError("--args and --option need a rule of yours")
        if self.input_file:
            raise InputError(f"{flag} does not take -i: it needs no words")
        if self.digits and not (self.spec or self.rule):
            raise InputError("--digits needs a rule of yours or --rule")
        try_json(self.json)
        if self.digits:
            certificates = [
                certify_digits(rule.fwd, rule.bwd, *rule.args, name=rule.name, options=rule.options)
                for rule in self._rules()
            ]
            self._tell(certificates, "\n\n")
            return
        proofs = [
            prove_rule(
                rule.fwd, rule.bwd, *rule.args, op=rule.op, name=rule.name, options=rule.options
            )
            for rule in self._rules()
        ]
        if "all" in self.rule:
            proofs += prove_layers()
        if "all" in self.rule or not (self.spec or self.rule):
            proofs += prove_stepwise()
        self._tell(proofs, "\n")

    def _rules(self) -> list["_Rule"]:
        """The rules that the flags name, each with arguments."""
        from jaxmore import rules
        from jaxmore.testing import load_rule, parse_args, parse_options
        from jaxmore.testing.shipped import FAMILIES

        named: list[_Rule] = []
        if self.spec == "all":
            raise InputError("write --rule all for every rule that ships")
        if self.spec and self.spec.endswith(".py"):
            raise InputError(f"{self.spec!r} names no rule; write {self.spec}:my_fwd,my_bwd")
        if self.spec:
            fwd, bwd = load_rule(self._spec)
            if bwd is None:
                flag = "--digits" if self.digits else "--prove"
                raise InputError(f"{flag} takes two functions: write MODULE:FWD,BWD")
            options = parse_options(map(as_text, self.option))
            named.append(_Rule(fwd, bwd, parse_args(self.args), options))
        for name in FAMILIES if "all" in self.rule else self.rule:
            if name not in FAMILIES:
                raise InputError(f"no rule {name!r}; there are {', '.join(FAMILIES)}")
            family = FAMILIES[name][0]
            op, fwd, bwd = (getattr(rules, name + end) for end in ("", "_fwd", "_bwd"))
            named.append(_Rule(fwd, bwd, parse_args(family.arguments), family.options, op, name))
        return named

    def _tell(self, results: list[Any], between: str) -> None:
        """Print what was found, and write it as JSON where it is asked for."""
        write_json(self.json, [result.as_dict() for result in results])
        if self.json != "-":
            print(between.join(_painted(result) for result in results))
        if not all(result.passed for result in results):
            raise SystemExit(1)

    def _compare_with_the_notebooks(self) -> None:
        from jaxmore import data, ninja

        batch = ninja.notebook_003(data.read_words(data.corpus_path(self.input_file)))
        if self.dump:
            print(ninja.dump(*batch))
            return
        for dtype in ("float32", "float64"):
            table = ninja.stepwise_table(*batch, dtype)
            print(f"{dtype}, hand-derived against jax.vjp")
            print(ninja.format_table(table))
            if not all(line.approximate for line in table):
                raise SystemExit(1)
