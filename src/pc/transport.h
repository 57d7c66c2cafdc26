// SPDX-License-Identifier: Apache-2.0
/* pc/transport.h - what runs inside one path to a peer: DTLS, the SRTP keys it gives, data channels. [RFC5764] [RFC8831]
 *
 * In:      records of the DTLS class from a validated path, the peer's fingerprint, messages to send, the passing of time.
 * Out:     records; connected or failed once; keys for both directions; channels opened and closed, their messages.
 * Owner:   by value in lk_pc and in the peers of the server. Loop thread.
 * Limits:  LK_PC_CHANNELS_MAX channels; 4 MiB of messages wait; a message has at most 256 KiB.
 * Deviates: none.
 */
#pragma once
#include "dcep/dcep.h"
#include "dtls/dtls.h"
#include "pc/pc.h"
#include "sctp/sctp.h"
#include "srtp/srtp.h"

typedef enum lk_pc_channel_state { LK_PC_CHANNEL_CONNECTING, LK_PC_CHANNEL_OPEN, LK_PC_CHANNEL_CLOSED } lk_pc_channel_state;
typedef struct lk_pc_chan {
    char label[LK_PC_LABEL_MAX + 1];
    bool ours, negotiated, unordered, limit_retransmits, limit_lifetime, open_sent;
    uint32_t reliability; /* retransmissions or milliseconds */
    uint16_t stream;
    lk_pc_channel_state state;
    uint64_t messages_sent, bytes_sent, messages_received, bytes_received;
} lk_pc_chan;

typedef struct lk_transport {
    const lk_env *env;
    lk_dtls dtls;
    bool client, srtp_ready, closing; /* client: we speak first once there is a path */
    lk_srtp srtp_tx, srtp_rx;
    lk_srtp_profile profile;
    lk_pc_chan *channels; /* LK_PC_CHANNELS_MAX, made with the first */
    size_t channel_count;
    lk_sctp *sctp; /* made when DTLS is up and the section agreed */
    bool data_agreed;
    size_t message_max; /* of what we send */
    lk_usec now;        /* of the last record or tick */
    uint64_t dropped;
} lk_transport;

void lk_transport_init(lk_transport *t, const lk_env *env, lk_dtls_context *dtls);
void lk_transport_deinit(lk_transport *t);

/* From the peer's description: who speaks first. A server starts at once, a client with the first lk_transport_path.
 * As lk_dtls_start. */
LK_NODISCARD lk_err lk_transport_set_role(lk_transport *t, lk_usec now, lk_dtls_role role);
/* There is a path. As lk_dtls_start. */
LK_NODISCARD lk_err lk_transport_path(lk_transport *t, lk_usec now);
/* The peer's application section [RFC8841 s6]: max_message_size 0 means any. */
void lk_transport_agree_data(lk_transport *t, bool has_max_message_size, uint32_t max_message_size);

typedef enum lk_transport_change { LK_TRANSPORT_SAME, LK_TRANSPORT_CONNECTED, LK_TRANSPORT_FAILED, LK_TRANSPORT_CLOSED } lk_transport_change;
/* What the handshake came to since the last call; call until SAME after every record and tick. err: why it failed. */
lk_transport_change lk_transport_poll_change(lk_transport *t, lk_usec now, lk_err *err);

void lk_transport_input(lk_transport *t, lk_usec now, const uint8_t *data, size_t len); /* a record of the DTLS class */
void lk_transport_tick(lk_transport *t, lk_usec now);
lk_usec lk_transport_deadline(const lk_transport *t);
/* The next record. selected: the path is good enough for data, not only for the handshake. Valid until the next call. */
bool lk_transport_poll_tx(lk_transport *t, lk_usec now, bool selected, lk_bytes *out);
/* What the window lets through goes out before close_notify. */
void lk_transport_close(lk_transport *t, lk_usec now);

/* ---- data channels, numbered as added or opened by the peer; calls as in pc/pc.h ---- */
LK_NODISCARD lk_err lk_transport_add_channel(lk_transport *t, const lk_pc_channel *c, uint32_t *channel);
bool lk_transport_channel_open(const lk_transport *t, uint32_t channel);
LK_NODISCARD lk_err lk_transport_send(lk_transport *t, lk_usec now, uint32_t channel, const uint8_t *data, size_t len,
                                      lk_usec lifetime_usec);
size_t lk_transport_buffered(const lk_transport *t, uint32_t channel);

typedef struct lk_transport_event {
    uint32_t channel;
    bool message;     /* data; else open says whether it opened or closed */
    bool open;
    const char *label;
    lk_bytes data;    /* valid until the next call */
} lk_transport_event;
bool lk_transport_poll_event(lk_transport *t, lk_transport_event *out);
