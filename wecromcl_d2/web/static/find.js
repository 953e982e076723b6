// Find: a photograph and words, the activation map of each word, its anchor, its similarity.

import { ask, byId, complain, download, downloadJson, element, openPhotograph, report, takeFiles } from "./app.js";
import { decodeMap, drawCross, drawDimmed, drawLabel, glow, hueOf } from "./heat.js";
import { Stage } from "./stage.js";

const FADE = 320; // milliseconds
const TILE = 340; // pixels of a card's picture

export function startFind(state) {
  const page = byId("find");
  const form = byId("find-form"), input = byId("find-words"), cards = byId("find-cards");
  let file = null, answer = null, words = [], selected = -1, shown = 1;

  const stage = new Stage(page.querySelector("[data-stage]"), paint, pick);

  takeFiles(page, false, ([first]) => open(first));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    find();
  });
  byId("find-json").addEventListener("click", () => {
    const { maps, cell_size: cells, unread, seconds, ...record } = answer;
    downloadJson("found.json", [{ ...record, file_name: file.name }]);
  });
  byId("find-save").addEventListener("click", () => {
    stage.canvas.toBlob((blob) => download("found.png", blob));
  });
  document.addEventListener("keydown", (event) => {
    if (page.hidden || event.target === input || !words.length) return;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    select((selected + 1 + step + words.length + 1) % (words.length + 1) - 1);
  });

  async function open(chosen) {
    const image = await openPhotograph(chosen, state.limits);
    if (!image) return;
    file = chosen;
    forget();
    stage.show(image);
    byId("find-foot").hidden = false;
    if (input.value.trim()) find();
    else input.focus();
  }

  function forget() {
    answer = null;
    words = [];
    selected = -1;
    cards.replaceChildren();
  }

  async function find() {
    const given = input.value.split(/[\s,;]+/).filter(Boolean);
    if (!file || !given.length) {
      complain(file ? "Write the words to find." : "Choose a photograph first.");
      return;
    }
    const query = new URLSearchParams(given.map((word) => ["word", word]));
    const panel = stage.panel, wanted = file;
    panel.classList.add("busy");
    try {
      const result = await ask(`/api/find?${query}`, { method: "POST", body: wanted });
      if (wanted !== file) return;
      await show(result);
    } catch (error) {
      complain(error.message);
    } finally {
      panel.classList.remove("busy");
    }
  }

  async function show(result) {
    forget();
    const maps = await Promise.all(result.maps.map(decodeMap));
    answer = result;
    words = maps.map((map, index) => ({
      text: result.texts[index],
      point: result.points[index],
      score: result.point_scores[index],
      similarity: result.similarity[index],
      inferno: glow(map, result.cell_size, result),
      tinted: glow(map, result.cell_size, result, hueOf(index)),
      hue: `rgb(${hueOf(index).join(",")})`,
    }));
    const hint = byId("find-hint");
    hint.classList.toggle("warn", result.unread.length > 0);
    hint.textContent = result.unread.length
      ? `Not in the model's alphabet: ${result.unread.join(", ")}`
      : "A word always has a place; its similarity tells whether it is on the photograph.";
    report(`${words.length} words in ${result.seconds.toFixed(2)} s`);
    cards.append(everyCard(), ...words.map(card));
    select(-1);
  }

  function everyCard() {
    const all = element("button", "card wide", words.length > 1 ? "All words at once" : "The word");
    all.addEventListener("click", () => select(-1));
    return all;
  }

  function card(word, index) {
    const button = element("button", "card");
    button.append(
      tile(word), element("div", "name", word.text), meta(word));
    button.addEventListener("click", () => select(selected === index ? -1 : index));
    return button;
  }

  function meta(word) {
    const node = element("div", "meta");
    const meter = element("div", "meter"), level = element("div");
    level.style.width = `${100 * Math.max(0, word.similarity)}%`;
    meter.append(level);
    const peak = word.score === null ? "no place left" : `peak ${word.score.toFixed(3)}`;
    node.append(meter, `similarity ${word.similarity.toFixed(2)} · ${peak}`);
    return node;
  }

  // The part of the image around the anchor, or all of a small image.
  function tile(word) {
    const canvas = element("canvas");
    canvas.width = TILE;
    canvas.height = TILE * 0.75;
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    const { width, height } = stage.size;
    const scale = Math.max(canvas.width / width, canvas.height / height);
    const [x, y] = word.point || [width / 2, height / 2];
    const shift = [[x, width, canvas.width], [y, height, canvas.height]].map(
      ([at, length, room]) => Math.max(room - length * scale, Math.min(0, room / 2 - at * scale)));
    context.translate(...shift);
    context.scale(scale, scale);
    drawDimmed(context, stage.image, width, height);
    context.drawImage(word.inferno, 0, 0, width, height);
    if (word.point) drawCross(context, x, y, 9 / scale);
    return canvas;
  }

  function select(index) {
    selected = index;
    [...cards.children].forEach((node, place) => {
      node.setAttribute("aria-pressed", String(place === index + 1));
      if (place === index + 1) node.scrollIntoView({ block: "nearest" });
    });
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      shown = 1;
      stage.draw();
      return;
    }
    const start = performance.now();
    const step = (now) => {
      shown = Math.min(1, Math.max(0, (now - start) / FADE));
      stage.draw();
      if (shown < 1 && selected === index) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  // A click selects the word with the nearest anchor.
  function pick([x, y]) {
    const distances = words.map(({ point }) =>
      point ? Math.hypot(point[0] - x, point[1] - y) : Infinity);
    const nearest = distances.indexOf(Math.min(...distances));
    const reach = Math.max(stage.size.width, stage.size.height) / 8;
    select(nearest >= 0 && distances[nearest] < reach && nearest !== selected ? nearest : -1);
  }

  function paint(context) {
    if (!words.length) {
      stage.inImage(context, (layer, w, h) => layer.drawImage(stage.image, 0, 0, w, h));
      return;
    }
    const chosen = selected < 0 ? words : [words[selected]];
    stage.inImage(context, (layer, w, h) => {
      drawDimmed(layer, stage.image, w, h);
      layer.globalAlpha = shown * shown * (3 - 2 * shown);
      for (const word of chosen) {
        layer.globalCompositeOperation = selected < 0 ? "screen" : "source-over";
        layer.drawImage(selected < 0 ? word.tinted : word.inferno, 0, 0, w, h);
      }
    });
    for (const word of chosen.filter(({ point }) => point)) {
      const [x, y] = stage.toPage(word.point);
      drawCross(context, x, y, selected < 0 ? 6 : 9);
      drawLabel(context, word.text, x, y, stage.limits(), selected < 0 ? word.hue : undefined);
    }
  }
}
