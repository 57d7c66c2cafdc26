// SPDX-License-Identifier: Apache-2.0
// Chromium as a participant, with the line protocol of tests/interop/participant.py.
//
//   node driver.mjs --wav FILE
//
// It serves page.html on localhost and opens it in headless Chromium. Orders come on standard input, one a line:
// "open" and "close" are a page's life, everything else is an order of page.js ("join URL TOKEN", "speak 2", ...). What
// the page tells is printed as one JSON object a line; every order ends in "done" or "order_failed"; one that begins
// with "bg " runs beside the next ones. End of file closes the browser.
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { FLAGS } from './flags.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const modules = path.join(here, '../../.peers/browser/node_modules');
const { chromium } = createRequire(path.join(modules, 'x.js'))('playwright-core');
const { values: options } = parseArgs({
  options: { wav: { type: 'string' }, chromium: { type: 'string', default: '/usr/bin/chromium' } },
});

const FILES = {
  '/': [path.join(here, 'page.html'), 'text/html; charset=utf-8'],
  '/page.js': [path.join(here, 'page.js'), 'text/javascript; charset=utf-8'],
  '/meter.js': [path.join(here, 'meter.js'), 'text/javascript; charset=utf-8'],
  '/livekit-client.umd.js': [path.join(modules, 'livekit-client/dist/livekit-client.umd.js'), 'text/javascript'],
  '/e2ee-worker.js': [path.join(modules, 'livekit-client/dist/livekit-client.e2ee.worker.js'), 'text/javascript'],
  '/speech.wav': [options.wav, 'audio/wav'],
};

const tell = (event, fields = {}) => process.stdout.write(JSON.stringify({ event, ...fields }) + '\n');

const server = createServer((request, response) => {
  const [file, type] = FILES[new URL(request.url, 'http://localhost').pathname] ?? [];
  if (!file || !existsSync(file)) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { 'content-type': type, 'cache-control': 'no-store' });
  createReadStream(file).pipe(response);
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const address = `http://localhost:${server.address().port}/`;
const browser = await chromium.launch({ executablePath: options.chromium, headless: true, args: FLAGS });
let page = null;

const close = async () => {
  await page?.context().close();
  page = null;
};

const open = async () => {
  await close();
  page = await (await browser.newContext()).newPage();
  page.on('pageerror', (error) => tell('page_error', { text: String(error.stack ?? error) }));
  page.on('console', (message) => process.stderr.write(`${message.type()}: ${message.text()}\n`));
  await page.exposeFunction('tell', tell);
  await page.goto(address);
  tell('opened', { browser: browser.version(), client: await page.evaluate(() => LivekitClient.version) });
};

const obey = async (line) => {
  const [order] = line.split(' ', 1);
  const rest = line.slice(order.length + 1);
  try {
    if (order === 'open') await open();
    else if (order === 'close') await close();
    else await page.evaluate(([name, text]) => globalThis.orders[name](text), [order, rest]);
    tell('done', { order });
  } catch (error) {
    tell('order_failed', { order, text: String(error) });
  }
};

tell('ready', { browser: browser.version() });
const beside = [];
for await (const line of createInterface({ input: process.stdin })) {
  if (line.startsWith('bg ')) beside.push(obey(line.slice(3)));
  else await obey(line);
}
await close();
await Promise.allSettled(beside);
await browser.close();
server.close();
tell('left');
