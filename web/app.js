// SPDX-License-Identifier: Apache-2.0
// The page: a form to join with, then tiles, controls and chat around a Room of client.js.
//
// In the fragment, which no server gets to see: #token=... joins with that token; #room=... joins that room where the server
// takes tokens the page signs itself, which is `--dev` alone; #server=ws://... another server than the one the page is from.
import { Refused, Room, refusal } from './client.js';

const DEV = { key: 'devkey', secret: 'secret' }; // known to everybody: any other server refuses them
const TOKEN_SECONDS = 6 * 3600;
const $ = (selector, within = document) => within.querySelector(selector);
const [lobby, stage, talk, toast] = ['#enter', '#stage', '#talk', '#toast'].map((each) => $(each));
const room = new Room();
globalThis.room = room; // for the console, and tests

// ---- what is remembered: of this tab, so that a reload comes back ------------------------------------------------------------

const fragment = new URLSearchParams(location.hash.slice(1));
const saved = JSON.parse(sessionStorage.getItem('visit') ?? '{}');
const visit = {
  ...saved,
  name: saved.name ?? localStorage.getItem('name') ?? '',
  server: fragment.get('server') ?? saved.server ?? new URL('.', location.href).href.replace(/^http/, 'ws').replace(/\/$/, ''),
};
const remember = (changes) => {
  Object.assign(visit, changes);
  sessionStorage.setItem('visit', JSON.stringify(visit));
};

// ---- tokens of --dev ---------------------------------------------------------------------------------------------------------

const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

const mint = async (claims) => {
  const utf8 = new TextEncoder();
  const now = Math.floor(Date.now() / 1000);
  const parts = [{ alg: 'HS256', typ: 'JWT' }, { iss: DEV.key, nbf: now - 60, exp: now + TOKEN_SECONDS, ...claims }];
  const signed = parts.map((part) => base64url(utf8.encode(JSON.stringify(part)))).join('.');
  const key = await crypto.subtle.importKey('raw', utf8.encode(DEV.secret), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return `${signed}.${base64url(new Uint8Array(await crypto.subtle.sign('HMAC', key, utf8.encode(signed))))}`;
};

const tokenFor = (name, where) => mint({ sub: visit.identity, name, video: { room: where, roomJoin: true } });

// The server is asked, so that nothing about its keys has to be told.
const isDev = async () => {
  if (!crypto.subtle) return false;
  const token = await mint({ sub: 'page', video: { room: 'page', roomJoin: true } });
  return refusal(visit.server, token).then((words) => !words, () => false);
};

// ---- devices -------------------------------------------------------------------------------------------------------------------

const TROUBLE = {
  NotAllowedError: 'The browser does not allow it; see the icon beside the address.',
  NotFoundError: 'There is no such device.', NotReadableError: 'The device is in use by another program.',
};
const say = (text) => {
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { toast.hidden = true; }, 8000);
};
const attempt = async (what, action) => {
  try {
    await action();
  } catch (error) {
    say(`${what}: ${TROUBLE[error.name] ?? error.message}`);
  }
};

const SOURCES = { mic: 'MICROPHONE', camera: 'CAMERA', screen: 'SCREEN_SHARE' };
const capture = async (what) => {
  if (!navigator.mediaDevices) throw new Error('Browsers give devices to pages over https or from localhost.');
  const device = (kind) => (visit[kind] ? { deviceId: visit[kind] } : {});
  const get = {
    mic: () => navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, ...device('audioinput') } }),
    camera: () => navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 }, ...device('videoinput') } }),
    screen: () => navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 15 } }),
  };
  const [media] = (await get[what]()).getTracks();
  media.onended = () => { // the device was pulled out, or the browser's own button pressed
    if (room.source(SOURCES[what])?.media === media) attempt('Device', () => room.unpublish(SOURCES[what]));
  };
  if (what === 'screen') media.contentHint = 'detail';
  return media;
};

const isOn = (what) => Boolean(room.source(SOURCES[what]) && !room.source(SOURCES[what]).muted);

