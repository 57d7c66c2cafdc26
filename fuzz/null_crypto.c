// SPDX-License-Identifier: Apache-2.0
/* dtls/ and srtp/ without secrets, for fuzz entries that are to reach what lies behind them: a hello each way connects,
 * records and packets carry their contents as they are. Linked in front of the real ones. */
#include "dtls/dtls.h"
#include "srtp/srtp.h"

#define HEAD 3 /* content type, version */
enum { ALERT = 21, HANDSHAKE = 22, DATA = 23 };
#define FINGERPRINT                                                                                                           \
    "sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"

struct lk_dtls_context {
    const lk_env *env;
};

lk_err lk_dtls_context_new(lk_dtls_context **out, const lk_env *env)
{
    lk_dtls_context *c = (lk_dtls_context *)lk_alloc0(env, sizeof *c);
    if (!c)
        return LK_ERR_NOMEM;
    c->env = env;
    *out = c;
    return LK_OK;
}

void lk_dtls_context_free(lk_dtls_context *c)
{
    if (c)
        lk_release(c->env, c, sizeof *c);
}

const char *lk_dtls_context_fingerprint(const lk_dtls_context *c)
{
    LK_UNUSED(c);
    return FINGERPRINT;
}

lk_bytes lk_dtls_local_certificate(const lk_dtls_context *c)
{
    LK_UNUSED(c);
    return (lk_bytes){(const uint8_t *)"certificate", 11};
}

void lk_dtls_split(lk_dtls_keys *k, bool client, const uint8_t *block, size_t key_len, size_t salt_len)
{
    LK_UNUSED(client);
    LK_UNUSED(block);
    LK_UNUSED(key_len);
    LK_UNUSED(salt_len);
    memset(k, 0, sizeof *k);
}

void lk_dtls_init(lk_dtls *d, const lk_env *env, lk_dtls_context *context)
{
    memset(d, 0, sizeof *d);
    d->env = env;
    d->context = context;
    d->timer_at = LK_NEVER;
    lk_queue_init(&d->out, env, sizeof(lk_bytes), 64);
}

static void release(const lk_dtls *d, lk_bytes *b)
{
    lk_release(d->env, (void *)(uintptr_t)b->data, b->len);
    *b = (lk_bytes){NULL, 0};
}

void lk_dtls_deinit(lk_dtls *d)
{
    lk_bytes b;
    while (lk_queue_pop(&d->out, &b))
        release(d, &b);
    lk_queue_deinit(&d->out);
    release(d, &d->in);
    release(d, &d->sent_last);
}

static lk_err put(lk_dtls *d, uint8_t type, const void *data, size_t len)
{
    uint8_t *copy = (uint8_t *)lk_alloc(d->env, HEAD + len);
    lk_bytes record = {copy, HEAD + len};
    if (!copy)
        return LK_ERR_NOMEM;
    copy[0] = type;
    copy[1] = 0xfe;
    copy[2] = 0xfd;
    memcpy(copy + HEAD, data, len);
    if (lk_queue_push(&d->out, &record) == LK_OK)
        return LK_OK;
    release(d, &record);
    return LK_ERR_FULL;
}

static void connected_if_known(lk_dtls *d)
{
    if (d->state != LK_DTLS_STATE_UNVERIFIED || !d->expected[0])
        return;
    d->state = LK_DTLS_STATE_CONNECTED;
    d->timer_at = LK_NEVER;
    d->has_event = true;
    d->event = (lk_dtls_event){.type = LK_DTLS_EV_CONNECTED, .keys = {.srtp_profile = LK_SRTP_AEAD_AES_128_GCM}};
}

static void end(lk_dtls *d, lk_dtls_event_type type, lk_dtls_state state, lk_err err)
{
    d->state = state;
    d->timer_at = LK_NEVER;
    d->has_event = true;
    d->event = (lk_dtls_event){.type = type, .err = err};
}

lk_err lk_dtls_expect(lk_dtls *d, lk_usec now, lk_str algorithm, lk_str hex)
{
    LK_UNUSED(now);
    LK_UNUSED(hex);
    (void)lk_str_copy(d->expected, sizeof d->expected, algorithm);
    connected_if_known(d);
    return LK_OK;
}

lk_err lk_dtls_start(lk_dtls *d, lk_usec now, lk_dtls_role role)
{
    if (d->ssl)
        return LK_ERR_STATE;
    d->ssl = d;
    d->role = role;
    d->state = LK_DTLS_STATE_CONNECTING;
    d->started_at = now;
    d->timer_at = role == LK_DTLS_CLIENT ? now : now + LK_SEC(30);
    return LK_OK;
}

void lk_dtls_input(lk_dtls *d, lk_usec now, const uint8_t *data, size_t len)
{
    LK_UNUSED(now);
    bool over = d->state == LK_DTLS_STATE_CLOSED || d->state == LK_DTLS_STATE_FAILED;
    if (!d->ssl || over || len <= HEAD || data[1] != 0xfe || data[2] != 0xfd) {
        d->dropped++;
        return;
    }
    if (data[0] == HANDSHAKE) {
        if (d->role == LK_DTLS_SERVER)
            (void)!put(d, HANDSHAKE, "S", 1);
        if (d->state == LK_DTLS_STATE_CONNECTING)
            d->state = LK_DTLS_STATE_UNVERIFIED;
        connected_if_known(d);
    } else if (data[0] == ALERT) {
        end(d, LK_DTLS_EV_CLOSED, LK_DTLS_STATE_CLOSED, LK_ERR_CLOSED);
    } else if (data[0] == DATA && d->state == LK_DTLS_STATE_CONNECTED && !d->in.data) {
        uint8_t *copy = (uint8_t *)lk_alloc(d->env, len - HEAD);
        if (copy) {
            memcpy(copy, data + HEAD, len - HEAD);
            d->in = (lk_bytes){copy, len - HEAD};
        }
    } else {
        d->dropped++;
    }
}

