// SPDX-License-Identifier: Apache-2.0
/* sctp/sctp_internal.h - state of an association, shared by its files: sctp.c (verbs, setting up and ending), sctp_send.c
 * (queues, DATA and FORWARD TSN out), sctp_sack.c (acknowledgements, loss, congestion), sctp_receive.c (DATA in, order,
 * SACK out), sctp_reset.c (stream reset), sctp_cookie.c. */
#pragma once
#include "sctp/sctp.h"
#include "sctp/sctp_wire.h"

#define SCTP_SACK_DELAY LK_MSEC(20)
#define SCTP_PEER_SACK_DELAY LK_MSEC(200) /* what others may wait [RFC9260 s6.2] */
#define SCTP_RTO_INITIAL LK_MSEC(500)
#define SCTP_RTO_VAR_MIN LK_MSEC(250) /* above the smoothed round trip */
#define SCTP_RTO_MAX LK_SEC(4)
#define SCTP_INIT_TRIES 8
#define SCTP_TRIES 15
#define SCTP_COOKIE_LIFE LK_SEC(60)
#define SCTP_TSN_WINDOW 65535u     /* gap reports reach no further */
#define SCTP_RANGES_MAX 1024u      /* of TSNs above the cumulative one */
#define SCTP_DUPLICATES_MAX 16u    /* reported in one SACK */
#define SCTP_CHUNKS_MAX 16384u     /* in flight */
#define SCTP_RESETS_MAX 128u       /* streams in one request */
#define SCTP_FRAGMENTS_MAX 4096u   /* waiting for the rest of their messages */
#define SCTP_COOKIE_LEN 56u
#define SCTP_POOLS 4

typedef enum sctp_phase {
    PHASE_NEW,
    PHASE_COOKIE_WAIT,
    PHASE_COOKIE_ECHOED,
    PHASE_UP,
    PHASE_SHUTDOWN_PENDING,
    PHASE_SHUTDOWN_SENT,
    PHASE_SHUTDOWN_RECEIVED,
    PHASE_SHUTDOWN_ACK_SENT,
    PHASE_CLOSED,
} sctp_phase;

/* What the next packets have to carry. */
typedef enum sctp_due {
    DUE_INIT = 1 << 0,
    DUE_INIT_ACK = 1 << 1,
    DUE_COOKIE_ECHO = 1 << 2,
    DUE_COOKIE_ACK = 1 << 3,
    DUE_SACK = 1 << 4,
    DUE_HEARTBEAT_ACK = 1 << 5,
    DUE_RESET_RESPONSE = 1 << 6,
    DUE_RESET_REQUEST = 1 << 7,
    DUE_FORWARD_TSN = 1 << 8,
    DUE_SHUTDOWN = 1 << 9,
    DUE_SHUTDOWN_ACK = 1 << 10,
    DUE_SHUTDOWN_COMPLETE = 1 << 11,
    DUE_ABORT = 1 << 12,
    DUE_STALE_COOKIE = 1 << 13,
} sctp_due;

/* ---- outwards ---- */
typedef enum sctp_reset_state { RESET_NONE, RESET_WANTED, RESET_SENT, RESET_DONE } sctp_reset_state;
typedef struct sctp_out_stream {
    lk_link link; /* in s->active while it has messages to send and may */
    lk_list messages;
    size_t buffered;
    uint16_t id, next_ssn;
    bool active, used, peer_reset; /* used: since our reset; peer_reset: the other direction was reset, ours was not yet */
    sctp_reset_state reset;
} sctp_out_stream;

typedef struct sctp_out_message {
    lk_link link; /* queue of its stream, while `queued` */
    sctp_out_stream *stream;
    lk_usec expires_at;
    uint32_t ppid, len, sent; /* sent: bytes that have a TSN */
    uint32_t first_tsn, chunks, held; /* held: TSNs of it still in the ring */
    uint32_t retransmits_max;
    uint16_t ssn;
    bool unordered, limit_retransmits, limit_lifetime, abandoned, queued;
    uint8_t data[];
} sctp_out_message;

typedef enum sctp_chunk_state { CHUNK_FLYING, CHUNK_LOST, CHUNK_ACKED, CHUNK_ABANDONED } sctp_chunk_state;
typedef struct sctp_out_chunk {
    sctp_out_message *message;
    lk_usec sent_at;
    uint32_t offset;
    uint32_t order;      /* of its last transmission among all */
    uint32_t prev, next; /* TSNs, neighbours in order of transmission while flying */
    uint16_t len, transmissions;
    uint8_t flags, state;
} sctp_out_chunk;

typedef struct sctp_tx {
    lk_map streams; /* id -> sctp_out_stream */
    lk_list active;
    sctp_out_stream *current; /* whose message is cut in the middle */
    size_t queued_messages, buffer_bytes;
    sctp_out_chunk *chunks; /* ring: TSN & (cap - 1) */
    uint32_t cap, count, base; /* base: first TSN not acknowledged */
    uint32_t advanced;         /* FORWARD TSN up to here [RFC3758 s3.5] */
    uint32_t peer_rwnd, streams_max;
    uint32_t order;
    uint32_t flying_head, flying_tail, flying_count, flight_bytes;
    uint32_t lost_count, lost_hint;
    bool probe_credit; /* one packet past the window */
    lk_usec forward_at;
} sctp_tx;

