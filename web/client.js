// SPDX-License-Identifier: Apache-2.0
// A LiveKit client for browsers in one file, without dependencies: how to write one, and what app.js uses.
//
// A session, as `lkc serve` and livekit-server have it (signalling v0, two peer connections):
//   1. A WebSocket to SERVER/rtc?access_token=...; why it was refused is asked at SERVER/rtc/validate, as a WebSocket cannot tell.
//   2. The server speaks first: `join` says who is there. Each message is a SignalResponse; those before our first one are
//      protobuf. We speak JSON, so what follows it is JSON as well, in protobuf's own mapping: 64-bit numbers are texts, what is
//      zero or empty is left out.
//   3. The server offers the connection that brings what the others send (the "subscriber"), and offers it again with each change.
//   4. We offer the one that carries what is ours (the "publisher"). A track is announced first (addTrack), then offered.
//   5. Data goes over its channel `_reliable` (or `_lossy`), as protobuf always, and comes over those of the subscriber.
// Not here: end-to-end encryption, data tracks and streams, resuming a session. A lost one is joined anew.

// ---- protobuf ------------------------------------------------------------------------------------------------------------

// Only what is needed before the server has heard from us, and data packets. "number: name type", [] repeated, A|B|C an enum.
const SCHEMA = {
  SignalResponse: { 1: 'join Join', 2: 'answer Description', 3: 'offer Description', 4: 'trickle Trickle', 5: 'update Update',
    8: 'leave Leave', 16: 'refreshToken string' },
  Join: { 1: 'room Room', 2: 'participant Person', 3: 'otherParticipants Person[]', 5: 'iceServers IceServer[]',
    10: 'pingTimeout uint', 11: 'pingInterval uint' },
  Room: { 2: 'name string' },
  Person: { 1: 'sid string', 2: 'identity string', 3: 'state JOINING|JOINED|ACTIVE|DISCONNECTED', 4: 'tracks Track[]', 9: 'name string',
    11: 'permission Permission' },
  Permission: { 2: 'canPublish bool', 3: 'canPublishData bool' },
  Track: { 1: 'sid string', 2: 'type AUDIO|VIDEO|DATA', 4: 'muted bool', 9: 'source UNKNOWN|CAMERA|MICROPHONE|SCREEN_SHARE|SCREEN_SHARE_AUDIO' },
  IceServer: { 1: 'urls string[]', 2: 'username string', 3: 'credential string' },
  Description: { 1: 'type string', 2: 'sdp string', 3: 'id uint' },
  Trickle: { 1: 'candidateInit string', 2: 'target PUBLISHER|SUBSCRIBER' },
  Update: { 1: 'participants Person[]' },
  Leave: { 2: 'reason UNKNOWN_REASON|CLIENT_INITIATED|DUPLICATE_IDENTITY|SERVER_SHUTDOWN|PARTICIPANT_REMOVED|ROOM_DELETED|STATE_MISMATCH' +
    '|JOIN_FAILURE|MIGRATION|SIGNAL_CLOSE|ROOM_CLOSED', 3: 'action DISCONNECT|RESUME|RECONNECT' },
  DataPacket: { 2: 'user User', 4: 'participantIdentity string', 9: 'chatMessage Chat' },
  User: { 2: 'payload bytes', 4: 'topic string' },
  Chat: { 4: 'message string' },
};
const utf8 = { encode: (text) => new TextEncoder().encode(text), decode: (bytes) => new TextDecoder().decode(bytes) };