const toggle = async (what, on = !isOn(what)) => {
  const source = SOURCES[what];
  const mine = room.source(source);
  if (on && !mine) await room.publish(source, await capture(what));
  else if (!on && what === 'screen') await room.unpublish(source);
  else if (mine) {
    if (on && what === 'camera') await room.replace(source, await capture(what));
    room.mute(source, !on);
  }
  if (what !== 'screen') remember({ [what]: on });
};

const fillDevices = async () => {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  for (const select of document.querySelectorAll('#devices select')) {
    const fitting = devices.filter((each) => each.kind === select.name && each.deviceId);
    select.replaceChildren(...fitting.map((each, i) => new Option(each.label || `${i + 1}`, each.deviceId, false, each.deviceId === visit[select.name])));
    select.parentElement.hidden = !fitting.length || (select.name === 'audiooutput' && !HTMLMediaElement.prototype.setSinkId);
  }
};

$('#devices').onchange = ({ target }) => attempt('Device', async () => {
  remember({ [target.name]: target.value });
  const what = { audioinput: 'mic', videoinput: 'camera' }[target.name];
  if (!what) await Promise.all([...sounds.values()].map((sound) => sound.setSinkId(target.value)));
  else if (isOn(what)) await room.replace(SOURCES[what], await capture(what));
});

// ---- tiles: one for each participant, one for each shared screen ---------------------------------------------------------------

const tiles = new Map(); // key -> figure
const sounds = new Map(); // sid -> audio element

const hue = (text) => [...text].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
const initials = (name) => name.split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? '').join('').toUpperCase();

const watchSize = (figure) => {
  const { sid, mine } = figure.shown ?? {};
  if (!sid || mine) return;
  const { width, height } = figure.getBoundingClientRect();
  const scale = devicePixelRatio || 1;
  room.watch(sid, document.hidden || !width ? null : { width: Math.round(width * scale), height: Math.round(height * scale) });
};
const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => {
  clearTimeout(target.timer);
  target.timer = setTimeout(watchSize, 200, target);
}));
document.addEventListener('visibilitychange', () => tiles.forEach(watchSize));

const show = (video, media) => {
  if (video.srcObject?.getTracks()[0] !== media) video.srcObject = media ? new MediaStream([media]) : null;
};

const drawTile = (person, track, screen) => {
  const mine = person === room.me;
  const key = `${person.identity}/${screen ? 'screen' : 'camera'}`;
  const figure = tiles.get(key) ?? $('#tile').content.firstElementChild.cloneNode(true);
  if (!tiles.has(key)) {
    tiles.set(key, figure);
    figure.dataset.identity = person.identity;
    figure.style.setProperty('--hue', hue(person.identity));
    stage[screen ? 'prepend' : 'append'](figure);
    sizes.observe(figure);
  }
  const own = mine && room.source(screen ? 'SCREEN_SHARE' : 'CAMERA');
  const media = mine ? own && !own.muted && own.media : track && !track.muted && person.media.get(track.sid);
  const mic = person.tracks.find((each) => each.source === 'MICROPHONE');
  const voice = mine ? room.source('MICROPHONE') : mic;
  show($('video', figure), media || null);
  $('video', figure).hidden = !media;
  $('.face', figure).textContent = initials(person.name);
  $('.name', figure).textContent = person.name + (mine ? ' (you)' : '') + (screen ? ' shares' : '');
  $('.muted', figure).toggleAttribute('hidden', screen || Boolean(voice && !voice.muted));
  $('.quality', figure).setAttribute('class', `quality ${person.quality}`);
  $('.quality', figure).setAttribute('aria-label', `connection ${person.quality.toLowerCase()}`);
  figure.classList.toggle('speaking', person.speaking && !screen);
  figure.classList.toggle('screen', screen);
  figure.classList.toggle('mirror', mine && !screen);
  figure.shown = { sid: track?.sid, mine };
  watchSize(figure);
  return key;
};