typedef struct sctp_sample {
    uint32_t lost, acked; /* chunks */
} sctp_sample;

/* Loss, time and congestion. */
typedef struct sctp_cc {
    uint32_t cwnd, ssthresh, partial;
    bool limited; /* the window held us back in this round */
    bool recovering, reduced; /* recovering: losses of this round trip are dealt with; reduced: by a smaller window */
    uint32_t recovery_order;
    lk_usec srtt, rttvar, rto;
    uint32_t backoff;
    lk_usec base_rtt, base_next, base_until; /* smallest of half a minute and more */
    lk_usec round_min, before_min; /* smallest of this round trip and of the one before */
    lk_usec immediate_at;
    lk_usec round_at;
    uint32_t round_order, round_bytes;
    sctp_sample sample, before; /* running, and the one before it */
    uint32_t own_permille;      /* what the way loses whatever we send */
    uint32_t trial_cwnd, trial_permille, trial_delivered; /* before the window was made smaller because of losses; 0: no trial */
    bool resample; /* once what was sent with the larger window is known */
    uint32_t delivered; /* bytes the way took in a shortest round trip, lately; 0: not known */
    uint32_t rack_order, reorder_share;
    lk_usec rack_rtt;
    uint32_t probes; /* unanswered ones */
    bool rack_valid, timer_is_probe;
    lk_usec timer_at, rack_at; /* T3 or the probe; the reordering wait */
} sctp_cc;

/* ---- inwards ---- */
typedef struct sctp_in_stream {
    lk_list waiting; /* of whole messages, by SSN */
    uint16_t next_ssn;
} sctp_in_stream;

typedef struct sctp_in_node {
    lk_link link; /* fragments by TSN, waiting by SSN, or events in order */
    uint32_t tsn, ppid, len, run_bytes;
    uint16_t stream, ssn;
    uint8_t flags;
    bool from_begin, reset; /* reset: no message but a stream's reset */
    uint8_t data[];
} sctp_in_node;

typedef struct sctp_range {
    uint32_t first, last;
} sctp_range;

typedef struct sctp_rx {
    lk_map streams; /* id -> sctp_in_stream */
    uint32_t cumulative;
    sctp_range *ranges; /* received above it, ascending, never touching */
    uint32_t range_count, range_cap;
    uint32_t duplicates[SCTP_DUPLICATES_MAX];
    uint32_t duplicate_count, packets;
    bool data_in_packet, sack_soon;
    lk_usec sack_at;
    lk_list fragments, events;
    sctp_in_node *given;
    size_t held_bytes;
    uint32_t told_rwnd;
    /* A message too long is thrown away as it comes. */
    bool discarding, discard_unordered;
    uint32_t discard_next;
    uint16_t discard_stream, discard_ssn;
} sctp_rx;

typedef struct sctp_reset {
    /* ours */
    uint32_t request_seq, next_seq, request_tsn, request_count;
    uint16_t request[SCTP_RESETS_MAX];
    bool outstanding, anew;
    lk_usec at;
    uint32_t tries;
    /* theirs */
    uint32_t expected_seq, result; /* result: of the request before the expected one */
    uint32_t response_seq, response_result;
    bool waited; /* the last request was told to wait */
    bool deferred; /* until the TSN it names has come */
    uint32_t deferred_tsn, deferred_count, deferred_done; /* done: so many of the list are reset */
    uint16_t deferred_streams[SCTP_RESETS_MAX];
} sctp_reset;

/* Blocks of messages that came or went, for those that follow: no allocation per packet while data flows. */
typedef struct sctp_block {
    struct sctp_block *next;
} sctp_block;
typedef struct sctp_pool {
    sctp_block *first;
    uint32_t count, used;
} sctp_pool;

typedef struct sctp_init_ack { /* what the INIT ACK is written from */
    uint32_t peer_tag, peer_tsn, peer_rwnd;
    uint16_t peer_in, peer_out;
    bool forward_tsn, reconfig, zero_checksum;
} sctp_init_ack;

struct lk_sctp {
    const lk_env *env;
    lk_sctp_config config;
    sctp_phase phase;
    uint32_t due;
    bool connected_event, closed_event;
    lk_err closed_err;
    uint32_t tag, peer_tag, initial_tsn, payload_max;
    bool forward_tsn, reconfig, zero_checksum; /* the peer can */
    uint64_t cookie_key[2];
    lk_usec t1_at;
    uint32_t tries;
    sctp_init_ack answer, init_answer; /* the peer of this association; of the INIT to be answered */
    uint32_t stale_tag;
    uint8_t *cookie; /* the peer's, to be echoed */
    size_t cookie_len;
    uint8_t *heartbeat;
    size_t heartbeat_len;
    sctp_tx tx;
    sctp_cc cc;
    sctp_rx rx;
    sctp_reset *reset; /* made on use */
    uint32_t reset_peer_seq, resets_wanted;
    lk_sctp_counters counters;
    sctp_pool pools[SCTP_POOLS];
    uint8_t *packet;
};

