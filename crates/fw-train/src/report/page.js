"use strict";

// Along what the curves are drawn: without this script all three are shown.
for (const figure of document.querySelectorAll(".curves")) {
  const choose = () => {
    const place = figure.querySelector("input:checked").value;
    for (const curve of figure.querySelectorAll(".curve")) curve.hidden = curve.dataset.place !== place;
  };
  figure.addEventListener("change", choose);
  choose();
}

// A row's name leads to where its numbers come from.
const openTarget = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", openTarget);
openTarget();

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

const number = (value) => (value >= 0.01 ? value.toFixed(2) : value.toExponential(1));

// Rows by steps, one pixel each; strong is far from 0.
const drawMap = (map) => {
  const canvas = element("canvas", { width: map.n_steps, height: map.n_rows, role: "img" });
  const highest = Math.min(10 * map.n_rows, 260);
  canvas.style.height = `${Math.max(highest, 12)}px`;
  const scale = map.is_signed ? `blue ${number(map.most)}, orange -${number(map.most)}` : `0 to ${number(map.most)}`;
  canvas.setAttribute("aria-label", `${map.title}: ${map.n_rows} rows (${map.rows}) by ${map.n_steps} steps, ${scale}`);
  const bytes = atob(map.values);
  const image = new ImageData(map.n_steps, map.n_rows);
  const [more, less] = ["--more", "--less"].map((name) => color(name).split(",").map(Number));
  for (let place = 0; place < bytes.length; place++) {
    const byte = bytes.charCodeAt(place);
    const share = map.is_signed ? (byte - 128) / 127 : byte / 255;
    const [red, green, blue] = share < 0 ? less : more;
    image.data.set([red, green, blue, Math.round(255 * Math.min(Math.abs(share), 1))], 4 * place);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  const caption = element("figcaption", {}, element("span", {}, `${map.title} (up to down: ${map.rows}; left to right: step)`), element("span", {}, scale));
  return element("figure", { class: "map" }, caption, canvas);
};

// What was read, asked for and answered, a column a step.
const said = (sample) => {
  const body = element("tbody");
  const row = (name, cells) => {
    const line = element("tr", {}, element("th", { scope: "row" }, name));
    for (const [text, wrong] of cells) line.append(element("td", wrong ? { class: "wrong" } : {}, text));
    body.append(line);
  };
  const steps = Math.max(sample.tokens.length, sample.targets.length);
  const shown = (text) => (text === " " ? "␣" : (text ?? "").replaceAll("\n", "⏎"));
  const asked = sample.targets.some((target) => target !== null);
  if (sample.tokens.length || asked) row("step", Array.from({ length: steps }, (_, step) => [String(step + 1), false]));
  if (sample.tokens.length) row("read", sample.tokens.map((token) => [shown(token), false]));
  if (asked) {
    const every = Array.from({ length: steps }, (_, step) => step);
    row("target", every.map((step) => [shown(sample.targets[step]), false]));
    row("answer", every.map((step) => [shown(sample.answers[step]), sample.answers[step] !== sample.targets[step]]));
  }
  if (!body.children.length) return "";
  return element("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "What was read, asked for and answered" }, element("table", { class: "said" }, body));
};

for (const block of document.querySelectorAll(".samples")) {
  const rows = JSON.parse(block.querySelector("script").textContent);
  const [slider, output, shown] = ["input", "output", ".shown"].map((name) => block.querySelector(name));
  const show = () => {
    const place = Number(slider.value);
    const first = rows.find((row) => row.samples[place]);
    output.textContent = first ? first.samples[place].index : "";
    shown.replaceChildren(...rows.map((row) => {
      const sample = row.samples[place];
      const section = element("section", {}, element("h4", {}, `${row.name} (seed ${row.seed})`));
      if (!sample) {
        section.append(element("p", {}, "This sample was not kept: its pictures are too large."));
        return section;
      }
      const maps = sample.maps.filter((map) => map.n_rows && map.n_steps);
      section.append(said(sample), ...maps.map(drawMap));
      if (!maps.length) section.append(element("p", {}, "It has no memory to look into."));
      return section;
    }));
  };
  slider.addEventListener("input", show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}
