"use strict";

/* The clips of a data file as cards that play: sorted, searched and flagged. Only cards in sight exist. */
const clips = data.clips, measures = data.measures;
const CARD = { width: 168, height: 236, picture: [150, 142] }; // as clips.css has them
const list = { order: [], cards: new Map(), columns: 1, width: 0, clock: 0, last: null, frame: -1 };
const flagged = new Map(data.flagged.map(([clip, reason]) => [clip, reason]));

/* Flags by hand stay in the browser's storage, so that a page that is closed loses none. A clip is named by its digest. */
const STORE = `stickgen flags of ${document.title}`;
const named = (clip) => clips[clip].names[0].join(" ");

function remembered() {
  if (data.server) return {}; // its server has written the flags into the page
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? {};
  } catch {
    return {}; // the browser keeps nothing, or something else
  }
}

function remember(clip) {
  if (data.server) {
    send(clip, { flagged: flagged.has(clip) });
    return;
  }
  try {
    localStorage.setItem(STORE, JSON.stringify({ ...remembered(), [named(clip)]: flagged.has(clip) }));
  } catch {
    // Without storage the flags last as long as the page.
  }
}

/* Changes go one after the other, so that the last one is the one that is kept. */
let sent = Promise.resolve();

function send(clip, change) {
  const body = JSON.stringify({ names: clips[clip].names.map(([label]) => label), ...change });
  sent = sent.then(async () => {
    try {
      const answer = await fetch(data.server, { method: "POST", headers: { "content-type": "application/json" }, body });
      at("saved").textContent = await answer.text();
    } catch {
      at("saved").textContent = "not saved: the server does not answer; start it again";
    }
  });
}

const byHand = remembered();
for (const clip of clips.keys()) {
  const flag = byHand[named(clip)];
  if (flag === true && !flagged.has(clip)) flagged.set(clip, "flagged by hand");
  else if (flag === false) flagged.delete(clip);
}

const saidOf = (clip) => `${clips[clip].names.map(([label]) => label).join(" ")} ${data.scenes[clip].caption}`.toLowerCase();
const said = clips.map((_, clip) => saidOf(clip));
const shownValue = (value) => (value === null ? "–" : String(Number(value.toPrecision(3))));

function arrange() {
  const chosen = measures.find((measure) => measure.name === at("sort").value);
  const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const only = at("only").checked;
  list.order = clips.map((_, clip) => clip)
    .filter((clip) => (!only || flagged.has(clip)) && words.every((word) => said[clip].includes(word)));
  if (chosen) {
    const sign = (chosen.high_is_odd ? -1 : 1) * (at("reverse").checked ? -1 : 1);
    const column = measures.indexOf(chosen), value = (clip) => clips[clip].values[column];
    // Those without the measure come last; equal ones stay in the order of the file.
    list.order.sort((a, b) => (value(a) === null) - (value(b) === null) || sign * (value(a) - value(b)) || a - b);
  } else if (at("reverse").checked) list.order.reverse();
  at("meaning").textContent = chosen ? chosen.meaning : "";
  for (const card of list.cards.values()) card.box.remove();
  list.cards.clear();
  at("clips").scrollTop = 0;
  layOut();
  count();
}

function count() {
  at("count").textContent = `${list.order.length} of ${clips.length} clips · ${flagged.size} flagged`;
}

/* Make the cards in sight and a row on either side, and remove the others. */
function layOut() {
  const box = at("clips"), columns = Math.max(Math.floor(box.clientWidth / CARD.width), 1);
  [list.columns, list.width] = [columns, box.clientWidth / columns];
  for (const card of list.cards.values()) place(card);
  at("all").style.height = `${Math.ceil(list.order.length / columns) * CARD.height}px`;
  const first = Math.max(Math.floor(box.scrollTop / CARD.height) - 1, 0) * columns;
  const end = Math.min((Math.ceil((box.scrollTop + box.clientHeight) / CARD.height) + 1) * columns, list.order.length);
  for (const [clip, card] of list.cards)
    if (card.place < first || card.place >= end) {
      card.box.remove();
      list.cards.delete(clip);
    }
  for (let position = first; position < end; position++) {
    const clip = list.order[position];
    if (!list.cards.has(clip)) list.cards.set(clip, cardOf(clip, position));
  }
  drawCards(true);
}

function place(card) {
  card.box.style.left = `${(card.place % list.columns) * list.width}px`;
  card.box.style.top = `${Math.floor(card.place / list.columns) * CARD.height}px`;
}

function cardOf(clip, position) {
  const shown = data.scenes[clip], panel = tracksOf(shown.panels[0]);
  panel.canvas = Object.assign(element("canvas"), { known: CARD.picture });
  const column = measures.findIndex((measure) => measure.name === at("sort").value);
  const facts = clips[clip].names[0][0] + (column < 0 ? "" : ` · ${shownValue(clips[clip].values[column])}`);
  const flag = element("button", { type: "button", className: "flag", textContent: "flag", title: "leave this clip out (f)" });
  const text = element("span", { className: "words", textContent: shown.caption });
  const choose = element("button", { type: "button", className: "choose" }, panel.canvas, text);
  const box = element("li", { className: "card" }, choose, element("span", { className: "facts", textContent: facts }), flag);
  choose.setAttribute("aria-label", `${facts}: ${shown.caption}`);
  choose.addEventListener("click", () => showScene(clip));
  flag.addEventListener("click", () => toggle(clip));
  const card = { clip, place: position, box, panel, shown, flag };
  place(card);
  at("all").append(box);
  mark(card);
  return card;
}

