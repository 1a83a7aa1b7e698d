// A small expression language: names, numbers, + − * / @ **, calls of known functions. No eval:
// what it cannot parse it refuses with a sentence.
import { ATTRIBUTES, FUNCTIONS, METHODS, OPERATORS, at, indexArray, number } from "#page/arrays.js";

const TOKEN = /\s*(?:(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)|([A-Za-z_]\w*)|(\*\*|[-+*/@()[\],.=:]))/y;

function tokenize(text) {
  const tokens = [];
  TOKEN.lastIndex = 0;
  const end = text.trimEnd().length;
  while (TOKEN.lastIndex < end) {
    const start = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (!match) throw new Error(`cannot read “${text.slice(start).trim()[0]}”`);
    const [, digits, name, sign] = match;
    tokens.push(digits ? { kind: "number", text: digits } : name ? { kind: "name", text: name }
      : { kind: "sign", text: sign });
  }
  return tokens;
}

/** The value of an expression, { shape, data }. `names` gives the arrays that it may use. */
export function evaluate(text, names) {
  const parser = new Parser(tokenize(text), names);
  if (!parser.tokens.length) throw new Error("nothing is written yet");
  const value = parser.sum();
  if (parser.place < parser.tokens.length) throw new Error(`did not expect “${parser.here.text}”`);
  if (!value.data) throw new Error("that is no array");
  return value;
}

class Parser {
  constructor(tokens, names) {
    Object.assign(this, { tokens, names, place: 0 });
  }

  get here() {
    return this.tokens[this.place] ?? { kind: "end", text: "the end" };
  }

  take(...texts) {
    return this.here.kind === "sign" && texts.includes(this.here.text)
      ? this.tokens[this.place++].text : null;
  }

  expect(text) {
    if (!this.take(text)) throw new Error(`expected “${text}” in the place of “${this.here.text}”`);
  }

  sum() {
    let left = this.product();
    for (let sign = this.take("+", "-"); sign; sign = this.take("+", "-")) {
      left = OPERATORS[sign](left, this.product());
    }
    return left;
  }

  product() {
    let left = this.signed();
    for (let sign = this.take("*", "/", "@"); sign; sign = this.take("*", "/", "@")) {
      left = OPERATORS[sign](left, this.signed());
    }
    return left;
  }

  signed() {
    if (this.take("-")) return OPERATORS["*"](number(-1), this.signed());
    this.take("+");
    const base = this.postfix();
    return this.take("**") ? OPERATORS["**"](base, this.signed()) : base;
  }

  postfix() {
    let value = this.atom();
    for (;;) {
      if (this.take("[")) {
        const places = this.list("]").args;
        value = value.at ? { target: value.at, places } : indexArray(value, places);
      } else if (this.take(".")) {
        value = this.attribute(value, this.name());
      } else return value;
    }
  }

  attribute(value, name) {
    if (value.module) return this.call(name);
    if (value.target) {
      if (name !== "add" && name !== "set") throw new Error(`.at[…] has .add and .set, not .${name}`);
      this.expect("(");
      return at(name, value.target, value.places, this.list(")").args[0]);
    }
    if (name === "at") return { at: value };
    if (Object.hasOwn(ATTRIBUTES, name)) return ATTRIBUTES[name](value);
    if (!Object.hasOwn(METHODS, name)) throw new Error(`an array has no .${name} here`);
    this.expect("(");
    const { args, options } = this.list(")");
    return METHODS[name](value, args, options);
  }

  name() {
    if (this.here.kind !== "name") throw new Error(`expected a name after “.”`);
    return this.tokens[this.place++].text;
  }

  call(name) {
    if (name === "nn") {
      this.expect(".");
      return this.call(this.name());
    }
    if (!Object.hasOwn(FUNCTIONS, name)) throw new Error(`there is no function ${name} here`);
    this.expect("(");
    const { args, options } = this.list(")");
    return FUNCTIONS[name](args, options);
  }

  atom() {
    const token = this.here;
    if (this.take("(")) {
      const items = [this.sum()];
      while (this.take(",")) if (this.here.text !== ")") items.push(this.sum());
      this.expect(")");
      return items.length > 1 ? { items } : items[0];
    }
    this.place++;
    if (token.kind === "number") return number(Number(token.text));
    if (token.kind !== "name") throw new Error(`did not expect “${token.text}”`);
    if (["jnp", "np", "jax", "torch"].includes(token.text)) return { module: true };
    if (token.text === "True" || token.text === "False") return number(token.text === "True" ? 1 : 0);
    if (Object.hasOwn(this.names, token.text)) return this.names[token.text];
    if (Object.hasOwn(FUNCTIONS, token.text)) return this.call(token.text);
    throw new Error(`there is no ${token.text} here`);
  }

  /** Arguments up to a closing sign: positional ones, and options such as keepdims=True. */
  list(close) {
    const [args, options] = [[], {}];
    while (!this.take(close)) {
      const next = this.tokens[this.place + 1];
      if (this.here.kind === "name" && next?.text === "=") {
        const key = this.name();
        this.expect("=");
        options[key] = this.sum();
      } else if (this.take(":")) throw new Error("slices are not understood here");
      else args.push(this.sum());
      if (!this.take(",")) {
        this.expect(close);
        break;
      }
    }
    return { args, options };
  }
}
