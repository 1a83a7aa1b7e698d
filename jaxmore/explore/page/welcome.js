// The first visit, explained in four steps that can be skipped.
const STEPS = [
  ["A network, one line at a time",
    "Each tile is a line of the forward pass of a small network that predicts the next letter of a name. The left picture is its value, the right one its cotangent: how much the loss changes when each element changes a little, also called the gradient. Blue is negative, orange positive."],
  ["Walk back from the loss",
    "Open loss, the tile at the bottom, and go up: click the next tile, or press ↑ and Enter. Each place shows its backward line, the very code of the package, and where its cotangent comes from. Click a number of a cotangent to see the sum that makes it."],
  ["Let it learn",
    "Play trains the network here, in your browser, with these hand-derived lines. Nothing is loaded and nothing is sent. You can also take one step, drag the slider to go back in time, or change the learning rate."],
  ["Break it, then do it",
    "Choose a mistake under “Break it” and see which cotangents turn wrong, and whether the loss still falls. Then open a place and write its backward line under “Do it”: the page says whether it is right. Help shows these steps again."],
];
const SEEN = "jaxmore-explorer-seen";

export function welcome(dialog, always) {
  try {
    if (!always && localStorage.getItem(SEEN)) return;
    localStorage.setItem(SEEN, "1");
  } catch { /* a browser that keeps nothing shows it each time */ }
  let at = 0;
  const show = () => {
    const [title, text] = STEPS[at];
    dialog.innerHTML = `<h2 id="welcome-title">${title}</h2><p>${text}</p>
      <p class="quiet">Step ${at + 1} of ${STEPS.length}</p>
      <div class="row"><button type="button" class="strong next">${at + 1 < STEPS.length ? "Next" : "Start"}</button>
      ${at + 1 < STEPS.length ? `<button type="button" class="skip">Skip</button>` : ""}</div>`;
    dialog.querySelector(".next").addEventListener("click", () => {
      at += 1;
      if (at < STEPS.length) show();
      else dialog.close();
    });
    dialog.querySelector(".skip")?.addEventListener("click", () => dialog.close());
    dialog.querySelector(".next").focus();
  };
  if (!dialog.open) dialog.showModal();
  show();
}
