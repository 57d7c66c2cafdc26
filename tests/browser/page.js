// SPDX-License-Identifier: Apache-2.0
// The browser's participant: the official client, a spoken message, a drawn counter, and instruments that say what
// comes from the others. Orders and events as in tests/interop/participant.py; driver.mjs carries them.
'use strict';

const { Room, RoomEvent, Track, ConnectionState, VideoQuality } = LivekitClient;

// The picture of the counter: COLUMNS bits, the highest first, and below them the same bits inverted, so that a block
// which was not decoded cannot pass for a number. The rest of the picture moves.
const COLUMNS = 12;
const SIZE = [640, 360];

let room = null;
let context = null;
let sound = null; // what is published: {node, publication}
let picture = null;
const heard = new Map(); // publication sid -> {levels, ...}
const seen = new Map(); // publication sid -> {frames: [[ms, number]], sizes: [[number, height]] where it changed, ...}

const describe = (value) => {
  if (value === undefined || value === null || ['string', 'number', 'boolean'].includes(typeof value)) return value ?? null;
  if (Array.isArray(value)) return value.map(describe);
  if (value.identity !== undefined) return { identity: value.identity, sid: value.sid };
  if (value.trackSid !== undefined) return { sid: value.trackSid, name: value.trackName, source: value.source };
  if (Object.getPrototypeOf(value) === Object.prototype) return value;
  return String(value);
};

const REPORTED = [
  'ParticipantConnected', 'ParticipantDisconnected', 'TrackPublished', 'TrackUnpublished', 'TrackMuted', 'TrackUnmuted',
  'LocalTrackPublished', 'LocalTrackUnpublished', 'ActiveSpeakersChanged', 'ConnectionStateChanged', 'Disconnected',
  'Reconnecting', 'Reconnected', 'ParticipantMetadataChanged', 'ParticipantNameChanged', 'ParticipantAttributesChanged',
  'ParticipantPermissionsChanged', 'TrackSubscriptionFailed', 'TrackStreamStateChanged', 'MediaDevicesError',
];
const snake = (name) => name.replace(/(?!^)([A-Z])/g, '_$1').toLowerCase();

const audio = async () => {
  if (!context) {
    context = new AudioContext({ sampleRate: 48000 });
    await context.audioWorklet.addModule('meter.js');
    await context.resume();
  }
  return context;
};

// ---- instruments -----------------------------------------------------------------------------------------------------

const listen = async (track, sid) => {
  const record = { levels: [] };
  heard.set(sid, record);
  track.attach(); // without an element the sound of a peer connection does not reach the graph
  const graph = await audio();
  const meter = new AudioWorkletNode(graph, 'meter', { numberOfOutputs: 0 });
  meter.port.onmessage = ({ data }) => {
    if (!record.levels.length) tell('first_sound', { sid });
    record.levels.push(...data);
  };
  record.source = graph.createMediaStreamSource(new MediaStream([track.mediaStreamTrack]));
  record.source.connect(meter);
  record.stop = () => record.source.disconnect();
};

// The number in the picture, or null if a block is neither black nor white or the rows contradict each other.
const read = (pixels, width, height) => {
  let number = 0;
  const block = { w: width / COLUMNS, h: height / 4 };
  const level = (column, row) => {
    let sum = 0;
    let count = 0;
    for (let y = Math.ceil((row + 0.25) * block.h); y < (row + 0.75) * block.h; y += 2) {
      for (let x = Math.ceil((column + 0.25) * block.w); x < (column + 0.75) * block.w; x += 2) {
        sum += pixels[(y * width + x) * 4 + 1];
        count += 1;
      }
    }
    return sum / count;
  };
  for (let column = 0; column < COLUMNS; column += 1) {
    const [a, b] = [level(column, 0), level(column, 1)];
    if (Math.max(a, b) < 170 || Math.min(a, b) > 85) return null;
    number = number * 2 + (a > b ? 1 : 0);
  }
  return number;
};

