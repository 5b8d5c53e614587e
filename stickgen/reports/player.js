"use strict";

const LINE = 0.036, HEAD = 0.075, TICK = 0.5; // body heights, as stickgen/render/draw.py
const FADED = 0.4;
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const state = { scene: 0, time: 0, playing: !calm, speed: 1, last: null };
let panels = [];

function unpacked(text) {
  const letters = atob(text), numbers = new Float32Array(letters.length / 2);
  for (let i = 0; i < numbers.length; i++) {
    const low = letters.charCodeAt(2 * i), high = letters.charCodeAt(2 * i + 1);
    numbers[i] = ((((high << 8) | low) << 16) >> 16) / 1000; // the upper bit is the sign
  }
  return numbers;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const scene = () => data.scenes[state.scene];
const frame = () => Math.min(Math.floor(state.time * data.fps + 1e-6), scene().frames - 1);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

/* What chooses the scene: scenes.js or clips.js. */
const chooser = { shown() {}, step() {}, tick() {}, keys: {} };

/* A canvas in device pixels, cleared, drawn on in CSS pixels. To ask for its size costs a layout, so some know it. */
function cleared(canvas) {
  const ratio = devicePixelRatio || 1, [width, height] = canvas.known || [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return [context, width, height];
}

/* A panel's frame on its canvas; `shown` is its scene, which has the view. */
function drawFigure(panel, shown, index, colours) {
  const [context, width] = cleared(panel.canvas);
  const scale = width / shown.width, now = Math.min(index, panel.frames - 1);
  const left = panel.centre[now] - shown.width / 2;
  const x = (value) => (value - left) * scale, y = (value) => (shown.top - value) * scale;
  context.fillStyle = colours.ground;
  const thin = Math.max((LINE * scale) / 3, 1);
  context.fillRect(0, y(0), width, thin);
  for (let tick = Math.ceil(left / TICK); tick * TICK <= left + shown.width; tick++)
    context.fillRect(x(tick * TICK) - thin / 2, y(0), thin, 4 * thin);
  // Mixed and not transparent: where limbs cross, no third colour is to be seen.
  const faded = (name) => `color-mix(in srgb, ${colours[name]} ${100 * FADED}%, ${colours.background})`;
  const paint = now < panel.given ? faded : (name) => colours[name];
  context.lineCap = "round";
  if (panel.tips && data.trail) drawTrails(panel, now, context, x, y, thin, colours);
  context.lineWidth = Math.max(LINE * scale, 1);
  panel.limbs.forEach((limb, line) => {
    const from = 4 * (now * panel.limbs.length + line);
    context.strokeStyle = paint(limb);
    context.beginPath();
    context.moveTo(x(panel.lines[from]), y(panel.lines[from + 1]));
    context.lineTo(x(panel.lines[from + 2]), y(panel.lines[from + 3]));
    context.stroke();
  });
  panel.bodies.forEach((body, actor) => {
    const from = 2 * (now * panel.bodies.length + actor);
    context.fillStyle = paint(body);
    context.beginPath();
    context.arc(x(panel.heads[from]), y(panel.heads[from + 1]), HEAD * scale, 0, 2 * Math.PI);
    context.fill();
  });
}

/* The paths of hands and feet over the last frames, as stickgen/render/draw.py. */
function drawTrails(panel, now, context, x, y, thin, colours) {
  const { limbs, points } = panel.tips, first = Math.max(now - data.trail, 0), length = now - first + 1;
  const at = (frame, actor, limb) => 2 * ((frame * panel.bodies.length + actor) * limbs.length + limb);
  context.lineWidth = thin;
  for (let actor = 0; actor < panel.bodies.length; actor++)
    limbs.forEach((name, limb) => {
      for (let frame = first; frame < now; frame++) {
        const from = at(frame, actor, limb), to = at(frame + 1, actor, limb), share = 10 + (50 * (frame - first + 1)) / length;
        context.strokeStyle = `color-mix(in srgb, ${colours[name]} ${share}%, ${colours.background})`;
        context.beginPath();
        context.moveTo(x(points[from]), y(points[from + 1]));
        context.lineTo(x(points[to]), y(points[to + 1]));
        context.stroke();
      }
    });
}

function drawCurves(panel, index, colours) {
  const [context, width, height] = cleared(panel.curves);
  const last = Math.max(scene().frames - 1, 1), pad = 3;
  const x = (f) => (f / last) * width, y = (error) => height - pad - (Math.min(error / scene().worst, 1) * (height - 2 * pad));
  for (const [limb, errors] of Object.entries(panel.errors)) {
    context.strokeStyle = colours[limb];
    context.lineWidth = 1.5;
    context.beginPath();
    errors.forEach((error, f) => context.lineTo(x(f), y(error)));
    context.stroke();
    const here = errors[Math.min(index, errors.length - 1)];
    panel.values[limb].textContent = `${limb.replace("_", " ")} ${here.toFixed(3)}`;
  }
  context.fillStyle = colours.text;
  context.font = "11px sans-serif";
  context.fillText(scene().worst.toFixed(2), 2, 11);
  context.fillRect(x(index), 0, 1, height);
}

function coloursOf(panels) {
  const names = ["background", "ground", "text", ...new Set(panels.flatMap((panel) => [...panel.bodies, ...panel.limbs]))];
  return Object.fromEntries(names.map((name) => [name, colour(name)]));
}

function draw() {
  const index = frame(), shown = scene(), colours = coloursOf(panels);
  for (const panel of panels) {
    drawFigure(panel, shown, index, colours);
    if (panel.errors) drawCurves(panel, index, colours);
  }
  at("scrubber").value = index;
  at("time").textContent = `${(index / data.fps).toFixed(2)} s · frame ${index + 1} of ${shown.frames}`;
}

/* A track is packed, or a count of numbers that are still to be made. */
function tracksOf(given) {
  const made = { ...given };
  for (const name of ["lines", "heads", "centre"])
    made[name] = typeof given[name] === "string" ? unpacked(given[name]) : new Float32Array(given[name]);
  if (given.tips) made.tips = { limbs: given.tips.limbs, points: unpacked(given.tips.points) };
  return made;
}

function panelOf(given) {
  const made = tracksOf(given);
  made.canvas = element("canvas", { role: "img", ariaLabel: `${given.label}: ${scene().caption}` });
  made.canvas.style.aspectRatio = `${scene().width} / ${scene().top - scene().bottom}`;
  made.box = element("section", { className: "panel" }, element("h2", { textContent: given.label }), made.canvas);
  if (given.errors) {
    made.errors = Object.fromEntries(Object.entries(given.errors).map(([limb, text]) => [limb, unpacked(text)]));
    made.curves = element("canvas", { className: "curves", role: "img", ariaLabel: "error of each limb over time" });
    made.curves.addEventListener("pointerdown", (event) => {
      const box = made.curves.getBoundingClientRect();
      seek(Math.round(((event.clientX - box.left) / box.width) * (scene().frames - 1)));
    });
    made.values = {};
    const list = element("ul", { className: "limbs" });
    for (const limb of Object.keys(made.errors)) {
      const dot = element("i"), value = element("span");
      dot.style.background = `var(--${limb})`;
      made.values[limb] = value;
      list.append(element("li", {}, dot, value));
    }
    made.box.append(made.curves, list);
  }
  return made;
}

function showScene(index) {
  state.scene = (index + data.scenes.length) % data.scenes.length;
  state.time = 0;
  at("caption").textContent = scene().caption;
  at("scrubber").max = scene().frames - 1;
  panels = scene().panels.map(panelOf);
  const all = panels.flatMap((panel) => Object.values(panel.errors || {})).map((errors) => Math.max(...errors));
  scene().worst = Math.min(Math.max(0.05, ...all), 1);
  at("panels").style.maxWidth = `${30 * panels.length}rem`; // one figure alone need not fill the window
  at("panels").replaceChildren(...panels.map((panel) => panel.box));
  chooser.shown();
  draw();
}

function seek(index) {
  play(false);
  state.time = Math.min(Math.max(index, 0), scene().frames - 1) / data.fps;
  draw();
}

function play(on) {
  state.playing = on;
  state.last = null;
  at("play").textContent = on ? "pause" : "play";
  if (on) requestAnimationFrame(tick);
}

function tick(now) {
  if (!state.playing) return;
  const before = frame();
  if (state.last !== null) state.time += ((now - state.last) / 1000) * state.speed;
  state.last = now;
  // Motion that is still being made is waited for at its last frame.
  if (state.time * data.fps >= scene().frames) state.time = scene().growing ? (scene().frames - 1) / data.fps : 0;
  if (frame() !== before) draw();
  chooser.tick(now);
  requestAnimationFrame(tick);
}

function faster(steps) {
  const choice = at("speed"), index = choice.selectedIndex + steps;
  choice.selectedIndex = Math.min(Math.max(index, 0), choice.options.length - 1);
  state.speed = Number(choice.value);
}

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

const keys = {
  " ": () => play(!state.playing),
  ArrowLeft: (event) => seek(frame() - (event.shiftKey ? 10 : 1)),
  ArrowRight: (event) => seek(frame() + (event.shiftKey ? 10 : 1)),
  Home: () => seek(0),
  End: () => seek(scene().frames - 1),
  ArrowUp: () => chooser.step(-1),
  ArrowDown: () => chooser.step(1),
  "-": () => faster(-1),
  "+": () => faster(1),
};

document.addEventListener("keydown", (event) => {
  // What a control does with a key of its own goes first.
  const own = event.target.closest("select, input:not(#scrubber)") || (event.key === " " && event.target.closest("button"));
  const action = keys[event.key] || chooser.keys[event.key];
  if (!action || own || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action(event);
});
at("play").addEventListener("click", () => play(!state.playing));
at("back").addEventListener("click", () => seek(frame() - 1));
at("on").addEventListener("click", () => seek(frame() + 1));
at("scrubber").addEventListener("input", (event) => seek(Number(event.target.value)));
at("speed").addEventListener("change", (event) => { state.speed = Number(event.target.value); });
at("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  draw();
});
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