const play = (sid, media) => {
  if (sounds.has(sid)) return;
  const sound = new Audio();
  sound.srcObject = new MediaStream([media]);
  if (visit.audiooutput) sound.setSinkId?.(visit.audiooutput).catch(() => {});
  sounds.set(sid, sound);
  sound.play().catch((error) => { $('#hear').hidden = error.name !== 'NotAllowedError'; });
};
$('#hear').onclick = () => {
  $('#hear').hidden = true;
  sounds.forEach((sound) => sound.play());
};

// As many columns as make the tiles largest.
const arrange = () => {
  const { clientWidth: width, clientHeight: height } = stage;
  const count = Math.max(1, tiles.size);
  const size = (columns) => Math.min(width / columns, (height / Math.ceil(count / columns)) * (16 / 9));
  const best = [...Array(count)].map((_, i) => i + 1).reduce((a, b) => (size(b) > size(a) ? b : a));
  stage.style.setProperty('--columns', best);
};
new ResizeObserver(arrange).observe(stage);

const draw = () => {
  const keys = new Set();
  const heard = new Set();
  for (const person of room.people.values()) {
    keys.add(drawTile(person, person.tracks.find((each) => each.source === 'CAMERA'), false));
    const screen = person.tracks.find((each) => each.source === 'SCREEN_SHARE');
    if (screen) keys.add(drawTile(person, screen, true));
    for (const { sid, type = 'AUDIO' } of person.tracks) {
      if (type !== 'AUDIO' || !person.media.has(sid)) continue;
      heard.add(sid);
      play(sid, person.media.get(sid));
    }
  }
  for (const [key, figure] of tiles) {
    if (keys.has(key)) continue;
    sizes.unobserve(figure);
    figure.remove();
    tiles.delete(key);
  }
  for (const [sid, sound] of sounds) {
    if (heard.has(sid)) continue;
    sound.srcObject = null;
    sounds.delete(sid);
  }
  stage.classList.toggle('spotlight', Boolean($('.screen', stage)));
  arrange();
  $('#count').textContent = room.people.size === 1 ? 'nobody else is here yet' : `${room.people.size} are here`;
  const { canPublish, canPublishData } = room.me?.permission ?? {};
  for (const what of Object.keys(SOURCES)) {
    $(`[data-do=${what}]`).setAttribute('aria-pressed', isOn(what));
    $(`[data-do=${what}]`).hidden = !canPublish;
  }
  $('form', talk).hidden = !canPublishData;
};
let drawing = 0; // many events, one drawing
room.addEventListener('people', () => {
  drawing ||= setTimeout(() => {
    drawing = 0;
    draw();
  });
});

// ---- chat ----------------------------------------------------------------------------------------------------------------------

room.addEventListener('chat', ({ detail: { from, text } }) => {
  const line = document.createElement('li');
  const who = document.createElement('b');
  who.textContent = from === room.me ? 'You' : from.name;
  line.append(who, text);
  const list = $('ol', talk);
  list.append(line);
  if (list.children.length > 500) list.firstElementChild.remove();
  line.scrollIntoView({ block: 'nearest' });
  $('[data-do=chat]').classList.toggle('news', talk.hidden);
});
$('form', talk).onsubmit = (event) => {
  event.preventDefault();
  const text = $('input', talk).value.trim();
  if (!text) return;
  $('input', talk).value = '';
  attempt('Chat', () => room.say(text));
};

// ---- controls ------------------------------------------------------------------------------------------------------------------

const actions = {
  mic: () => attempt('Microphone', () => toggle('mic')),
  camera: () => attempt('Camera', () => toggle('camera')),
  screen: () => attempt('Screen', () => toggle('screen')),
  chat: () => {
    talk.hidden = !talk.hidden;
    $('[data-do=chat]').setAttribute('aria-pressed', !talk.hidden);
    $('[data-do=chat]').classList.remove('news');
    if (!talk.hidden) $('input', talk).focus();
  },
  devices: async () => {
    await fillDevices();
    $('#devices').showModal();
  },
  leave: () => room.leave(),
};
$('nav').onclick = async ({ target }) => {
  const button = target.closest('button');
  if (!button || button.disabled) return;
  button.disabled = true;
  await actions[button.dataset.do]();
  button.disabled = false;
};

