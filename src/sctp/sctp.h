// SPDX-License-Identifier: Apache-2.0
/* sctp/sctp.h - one SCTP association as WebRTC data channels use it. [RFC9260] [RFC3758] [RFC6525] [RFC8261] [RFC8831]
 *
 * In:      SCTP packets out of DTLS records, messages to send, the passing of time.
 * Out:     SCTP packets of at most mtu_bytes; whole messages; association and stream events.
 * Owner:   by value in the peer connection. Loop thread.
 * Limits:  config; both buffers grow with use and are bounded: send refuses (FULL), the receive window closes. Memory is
 *          at most 2.5 times what is held, and while data flows as much again for what comes next (blocks of four sizes, 32
 *          of each or as many as are in use): no allocation per packet then, and one in four messages where losses let them
 *          pile up. Hostile packets are counted and never end a live association.
 * Deviates: loss is found by time as well as by gap reports (RACK and tail probes), also that of what was sent again, so that
 *          neither the last packets of a burst nor a second loss wait for a timeout; a timeout shuts the window only after
 *          three probes stayed unanswered. A loss does not close the window by itself: halving leaves 12 messages/s at 15 %
 *          loss, and radio links lose without being full. While round trips are as short as ever, losses up to the way's own
 *          share are only repaired; more than that closes the window to 0.85 (0.98 when hardly any are lost). The own share is
 *          what is lost while little is under way, or what goes on being lost when the window was made smaller and less
 *          arrives for it; a full way lets as much through as before, and then it was us. It is never above 28 %. When round
 *          trips grow (10 ms and a quarter) or more is lost, the window closes to 0.7, as it does among others in a queue. On
 *          a full way without a queue we lose up to 6 % (up to a fifth where the way holds fewer than ten packets).
 *          While nothing queues the window grows by a sixteenth a round trip, else by one packet. The first window is ten
 *          packets; timeouts start at 0.5 s and end at 4 s, so that a path that comes back is used soon.
 *          One address a side; an INIT while up is dropped (a peer that starts over comes with a new DTLS connection);
 *          nothing is reported to the peer about chunks we do not know; no heartbeats of our own.
 */
#pragma once
#include "base/lk_base.h"

#define LK_SCTP_PORT 5000
#define LK_SCTP_MTU 1184
#define LK_SCTP_MESSAGE_MAX (256u << 10)

typedef struct lk_sctp_config {
    uint16_t local_port, remote_port; /* 0: LK_SCTP_PORT */
    uint32_t mtu_bytes;               /* 0: LK_SCTP_MTU; of a whole SCTP packet */
    uint32_t streams;                 /* 0: 1024; asked for outwards and allowed inwards */
    uint32_t send_buffer_bytes;       /* 0: 2 MiB; queued and not yet acknowledged */
    uint32_t receive_buffer_bytes;    /* 0: 1 MiB; advertised window */
    uint32_t message_max_bytes;       /* 0: LK_SCTP_MESSAGE_MAX; larger ones are refused, and dropped when received */
    bool checksums;                   /* never leave the checksum out, though DTLS protects better [RFC9653] */
} lk_sctp_config;

typedef enum lk_sctp_state {
    LK_SCTP_STATE_NEW,
    LK_SCTP_STATE_CONNECTING,
    LK_SCTP_STATE_CONNECTED,
    LK_SCTP_STATE_SHUTTING_DOWN,
    LK_SCTP_STATE_CLOSED,
} lk_sctp_state;

typedef struct lk_sctp_message {
    uint16_t stream;
    uint32_t ppid; /* payload protocol identifier */
    bool unordered;
    /* Partial reliability; both false: reliable. */
    bool limit_retransmits, limit_lifetime;
    uint32_t retransmits_max; /* 0: sent once */
    lk_usec lifetime_usec;    /* from lk_sctp_send on */
    const uint8_t *data;      /* borrowed */
    size_t len;               /* 1..message_max_bytes */
} lk_sctp_message;

typedef enum lk_sctp_event_type {
    LK_SCTP_EV_CONNECTED,
    LK_SCTP_EV_MESSAGE,      /* message: data valid until the next call that takes `now` */
    LK_SCTP_EV_STREAM_RESET, /* the peer reset its outgoing stream; ours is reset in answer */
    LK_SCTP_EV_CLOSED,       /* once: err LK_OK (shut down), TIMEOUT (no answer), CLOSED (aborted by the peer) */
} lk_sctp_event_type;
typedef struct lk_sctp_event {
    lk_sctp_event_type type;
    lk_err err;
    uint16_t stream;
    lk_sctp_message message;
} lk_sctp_event;

/* For stats and tests. */
typedef struct lk_sctp_counters {
    uint64_t packets_sent, packets_received, bytes_sent, bytes_received;
    uint64_t messages_sent, messages_received, messages_abandoned;
    uint64_t chunks_retransmitted, timeouts, dropped; /* dropped: bad packets */
    uint64_t cwnd_bytes, flight_bytes;
    double srtt_s; /* 0: not measured */
} lk_sctp_counters;

typedef struct lk_sctp lk_sctp;

/* Heap object: an association that is never used costs nothing but its struct. NOMEM. */
LK_NODISCARD lk_err lk_sctp_new(lk_sctp **out, const lk_env *env, const lk_sctp_config *config, lk_usec now);
void lk_sctp_free(lk_sctp *s); /* NULL ok; sends nothing */
/* Sends INIT. Both sides may do so at once. A side that never calls it answers the other's INIT. STATE. */
LK_NODISCARD lk_err lk_sctp_connect(lk_sctp *s, lk_usec now);
/* Copies. Before the association is up messages wait in the buffer. FULL; LIMIT: too long, stream too high; INVALID: empty;
 * STATE: closed; NOMEM. */
LK_NODISCARD lk_err lk_sctp_send(lk_sctp *s, lk_usec now, const lk_sctp_message *m);
/* Resets our outgoing stream once what it holds was sent. [RFC6525 s5.1.2] STATE, FULL. */
LK_NODISCARD lk_err lk_sctp_reset_stream(lk_sctp *s, lk_usec now, uint16_t stream);
/* Bytes of messages of that stream not yet handed to the network for the first time (W3C bufferedAmount). */
size_t lk_sctp_buffered(const lk_sctp *s, uint16_t stream);
/* ABORT now, or SHUTDOWN once everything was delivered. */
void lk_sctp_abort(lk_sctp *s, lk_usec now);
void lk_sctp_shutdown(lk_sctp *s, lk_usec now);

void lk_sctp_input(lk_sctp *s, lk_usec now, const uint8_t *data, size_t len);
void lk_sctp_tick(lk_sctp *s, lk_usec now);
lk_usec lk_sctp_deadline(const lk_sctp *s); /* LK_NEVER when nothing is pending */
/* Next packet; bytes valid until the next call that takes `now`. */
bool lk_sctp_poll_tx(lk_sctp *s, lk_usec now, lk_bytes *out);
bool lk_sctp_poll_event(lk_sctp *s, lk_sctp_event *out);
lk_sctp_state lk_sctp_state_of(const lk_sctp *s);
void lk_sctp_count(const lk_sctp *s, lk_sctp_counters *out);
