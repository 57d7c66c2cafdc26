// SPDX-License-Identifier: Apache-2.0
/* Data channels: the application section, the association inside DTLS, and the handshake of each channel. */
#include "pc/pc_internal.h"

#define SCTP_MTU 1140         /* with the overhead of a record under what DTLS takes */
#define SEND_BUFFER_BYTES (4u << 20)
#define MESSAGE_MAX (256u << 10)

lk_err lk_pc_add_channel(lk_pc *pc, const lk_pc_channel *c, uint32_t *channel)
{
    size_t len = strlen(c->label);
    if (len == 0 || len > LK_PC_LABEL_MAX)
        return LK_ERR_INVALID;
    if (pc->channel_count == LK_PC_CHANNELS_MAX)
        return LK_ERR_LIMIT;
    if (!pc->channels) {
        pc->channels = (lk_pc_chan *)lk_alloc0(pc->env, LK_PC_CHANNELS_MAX * sizeof *pc->channels);
        if (!pc->channels)
            return LK_ERR_NOMEM;
    }
    bool has_section = false;
    for (size_t i = 0; i < pc->sections.count; i++)
        has_section |= lk_pc_sect_at(pc, i)->data;
    if (!has_section) {
        lk_err err = lk_pc_append_data_section(pc);
        if (err != LK_OK)
            return err;
    }
    lk_pc_chan *n = &pc->channels[pc->channel_count];
    *n = (lk_pc_chan){.ours = true, .unordered = c->unordered, .limit_retransmits = c->limit_retransmits,
                      .reliability = c->retransmits_max};
    memcpy(n->label, c->label, len + 1);
    *channel = (uint32_t)pc->channel_count++;
    return LK_OK;
}

static lk_pc_chan *channel_at(const lk_pc *pc, uint32_t channel)
{
    return channel < pc->channel_count ? &pc->channels[channel] : NULL;
}

bool lk_pc_channel_open(const lk_pc *pc, uint32_t channel)
{
    const lk_pc_chan *c = channel_at(pc, channel);
    return c && c->state == LK_PC_CHANNEL_OPEN;
}

static lk_err send(lk_pc *pc, lk_usec now, const lk_pc_chan *c, uint32_t ppid, const uint8_t *data, size_t len, lk_usec lifetime_usec)
{
    lk_sctp_message m = {.stream = c->stream, .ppid = ppid, .data = data, .len = len};
    if (ppid != LK_PPID_DCEP) { /* the handshake itself is ordered and reliable [RFC8832 s6] */
        m.unordered = c->unordered;
        m.limit_retransmits = c->limit_retransmits;
        m.retransmits_max = c->limit_retransmits ? c->reliability : 0;
        m.limit_lifetime = c->limit_lifetime || lifetime_usec > 0;
        m.lifetime_usec = lifetime_usec > 0 ? lifetime_usec : LK_MSEC(c->reliability);
    }
    return lk_sctp_send(pc->sctp, now, &m);
}

lk_err lk_pc_send_data(lk_pc *pc, lk_usec now, uint32_t channel, const uint8_t *data, size_t len, lk_usec lifetime_usec)
{
    lk_pc_chan *c = channel_at(pc, channel);
    if (!c || c->state != LK_PC_CHANNEL_OPEN || !pc->sctp)
        return LK_ERR_STATE;
    if (len > pc->data_message_max)
        return LK_ERR_LIMIT;
    lk_err err = send(pc, now, c, LK_PPID_BINARY, data, len, lifetime_usec);
    if (err == LK_OK) {
        c->messages_sent++;
        c->bytes_sent += len;
    }
    return err;
}

size_t lk_pc_data_buffered(const lk_pc *pc, uint32_t channel)
{
    const lk_pc_chan *c = channel_at(pc, channel);
    return c && pc->sctp ? lk_sctp_buffered(pc->sctp, c->stream) : 0;
}

/* ---- the association ---- */

