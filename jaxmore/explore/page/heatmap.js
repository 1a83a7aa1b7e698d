// Heat maps: an array as a picture, with one diverging scale, blue below zero and orange above.
import { element, short } from "#page/terms.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const parse = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

let scale = null;
export function refreshColours() {
  const [low, mid, high] = ["--low", "--mid", "--high"].map((name) => parse(colour(name)));
  // The square root spreads small values: most of a cotangent is small.
  scale = Array.from({ length: 513 }, (_, i) => {
    const t = i / 256 - 1;
    const end = t < 0 ? low : high;
    return mid.map((m, c) => Math.round(m + (end[c] - m) * Math.sqrt(Math.abs(t))));
  });
}

/** Rows and columns of the picture: the last axes side by side, one row for each example. */
export function extent(shape) {
  const size = shape.reduce((a, b) => a * b, 1);
  const lead = shape.findIndex((n) => n > 1); // one example of a batch: its own rows
  const rows = lead >= 0 && lead < shape.length - 1 ? shape[lead] : 1;
  if (rows > 1 && size === rows) return [1, rows]; // a column lies down: it is easier to read
  return [rows, size / rows];
}

export const largest = (data) => data.reduce((m, x) => (Math.abs(x) > m ? Math.abs(x) : m), 0);

export function draw(canvas, data, shape) {
  if (!scale) refreshColours();
  const [rows, columns] = extent(shape);
  if (canvas.width !== columns) canvas.width = columns;
  if (canvas.height !== rows) canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const top = largest(data) || 1;
  for (let i = 0; i < data.length; i++) {
    const x = Number.isFinite(data[i]) ? data[i] / top : 1;
    const rgb = scale[Math.round(256 * (x + 1))];
    image.data.set(rgb, 4 * i);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/**
 * A large heat map with a cursor: exact numbers on hover and by keyboard. `pick(place)` is called
 * on a click or on Enter; without it the map only shows.
 */
export function bigMap(title, name, data, shape, pick) {
  const [rows, columns] = extent(shape);
  const box = document.createElement("div");
  box.className = "map";
  box.innerHTML = `<h3></h3><div class="frame"><canvas tabindex="0" role="application"></canvas>
    <div class="cursor" hidden></div></div><div class="readout" aria-live="polite"></div>`;
  const [heading, canvas, cursor, readout] =
    ["h3", "canvas", ".cursor", ".readout"].map((q) => box.querySelector(q));
  const redraw = () => {
    const top = short(largest(data));
    heading.textContent = data.length === 1 ? `${title}: ${short(data[0])}` : `${title}, colours from −${top} to ${top}`;
    draw(canvas, data, shape);
  };
  canvas.setAttribute("aria-label", `${title} of ${shape.join(" by ") || "one number"}. ` +
    `Arrow keys move${pick ? ", Enter shows the sum" : ""}.`);
  canvas.style.height = `${Math.min(260, Math.max(24, rows * 8))}px`;
  redraw();
  let place = 0;
  const show = (to) => {
    place = to;
    const [row, column] = [Math.floor(place / columns), place % columns];
    cursor.hidden = false;
    cursor.style.cssText = `left:${(100 * column) / columns}%;top:${(100 * row) / rows}%;` +
      `width:${100 / columns}%;height:${100 / rows}%`;
    readout.textContent = `${element(name, shape, place)} = ${String(data[place]).replace("-", "−")}`;
  };
  const under = (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - left) / width) * columns);
    const row = Math.floor(((event.clientY - top) / height) * rows);
    return Math.min(Math.max(row, 0), rows - 1) * columns + Math.min(Math.max(column, 0), columns - 1);
  };
  canvas.addEventListener("mousemove", (event) => show(under(event)));
  canvas.addEventListener("focus", () => show(place));
  canvas.addEventListener("click", (event) => { show(under(event)); pick?.(place); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns,
      Home: -(place % columns), End: columns - 1 - (place % columns) }[event.key];
    if (event.key === "Enter" || event.key === " ") pick?.(place);
    else if (step === undefined) return;
    else if (place + step >= 0 && place + step < data.length) show(place + step);
    event.preventDefault();
  });
  const update = (next, playing) => {
    data = next;
    redraw();
    readout.setAttribute("aria-live", playing ? "off" : "polite");
    if (!cursor.hidden) show(place);
  };
  return { box, show, update };
}
