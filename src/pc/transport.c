// SPDX-License-Identifier: Apache-2.0
#include "pc/transport.h"

#include "sdp/sdp.h"

#define RTP_WINDOW 1024
#define RTCP_WINDOW 128
#define SCTP_MTU 1132         /* with the overhead of a record under what DTLS takes */
#define SEND_BUFFER_BYTES (4u << 20)
#define MESSAGE_MAX (256u << 10)

/* ---- data channels ---- */

/* Is that stream id somebody's already? */
static bool is_taken(const lk_transport *t, uint16_t stream)
{
    for (size_t i = 0; i < t->channel_count; i++) {
        const lk_pc_chan *c = &t->channels[i];
        if (c->stream == stream && c->state != LK_PC_CHANNEL_CLOSED && (!c->ours || c->open_sent))
            return true;
    }
    return false;
}

lk_err lk_transport_add_channel(lk_transport *t, const lk_pc_channel *c, uint32_t *channel)
{
    size_t len = strlen(c->label);
    if (len == 0 || len > LK_PC_LABEL_MAX)
        return LK_ERR_INVALID;
    if (c->negotiated && (c->id == UINT16_MAX || is_taken(t, c->id)))
        return LK_ERR_INVALID;
    if (t->channel_count == LK_PC_CHANNELS_MAX)
        return LK_ERR_LIMIT;
    if (!t->channels) {
        t->channels = (lk_pc_chan *)lk_alloc0(t->env, LK_PC_CHANNELS_MAX * sizeof *t->channels);
        if (!t->channels)
            return LK_ERR_NOMEM;
    }
    lk_pc_chan *n = &t->channels[t->channel_count];
    *n = (lk_pc_chan){.ours = !c->negotiated, .negotiated = c->negotiated, .stream = c->negotiated ? c->id : 0, .unordered = c->unordered, .limit_retransmits = c->limit_retransmits,
                      .reliability = c->retransmits_max};
    memcpy(n->label, c->label, len + 1);
    *channel = (uint32_t)t->channel_count++;
    return LK_OK;
}

static lk_pc_chan *channel_at(const lk_transport *t, uint32_t channel)
{
    return channel < t->channel_count ? &t->channels[channel] : NULL;
}

bool lk_transport_channel_open(const lk_transport *t, uint32_t channel)
{
    const lk_pc_chan *c = channel_at(t, channel);
    return c && c->state == LK_PC_CHANNEL_OPEN;
}

static lk_err send(lk_transport *t, lk_usec now, const lk_pc_chan *c, uint32_t ppid, const uint8_t *data, size_t len, lk_usec lifetime_usec)
{
    lk_sctp_message m = {.stream = c->stream, .ppid = ppid, .data = data, .len = len};
    if (ppid != LK_PPID_DCEP) { /* the handshake itself is ordered and reliable [RFC8832 s6] */
        m.unordered = c->unordered;
        m.limit_retransmits = c->limit_retransmits;
        m.retransmits_max = c->limit_retransmits ? c->reliability : 0;
        m.limit_lifetime = c->limit_lifetime || lifetime_usec > 0;
        m.lifetime_usec = lifetime_usec > 0 ? lifetime_usec : LK_MSEC(c->reliability);
    }
    return lk_sctp_send(t->sctp, now, &m);
}

lk_err lk_transport_send(lk_transport *t, lk_usec now, uint32_t channel, const uint8_t *data, size_t len, lk_usec lifetime_usec)
{
    lk_pc_chan *c = channel_at(t, channel);
    if (!c || c->state != LK_PC_CHANNEL_OPEN || !t->sctp)
        return LK_ERR_STATE;
    if (len > t->message_max)
        return LK_ERR_LIMIT;
    lk_err err = send(t, now, c, LK_PPID_BINARY, data, len, lifetime_usec);
    if (err == LK_OK) {
        c->messages_sent++;
        c->bytes_sent += len;
    }
    return err;
}

size_t lk_transport_buffered(const lk_transport *t, uint32_t channel)
{
    const lk_pc_chan *c = channel_at(t, channel);
    return c && t->sctp ? lk_sctp_buffered(t->sctp, c->stream) : 0;
}

/* the association */