export const decode = (type, bytes) => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const message = {};
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) { // above 2^53 the lowest bits are lost: nothing here needs them
      const byte = view.getUint8(at++);
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  const read = { 0: varint, 1: () => view.getFloat64((at += 8) - 8, true), 5: () => view.getFloat32((at += 4) - 4, true),
    2: () => { const size = varint(); return bytes.subarray(at, at += size); } };
  while (at < bytes.length) {
    const tag = varint();
    const value = read[tag & 7]();
    const [name, kind] = SCHEMA[type][Math.floor(tag / 8)]?.split(' ') ?? [];
    if (!name) continue;
    const base = kind.replace('[]', '');
    const plain = base === 'string' ? utf8.decode(value) : base === 'bool' ? Boolean(value) : base.includes('|') ? base.split('|')[value]
      : SCHEMA[base] ? decode(base, value) : value;
    if (kind.endsWith('[]')) (message[name] ??= []).push(plain);
    else message[name] = plain;
  }
  return message;
};

export const encode = (type, message) => {
  const out = [];
  const varint = (value) => {
    for (; value > 127; value = Math.floor(value / 128)) out.push((value % 128) | 128);
    out.push(value);
  };
  for (const [number, field] of Object.entries(SCHEMA[type])) {
    const [name, kind] = field.split(' ');
    const value = message[name];
    if (value === undefined) continue;
    const bytes = kind === 'string' ? utf8.encode(value) : kind === 'bytes' ? value : SCHEMA[kind] ? encode(kind, value) : null;
    varint(number * 8 + (bytes ? 2 : 0));
    varint(bytes ? bytes.length : value);
    if (bytes) out.push(...bytes);
  }
  return Uint8Array.from(out);
};

// ---- one session: from a join to its end ------------------------------------------------------------------------------------

export class Refused extends Error {} // trying again would not help

const REFUSALS = { 400: 'The server does not take this', 401: 'The token was refused', 403: 'The token was refused', 404: 'There is no such room',
  429: 'Too many attempts, wait a moment' };
const VP8_FIRST = (a, b) => /VP8/.test(b.mimeType) - /VP8/.test(a.mimeType);

const http = (server) => server.replace(/^ws/, 'http');
const query = (token) => new URLSearchParams({
  access_token: token, auto_subscribe: 1, adaptive_stream: 1, sdk: 'js', version: '2.0.0', protocol: 16,
  browser: /firefox/i.test(navigator.userAgent) ? 'firefox' : /chrome/i.test(navigator.userAgent) ? 'chrome' : 'safari', // it works around each
});

// Whether the server would take the token: null, or the reason in words.
export const refusal = async (server, token) => {
  const answer = await fetch(`${http(server)}/rtc/validate?${query(token)}`);
  if (answer.ok) return null;
  const text = (await answer.text()).replaceAll(token, '...').trim();
  return `${REFUSALS[answer.status] ?? 'The server refused'}: ${text || answer.status}`;
};

class Session {
  #ws; #ping; #heard; #publisher; #subscriber; #tell;
  #order = Promise.resolve(); // messages are handled one after the other
  #negotiation = Promise.resolve();
  #answered = () => {};
  #announced = new Map(); // cid -> what to do with the answer
  #channel;
  #offered = ''; // the last offer for the subscriber
  ended = false;

