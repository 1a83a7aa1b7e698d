// "Do it": the reader types the backward line.
import { CLOSED_FORMS, judge } from "#page/judge.js";

export function exercise(name, network, data, hideAnswer) {
  const box = document.createElement("div");
  const above = data.cotangents.slice(0, data.cotangents.indexOf(name)).map((key) => `d${key}`);
  box.innerHTML = `<h3>Do it</h3>
    <form><label for="answer">Write the backward line yourself: <code>d${name} =</code></label>
    <div class="row"><input id="answer" autocomplete="off" spellcheck="false" autocapitalize="off">
    <button type="submit">Check</button><button type="button" class="hint">Hint</button>
    <label class="check"><input type="checkbox" class="hide"> Hide the answer above</label>
    ${CLOSED_FORMS[name] ? `<label class="check"><input type="checkbox" class="closed"> Harder: straight from
    ${CLOSED_FORMS[name].join(", ")} alone</label>` : ""}</div></form>
    <p class="verdict" role="status"></p><p class="hints quiet" role="status"></p>
    <details><summary>What may be used</summary><p class="quiet">All values and parameters, X, Y, n${above.length ? `, and ${above.join(", ")}` : ""}.
    The signs + − * / @ **, .T, .sum(axis, keepdims=True), .mean, .max, .argmax, .argmin, .reshape, and exp, log, tanh, sqrt, softmax,
    zeros_like, ones_like, arange, one_hot(ids, size), a.at[i].set(v), a.at[i].add(v).</p></details>`;
  const find = (selector) => box.querySelector(selector);
  const verdict = find(".verdict");
  const isClosed = () => find(".closed")?.checked ?? false;
  find("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const { right, text } = judge(name, find("#answer").value, network, data, isClosed());
    verdict.className = `verdict ${right ? "right" : "wrong"}`;
    verdict.textContent = `${right ? "✓" : "✗"} ${text}`;
    verdict.scrollIntoView({ block: "nearest" });
  });
  let shown = 0;
  find(".hint").addEventListener("click", () => {
    shown = Math.min(shown + 1, 2);
    const { hints, closedHints } = data.places[name];
    const known = isClosed() ? closedHints : hints;
    find(".hints").textContent = [...known.slice(0, shown), ...(shown < known.length ? [] : ["(No more hints.)"])].join(" ");
    find(".hints").scrollIntoView({ block: "nearest" });
  });
  find(".hide").addEventListener("change", (event) => hideAnswer(event.target.checked));
  return box;
}