const look = (track, sid) => {
  const record = { frames: [], sizes: [], unreadable: 0, goal: Infinity };
  seen.set(sid, record);
  const video = track.attach();
  video.muted = true;
  document.getElementById('seen').append(video);
  const canvas = new OffscreenCanvas(1, 1);
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  const onFrame = (now) => {
    if (video.videoWidth) {
      if (canvas.width !== video.videoWidth || canvas.height !== video.videoHeight) {
        canvas.width = video.videoWidth;
        canvas.height = video.videoHeight;
      }
      pen.drawImage(video, 0, 0);
      const strip = canvas.height / 2;
      record.size = [canvas.width, canvas.height];
      const number = read(pen.getImageData(0, 0, canvas.width, strip).data, canvas.width, canvas.height);
      if (number === null) {
        record.unreadable += 1;
      } else {
        if (!record.frames.length) tell('first_picture', { sid, width: canvas.width, height: canvas.height, number });
        record.frames.push([now, number]);
        if (record.sizes.at(-1)?.[1] !== canvas.height) {
          record.sizes.push([number, canvas.height]);
          tell('fits', { sid, height: canvas.height, number });
        }
        if (number >= record.goal) {
          tell('reached', { sid, number });
          record.goal = Infinity;
        }
      }
    }
    record.request = video.requestVideoFrameCallback(onFrame);
  };
  record.request = video.requestVideoFrameCallback(onFrame);
  record.stop = () => {
    video.cancelVideoFrameCallback(record.request);
    video.remove();
  };
};

const onSubscribed = (track, publication, participant) => {
  tell('track_subscribed', {
    sid: publication.trackSid, identity: participant.identity, kind: track.kind, name: publication.trackName,
    source: publication.source, muted: publication.isMuted, mime: publication.mimeType,
    encrypted: publication.isEncrypted,
  });
  if (track.kind === Track.Kind.Audio) return listen(track, publication.trackSid);
  return look(track, publication.trackSid);
};

const onUnsubscribed = (track, publication, participant) => {
  tell('track_unsubscribed', { sid: publication.trackSid, identity: participant.identity });
  for (const record of [heard.get(publication.trackSid), seen.get(publication.trackSid)]) record?.stop?.();
  track.detach();
};

// ---- data ------------------------------------------------------------------------------------------------------------

const digest = async (bytes) => [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))]
  .map((b) => b.toString(16).padStart(2, '0')).join('');

const onData = async (payload, participant, kind, topic) => {
  const copy = payload.slice();
  if (topic === 'ask') {
    await room.localParticipant.publishData(copy, {
      reliable: kind === 0, topic: 'answer', destinationIdentities: [participant.identity],
    });
  }
  tell('data', {
    from: participant?.identity ?? null, topic, reliable: kind === 0, size: copy.length,
    number: copy.length >= 4 ? new DataView(copy.buffer).getUint32(0) : null, sha256: await digest(copy),
  });
};

// Bytes that both sides can name: a big-endian number, then a sequence that depends on it.
const message = (number, size) => {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i += 1) bytes[i] = (number * 31 + i * 7) & 255;
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
};

const publicationOf = (sid) => [...room.remoteParticipants.values()].flatMap((p) => [...p.trackPublications.values()])
  .find((t) => t.trackSid === sid);

const published = (sid) => [...room.remoteParticipants.values()].map((p) => p.trackPublications.get(sid)).find((p) => p);

// ---- orders ----------------------------------------------------------------------------------------------------------