/* Streams of the DTLS client are even, those of the server odd. [RFC8832 s6] */
static void open_channels(lk_pc *pc, lk_usec now)
{
    uint16_t next = pc->dtls.role == LK_DTLS_CLIENT ? 0 : 1;
    for (size_t i = 0; i < pc->channel_count; i++) {
        lk_pc_chan *c = &pc->channels[i];
        if (!c->ours)
            continue;
        uint16_t stream = next;
        next = (uint16_t)(next + 2);
        if (c->open_sent)
            continue;
        uint8_t open[LK_PC_LABEL_MAX + 16];
        size_t len = 0;
        c->stream = stream;
        const lk_dcep m = {.type = LK_DCEP_OPEN,
                           .unordered = c->unordered,
                           .limit_retransmits = c->limit_retransmits,
                           .reliability = c->reliability,
                           .label = lk_str_of(c->label)};
        c->open_sent = lk_dcep_write(&m, open, sizeof open, &len) == LK_OK && send(pc, now, c, LK_PPID_DCEP, open, len, 0) == LK_OK;
    }
}

void lk_pc_data_start(lk_pc *pc, lk_usec now)
{
    if (pc->sctp || !pc->data_agreed || pc->closing || pc->dtls.state != LK_DTLS_STATE_CONNECTED)
        return;
    const lk_sctp_config config = {
        .mtu_bytes = SCTP_MTU, .send_buffer_bytes = SEND_BUFFER_BYTES, .message_max_bytes = MESSAGE_MAX};
    if (lk_sctp_new(&pc->sctp, pc->env, &config, now) != LK_OK || lk_sctp_connect(pc->sctp, now) != LK_OK) {
        pc->dropped++;
        return;
    }
    pc->data_now = now;
    open_channels(pc, now);
}

void lk_pc_data_input(lk_pc *pc, lk_usec now) { pc->data_now = LK_MAX(now, pc->data_now); }

void lk_pc_data_tick(lk_pc *pc, lk_usec now)
{
    pc->data_now = LK_MAX(now, pc->data_now);
    if (pc->sctp && now >= lk_sctp_deadline(pc->sctp))
        lk_sctp_tick(pc->sctp, now);
}

lk_usec lk_pc_data_deadline(const lk_pc *pc) { return pc->sctp ? lk_sctp_deadline(pc->sctp) : LK_NEVER; }

bool lk_pc_data_poll_tx(lk_pc *pc, lk_usec now)
{
    lk_bytes packet;
    while (pc->sctp && lk_sctp_poll_tx(pc->sctp, now, &packet))
        if (lk_dtls_send(&pc->dtls, now, packet.data, packet.len) == LK_OK)
            return true;
    return false;
}

void lk_pc_data_free(lk_pc *pc)
{
    lk_sctp_free(pc->sctp);
    lk_release(pc->env, pc->channels, LK_PC_CHANNELS_MAX * sizeof *pc->channels);
    pc->sctp = NULL;
    pc->channels = NULL;
}

/* ---- what arrives ---- */

static lk_pc_chan *channel_of_stream(const lk_pc *pc, uint16_t stream, uint32_t *index)
{
    for (size_t i = 0; i < pc->channel_count; i++) {
        lk_pc_chan *c = &pc->channels[i];
        if (c->stream == stream && c->state != LK_PC_CHANNEL_CLOSED && (!c->ours || c->open_sent)) {
            *index = (uint32_t)i;
            return c;
        }
    }
    return NULL;
}

static void channel_event(lk_pc_event *out, const lk_pc_chan *c, uint32_t index, bool open)
{
    *out = (lk_pc_event){.type = LK_PC_EV_CHANNEL, .index = index, .active = open, .text = c->label, .stream = "", .track = ""};
}

