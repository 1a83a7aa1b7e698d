// The graph: forward lines downwards, each place a tile with its value and its cotangent.
import { draw } from "#page/heatmap.js";
import { short } from "#page/terms.js";

export class Graph {
  constructor(list, data, open) {
    Object.assign(this, { list, data, open, tiles: new Map() });
    for (const name of data.values) {
      const row = document.createElement("li");
      const params = document.createElement("div");
      params.className = "params";
      const inputs = data.places[name].reads.filter((read) => data.parameters.includes(read));
      params.append(...inputs.map((input) => this.tile(input)));
      row.append(params, this.tile(name));
      if (name !== "loss") {
        const arrow = document.createElement("span");
        arrow.className = "arrow";
        arrow.setAttribute("aria-hidden", "true");
        arrow.innerHTML = "<span>↓ value</span><span>cotangent ↑</span>";
        row.append(arrow);
      }
      list.append(row);
    }
    this.focusable("loss");
  }

  tile(name) {
    const tile = document.createElement("button");
    tile.type = "button";
    tile.className = "tile";
    tile.dataset.name = name;
    tile.innerHTML = `<span class="name"></span> <span class="shape"></span><span class="off" hidden></span>
      <span class="code"></span><span class="maps"><canvas></canvas><canvas></canvas></span>`;
    tile.querySelector(".name").textContent = name;
    tile.querySelector(".code").textContent = this.data.places[name].line;
    tile.addEventListener("click", () => this.open(name));
    tile.addEventListener("keydown", (event) => this.walk(event, name));
    for (const event of ["mouseenter", "focus"]) tile.addEventListener(event, () => this.light(name));
    tile.addEventListener("mouseleave", () => this.light(null));
    tile.addEventListener("blur", () => this.light(null));
    this.tiles.set(name, tile);
    return tile;
  }

  /** ↓ to what uses a place, ↑ to what it is made of, ← and → among the inputs of one line. */
  walk(event, name) {
    const { places } = this.data;
    const around = { ArrowDown: places[name].users[0], ArrowUp: places[name].reads[0] };
    const siblings = places[places[name].users[0]]?.reads ?? [];
    const at = siblings.indexOf(name);
    around.ArrowRight = siblings[(at + 1) % siblings.length];
    around.ArrowLeft = siblings[(at - 1 + siblings.length) % siblings.length];
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    if (around[event.key]) this.focusable(around[event.key]).focus();
  }

  focusable(name) {
    for (const [other, tile] of this.tiles) tile.tabIndex = other === name ? 0 : -1;
    return this.tiles.get(name);
  }

  /** Frame the inputs and the users of a place; without one, of the open place. */
  light(name) {
    const { reads = [], users = [] } = this.data.places[name ?? this.selected] ?? {};
    for (const [other, tile] of this.tiles) {
      tile.classList.toggle("reads", reads.includes(other));
      tile.classList.toggle("users", users.includes(other));
    }
  }

  select(name) {
    this.selected = name;
    for (const [other, tile] of this.tiles) tile.setAttribute("aria-current", String(other === name));
    this.focusable(name);
    this.light(name);
  }

  /** Draw the network's values and cotangents; `offs` says how far each cotangent is wrong. */
  update(network, offs) {
    for (const [name, tile] of this.tiles) {
      const shape = network.shape(name);
      const value = network.params[name] ?? network.values[name];
      const cotangent = network.cotangents[`d${name}`] ?? Float64Array.of(1);
      const [above, below] = tile.querySelectorAll("canvas");
      draw(above, value, shape);
      draw(below, cotangent, shape);
      tile.querySelector(".maps").classList.toggle("thin", above.height === 1);
      tile.querySelector(".shape").textContent =
        value.length === 1 ? `= ${short(value[0])}` : `(${shape.join(", ")})`;
      const off = tile.querySelector(".off");
      const wrong = offs[name] ?? 0;
      off.hidden = wrong === 0;
      off.textContent = `cotangent wrong by ${percent(wrong)}`;
    }
  }
}

const percent = (share) => (share >= 0.1 ? `${Math.round(100 * share).toLocaleString("en")} %` : `${short(100 * share)} %`);
