"use strict";

/* Motion that is generated while it plays: a worker makes the frames, this puts them before the player. */
const { figure, adapters, graph, frames: whole, seeds } = data.live;
const ABOVE = 0.1; // of the head over the neck, as stickgen/render/panel.py
const FOLLOW = 0.15, LEARN = 0.012; // shares of the camera's error that its place and its speed make up for in a frame
const numbers = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
const noise = data.live.noise.map(numbers);
const live = { worker: null, ready: false, run: 0, seed: 0, motion: null, made: 0, began: 0, rate: 0, camera: null };
const weights = () => adapters.map((_, index) => Number(at(`weight${index}`).value));

function say(words, wrong = false) {
  at("status").textContent = words;
  at("status").classList.toggle("wrong", wrong);
}

/* What a motion starts from: the adapters' starts in the proportion of their weights; without any, that of the base. */
function startOf(prompt, seed) {
  const given = weights(), total = given.reduce((sum, weight) => sum + weight, 0);
  const shares = total ? [0, ...given.map((weight) => weight / total)] : [1];
  const start = { text: numbers(prompt.text), weights: Float32Array.from(given), noise: noise[seed] };
  for (const name of Object.keys(prompt.starts[seed][0])) {
    const parts = prompt.starts[seed].map((one) => numbers(one[name]));
    start[name] = parts[0].map((_, place) => shares.reduce((sum, share, part) => sum + share * parts[part][place], 0));
  }
  if (start.code) start.text.set(start.code, start.text.length - start.code.length);
  return start;
}

/* Write a frame into the tracks of the panel. */
function put(frame, index) {
  const track = panels[0], all = [...frame], camera = live.camera;
  if (figure.neck) { // the figure has no head of its own: it continues the torso
    const [neck, pelvis] = [figure.neck, figure.pelvis].map(([x, y]) => [frame[x], frame[y]]);
    const up = neck.map((value, axis) => value - pelvis[axis]), length = Math.hypot(...up);
    all.push(...neck.map((value, axis) => value + ABOVE * (length > 1e-6 ? up[axis] / length : axis)));
  }
  track.lines.set(figure.lines.flat().map((place) => all[place]), index * 4 * figure.lines.length);
  track.heads.set(figure.head.map((place) => all[place]), 2 * index);
  // It cannot look ahead, as that of a finished motion does: it goes on at its speed, and makes up for its errors.
  const x = frame[figure.pelvis[0]];
  if (!index) Object.assign(camera, { x, speed: 0 });
  const error = x - camera.x - camera.speed;
  camera.x += camera.speed + FOLLOW * error;
  camera.speed += LEARN * error;
  track.centre[index] = camera.x;
}

function begin() {
  const start = startOf(data.live.prompts[state.scene], live.seed), run = live.run + 1;
  Object.assign(live, { run, made: 0, motion: new Float32Array(whole * start.frame.length), camera: {} });
  Object.assign(scene(), { frames: 1, growing: true });
  put(start.frame, 0);
  state.time = 0;
  at("scrubber").max = whole - 1;
  at("another").textContent = `motion ${live.seed + 1} of ${seeds}`;
  if (live.ready) live.worker.postMessage({ run, frames: whole, start });
  draw();
}

function arrived(frame) {
  const now = performance.now();
  live.motion.set(frame, live.made * frame.length);
  put(frame, live.made++);
  if (live.made === 1) live.began = now;
  else live.rate = (1000 * (live.made - 1)) / (now - live.began);
  const done = live.made === whole;
  Object.assign(scene(), { frames: live.made, growing: !done });
  say(`${done ? "generated at" : "generating:"} ${live.rate.toFixed(0)} frames/s`);
  if (!state.playing) draw();
}

function launch() {
  if (location.protocol === "file:") {
    say("This page needs a server: run python -m http.server in its folder, and open the address that it prints.", true);
    return;
  }
  live.worker = new Worker("worker.js", { type: "module" });
  live.worker.onmessage = ({ data: said }) => {
    if (said.error) say(said.error, true);
    else if (said.loaded) say(`loading the model: ${Math.round(100 * said.loaded)} %`);
    else if (said.ready) {
      live.ready = true;
      begin();
    } else if (said.run === live.run) arrived(said.frame);
  };
  live.worker.onerror = (event) => say(`worker.js: ${event.message || "cannot be loaded"}`, true);
  live.worker.postMessage(graph);
}

/* The prompts are the scenes, which scenes.js lists. */
const { shown } = chooser;
chooser.shown = () => {
  shown();
  begin();
};
chooser.keys.n = () => {
  live.seed = (live.seed + 1) % seeds;
  begin();
};
at("another").addEventListener("click", () => chooser.keys.n());
adapters.forEach((_, index) => {
  const slider = at(`weight${index}`), show = () => { at(`shown${index}`).textContent = Number(slider.value).toFixed(2); };
  slider.addEventListener("input", show);
  slider.addEventListener("change", begin);
  show();
});
begin();
launch();