/* Streams of the DTLS client are even, those of the server odd. [RFC8832 s6] */
static void open_channels(lk_transport *t, lk_usec now)
{
    uint16_t next = t->dtls.role == LK_DTLS_CLIENT ? 0 : 1;
    for (size_t i = 0; i < t->channel_count; i++) {
        lk_pc_chan *c = &t->channels[i];
        if (!c->ours || c->open_sent)
            continue;
        while (is_taken(t, next))
            next = (uint16_t)(next + 2);
        uint16_t stream = next;
        uint8_t open[LK_PC_LABEL_MAX + 16];
        size_t len = 0;
        c->stream = stream;
        const lk_dcep m = {.type = LK_DCEP_OPEN,
                           .unordered = c->unordered,
                           .limit_retransmits = c->limit_retransmits,
                           .reliability = c->reliability,
                           .label = lk_str_of(c->label)};
        c->open_sent = lk_dcep_write(&m, open, sizeof open, &len) == LK_OK && send(t, now, c, LK_PPID_DCEP, open, len, 0) == LK_OK;
    }
}

static void data_start(lk_transport *t, lk_usec now)
{
    if (t->sctp || !t->data_agreed || t->closing || t->dtls.state != LK_DTLS_STATE_CONNECTED)
        return;
    const lk_sctp_config config = {
        .mtu_bytes = SCTP_MTU, .send_buffer_bytes = SEND_BUFFER_BYTES, .message_max_bytes = MESSAGE_MAX};
    if (lk_sctp_new(&t->sctp, t->env, &config, now) != LK_OK || lk_sctp_connect(t->sctp, now) != LK_OK) {
        t->dropped++;
        return;
    }
    t->now = now;
    open_channels(t, now);
}

/* what arrives */

static lk_pc_chan *channel_of_stream(const lk_transport *t, uint16_t stream, uint32_t *index)
{
    for (size_t i = 0; i < t->channel_count; i++) {
        lk_pc_chan *c = &t->channels[i];
        if (c->stream == stream && c->state != LK_PC_CHANNEL_CLOSED && (!c->ours || c->open_sent)) {
            *index = (uint32_t)i;
            return c;
        }
    }
    return NULL;
}

static void channel_event(lk_transport_event *out, const lk_pc_chan *c, uint32_t index, bool open)
{
    *out = (lk_transport_event){.channel = index, .open = open, .label = c->label};
}

/* The peer opens one. True: an event says so. */
static bool on_open(lk_transport *t, const lk_sctp_message *m, const lk_dcep *d, lk_transport_event *out)
{
    uint32_t index;
    uint8_t ack[1];
    size_t len = 0;
    if (channel_of_stream(t, m->stream, &index) || t->channel_count == LK_PC_CHANNELS_MAX || d->label.len > LK_PC_LABEL_MAX) {
        t->dropped++;
        return false;
    }
    if (!t->channels) {
        t->channels = (lk_pc_chan *)lk_alloc0(t->env, LK_PC_CHANNELS_MAX * sizeof *t->channels);
        if (!t->channels)
            return false;
    }
    index = (uint32_t)t->channel_count++;
    lk_pc_chan *c = &t->channels[index];
    *c = (lk_pc_chan){.unordered = d->unordered,
                      .limit_retransmits = d->limit_retransmits,
                      .limit_lifetime = d->limit_lifetime,
                      .reliability = d->reliability,
                      .stream = m->stream,
                      .state = LK_PC_CHANNEL_OPEN};
    (void)lk_str_copy(c->label, sizeof c->label, d->label);
    const lk_dcep answer = {.type = LK_DCEP_ACK};
    if (lk_dcep_write(&answer, ack, sizeof ack, &len) != LK_OK || send(t, t->now, c, LK_PPID_DCEP, ack, len, 0) != LK_OK)
        t->dropped++;
    channel_event(out, c, index, true);
    return true;
}

static bool on_handshake(lk_transport *t, const lk_sctp_message *m, lk_transport_event *out)
{
    lk_dcep d;
    uint32_t index;
    if (lk_dcep_parse(&d, m->data, m->len) != LK_OK) {
        t->dropped++;
        return false;
    }
    if (d.type == LK_DCEP_OPEN)
        return on_open(t, m, &d, out);
    lk_pc_chan *c = channel_of_stream(t, m->stream, &index);
    if (!c || c->state != LK_PC_CHANNEL_CONNECTING)
        return false;
    c->state = LK_PC_CHANNEL_OPEN;
    channel_event(out, c, index, true);
    return true;
}

