// Tabs, dropped files and messages, shared by the three pages.

import { startFind } from "./find.js";
import { startRead } from "./read.js";
import { startReview } from "./review.js";

const PAGES = ["find", "read", "review"];
const TOAST = 7000; // milliseconds

export const byId = (id) => document.getElementById(id);

let hideToast = 0;
export function complain(message) {
  const toast = byId("toast");
  toast.textContent = message;
  toast.hidden = false;
  clearTimeout(hideToast);
  hideToast = setTimeout(() => { toast.hidden = true; }, TOAST);
}

export function report(message) {
  byId("status").textContent = message;
}

// The server's JSON answer; an error has the server's sentence as its message.
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer; is wecromcl web still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `the server answers ${response.status}`);
  return answer;
}

export function download(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export function downloadJson(name, lines) {
  const text = lines.map((line) => JSON.stringify(line) + "\n").join("");
  download(name, new Blob([text], { type: "application/json" }));
}

export function element(tag, className = "", text = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

// Files dropped on a page's stage or chosen by its buttons go to `take`.
export function takeFiles(page, several, take) {
  const stage = page.querySelector("[data-stage]");
  const input = byId("file");
  for (const button of page.querySelectorAll("[data-choose]")) {
    button.addEventListener("click", () => {
      input.multiple = several;
      input.onchange = () => {
        take([...input.files]);
        input.value = "";
      };
      input.click();
    });
  }
  stage.addEventListener("dragover", (event) => {
    event.preventDefault();
    stage.classList.add("over");
  });
  stage.addEventListener("dragleave", () => stage.classList.remove("over"));
  stage.addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
  });
}

// The pixels of a chosen file; null after a complaint if it cannot be used.
export async function openPhotograph(file, limits) {
  if (file.size > limits.size) {
    complain(`${file.name} has more than ${(limits.size / 1e6).toFixed(0)} MB`);
    return null;
  }
  try {
    return await createImageBitmap(file);
  } catch {
    complain(`${file.name} is no photograph that this browser can show`);
    return null;
  }
}

function select(name) {
  for (const page of PAGES) {
    byId(page).hidden = page !== name;
    byId(`tab-${page}`).setAttribute("aria-selected", String(page === name));
  }
  history.replaceState(null, "", `#${name}`);
  document.dispatchEvent(new CustomEvent("page", { detail: name }));
}

function keepDropsOut() {
  for (const kind of ["dragover", "drop"]) {
    window.addEventListener(kind, (event) => event.preventDefault());
  }
}

async function start() {
  keepDropsOut();
  const state = await ask("/api/state");
  const there = { find: state.find, read: state.read, review: Boolean(state.review) };
  const reasons = { ...state.missing, review: "start wecromcl web with --labels FILE" };
  for (const page of PAGES) {
    const tab = byId(`tab-${page}`);
    tab.disabled = !there[page];
    tab.title = there[page] ? "" : reasons[page] || "";
    tab.addEventListener("click", () => select(page));
  }
  startFind(state);
  startRead(state);
  if (there.review) startReview(state);
  const asked = location.hash.slice(1);
  const first = there.review ? "review" : PAGES.find((page) => there[page]) || "find";
  select(there[asked] ? asked : first);
}

start().catch((error) => complain(error.message));
