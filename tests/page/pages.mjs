// SPDX-License-Identifier: Apache-2.0
// Several pages of one Chromium whose camera shows a file of pictures and whose microphone says a file of sound.
//
//   node pages.mjs --wav FILE --y4m FILE
//
// An order is a line of JSON, {id, name, what, with: [...]}: `what` is a row of ORDERS, done to the page of that name. Each ends
// in {"event": "answer", id, value} or {"event": "answer", id, error}. web/ is served as any web server would: "static".
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { FLAGS } from '../browser/flags.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const { chromium } = createRequire(path.join(here, '../../.peers/browser/node_modules/x.js'))('playwright-core');
const { values: options } = parseArgs({ options: { wav: { type: 'string' }, y4m: { type: 'string' }, chromium: { type: 'string', default: '/usr/bin/chromium' } } });
const TYPES = { '.html': 'text/html; charset=utf-8', '.css': 'text/css; charset=utf-8', '.js': 'text/javascript; charset=utf-8' };
const PATIENCE_MS = 30000;

const tell = (event, fields = {}) => process.stdout.write(JSON.stringify({ event, ...fields }) + '\n');

const server = createServer((request, response) => {
  const file = path.join(here, '../../web', path.basename(new URL(request.url, 'http://localhost').pathname));
  if (!existsSync(file) || !TYPES[path.extname(file)]) response.writeHead(404).end();
  else createReadStream(file).pipe(response.writeHead(200, { 'content-type': TYPES[path.extname(file)] }));
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));

const browser = await chromium.launch({ executablePath: options.chromium, headless: true, args: [...FLAGS,
  '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', `--use-file-for-fake-audio-capture=${options.wav}`,
  `--use-file-for-fake-video-capture=${options.y4m}`] });
const pages = new Map();

// Within the page: what it plays and shows of somebody, by loudness for every 20 ms and by the number in each picture.
const instruments = () => {
  // What the browser does to a voice (gain, noise, echo) is not judged here, and would blur what is.
  const devices = Object.getPrototypeOf(navigator.mediaDevices);
  const { getUserMedia } = devices;
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  devices.getUserMedia = function get(wish) { return getUserMedia.call(this, wish.audio ? { audio: { ...wish.audio, ...plain } } : wish); };
  const COLUMNS = 12;
  const number = (pixels, width, height) => {
    const level = (column, row) => {
      const [x, y] = [Math.floor((column + 0.5) * (width / COLUMNS)), Math.floor((row + 0.5) * (height / 4))];
      return pixels[(y * width + x) * 4 + 1];
    };
    let value = 0;
    for (let column = 0; column < COLUMNS; column += 1) {
      const [a, b] = [level(column, 0), level(column, 1)];
      if (Math.max(a, b) < 170 || Math.min(a, b) > 85) return null;
      value = value * 2 + (a > b ? 1 : 0);
    }
    return value;
  };
  globalThis.see = (identity, count) => new Promise((resolve) => {
    const video = document.querySelector(`.tile[data-identity^="${identity}"] video`);
    const canvas = new OffscreenCanvas(1, 1);
    const pen = canvas.getContext('2d', { willReadFrequently: true });
    const seen = [];
    const onFrame = () => {
      const [width, height] = [video.videoWidth, video.videoHeight];
      Object.assign(canvas, { width, height });
      pen.drawImage(video, 0, 0);
      seen.push(number(pen.getImageData(0, 0, width, height).data, width, height));
      if (seen.length < count) video.requestVideoFrameCallback(onFrame);
      else resolve({ numbers: seen, width, height });
    };
    video.requestVideoFrameCallback(onFrame);
  });
  // By the old processor: an AudioWorklet's file the page's policy lets in from nowhere. A large buffer outlasts a busy page.
  globalThis.hear = (identity, seconds) => new Promise((resolve) => {
    const person = [...globalThis.room.people.values()].find((each) => each.identity.startsWith(identity));
    const media = [...person.media.values()].find((each) => each.kind === 'audio');
    const context = new AudioContext({ sampleRate: 48000 });
    const meter = context.createScriptProcessor(16384, 1, 1);
    const levels = [];
    let [sum, samples] = [0, 0];
    meter.onaudioprocess = ({ inputBuffer }) => {
      for (const sample of inputBuffer.getChannelData(0)) {
        sum += sample * sample;
        samples += 1;
        if (samples < 960) continue;
        levels.push(Math.sqrt(sum / samples) * 32768);
        [sum, samples] = [0, 0];
      }
      if (levels.length < seconds * 50) return;
      meter.onaudioprocess = null;
      context.close();
      resolve(levels);
    };
    context.createMediaStreamSource(new MediaStream([media])).connect(meter).connect(context.destination);
  });
};

const ORDERS = {
  open: async (name, address, look = {}) => {
    const page = await (await browser.newContext(look)).newPage();
    pages.set(name, page);
    page.on('pageerror', (error) => tell('page_error', { name, text: `${error.name}: ${error.message} ${error.stack}` }));
    page.on('console', (message) => process.stderr.write(`${name} ${message.type()}: ${message.text()}\n`));
    await page.addInitScript(instruments);
    await page.goto(address.replace('static:', `http://localhost:${server.address().port}`));
  },
  close: async (name) => {
    await pages.get(name).context().close();
    pages.delete(name);
  },
  reload: (name) => pages.get(name).reload().then(() => null),
  click: (name, selector) => pages.get(name).click(selector, { timeout: PATIENCE_MS }),
  fill: (name, selector, text) => pages.get(name).fill(selector, text, { timeout: PATIENCE_MS }),
  press: (name, key) => pages.get(name).keyboard.press(key),
  text: (name, selector) => pages.get(name).textContent(selector, { timeout: PATIENCE_MS }),
  until: async (name, expression) => { // from here: within the page its policy forbids to evaluate text
    const end = Date.now() + PATIENCE_MS;
    while (!(await pages.get(name).evaluate(expression))) {
      if (Date.now() > end) throw new Error(`never: ${expression}; ${await pages.get(name).evaluate('document.body.innerText')}`);
      await new Promise((go) => { setTimeout(go, 50); });
    }
  },
  get: (name, expression) => pages.get(name).evaluate(expression),
  shot: (name, file) => pages.get(name).screenshot({ path: file }).then(() => null),
};

const obey = async ({ id, name, what, with: values }) => {
  try {
    tell('answer', { id, value: (await ORDERS[what](name, ...values)) ?? null });
  } catch (error) {
    tell('answer', { id, error: String(error) });
  }
};

tell('ready', { browser: browser.version() });
for await (const line of createInterface({ input: process.stdin })) obey(JSON.parse(line));
await browser.close();
server.close();
tell('left');