static bool on_message(lk_transport *t, const lk_sctp_message *m, lk_transport_event *out)
{
    uint32_t index;
    if (m->ppid == LK_PPID_DCEP)
        return on_handshake(t, m, out);
    lk_pc_chan *c = channel_of_stream(t, m->stream, &index);
    if (!c) {
        t->dropped++;
        return false;
    }
    bool empty = m->ppid == LK_PPID_STRING_EMPTY || m->ppid == LK_PPID_BINARY_EMPTY;
    lk_bytes data = {m->data, empty ? 0 : m->len};
    c->messages_received++;
    c->bytes_received += data.len;
    *out = (lk_transport_event){.channel = index, .message = true, .label = c->label, .data = data};
    return true;
}

static bool on_reset(lk_transport *t, uint16_t stream, lk_transport_event *out)
{
    uint32_t index;
    lk_pc_chan *c = channel_of_stream(t, stream, &index);
    if (!c)
        return false;
    c->state = LK_PC_CHANNEL_CLOSED;
    channel_event(out, c, index, false);
    return true;
}

/* Nobody opens a negotiated one: it is open as soon as there is an association. */
static bool next_negotiated(lk_transport *t, lk_transport_event *out)
{
    for (uint32_t i = 0; i < t->channel_count; i++) {
        lk_pc_chan *c = &t->channels[i];
        if (!c->negotiated || c->state != LK_PC_CHANNEL_CONNECTING)
            continue;
        c->state = LK_PC_CHANNEL_OPEN;
        channel_event(out, c, i, true);
        return true;
    }
    return false;
}

/* The association is over: one channel after the other is told. */
static bool next_closed(lk_transport *t, lk_transport_event *out)
{
    for (uint32_t i = 0; i < t->channel_count; i++) {
        lk_pc_chan *c = &t->channels[i];
        if (c->state != LK_PC_CHANNEL_OPEN)
            continue;
        c->state = LK_PC_CHANNEL_CLOSED;
        channel_event(out, c, i, false);
        return true;
    }
    return false;
}

/* Records wait inside DTLS until the events of the one before were taken: message bytes live no longer. */
bool lk_transport_poll_event(lk_transport *t, lk_transport_event *out)
{
    lk_sctp_event ev;
    uint8_t record[2048];
    size_t len;
    while (t->sctp) {
        if (lk_sctp_state_of(t->sctp) == LK_SCTP_STATE_CONNECTED && next_negotiated(t, out))
            return true;
        while (lk_sctp_poll_event(t->sctp, &ev)) {
            bool told = false;
            if (ev.type == LK_SCTP_EV_MESSAGE)
                told = on_message(t, &ev.message, out);
            else if (ev.type == LK_SCTP_EV_STREAM_RESET)
                told = on_reset(t, ev.stream, out);
            if (told)
                return true;
        }
        if (lk_sctp_state_of(t->sctp) == LK_SCTP_STATE_CLOSED && next_closed(t, out))
            return true;
        if (!lk_dtls_poll_data(&t->dtls, record, sizeof record, &len))
            return false;
        lk_sctp_input(t->sctp, t->now, record, len);
    }
    return false;
}

/* ---- the handshake ---- */

void lk_transport_init(lk_transport *t, const lk_env *env, lk_dtls_context *dtls)
{
    *t = (lk_transport){.env = env};
    lk_dtls_init(&t->dtls, env, dtls);
}

void lk_transport_deinit(lk_transport *t)
{
    lk_sctp_free(t->sctp);
    lk_release(t->env, t->channels, LK_PC_CHANNELS_MAX * sizeof *t->channels);
    t->sctp = NULL;
    t->channels = NULL;
    if (t->srtp_ready) {
        lk_srtp_deinit(&t->srtp_tx);
        lk_srtp_deinit(&t->srtp_rx);
        t->srtp_ready = false;
    }
    lk_dtls_deinit(&t->dtls);
}