void lk_dtls_tick(lk_dtls *d, lk_usec now)
{
    if (d->timer_at > now)
        return;
    if (now - d->started_at >= LK_SEC(30)) {
        end(d, LK_DTLS_EV_FAILED, LK_DTLS_STATE_FAILED, LK_ERR_TIMEOUT);
        return;
    }
    if (d->role == LK_DTLS_CLIENT && d->state == LK_DTLS_STATE_CONNECTING)
        (void)!put(d, HANDSHAKE, "C", 1);
    d->timer_at = d->role == LK_DTLS_CLIENT ? now + LK_MSEC(500) : d->started_at + LK_SEC(30);
}

lk_usec lk_dtls_deadline(const lk_dtls *d) { return d->timer_at; }

bool lk_dtls_poll_tx(lk_dtls *d, lk_bytes *out)
{
    release(d, &d->sent_last);
    if (!lk_queue_pop(&d->out, &d->sent_last))
        return false;
    *out = d->sent_last;
    return true;
}

bool lk_dtls_poll_event(lk_dtls *d, lk_dtls_event *out)
{
    if (!d->has_event)
        return false;
    *out = d->event;
    d->has_event = false;
    return true;
}

lk_err lk_dtls_send(lk_dtls *d, lk_usec now, const void *data, size_t len)
{
    LK_UNUSED(now);
    if (d->state != LK_DTLS_STATE_CONNECTED)
        return LK_ERR_STATE;
    return len > 1150 ? LK_ERR_LIMIT : put(d, DATA, data, len);
}

bool lk_dtls_poll_data(lk_dtls *d, uint8_t *out, size_t cap, size_t *len)
{
    if (!d->in.data)
        return false;
    *len = LK_MIN(cap, d->in.len);
    memcpy(out, d->in.data, *len);
    release(d, &d->in);
    return true;
}

void lk_dtls_close(lk_dtls *d, lk_usec now)
{
    LK_UNUSED(now);
    if (d->state == LK_DTLS_STATE_CONNECTED) {
        (void)!put(d, ALERT, "\0", 1);
        d->state = LK_DTLS_STATE_CLOSED;
    }
    d->timer_at = LK_NEVER;
}

const char *lk_dtls_cipher(const lk_dtls *d)
{
    LK_UNUSED(d);
    return "";
}

size_t lk_dtls_remote_certificate(const lk_dtls *d, uint8_t *out, size_t cap)
{
    LK_UNUSED(d);
    LK_UNUSED(out);
    LK_UNUSED(cap);
    return 0;
}

bool lk_dtls_remote_fingerprint(const lk_dtls *d, char out[96])
{
    LK_UNUSED(d);
    LK_UNUSED(out);
    return false;
}

/* ---- srtp ------------------------------------------------------------------------------------------------------- */

size_t lk_srtp_key_len(lk_srtp_profile p) { return p ? 16 : 0; }
size_t lk_srtp_salt_len(lk_srtp_profile p) { return p ? 12 : 0; }
const char *lk_srtp_profile_name(lk_srtp_profile p) { return p ? "NULL" : ""; }

lk_err lk_srtp_derive(const uint8_t *key, size_t key_len, const uint8_t salt[14], uint8_t label, uint8_t *out, size_t out_len)
{
    LK_UNUSED(key);
    LK_UNUSED(key_len);
    LK_UNUSED(salt);
    memset(out, label, out_len);
    return LK_OK;
}

lk_err lk_srtp_init(lk_srtp *s, const lk_env *env, const lk_srtp_config *config)
{
    memset(s, 0, sizeof *s);
    s->env = env;
    s->profile = config->profile;
    return LK_OK;
}

void lk_srtp_deinit(lk_srtp *s) { LK_UNUSED(s); }

const lk_srtp_stream *lk_srtp_stream_of(const lk_srtp *s, uint32_t ssrc)
{
    LK_UNUSED(s);
    LK_UNUSED(ssrc);
    return NULL;
}

static lk_err as_it_is(const size_t *len, size_t least) { return *len < least ? LK_ERR_WIRE : LK_OK; }

lk_err lk_srtp_protect_rtp(lk_srtp *s, uint8_t *packet, size_t *len, size_t cap)
{
    LK_UNUSED(s);
    LK_UNUSED(packet);
    return *len > cap ? LK_ERR_FULL : as_it_is(len, 12);
}

lk_err lk_srtp_protect_rtcp(lk_srtp *s, uint8_t *packet, size_t *len, size_t cap)
{
    LK_UNUSED(s);
    LK_UNUSED(packet);
    return *len > cap ? LK_ERR_FULL : as_it_is(len, 8);
}

lk_err lk_srtp_unprotect_rtp(lk_srtp *s, uint8_t *packet, size_t *len)
{
    LK_UNUSED(s);
    LK_UNUSED(packet);
    return as_it_is(len, 12);
}

lk_err lk_srtp_unprotect_rtcp(lk_srtp *s, uint8_t *packet, size_t *len)
{
    LK_UNUSED(s);
    LK_UNUSED(packet);
    return as_it_is(len, 8);
}