function mark(card) {
  card.box.classList.toggle("chosen", card.clip === state.scene);
  card.box.classList.toggle("flagged", flagged.has(card.clip));
  card.flag.setAttribute("aria-pressed", flagged.has(card.clip));
}

function drawCards(always) {
  const index = Math.floor(list.clock * data.fps);
  if (!always && index === list.frame) return;
  list.frame = index;
  const cards = [...list.cards.values()], colours = coloursOf(cards.map((card) => card.panel));
  for (const card of cards) drawFigure(card.panel, boxed(card), index % card.panel.frames, colours);
}

/* A clip's view, widened or heightened to the shape of a card's canvas. */
function boxed(card) {
  const { width, bottom, top } = card.shown, [across, high] = CARD.picture;
  const needed = Math.max(width, ((top - bottom) * across) / high);
  return { width: needed, top: bottom + (needed * high) / across };
}

function toggle(clip) {
  if (flagged.has(clip)) flagged.delete(clip);
  else flagged.set(clip, "flagged by hand");
  remember(clip);
  const card = list.cards.get(clip);
  if (card) mark(card);
  count();
  describe();
}

/* What is known of the clip that the player shows. */
function describe() {
  const clip = clips[state.scene], rows = measures.map((measure, i) => [measure.name, shownValue(clip.values[i]), measure.meaning]);
  const facts = element("dl");
  for (const [name, value] of Object.entries(clip.facts)) facts.append(element("dt", { textContent: name }), element("dd", { textContent: value }));
  for (const [name, value, meaning] of rows)
    facts.append(element("dt", { textContent: name, title: meaning }), element("dd", { textContent: value }));
  const buttons = [element("button", { type: "button", id: "flag", textContent: flagged.has(state.scene) ? "do not flag" : "flag" })];
  buttons[0].addEventListener("click", () => toggle(state.scene));
  if (clip.nearest !== null) {
    const near = element("button", { type: "button", id: "nearest", textContent: `nearest earlier: ${clips[clip.nearest].names[0][0]}` });
    near.addEventListener("click", () => showScene(clip.nearest));
    buttons.push(near);
  }
  at("about").replaceChildren(element("div", { className: "row" }, ...buttons), ...(data.server ? [captionForm()] : []), facts);
}

/* A field to edit the caption of the clip that the player shows. */
function captionForm() {
  const clip = state.scene, input = element("input", { id: "edit", value: scene().caption, maxLength: 2000 });
  const form = element("form", { className: "row" }, element("label", {}, "caption ", input), element("button", { textContent: "save caption" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const caption = input.value.trim().replace(/\s+/g, " ");
    if (!caption) return;
    data.scenes[clip].caption = at("caption").textContent = caption;
    said[clip] = saidOf(clip);
    const card = list.cards.get(clip);
    if (card) card.box.querySelector(".words").textContent = caption;
    send(clip, { caption });
    input.blur();
  });
  input.addEventListener("keydown", (event) => { if (event.key === "Escape") input.blur(); });
  return form;
}

function intoSight() {
  const position = list.order.indexOf(state.scene), box = at("clips");
  if (position < 0) return;
  const top = Math.floor(position / list.columns) * CARD.height;
  if (top < box.scrollTop) box.scrollTop = top;
  if (top + CARD.height > box.scrollTop + box.clientHeight) box.scrollTop = top + CARD.height - box.clientHeight;
  layOut();
}

/* As stickgen/data/curation.py writes it. */
function curation() {
  const plain = (text) => {
    const letters = [...text.replace(/[\p{C}\p{Z}]+/gu, " ").trim()];
    return letters.length > 80 ? letters.slice(0, 79).join("") + "…" : letters.join("");
  };
  const lines = [...flagged].sort(([a], [b]) => a - b).flatMap(([clip, reason]) =>
    clips[clip].names.map(([label, digest]) => `  ${label}: "${digest}"  # ${plain(`${reason} · ${data.scenes[clip].caption}`)}`));
  return [`format: ${data.format}`, "leave_out:", ...lines, ""].join("\n");
}

chooser.shown = () => {
  intoSight();
  for (const card of list.cards.values()) mark(card);
  describe();
};
chooser.step = (steps) => {
  const position = list.order.indexOf(state.scene), next = position < 0 ? 0 : position + steps;
  if (next >= 0 && next < list.order.length) showScene(list.order[next]);
};
chooser.tick = (now) => {
  if (list.last !== null) list.clock += (Math.min(now - list.last, 200) / 1000) * state.speed;
  list.last = now;
  drawCards(false);
};
Object.assign(chooser.keys, {
  f: () => toggle(state.scene),
  "/": () => at("search").focus(),
  PageUp: () => chooser.step(-list.columns),
  PageDown: () => chooser.step(list.columns),
});
at("search").addEventListener("keydown", (event) => { if (event.key === "Escape") event.target.blur(); });
for (const name of ["search", "sort", "reverse", "only"]) at(name).addEventListener("input", arrange);
at("clips").addEventListener("scroll", layOut, { passive: true });
addEventListener("resize", layOut);
at("theme").addEventListener("click", () => drawCards(true));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawCards(true));
at("save")?.addEventListener("click", () => {
  const url = URL.createObjectURL(new Blob([curation()], { type: "application/yaml" }));
  element("a", { href: url, download: "curation.yaml" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
});

for (const { name } of measures) at("sort").append(element("option", { value: name, textContent: name }));
at("sort").value = data.sort;
arrange();
showScene(list.order[0] ?? 0);
play(state.playing);