static lk_err start(lk_transport *t, lk_usec now, lk_dtls_role role)
{
    return t->dtls.ssl ? LK_OK : lk_dtls_start(&t->dtls, now, role);
}

lk_err lk_transport_set_role(lk_transport *t, lk_usec now, lk_dtls_role role)
{
    t->client = role == LK_DTLS_CLIENT;
    return t->client ? LK_OK : start(t, now, LK_DTLS_SERVER);
}

lk_err lk_transport_path(lk_transport *t, lk_usec now) { return t->client ? start(t, now, LK_DTLS_CLIENT) : LK_OK; }

void lk_transport_agree_data(lk_transport *t, bool has_max_message_size, uint32_t max_message_size)
{
    uint32_t most = has_max_message_size ? max_message_size : LK_SDP_SCTP_MESSAGE_DEFAULT;
    t->message_max = most ? LK_MIN(most, LK_SCTP_MESSAGE_MAX) : LK_SCTP_MESSAGE_MAX;
    t->data_agreed = true;
}

static lk_err on_keys(lk_transport *t, lk_dtls_keys *k)
{
    lk_srtp_config c = {(lk_srtp_profile)k->srtp_profile, k->local_key, k->local_salt, RTP_WINDOW, RTCP_WINDOW, false};
    lk_err err = LK_OK;
    if (k->srtp_profile) {
        err = lk_srtp_init(&t->srtp_tx, t->env, &c);
        c.key = k->remote_key;
        c.salt = k->remote_salt;
        c.receiver = true;
        if (err == LK_OK)
            err = lk_srtp_init(&t->srtp_rx, t->env, &c);
        t->srtp_ready = err == LK_OK;
        t->profile = c.profile;
    }
    volatile uint8_t *wipe = (volatile uint8_t *)k;
    for (size_t i = 0; i < sizeof *k; i++)
        wipe[i] = 0;
    return err;
}

lk_transport_change lk_transport_poll_change(lk_transport *t, lk_usec now, lk_err *err)
{
    lk_dtls_event ev;
    if (!lk_dtls_poll_event(&t->dtls, &ev)) {
        data_start(t, now);
        return LK_TRANSPORT_SAME;
    }
    *err = ev.type == LK_DTLS_EV_CONNECTED ? on_keys(t, &ev.keys) : ev.type == LK_DTLS_EV_FAILED ? ev.err : LK_ERR_CLOSED;
    if (ev.type == LK_DTLS_EV_CLOSED)
        return LK_TRANSPORT_CLOSED;
    return *err == LK_OK ? LK_TRANSPORT_CONNECTED : LK_TRANSPORT_FAILED;
}

void lk_transport_input(lk_transport *t, lk_usec now, const uint8_t *data, size_t len)
{
    lk_dtls_input(&t->dtls, now, data, len);
    t->now = LK_MAX(now, t->now);
}

void lk_transport_tick(lk_transport *t, lk_usec now)
{
    lk_dtls_tick(&t->dtls, now);
    t->now = LK_MAX(now, t->now);
    if (t->sctp && now >= lk_sctp_deadline(t->sctp))
        lk_sctp_tick(t->sctp, now);
}

lk_usec lk_transport_deadline(const lk_transport *t)
{
    lk_usec at = lk_dtls_deadline(&t->dtls);
    return t->sctp ? LK_MIN(at, lk_sctp_deadline(t->sctp)) : at;
}

static bool data_poll_tx(lk_transport *t, lk_usec now)
{
    lk_bytes packet;
    while (t->sctp && lk_sctp_poll_tx(t->sctp, now, &packet))
        if (lk_dtls_send(&t->dtls, now, packet.data, packet.len) == LK_OK)
            return true;
    return false;
}

bool lk_transport_poll_tx(lk_transport *t, lk_usec now, bool selected, lk_bytes *out)
{
    return lk_dtls_poll_tx(&t->dtls, out) || (selected && data_poll_tx(t, now) && lk_dtls_poll_tx(&t->dtls, out));
}

void lk_transport_close(lk_transport *t, lk_usec now)
{
    while (data_poll_tx(t, now)) {} /* what the window lets through is not lost by leaving */
    lk_dtls_close(&t->dtls, now);
    t->closing = true;
}