/* The peer opens one. True: an event says so. */
static bool on_open(lk_pc *pc, const lk_sctp_message *m, const lk_dcep *d, lk_pc_event *out)
{
    uint32_t index;
    uint8_t ack[1];
    size_t len = 0;
    if (channel_of_stream(pc, m->stream, &index) || pc->channel_count == LK_PC_CHANNELS_MAX || d->label.len > LK_PC_LABEL_MAX) {
        pc->dropped++;
        return false;
    }
    if (!pc->channels) {
        pc->channels = (lk_pc_chan *)lk_alloc0(pc->env, LK_PC_CHANNELS_MAX * sizeof *pc->channels);
        if (!pc->channels)
            return false;
    }
    index = (uint32_t)pc->channel_count++;
    lk_pc_chan *c = &pc->channels[index];
    *c = (lk_pc_chan){.unordered = d->unordered,
                      .limit_retransmits = d->limit_retransmits,
                      .limit_lifetime = d->limit_lifetime,
                      .reliability = d->reliability,
                      .stream = m->stream,
                      .state = LK_PC_CHANNEL_OPEN};
    (void)lk_str_copy(c->label, sizeof c->label, d->label);
    const lk_dcep answer = {.type = LK_DCEP_ACK};
    if (lk_dcep_write(&answer, ack, sizeof ack, &len) != LK_OK || send(pc, pc->data_now, c, LK_PPID_DCEP, ack, len, 0) != LK_OK)
        pc->dropped++;
    channel_event(out, c, index, true);
    return true;
}

static bool on_handshake(lk_pc *pc, const lk_sctp_message *m, lk_pc_event *out)
{
    lk_dcep d;
    uint32_t index;
    if (lk_dcep_parse(&d, m->data, m->len) != LK_OK) {
        pc->dropped++;
        return false;
    }
    if (d.type == LK_DCEP_OPEN)
        return on_open(pc, m, &d, out);
    lk_pc_chan *c = channel_of_stream(pc, m->stream, &index);
    if (!c || c->state != LK_PC_CHANNEL_CONNECTING)
        return false;
    c->state = LK_PC_CHANNEL_OPEN;
    channel_event(out, c, index, true);
    return true;
}

static bool on_message(lk_pc *pc, const lk_sctp_message *m, lk_pc_event *out)
{
    uint32_t index;
    if (m->ppid == LK_PPID_DCEP)
        return on_handshake(pc, m, out);
    lk_pc_chan *c = channel_of_stream(pc, m->stream, &index);
    if (!c) {
        pc->dropped++;
        return false;
    }
    bool empty = m->ppid == LK_PPID_STRING_EMPTY || m->ppid == LK_PPID_BINARY_EMPTY;
    lk_bytes data = {m->data, empty ? 0 : m->len};
    c->messages_received++;
    c->bytes_received += data.len;
    *out = (lk_pc_event){.type = LK_PC_EV_DATA, .index = index, .text = c->label, .stream = "", .track = "", .data = data};
    return true;
}

static bool on_reset(lk_pc *pc, uint16_t stream, lk_pc_event *out)
{
    uint32_t index;
    lk_pc_chan *c = channel_of_stream(pc, stream, &index);
    if (!c)
        return false;
    c->state = LK_PC_CHANNEL_CLOSED;
    channel_event(out, c, index, false);
    return true;
}

/* The association is over: one channel after the other is told. */
static bool next_closed(lk_pc *pc, lk_pc_event *out)
{
    for (uint32_t i = 0; i < pc->channel_count; i++) {
        lk_pc_chan *c = &pc->channels[i];
        if (c->state != LK_PC_CHANNEL_OPEN)
            continue;
        c->state = LK_PC_CHANNEL_CLOSED;
        channel_event(out, c, i, false);
        return true;
    }
    return false;
}

/* Records wait inside DTLS until the events of the one before were taken: message bytes live no longer. */
bool lk_pc_data_poll_event(lk_pc *pc, lk_pc_event *out)
{
    lk_sctp_event ev;
    uint8_t record[2048];
    size_t len;
    while (pc->sctp) {
        while (lk_sctp_poll_event(pc->sctp, &ev)) {
            bool told = false;
            if (ev.type == LK_SCTP_EV_MESSAGE)
                told = on_message(pc, &ev.message, out);
            else if (ev.type == LK_SCTP_EV_STREAM_RESET)
                told = on_reset(pc, ev.stream, out);
            if (told)
                return true;
        }
        if (lk_sctp_state_of(pc->sctp) == LK_SCTP_STATE_CLOSED && next_closed(pc, out))
            return true;
        if (!lk_dtls_poll_data(&pc->dtls, record, sizeof record, &len))
            return false;
        lk_sctp_input(pc->sctp, pc->data_now, record, len);
    }
    return false;
}
