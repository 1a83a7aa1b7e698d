// The loss and the update-to-data ratios over the steps, drawn on canvases.
const STYLES = [["#0072b2", []], ["#d55e00", []], ["#009e73", []], ["#cc79a7", []],
  ["#0072b2", [5, 3]], ["#d55e00", [5, 3]], ["#009e73", [5, 3]]]; // Okabe and Ito's colours

function frame(canvas, [left, right], [low, high], ticks) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(document.documentElement);
  const [margin, bottom] = [38, 18];
  const x = (step) => margin + ((width - margin - 8) * (step - left)) / (right - left || 1);
  const y = (value) => 6 + ((height - bottom - 6) * (high - value)) / (high - low || 1);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = style.getPropertyValue("--quiet");
  context.strokeStyle = style.getPropertyValue("--line");
  context.lineWidth = 0.5;
  context.textBaseline = "middle";
  for (const tick of ticks) {
    context.textAlign = "right";
    context.fillText(String(tick).replace("-", "−"), margin - 5, y(tick));
    context.beginPath();
    context.moveTo(margin, y(tick));
    context.lineTo(width - 8, y(tick));
    context.stroke();
  }
  context.textAlign = "left";
  context.fillText(left.toLocaleString("en"), margin, height - 7);
  context.textAlign = "right";
  context.fillText(`step ${right.toLocaleString("en")}`, width - 8, height - 7);
  return { context, x, y, style };
}

export function drawLosses(canvas, network) {
  const { losses, step } = network;
  const now = [...losses.slice(0, step), network.values.loss[0]];
  const finite = now.filter(Number.isFinite);
  const high = Math.ceil(Math.min(Math.max(...finite.slice(-5000)), 8)) || 4;
  const low = Math.max(0, Math.floor(Math.min(...finite, 8)));
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => low + i);
  const { context, x, y, style } = frame(canvas, [0, Math.max(step, 10)], [low, high], ticks);
  const stride = Math.max(1, Math.floor(now.length / 600));
  context.lineWidth = 1.5;
  context.strokeStyle = style.getPropertyValue("--strong");
  context.beginPath();
  for (let i = 0; i < now.length; i += stride) {
    const part = now.slice(i, i + stride);
    const mean = Math.min(part.reduce((a, b) => a + b, 0) / part.length, high);
    context.lineTo(x(i), y(mean));
  }
  context.stroke();
  if (now.length === 1) context.strokeRect(x(0) - 1.5, y(now[0]) - 1.5, 3, 3);
  canvas.setAttribute("aria-label", `Loss: ${now[0].toFixed(3)} at step 0, ${now.at(-1).toFixed(3)} at step ${step}`);
}

export function drawRatios(canvas, network) {
  const names = network.data.parameters;
  const { ratios } = network;
  const { context, x, y, style } = frame(canvas, [0, Math.max(network.step, 10)], [-5, 0], [-4, -3, -2, -1]);
  Object.assign(context, { strokeStyle: style.getPropertyValue("--ink"), lineWidth: 1.5 });
  context.setLineDash([2, 3]);
  context.beginPath();
  context.moveTo(x(0), y(-3));
  context.lineTo(x(Math.max(network.step, 10)), y(-3));
  context.stroke();
  names.forEach((name, k) => {
    const [colour, dash] = STYLES[k % STYLES.length];
    Object.assign(context, { strokeStyle: colour, lineWidth: 1.5 });
    context.setLineDash(dash);
    context.beginPath();
    for (const [step, ratio] of ratios) {
      if (Number.isFinite(ratio[name])) context.lineTo(x(step), y(Math.max(ratio[name], -5)));
    }
    context.stroke();
  });
  const last = ratios.at(-1)?.[1];
  canvas.setAttribute("aria-label", last
    ? `Update to data: ${names.map((name) => `${name} ${last[name].toFixed(1)}`).join(", ")}` : "Update to data: no step yet");
}

export function ratioKey(box, names) {
  box.replaceChildren(...names.map((name, k) => {
    const [colour, dash] = STYLES[k % STYLES.length];
    const item = document.createElement("span");
    const line = document.createElement("i");
    line.style.borderTop = `3px ${dash.length ? "dashed" : "solid"} ${colour}`;
    item.append(line, name);
    return item;
  }));
}