/* sctp.c */
void lk_sctp_close(lk_sctp *s, lk_err err);
static inline bool sctp_is_up(const lk_sctp *s) { return s->phase >= PHASE_UP && s->phase < PHASE_CLOSED; }

/* sctp_pool.c: blocks are at most two and a half times what is asked for; size as asked for */
void *lk_sctp_block_new(lk_sctp *s, size_t size);
void lk_sctp_block_free(lk_sctp *s, void *p, size_t size);
void lk_sctp_pool_trim(lk_sctp *s, bool all); /* all, or what an idle association does not keep */
static inline bool sctp_is_idle(const lk_sctp *s) { return s->tx.buffer_bytes == 0 && s->rx.held_bytes == 0; }

/* sctp_cookie.c */
void lk_sctp_cookie_write(const lk_sctp *s, const sctp_init_ack *a, lk_usec now, uint8_t out[SCTP_COOKIE_LEN]);
/* WIRE: not ours; TIMEOUT: too old. */
LK_NODISCARD lk_err lk_sctp_cookie_read(const lk_sctp *s, lk_usec now, const uint8_t *data, size_t len, sctp_init_ack *out);

/* sctp_send.c */
void lk_sctp_tx_init(lk_sctp *s);
void lk_sctp_tx_free(lk_sctp *s);
void lk_sctp_tx_start(lk_sctp *s, const sctp_init_ack *peer); /* the association is up */
sctp_out_stream *lk_sctp_out_stream_of(lk_sctp *s, uint16_t id); /* made if needed; NULL: no memory */
void lk_sctp_out_stream_wake(lk_sctp *s, sctp_out_stream *o);
static inline sctp_out_chunk *sctp_chunk(lk_sctp *s, uint32_t tsn) { return &s->tx.chunks[tsn & (s->tx.cap - 1)]; }
static inline uint32_t sctp_next_tsn(const lk_sctp *s) { return s->tx.base + s->tx.count; }
void lk_sctp_write_data(lk_sctp *s, lk_usec now, lk_wr *w);
void lk_sctp_write_forward(lk_sctp *s, lk_usec now, lk_wr *w);
void lk_sctp_fly(lk_sctp *s, uint32_t tsn);
void lk_sctp_unfly(lk_sctp *s, uint32_t tsn);
/* Gives the message up; false when it must go on (no memory, peer cannot). Chunk pointers are void afterwards. */
bool lk_sctp_abandon(lk_sctp *s, sctp_out_message *m);
bool lk_sctp_is_exhausted(const lk_sctp *s, lk_usec now, const sctp_out_chunk *c);
void lk_sctp_advance(lk_sctp *s);
void lk_sctp_pop_chunk(lk_sctp *s);
bool lk_sctp_has_new_data(const lk_sctp *s);
static inline bool sctp_tx_is_drained(const lk_sctp *s) { return s->tx.count == 0 && s->tx.queued_messages == 0; }

/* sctp_sack.c */
void lk_sctp_cc_init(lk_sctp *s, lk_usec now);
void lk_sctp_on_sack(lk_sctp *s, lk_usec now, const lk_sctp_chunk *c);
void lk_sctp_on_cumulative(lk_sctp *s, lk_usec now, uint32_t tsn); /* SHUTDOWN carries one too */
void lk_sctp_on_timer(lk_sctp *s, lk_usec now);
void lk_sctp_on_rack(lk_sctp *s, lk_usec now);
void lk_sctp_arm(lk_sctp *s, lk_usec now, bool restart);
lk_usec lk_sctp_rto(const lk_sctp *s);

/* sctp_receive.c */
void lk_sctp_rx_init(lk_sctp *s);
void lk_sctp_rx_free(lk_sctp *s);
void lk_sctp_on_data(lk_sctp *s, const lk_sctp_chunk *c);
void lk_sctp_on_forward(lk_sctp *s, const lk_sctp_chunk *c);
void lk_sctp_rx_packet_done(lk_sctp *s, lk_usec now);
void lk_sctp_write_sack(lk_sctp *s, lk_wr *w);
void lk_sctp_rx_forget_given(lk_sctp *s);
LK_NODISCARD lk_err lk_sctp_rx_reset_stream(lk_sctp *s, uint16_t id); /* event; NOMEM */
uint32_t lk_sctp_rwnd(const lk_sctp *s);

/* sctp_reset.c */
void lk_sctp_reset_free(lk_sctp *s);
void lk_sctp_on_reconfig(lk_sctp *s, const lk_sctp_chunk *c);
void lk_sctp_reset_want(lk_sctp *s, sctp_out_stream *o);
void lk_sctp_reset_step(lk_sctp *s); /* after anything changed: deferred requests, requests that became possible */
void lk_sctp_reset_timer(lk_sctp *s);
void lk_sctp_write_reset(lk_sctp *s, lk_usec now, lk_wr *w);