// ---- joining -------------------------------------------------------------------------------------------------------------------

const withToken = (on) => {
  for (const [selector, shown] of [['.by-token', on], ['.by-room', !on]]) {
    $(selector, lobby).hidden = !shown;
    $('input, textarea', $(selector, lobby)).disabled = !shown;
  }
  lobby.elements.name.parentElement.hidden = lobby.elements.name.disabled = on; // the token says who it is
  $('#other-way').textContent = on ? 'I have no token' : 'I have a token';
};

const note = (text, bad = true) => {
  $('#notice').textContent = text;
  $('#notice').classList.toggle('bad', bad);
};

const askForToken = () => Object.assign(lobby.elements.token, { required: !visit.token, placeholder: visit.token ? 'the one from before' : '' });

room.addEventListener('state', ({ detail: { state, words } }) => {
  const inside = state === 'joined' || state === 'returning';
  $('#room').hidden = !inside;
  $('#lobby').hidden = inside;
  $('#state').textContent = state === 'returning' ? 'Connection lost, coming back…' : '';
  $('h1', $('#room')).textContent = room.name;
  document.title = inside ? room.name : 'Join a room';
  if (state !== 'left') return;
  remember({ joined: false });
  draw();
  note(words, false);
  askForToken();
});

const enter = async ({ mic, camera }) => {
  $('button.main', lobby).disabled = true;
  note('');
  try {
    remember({ identity: visit.identity ?? `${visit.name || 'guest'}-${Math.random().toString(36).slice(2, 8)}` });
    await room.join(visit.server, visit.token ?? await tokenFor(visit.name, visit.room));
    remember({ joined: true, mic, camera });
    if (mic) await attempt('Microphone', () => toggle('mic', true));
    if (camera) await attempt('Camera', () => toggle('camera', true));
  } catch (error) {
    note(error.message);
    if (error instanceof Refused) remember({ token: undefined });
    askForToken();
  } finally {
    $('button.main', lobby).disabled = false;
  }
};

lobby.onsubmit = (event) => {
  event.preventDefault();
  const { name, room: where, token, mic, camera } = lobby.elements;
  remember(token.disabled ? { name: name.value.trim(), room: where.value.trim(), token: undefined, identity: undefined } : { token: token.value.trim() || visit.token });
  if (!token.disabled) token.value = '';
  else localStorage.setItem('name', visit.name);
  enter({ mic: mic.checked, camera: camera.checked });
};
$('#other-way').onclick = () => withToken(lobby.elements.token.disabled);
addEventListener('pagehide', () => { // the others need not wait for a timeout; `joined` stays, so that a reload comes back
  const { joined } = visit;
  if (room.state === 'joined') room.leave();
  remember({ joined });
});

const start = async () => {
  if (fragment.has('token')) {
    remember({ token: fragment.get('token'), joined: false });
    fragment.delete('token'); // not to be seen over a shoulder, nor copied with the address
    history.replaceState(null, '', fragment.size ? `#${fragment}` : location.pathname);
    withToken(true);
    await enter({ mic: false, camera: false });
    return;
  }
  lobby.elements.name.value = visit.name;
  lobby.elements.room.value = fragment.get('room') ?? visit.room ?? '';
  if (!globalThis.isSecureContext) note('Neither https nor localhost: you can watch, listen and write, but not send sound or pictures.');
  const dev = !visit.token && await isDev();
  withToken(!dev);
  $('#other-way').hidden = !dev;
  if (visit.joined) await enter(visit);
  else if (dev && fragment.get('room')) {
    remember({ room: fragment.get('room'), name: visit.name || 'Guest', token: undefined, identity: undefined });
    await enter({ mic: false, camera: false });
  }
};
start();