  // tell(name, value): what the room should know, by the name of the message; besides 'media', 'data' and, once, 'end'.
  constructor(tell) { this.#tell = tell; }

  // Resolves with the server's `join`. Refused, or another Error where a later try may succeed.
  async open(server, token) {
    this.#ws = new WebSocket(`${server}/rtc?${query(token)}`);
    this.#ws.binaryType = 'arraybuffer';
    const join = await new Promise((resolve, reject) => {
      this.#ws.onmessage = ({ data }) => {
        const message = typeof data === 'string' ? JSON.parse(data) : decode('SignalResponse', new Uint8Array(data));
        this.#heard = Date.now();
        if (message.join) resolve(message.join);
        else this.#order = this.#order.then(() => this.#take(message)).catch((error) => this.#end('failed', error));
      };
      this.#ws.onclose = () => reject(new Error('The server cannot be reached'));
      setTimeout(() => reject(new Error('The server does not answer')), 10000);
      // Its first message finds the connections made: both wait for this.
      this.#order = new Promise((go) => { this.begin = go; });
    }).catch(async (error) => {
      this.close();
      const words = await refusal(server, token).catch(() => null);
      throw words ? new Refused(words) : error;
    });
    this.#ws.onclose = () => this.#end('lost');
    const config = { iceServers: join.iceServers ?? [] };
    this.#publisher = this.#connection('PUBLISHER', config);
    this.#subscriber = this.#connection('SUBSCRIBER', config);
    this.#subscriber.ondatachannel = ({ channel }) => this.#listen(channel);
    this.#subscriber.ontrack = ({ track, transceiver }) => this.#onTrack(track, transceiver.mid);
    this.#channel = this.#publisher.createDataChannel('_reliable');
    this.#listen(this.#channel);
    const [interval, timeout] = [(join.pingInterval || 5) * 1000, (join.pingTimeout || 15) * 1000];
    const ping = () => {
      if (Date.now() - this.#heard > timeout) this.#end('lost');
      else this.send({ pingReq: { timestamp: String(Date.now()) } });
    };
    this.#ping = setInterval(ping, interval);
    ping(); // the first message of ours: from now on the server speaks JSON
    return join;
  }

  send(message) {
    if (this.#ws.readyState === WebSocket.OPEN) this.#ws.send(JSON.stringify(message));
  }

  close() {
    this.ended = true;
    clearInterval(this.#ping);
    this.#ws.onclose = this.#ws.onmessage = null;
    this.#ws.close();
    this.#publisher?.close();
    this.#subscriber?.close();
    this.#answered();
    for (const { reject } of this.#announced.values()) reject(new Error('The connection was lost'));
  }

  #end(how, error) {
    if (this.ended) return;
    this.close();
    this.#tell('end', { how, error });
  }

  #connection(target, config) {
    const pc = new RTCPeerConnection(config);
    pc.early = []; // candidates that came before the description they belong to
    pc.onicecandidate = ({ candidate }) => {
      if (candidate) this.send({ trickle: { target, candidateInit: JSON.stringify(candidate) } });
    };
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === 'failed') this.#end('lost');
    };
    return pc;
  }

