// Review: the points of a label file, most doubtful first; every step is saved at once.

import { ask, byId, complain, element, report } from "./app.js";
import { decodeMap, drawCross, drawDimmed, drawLabel, glow } from "./heat.js";
import { Stage } from "./stage.js";

const NEAR = 0.3; // of the image's shorter side, seen in a close-up
const KEPT = 12; // photographs that are kept in memory

export function startReview(state) {
  const page = byId("review"), list = byId("review-list");
  let words = [], total = 0, current = -1, map = null, steps = Promise.resolve();
  const images = new Map(), pressed = { map: false, near: false };

  const stage = new Stage(page.querySelector("[data-stage]"), paint, move);

  byId("review-confirm").addEventListener("click", confirm);
  byId("review-absent").addEventListener("click", () => step("absent", {}, 1));
  byId("review-undo").addEventListener("click", () => step("undo"));
  for (const name of ["map", "near"]) {
    const button = byId(`review-${name}`);
    button.addEventListener("click", () => {
      pressed[name] = !pressed[name];
      button.setAttribute("aria-pressed", String(pressed[name]));
      name === "map" ? loadMap() : look();
    });
  }
  byId("review-map").hidden = !state.find;
  document.addEventListener("keydown", (event) => {
    if (page.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    const ids = { Enter: "confirm", x: "absent", z: "undo", m: "map", c: "near" };
    const browse = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const id = ids[event.key];
    if (!browse && (!id || byId(`review-${id}`).hidden)) return;
    event.preventDefault();
    if (browse) select(current + browse);
    else byId(`review-${id}`).click();
  });
  load().catch((error) => complain(error.message));

  async function load() {
    const queue = await ask("/api/review");
    ({ words, total } = queue);
    list.replaceChildren(...words.map(row));
    progress(queue);
    if (words.length) select(0);
    else byId("review-empty").textContent = "No word to review";
  }

  function row(word, index) {
    const item = element("li"), button = element("button");
    button.addEventListener("click", () => select(index));
    item.append(button);
    fill(item, word);
    return item;
  }

  function fill(item, word) {
    item.className = word.ignore ? "absent" : word.reviewed ? "done" : "";
    item.firstChild.replaceChildren(
      element("span", "name", word.text),
      element("span", "value", standing(word)),
      element("span", "place", word.file_name));
  }

  function standing(word) {
    if (word.ignore) return "absent";
    if (word.reviewed) return "✓";
    if (!word.point) return "no point";
    const value = [word.similarity, word.weight, word.score].find((v) => v !== null);
    return value === undefined ? "" : value.toFixed(2);
  }

  function progress({ reviewed, undo }) {
    byId("review-count").textContent =
      `${reviewed} reviewed of ${total} words in ${state.review.file}`;
    byId("review-done").style.width = `${total ? (100 * reviewed) / total : 0}%`;
    byId("review-undo").disabled = !undo;
  }

  function photograph(number) {
    if (!images.has(number)) {
      const image = new Image();
      image.src = `/api/review/image/${number}`;
      images.set(number, image.decode().then(() => image));
      images.get(number).catch(() => images.delete(number));
      if (images.size > KEPT) images.delete(images.keys().next().value);
    }
    return images.get(number);
  }

  async function select(index) {
    if (index < 0 || index >= words.length) return;
    current = index;
    map = null;
    [...list.children].forEach((item, place) => {
      item.firstChild.setAttribute("aria-pressed", String(place === index));
    });
    list.children[index].scrollIntoView({ block: "nearest" });
    const word = words[index];
    try {
      const image = await photograph(word.image);
      if (current !== index) return;
      byId("review-bar").hidden = false;
      stage.show(image, word);
      look();
      if (pressed.map) loadMap();
      if (words[index + 1]) photograph(words[index + 1].image).catch(() => {});
    } catch {
      if (current === index) {
        stage.clear();
        byId("review-empty").textContent = `${word.file_name} cannot be shown`;
      }
    }
  }

  function look() {
    const word = words[current];
    if (pressed.near && word.point) {
      stage.focus(word.point, NEAR * Math.min(word.width, word.height));
    } else {
      stage.reset();
      stage.draw();
    }
  }

  async function loadMap() {
    map = null;
    stage.draw();
    const word = words[current];
    if (!pressed.map || !word) return;
    stage.panel.classList.add("busy");
    try {
      const answer = await ask(`/api/review/map/${word.image}/${word.word}`);
      if (!answer.maps.length) throw new Error(`${word.text} is not in the model's alphabet`);
      const cells = await decodeMap(answer.maps[0]);
      if (word !== words[current]) return;
      map = glow(cells, answer.cell_size, answer);
      stage.draw();
    } catch (error) {
      complain(error.message);
    } finally {
      stage.panel.classList.remove("busy");
    }
  }

  // A word that was reviewed already needs no further step.
  function confirm() {
    const word = words[current];
    if (!word) return;
    if (!word.point) complain(`${word.text} has no point yet; click its place`);
    else if (word.reviewed) select(current + 1);
    else step("confirm", {}, 1);
  }

  function move([x, y]) {
    if (current >= 0) step("move", { point: [x, y] });
  }

  // Steps are sent one after another, so that none overtakes the one before it.
  function step(name, more = {}, forward = 0) {
    if (current < 0) return;
    const { image, word } = words[current];
    const body = name === "undo" ? { step: name } : { step: name, image, word, ...more };
    if (forward) select(current + forward);
    steps = steps.then(() => send(body, name));
  }

  async function send(body, name) {
    try {
      const answer = await ask("/api/review", { method: "POST", body: JSON.stringify(body) });
      const { word } = answer;
      const place = words.findIndex((w) => w.image === word.image && w.word === word.word);
      if (place >= 0) {
        words[place] = word;
        fill(list.children[place], word);
        if (name === "undo" && place !== current) select(place);
      }
      progress(answer);
      report("saved");
      stage.draw();
    } catch (error) {
      complain(error.message);
    }
  }

  function paint(context) {
    const word = words[current];
    stage.inImage(context, (layer, w, h) => {
      if (!map) {
        layer.drawImage(stage.image, 0, 0, w, h);
        return;
      }
      drawDimmed(layer, stage.image, w, h);
      layer.drawImage(map, 0, 0, w, h);
    });
    for (const other of word.others) {
      const [x, y] = stage.toPage(other);
      drawCross(context, x, y, 4, "#b9bfcc");
    }
    const limits = stage.limits();
    if (word.point) {
      const [x, y] = stage.toPage(word.point);
      drawCross(context, x, y, 10, word.reviewed ? "#60de80" : "#40e0ff");
      drawLabel(context, word.text, x, y, limits, "#eceef2", 16);
    } else {
      const text = word.ignore ? `${word.text}: absent` : `Click where ${word.text} is`;
      const middle = (limits.left + limits.right) / 2;
      drawLabel(context, text, middle, limits.top, limits, "#fca50a", 18);
    }
  }
}