const orders = {
  // join URL TOKEN [OPTIONS]: of the room; a "passphrase" among them encrypts what is published from end to end.
  async join(text) {
    const [url, token, options] = text.split(' ');
    const { passphrase, connect, ...rest } = JSON.parse(options ?? '{}');
    if (passphrase) {
      const keyProvider = new LivekitClient.ExternalE2EEKeyProvider();
      await keyProvider.setKey(passphrase);
      rest.e2ee = { keyProvider, worker: new Worker('e2ee-worker.js') };
    }
    room = new Room({ adaptiveStream: false, dynacast: false, ...rest });
    if (passphrase) await room.setE2EEEnabled(true);
    for (const name of REPORTED) {
      if (!RoomEvent[name]) throw new Error(`the client knows no event ${name}`);
      room.on(RoomEvent[name], (...args) => tell(snake(name), { args: args.map(describe) }));
    }
    room.on(RoomEvent.TrackSubscribed, onSubscribed);
    room.on(RoomEvent.TrackUnsubscribed, onUnsubscribed);
    room.on(RoomEvent.DataReceived, onData);
    const began = performance.now();
    await room.connect(url, token, connect);
    const me = room.localParticipant;
    tell('connected', { seconds: (performance.now() - began) / 1000, identity: me.identity, sid: me.sid, room: room.name });
  },

  // The connections to come know no transport-wide feedback, as old clients: they measure by send times and answer REMB.
  without_feedback() {
    for (const name of ['createOffer', 'createAnswer']) {
      const make = RTCPeerConnection.prototype[name];
      RTCPeerConnection.prototype[name] = async function made(...args) {
        const { type, sdp } = await make.apply(this, args);
        const kept = sdp.split('\r\n').filter((line) => !/transport-wide-cc|^a=rtcp-fb:\d+ transport-cc/.test(line));
        return { type, sdp: kept.join('\r\n') };
      };
    }
  },

  // through PORT: media of the connections to come goes there, whatever the server calls its address; none over TCP.
  through(port) {
    const moved = (text) => text.replace(/ udp (\d+) \S+ \d+ typ host/gi, ` udp $1 127.0.0.1 ${port} typ host`);
    const { setRemoteDescription, addIceCandidate } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.setRemoteDescription = function set({ type, sdp }) {
      const kept = sdp.split('\r\n').filter((line) => !/^a=candidate.* tcp /i.test(line)).map(moved);
      return setRemoteDescription.call(this, { type, sdp: kept.join('\r\n') });
    };
    RTCPeerConnection.prototype.addIceCandidate = async function add(one) {
      if (/ tcp /i.test(one.candidate)) return undefined;
      return addIceCandidate.call(this, { ...JSON.parse(JSON.stringify(one)), candidate: moved(one.candidate) });
    };
  },

  async leave() {
    await room.disconnect();
  },

  // speak N: publishes the message and says it N times; "spoken" tells the end.
  async speak(times) {
    const graph = await audio();
    const file = await (await fetch('speech.wav')).arrayBuffer();
    const buffer = await graph.decodeAudioData(file);
    const output = graph.createMediaStreamDestination();
    const [track] = output.stream.getAudioTracks();
    const publication = await room.localParticipant.publishTrack(track, { name: 'voice', source: Track.Source.Microphone });
    sound = { publication, output, buffer };
    tell('published', { sid: publication.trackSid, kind: 'audio' });
    if (Number(times)) await orders.say(times);
  },

  async say(times) {
    const graph = await audio();
    const node = new AudioBufferSourceNode(graph, { buffer: sound.buffer, loop: Number(times) > 1 });
    node.connect(sound.output);
    const ended = new Promise((done) => {
      node.onended = done;
    });
    node.start();
    node.stop(graph.currentTime + sound.buffer.duration * Number(times));
    await ended;
    tell('spoken');
  },

  // draw RATE [simulcast | OPTIONS]: publishes a picture with a counter that counts up RATE times a second until "erase".
  async draw(text) {
    const [rate, how] = text.split(' ');
    const { size: [WIDTH, HEIGHT] = SIZE, ...options } = how?.startsWith('{') ? JSON.parse(how) : { simulcast: how === 'simulcast' };
    const canvas = document.createElement('canvas');
    canvas.width = WIDTH;
    canvas.height = HEIGHT;
    const pen = canvas.getContext('2d', { alpha: false });
    picture = { number: 0 };
    const paint = () => {
      const { number } = picture;
      for (let y = HEIGHT / 2; y < HEIGHT; y += 20) {
        pen.fillStyle = `hsl(${(y + number * 3) % 360} 60% 50%)`;
        pen.fillRect(0, y, WIDTH, 20);
      }
      pen.fillStyle = '#ff0';
      pen.fillRect((number * 8) % WIDTH, HEIGHT * 0.65, 60, 60);
      for (let column = 0; column < COLUMNS; column += 1) {
        const bit = (number >> (COLUMNS - 1 - column)) & 1;
        for (const row of [0, 1]) {
          pen.fillStyle = bit !== row ? '#fff' : '#000';
          pen.fillRect((column * WIDTH) / COLUMNS, (row * HEIGHT) / 4, WIDTH / COLUMNS + 1, HEIGHT / 4);
        }
      }
    };
    paint();
    const [track] = canvas.captureStream(Number(rate)).getVideoTracks();
    const publication = await room.localParticipant.publishTrack(track, {
      name: 'picture', source: Track.Source.Camera, videoCodec: 'vp8', ...options,
      videoEncoding: { maxBitrate: 1_000_000, maxFramerate: Number(rate) },
    });
    picture.publication = publication;
    picture.track = track;
    picture.timer = setInterval(() => {
      picture.number += 1;
      paint();
    }, 1000 / Number(rate));
    tell('published', { sid: publication.trackSid, kind: 'video' });
  },

  count() {
    tell('count', { number: picture.number });
  },

  // reach SID NUMBER: "reached" is told when a picture of that number or a later one is seen.
  reach(text) {
    const [sid, number] = text.split(' ');
    seen.get(sid).goal = Number(number);
  },

  // quality SID LOW|MEDIUM|HIGH, dimensions SID WIDTH HEIGHT: what is wanted of a picture. "fits" tells when its size changed.
  quality(text) {
    const [sid, name] = text.split(' ');
    publicationOf(sid).setVideoQuality(VideoQuality[name]);
  },

  dimensions(text) {
    const [sid, width, height] = text.split(' ');
    publicationOf(sid).setVideoDimensions({ width: Number(width), height: Number(height) });
  },

  erase() {
    clearInterval(picture.timer);
    tell('erased', { number: picture.number });
  },

  async mute(what) {
    await (what === 'video' ? picture : sound).publication.mute();
  },

  async unmute(what) {
    await (what === 'video' ? picture : sound).publication.unmute();
  },

  async unpublish(what) {
    await room.localParticipant.unpublishTrack((what === 'video' ? picture : sound).publication.track);
  },

  // What was heard of a publication so far; "hear SID forget" starts a new page.
  hear(text) {
    const [sid, forget] = text.split(' ');
    const record = heard.get(sid);
    tell('hear', { sid, levels: record.levels.map((level) => Math.round(level)) });
    if (forget) record.levels = [];
  },

  // What is decoded of a publication: its codec, and whose work that is.
  async received(sid) {
    const publication = published(sid);
    const stats = [...(await publication.track.receiver.getStats()).values()];
    const stream = stats.find((s) => s.type === 'inbound-rtp');
    tell('received', {
      sid, mime: stats.find((s) => s.id === stream?.codecId)?.mimeType ?? null, frames: stream?.framesDecoded ?? 0,
      keys: stream?.keyFramesDecoded ?? 0, width: stream?.frameWidth ?? 0,
      extensions: publication.track.receiver.getParameters().headerExtensions.map((e) => e.uri),
    });
  },

  // What is encoded of the picture, in all its codecs: the frames of each layer that sends.
  async sent() {
    const senders = [picture.publication.track.sender, ...[...picture.publication.track.simulcastCodecs.values()].map((c) => c.sender)];
    const streams = [];
    for (const sender of senders.filter((s) => s)) {
      const stats = [...(await sender.getStats()).values()];
      for (const s of stats.filter((one) => one.type === 'outbound-rtp')) {
        streams.push({
          mime: stats.find((one) => one.id === s.codecId)?.mimeType ?? null, rid: s.rid ?? '', frames: s.framesEncoded ?? 0, active: s.active,
        });
      }
    }
    tell('sent', { streams });
  },

  // path SID: what our sound and the sound of that publication travel over. (Connections alone do not tell: all are tried.)
  async path(sid) {
    const { track } = published(sid);
    const protocols = [];
    for (const end of [room.localParticipant.getTrackPublication(Track.Source.Microphone).track.sender, track.receiver]) {
      const stats = await end.getStats();
      const transport = [...stats.values()].find((one) => one.type === 'transport');
      protocols.push(stats.get(stats.get(transport.selectedCandidatePairId).localCandidateId).protocol);
    }
    tell('path', { protocols });
  },

  see(text) {
    const [sid, forget] = text.split(' ');
    const record = seen.get(sid);
    tell('see', {
      sid, frames: record.frames.map(([ms, number]) => [ms / 1000, number]), unreadable: record.unreadable, size: record.size,
      sizes: record.sizes,
    });
    if (forget) Object.assign(record, { frames: [], sizes: record.sizes.slice(-1), unreadable: 0 });
  },

  // send TOPIC reliable|lossy SIZE FIRST COUNT IDENTITY [PAUSE]: with milliseconds between them. Lossy ones need it: this
  // client drops them when its channel is not empty.
  async send(text) {
    const [topic, how, size, first, count, identity, pause] = text.split(' ');
    for (let i = 0; i < Number(count); i += 1) {
      await room.localParticipant.publishData(message(Number(first) + i, Number(size)), {
        reliable: how === 'reliable', topic, destinationIdentities: [identity],
      });
      if (pause) await new Promise((done) => { setTimeout(done, Number(pause)); });
    }
  },

  // simulate SCENARIO: what the client calls by these names, "signal-reconnect" for one.
  async simulate(scenario) {
    await room.simulateScenario(scenario);
  },

  async metadata(text) {
    await room.localParticipant.setMetadata(text);
  },

  async name(text) {
    await room.localParticipant.setName(text);
  },

  async attributes(text) {
    await room.localParticipant.setAttributes(JSON.parse(text));
  },

  room() {
    const person = (p) => ({
      identity: p.identity, sid: p.sid, name: p.name ?? '', metadata: p.metadata ?? '', attributes: p.attributes,
      quality: p.connectionQuality,
      tracks: Object.fromEntries([...p.trackPublications.values()].map((t) => [t.trackSid, {
        name: t.trackName, muted: t.isMuted, source: t.source, kind: t.kind, mime: t.mimeType, subscribed: t.isSubscribed ?? null,
      }])),
    });
    tell('room', {
      name: room.name, connected: room.state === ConnectionState.Connected, me: person(room.localParticipant),
      remotes: Object.fromEntries([...room.remoteParticipants.values()].map((p) => [p.identity, person(p)])),
    });
  },
};

globalThis.orders = orders;