  async #describe(pc, description) {
    await pc.setRemoteDescription(description);
    for (const candidate of pc.early.splice(0)) await pc.addIceCandidate(candidate);
  }

  async #take(message) {
    if (this.ended) return;
    const [[name, value]] = Object.entries(message).concat([['nothing', null]]);
    if (name === 'offer') {
      this.#offered = value.sdp;
      await this.#describe(this.#subscriber, { type: 'offer', sdp: value.sdp });
      await this.#subscriber.setLocalDescription();
      this.send({ answer: { type: 'answer', sdp: this.#subscriber.localDescription.sdp, id: value.id } });
    } else if (name === 'answer') {
      await this.#describe(this.#publisher, { type: 'answer', sdp: value.sdp });
      this.#answered();
    } else if (name === 'trickle') {
      const pc = value.target === 'SUBSCRIBER' ? this.#subscriber : this.#publisher;
      const candidate = JSON.parse(value.candidateInit || 'null');
      if (candidate && !pc.remoteDescription) pc.early.push(candidate);
      else if (candidate) await pc.addIceCandidate(candidate);
    } else if (name === 'trackPublished') {
      this.#announced.get(value.cid)?.resolve(value.track);
    } else if (name === 'requestResponse' && value.addTrack && !['OK', 'QUEUED'].includes(value.reason)) {
      this.#announced.get(value.addTrack.cid)?.reject(new Error(value.message || value.reason));
    } else if (name === 'subscribedQualityUpdate') {
      await this.#adapt(value);
    } else if (name === 'leave') {
      this.#tell(name, value);
      this.#end('told');
    } else {
      this.#tell(name, value);
    }
  }

  // Which track a section brings stands in its msid: "PARTICIPANT|... TRACK".
  #onTrack(media, mid) {
    const section = this.#offered.split('\r\nm=').find((text) => text.includes(`\r\na=mid:${mid}\r\n`));
    const [, person, sid] = /a=msid:([^|\s]+)\S* (\S+)/.exec(section) ?? [];
    if (sid) this.#tell('media', { person, sid, media });
  }

  #listen(channel) {
    channel.binaryType = 'arraybuffer';
    channel.onmessage = ({ data }) => this.#tell('data', decode('DataPacket', new Uint8Array(data)));
  }

  // ---- what is ours ----

  #negotiate() {
    this.#negotiation = this.#negotiation.catch(() => {}).then(async () => {
      if (this.ended) return;
      await this.#publisher.setLocalDescription();
      const answered = new Promise((resolve) => { this.#answered = resolve; });
      this.send({ offer: { type: 'offer', sdp: this.#publisher.localDescription.sdp } });
      await answered;
    });
    return this.#negotiation;
  }

  // Resolves with { info, sender } once the server knows the track and where it comes.
  async publish(media, { source, muted = false, encodings }) {
    if (this.ended) throw new Error('The connection was lost');
    const cid = media.id;
    const { width = 0, height = 0 } = media.getSettings();
    const layers = encodings?.map((encoding, quality) => ({
      quality: encodings.length === 1 ? 'HIGH' : ['LOW', 'MEDIUM', 'HIGH'][quality], bitrate: encoding.maxBitrate,
      width: Math.round(width / encoding.scaleResolutionDownBy), height: Math.round(height / encoding.scaleResolutionDownBy) }));
    const answer = new Promise((resolve, reject) => { this.#announced.set(cid, { resolve, reject }); });
    this.send({ addTrack: { cid, name: source.toLowerCase(), type: media.kind.toUpperCase(), source, muted, width, height, layers,
      ...(layers && { simulcastCodecs: [{ codec: 'vp8', cid }] }) } });
    const info = await answer.finally(() => this.#announced.delete(cid));
    const transceiver = this.#publisher.addTransceiver(media, { direction: 'sendonly', streams: [new MediaStream([media])], sendEncodings: encodings });
    if (media.kind === 'video')
      transceiver.setCodecPreferences?.(RTCRtpSender.getCapabilities('video').codecs.sort(VP8_FIRST));
    await this.#negotiate();
    transceiver.sender.sid = info.sid;
    return { info, sender: transceiver.sender };
  }

  // A track that is no longer offered is unpublished.
  unpublish(sender) {
    this.#publisher.removeTrack(sender);
    return this.#negotiate();
  }

  // Layers nobody looks at are not sent ("dynacast").
  async #adapt({ trackSid, subscribedQualities, subscribedCodecs }) {
    const sender = this.#publisher.getSenders().find((each) => each.sid === trackSid);
    const parameters = sender?.getParameters();
    const wanted = subscribedCodecs?.[0]?.qualities ?? subscribedQualities;
    if (!parameters?.encodings?.length || !wanted) return;
    const on = ['LOW', 'MEDIUM', 'HIGH'].map((quality) => wanted.some((each) => (each.quality ?? 'LOW') === quality && each.enabled));
    parameters.encodings.forEach((encoding, i, all) => { encoding.active = all.length > 1 ? on[i] : on.includes(true); });
    await sender.setParameters(parameters);
  }

  async sendData(packet) {
    const channel = this.#channel;
    if (channel.readyState !== 'open') {
      if (!this.#publisher.remoteDescription) await this.#negotiate();
      await new Promise((resolve) => { channel.addEventListener('open', resolve, { once: true }); });
    }
    channel.send(encode('DataPacket', packet));
  }
}

// ---- the room ---------------------------------------------------------------------------------------------------------------

const REASONS = { CLIENT_INITIATED: 'You left', DUPLICATE_IDENTITY: 'Somebody joined as the same identity', SERVER_SHUTDOWN: 'The server is going down',
  PARTICIPANT_REMOVED: 'You were removed from the room', ROOM_DELETED: 'The room was closed', ROOM_CLOSED: 'The room was closed',
  JOIN_FAILURE: 'No media connection: is UDP or TCP to the server blocked?' };
const RETRY_MS = [0, 500, 1000, 2000, 4000, 8000, 8000, 8000, 8000, 8000];
const CHAT_TOPIC = 'lk-chat-topic'; // as other clients name it
const CAMERA_LAYERS = [[4, 150], [2, 500], [1, 1700]].map(([scale, kbps], i) => ({
  rid: 'qhf'[i], scaleResolutionDownBy: scale, maxBitrate: kbps * 1000 }));
const SCREEN_LAYERS = [{ scaleResolutionDownBy: 1, maxBitrate: 2500000, maxFramerate: 15 }];
const ENCODINGS = { CAMERA: CAMERA_LAYERS, SCREEN_SHARE: SCREEN_LAYERS };

// Who is in a room, what they send, and what we send. A lost connection is joined anew, and what was published comes back.
// Events: 'people' (anything about anybody changed), 'chat' {from, text}, 'state' {state, words}.
export class Room extends EventTarget {
  #session = null;
  #server; #token;
  #mine = new Map(); // source -> { media, muted, info, sender }
  #watched = new Map(); // sid of a track -> how large it was asked for
  me = null;
  name = '';
  people = new Map(); // identity -> { sid, identity, name, tracks, media: Map(sid -> MediaStreamTrack), speaking, quality }
  state = 'idle'; // joining, joined, returning, left

  async join(server, token) {
    this.#server = server;
    this.#token = token;
    this.#become('joining');
    try {
      await this.#enter();
    } catch (error) {
      this.#become('left', error.message);
      throw error;
    }
  }

  leave() {
    this.#session?.send({ leave: { reason: 'CLIENT_INITIATED' } });
    this.#over('You left');
  }

  #become(state, words = '') {
    this.state = state;
    this.#emit('state', { state, words });
  }

  #emit(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }

  #over(words) {
    this.#session?.close();
    this.#session = null;
    for (const { media } of this.#mine.values()) media.stop();
    this.#mine.clear();
    this.people.clear();
    this.#become('left', words);
  }

  async #enter() {
    const session = new Session((name, value) => {
      if (session === this.#session) this.#hear[name]?.(value);
    });
    this.#session = session;
    const join = await session.open(this.#server, this.#token);
    if (session !== this.#session) return; // left meanwhile
    this.people.clear();
    this.#watched.clear();
    this.name = join.room?.name ?? '';
    this.me = this.#learn(join.participant);
    (join.otherParticipants ?? []).forEach((info) => this.#learn(info));
    session.begin();
    this.#become('joined');
    this.#emit('people');
    for (const [source, mine] of this.#mine) {
      if (mine.media.readyState === 'ended' && !mine.muted) this.#mine.delete(source);
      else await this.#offer(source, mine).catch(() => session.ended || this.#mine.delete(source));
    }
    this.#emit('people');
  }

  async #return() {
    this.#become('returning');
    for (const wait of RETRY_MS) {
      await new Promise((resolve) => { setTimeout(resolve, wait * (0.8 + Math.random() * 0.4)); });
      if (this.state !== 'returning') return;
      try {
        await this.#enter();
        return;
      } catch (error) {
        if (error instanceof Refused) {
          this.#over(error.message);
          return;
        }
      }
    }
    this.#over('The connection was lost');
  }

  // ---- what the server tells ----

  #learn(info) {
    const { identity, sid } = info;
    const known = this.people.get(identity);
    if (info.state === 'DISCONNECTED') {
      if (known?.sid === sid) this.people.delete(identity);
      return null;
    }
    const person = known?.sid === sid ? known : { sid, identity, media: new Map(), speaking: false, quality: 'EXCELLENT' };
    Object.assign(person, { name: info.name || identity, tracks: info.tracks ?? [], permission: info.permission ?? {} });
    this.people.set(identity, person);
    return person;
  }

  #bySid(sid) { return [...this.people.values()].find((person) => person.sid === sid); }

  #hear = {
    update: ({ participants }) => {
      participants.forEach((info) => this.#learn(info));
      this.#emit('people');
    },
    media: ({ person, sid, media }) => {
      this.#bySid(person)?.media.set(sid, media);
      this.#emit('people');
    },
    speakersChanged: ({ speakers = [] }) => {
      for (const { sid, active } of speakers) {
        const person = this.#bySid(sid);
        if (person) person.speaking = Boolean(active);
      }
      this.#emit('people');
    },
    connectionQuality: ({ updates = [] }) => {
      for (const { participantSid, quality } of updates) {
        const person = this.#bySid(participantSid);
        if (person) person.quality = quality ?? 'POOR';
      }
      this.#emit('people');
    },
    mute: ({ sid, muted }) => { // by an admin
      for (const [source, mine] of this.#mine) if (mine.info?.sid === sid) this.mute(source, Boolean(muted));
    },
    data: ({ user, chatMessage, participantIdentity }) => {
      const from = this.people.get(participantIdentity);
      let text = chatMessage?.message;
      try {
        if (user?.topic === CHAT_TOPIC) text = JSON.parse(utf8.decode(user.payload)).message;
      } catch { /* not a chat message, whatever its topic says */ }
      if (from && typeof text === 'string') this.#emit('chat', { from, text });
    },
    refreshToken: (token) => { this.#token = token; },
    leave: ({ reason, action }) => {
      if (!action || action === 'DISCONNECT') this.#over(REASONS[reason] ?? 'The server ended the session');
    },
    end: () => {
      if (this.state === 'joined') this.#return();
    },
  };

  // ---- what is ours ----

  source(source) { return this.#mine.get(source); }

  async #offer(source, mine) {
    Object.assign(mine, await this.#session.publish(mine.media, { source, muted: mine.muted, encodings: ENCODINGS[source] }));
  }

  async publish(source, media) {
    const mine = { media, muted: false };
    this.#mine.set(source, mine);
    try {
      await this.#offer(source, mine);
    } catch (error) {
      this.#mine.delete(source);
      media.stop();
      throw error;
    } finally {
      this.#emit('people');
    }
  }

  async unpublish(source) {
    const mine = this.#mine.get(source);
    this.#mine.delete(source);
    mine?.media.stop();
    this.#emit('people');
    if (mine?.sender) await this.#session?.unpublish(mine.sender);
  }

  // Another device in the place of this one; also the way to send again after mute stopped the camera.
  async replace(source, media) {
    const mine = this.#mine.get(source);
    mine.media.stop();
    mine.media = media;
    media.enabled = !mine.muted;
    await mine.sender?.replaceTrack(media);
    this.#emit('people');
  }

  mute(source, muted) {
    const mine = this.#mine.get(source);
    if (!mine) return;
    mine.muted = muted;
    mine.media.enabled = !muted;
    if (muted && source === 'CAMERA') mine.media.stop(); // its light goes out
    this.#session?.send({ mute: { sid: mine.info?.sid, muted } });
    this.#emit('people');
  }

  // How large a track of somebody is shown, in pixels; null: not at all. Decides which layer comes.
  watch(sid, size) {
    const wish = size ? `${size.width}x${size.height}` : 'none';
    if (this.#watched.get(sid) === wish) return;
    this.#watched.set(sid, wish);
    this.#session?.send({ trackSetting: { trackSids: [sid], disabled: !size, ...size } });
  }

  async say(text) {
    const payload = utf8.encode(JSON.stringify({ id: crypto.randomUUID?.() ?? String(Math.random()), timestamp: Date.now(), message: text }));
    await this.#session.sendData({ user: { payload, topic: CHAT_TOPIC } });
    this.#emit('chat', { from: this.me, text });
  }
}
