// Read: photographs, their words drawn and listed, JSON down.

import { ask, byId, complain, downloadJson, element, openPhotograph, report, takeFiles } from "./app.js";
import { drawLabel } from "./heat.js";
import { Stage } from "./stage.js";

export function startRead(state) {
  const page = byId("read");
  const strip = byId("read-strip"), list = byId("read-list"), hint = byId("read-hint");
  const photographs = [];
  let current = null, hovered = -1;
  // Photographs are opened one after another, so that they keep their order, and read likewise.
  let opening = Promise.resolve(), working = Promise.resolve();

  const stage = new Stage(page.querySelector("[data-stage]"), paint, pick);

  takeFiles(page, true, (files) => {
    for (const file of files) opening = opening.then(() => add(file));
  });
  byId("read-json").addEventListener("click", () => {
    const done = photographs.filter(({ answer }) => answer);
    downloadJson("words.jsonl", done.map(({ file, answer }) => {
      const { advice, seconds, ...record } = answer;
      return { ...record, file_name: file.name };
    }));
  });

  async function add(file) {
    const image = await openPhotograph(file, state.limits);
    if (!image) return;
    const photograph = { file, image, answer: null };
    const button = element("button"), thumbnail = element("img");
    thumbnail.src = URL.createObjectURL(file);
    thumbnail.alt = file.name;
    button.title = file.name;
    button.append(thumbnail);
    button.addEventListener("click", () => show(photograph));
    photograph.button = button;
    photographs.push(photograph);
    strip.append(button);
    byId("read-foot").hidden = false;
    if (!current || photographs.length === 1) show(photograph);
    working = working.then(() => read(photograph));
  }

  async function read(photograph) {
    stage.panel.classList.add("busy");
    try {
      const { file } = photograph;
      photograph.answer = await ask("/api/read", { method: "POST", body: file });
      report(`${photograph.answer.texts.length} words in ${photograph.answer.seconds.toFixed(2)} s`);
    } catch (error) {
      photograph.failure = error.message;
      complain(`${photograph.file.name}: ${error.message}`);
    } finally {
      stage.panel.classList.remove("busy");
    }
    if (photograph === current) show(photograph);
  }

  function show(photograph) {
    const same = photograph === current;
    current = photograph;
    hovered = -1;
    for (const { button } of photographs) {
      button.setAttribute("aria-pressed", String(button === photograph.button));
    }
    const { answer, failure } = photograph;
    hint.classList.toggle("warn", Boolean(failure || (answer && answer.advice)));
    hint.textContent = failure || (answer
      ? answer.advice || `${answer.texts.length} words, most certain first`
      : "reading …");
    list.replaceChildren(...(answer ? answer.texts.map(row) : []));
    if (same) stage.draw();
    else stage.show(photograph.image);
  }

  function row(text, index) {
    const item = element("li"), button = element("button");
    button.append(
      element("span", "name", text),
      element("span", "value", current.answer.scores[index].toFixed(2)));
    button.addEventListener("mouseenter", () => mark(index));
    button.addEventListener("focus", () => mark(index));
    button.addEventListener("click", () => mark(index));
    item.append(button);
    return item;
  }

  function mark(index) {
    hovered = index;
    [...list.children].forEach((item, place) => {
      item.firstChild.setAttribute("aria-pressed", String(place === index));
    });
    stage.draw();
  }

  function pick([x, y]) {
    if (!current.answer) return;
    const distances = current.answer.points.map((point) => Math.hypot(point[0] - x, point[1] - y));
    const nearest = distances.indexOf(Math.min(...distances));
    if (nearest < 0) return;
    mark(nearest);
    list.children[nearest].scrollIntoView({ block: "nearest" });
  }

  function paint(context) {
    stage.inImage(context, (layer, w, h) => layer.drawImage(stage.image, 0, 0, w, h));
    if (!current.answer) return;
    const { texts, points, polylines } = current.answer;
    // The marked word is drawn last, over the others.
    const order = texts.map((_, index) => index).sort((a, b) => (a === hovered) - (b === hovered));
    for (const index of order) {
      const color = index === hovered ? "#fca50a" : "#60de80";
      const line = (polylines ? polylines[index] : [points[index]]).map((p) => stage.toPage(p));
      drawLine(context, line, color);
      const [x, y] = stage.toPage(points[index]);
      drawLabel(context, texts[index], x, y, stage.limits(), color);
    }
  }

  function drawLine(context, line, color) {
    context.save();
    context.lineCap = context.lineJoin = "round";
    for (const [style, width] of [["#0b0c10b0", 6], [color, 2.5]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.beginPath();
      line.forEach(([x, y], place) => (place ? context.lineTo(x, y) : context.moveTo(x, y)));
      if (line.length === 1) context.lineTo(line[0][0] + 0.01, line[0][1]);
      context.stroke();
    }
    context.restore();
  }
}
