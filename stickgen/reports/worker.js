/* Makes motion: runs the step graph frame after frame, in a thread of its own, and posts every frame. */
import * as ort from "./ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send

const turn = new MessageChannel(), waiting = [];
turn.port1.onmessage = () => waiting.shift()();
/* Let messages in: to await the graph alone does not. */
const messages = () => new Promise((go) => { waiting.push(go); turn.port2.postMessage(0); });

let latest = 0, graph = null, queue = Promise.resolve();

async function fetched(url, bytes) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  const content = new Uint8Array(bytes), reader = response.body.getReader();
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    content.set(value, length);
    length += value.length;
    postMessage({ loaded: length / bytes });
  }
  return content;
}

async function load({ url, bytes, inputs, cached }) {
  const session = await ort.InferenceSession.create(await fetched(url, bytes), { executionProviders: ["wasm"] });
  graph = { session, inputs, cached };
  postMessage({ ready: true });
}

async function make({ run, frames, start }) {
  const { session, inputs, cached } = graph, [, layers, heads, capacity, size] = cached;
  const rows = 2 * layers * heads, cache = new Float32Array(rows * capacity * size), width = start.frame.length;
  let frame = start.frame, before = frame, measured = new Float32Array(inputs.measured ? inputs.measured[1] : 0);
  for (let position = 0; position <= frames && run === latest; position++) {
    const values = { ...start, frame, before, cache, measured };
    // The first call reads the text, whatever the noise.
    values.noise = start.noise && start.noise.subarray(Math.max(position - 1, 0) * width).subarray(0, width);
    const feeds = { position: new ort.Tensor("int64", BigInt64Array.of(BigInt(position)), [1]) };
    for (const [name, shape] of Object.entries(inputs))
      if (name !== "position") feeds[name] = new ort.Tensor("float32", values[name], shape);
    const made = await session.run(feeds), entry = made.entry.data;
    for (let row = 0; row < rows; row++)
      cache.set(entry.subarray(row * size, (row + 1) * size), (row * capacity + position) * size);
    if (position) {
      [before, frame] = [frame, made.next.data];
      postMessage({ run, frame });
    }
    if (made.seen) measured = made.seen.data;
    await messages();
  }
}

onmessage = ({ data }) => {
  if (data.run) latest = data.run;
  queue = queue.then(() => (data.run ? make(data) : load(data))).catch((error) => postMessage({ error: error.message }));
};
