// SPDX-License-Identifier: Apache-2.0
#include "dtls/dtls.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/srtp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "crypto/crypto.h"

#define OUT_MAX 64
#define RECORD_MAX 1135 /* with 37 bytes of a record around it under the MTU */
#define HANDSHAKE_MAX_USEC LK_SEC(30)
#define TIMER_FIRST_USEC 100000u
#define TIMER_MAX_USEC 3000000u
#define CERT_DAYS 30
/* Preference of a server of ours; GCM-128 is the cheapest per packet. */
#define PROFILES "SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80"
#define CIPHERS "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:" \
                "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"

struct lk_dtls_context {
    const lk_env *env;
    SSL_CTX *ctx[2]; /* by role */
    BIO_METHOD *method;
    EVP_PKEY *key;
    X509 *cert;
    uint8_t *der;
    int der_len;
    char fingerprint[LK_DTLS_FINGERPRINT_MAX];
};

/* ---- the datagram BIO: one read is one datagram in, one write one datagram out --------------------- */

static int bio_write(BIO *b, const char *data, int len)
{
    lk_dtls *d = (lk_dtls *)BIO_get_data(b);
    uint8_t *copy = len > 0 ? (uint8_t *)lk_alloc(d->env, (size_t)len) : NULL;
    if (!copy)
        return len; /* as if the network had lost it */
    memcpy(copy, data, (size_t)len);
    lk_bytes packet = {copy, (size_t)len};
    if (lk_queue_push(&d->out, &packet) != LK_OK) {
        lk_release(d->env, copy, (size_t)len);
        d->dropped++;
    }
    return len;
}

static int bio_read(BIO *b, char *out, int cap)
{
    lk_dtls *d = (lk_dtls *)BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (!d->in.data) {
        BIO_set_retry_read(b);
        return -1;
    }
    size_t n = LK_MIN(d->in.len, (size_t)cap);
    memcpy(out, d->in.data, n);
    d->in = (lk_bytes){0};
    return (int)n;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    LK_UNUSED(b);
    LK_UNUSED(num);
    LK_UNUSED(ptr);
    switch (cmd) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_DGRAM_QUERY_MTU:
    case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
        return LK_DTLS_MTU;
    case BIO_CTRL_DGRAM_GET_MTU_OVERHEAD:
        return 48;
    default:
        return 0;
    }
}

/* ---- context -------------------------------------------------------------------------------------- */

static bool format_fingerprint(X509 *cert, const EVP_MD *md, char *out, size_t cap)
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (X509_digest(cert, md, hash, &n) != 1 || cap < (size_t)n * 3)
        return false;
    for (unsigned i = 0; i < n; i++) {
        out[i * 3] = "0123456789ABCDEF"[hash[i] >> 4];
        out[i * 3 + 1] = "0123456789ABCDEF"[hash[i] & 15];
        out[i * 3 + 2] = i + 1 < n ? ':' : 0;
    }
    return true;
}

static int accept_any(int ok, X509_STORE_CTX *store)
{
    LK_UNUSED(ok);
    LK_UNUSED(store);
    return 1; /* trust comes from the fingerprint, compared after the handshake and before any key is used */
}

static SSL_CTX *make_ctx(const lk_dtls_context *c, const SSL_METHOD *method)
{
    SSL_CTX *x = SSL_CTX_new(method);
    if (!x)
        return NULL;
    SSL_CTX_set_options(x, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_SINGLE_ECDH_USE);
    SSL_CTX_set_session_cache_mode(x, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(x, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, accept_any);
    SSL_CTX_set_read_ahead(x, 1);
    bool ok = SSL_CTX_set_min_proto_version(x, DTLS1_2_VERSION) == 1 &&
              SSL_CTX_set_max_proto_version(x, DTLS1_2_VERSION) == 1 &&
              SSL_CTX_set_max_send_fragment(x, LK_DTLS_MTU) == 1 && SSL_CTX_set_cipher_list(x, CIPHERS) == 1 &&
              SSL_CTX_set1_groups_list(x, "X25519:P-256:P-384") == 1 &&
              SSL_CTX_set_tlsext_use_srtp(x, PROFILES) == 0 && SSL_CTX_use_certificate(x, c->cert) == 1 &&
              SSL_CTX_use_PrivateKey(x, c->key) == 1;
    if (ok)
        return x;
    SSL_CTX_free(x);
    return NULL;
}

static bool make_certificate(lk_dtls_context *c)
{
    uint64_t serial = lk_rand_u64(c->env) >> 1;
    c->key = EVP_EC_gen("P-256");
    c->cert = X509_new();
    if (!c->key || !c->cert)
        return false;
    X509_NAME *name = X509_get_subject_name(c->cert);
    bool ok = X509_set_version(c->cert, 2) == 1 &&
              ASN1_INTEGER_set_uint64(X509_get_serialNumber(c->cert), serial | 1) == 1 &&
              X509_gmtime_adj(X509_getm_notBefore(c->cert), -86400) &&
              X509_gmtime_adj(X509_getm_notAfter(c->cert), 86400L * CERT_DAYS) &&
              X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"livekit-c", -1, -1, 0) == 1 &&
              X509_set_issuer_name(c->cert, name) == 1 && X509_set_pubkey(c->cert, c->key) == 1 &&
              X509_sign(c->cert, c->key, EVP_sha256()) > 0;
    if (!ok)
        return false;
    c->der_len = i2d_X509(c->cert, &c->der);
    memcpy(c->fingerprint, "sha-256 ", 8);
    return c->der_len > 0 && format_fingerprint(c->cert, EVP_sha256(), c->fingerprint + 8, sizeof c->fingerprint - 8);
}

static bool make_method(lk_dtls_context *c)
{
    c->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "lk datagram");
    return c->method && BIO_meth_set_write(c->method, bio_write) == 1 && BIO_meth_set_read(c->method, bio_read) == 1 &&
           BIO_meth_set_ctrl(c->method, bio_ctrl) == 1;
}

lk_err lk_dtls_context_new(lk_dtls_context **out, const lk_env *env)
{
    lk_dtls_context *c = (lk_dtls_context *)lk_alloc0(env, sizeof *c);
    if (!c)
        return LK_ERR_NOMEM;
    c->env = env;
    bool ok = make_certificate(c) && make_method(c) && (c->ctx[LK_DTLS_CLIENT] = make_ctx(c, DTLS_client_method())) &&
              (c->ctx[LK_DTLS_SERVER] = make_ctx(c, DTLS_server_method()));
    ERR_clear_error();
    if (!ok) {
        lk_dtls_context_free(c);
        return LK_ERR_INTERNAL;
    }
    *out = c;
    return LK_OK;
}

void lk_dtls_context_free(lk_dtls_context *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ctx[0]);
    SSL_CTX_free(c->ctx[1]);
    BIO_meth_free(c->method);
    X509_free(c->cert);
    EVP_PKEY_free(c->key);
    OPENSSL_free(c->der);
    lk_release(c->env, c, sizeof *c);
}

const char *lk_dtls_context_fingerprint(const lk_dtls_context *c) { return c->fingerprint; }

lk_bytes lk_dtls_local_certificate(const lk_dtls_context *c) { return (lk_bytes){c->der, (size_t)c->der_len}; }

/* ---- one association ------------------------------------------------------------------------------ */

void lk_dtls_init(lk_dtls *d, const lk_env *env, lk_dtls_context *context)
{
    *d = (lk_dtls){.env = env, .context = context, .timer_at = LK_NEVER, .started_at = LK_NEVER};
    lk_queue_init(&d->out, env, sizeof(lk_bytes), OUT_MAX);
}

static void free_bytes(lk_dtls *d, lk_bytes *b)
{
    lk_release(d->env, (void *)(uintptr_t)b->data, b->len);
    *b = (lk_bytes){0};
}

void lk_dtls_deinit(lk_dtls *d)
{
    lk_bytes packet;
    while (lk_queue_pop(&d->out, &packet))
        free_bytes(d, &packet);
    free_bytes(d, &d->sent_last);
    lk_queue_deinit(&d->out);
    SSL_free((SSL *)d->ssl);
    d->ssl = NULL;
    lk_secure_zero(&d->event, sizeof d->event);
}

static const EVP_MD *hash_of(lk_str algorithm)
{
    return lk_str_ieq(algorithm, "sha-256")   ? EVP_sha256()
           : lk_str_ieq(algorithm, "sha-384") ? EVP_sha384()
           : lk_str_ieq(algorithm, "sha-512") ? EVP_sha512()
                                              : NULL;
}

static void finish(lk_dtls *d, lk_dtls_event_type type, lk_err err)
{
    bool over = d->state == LK_DTLS_STATE_FAILED || d->state == LK_DTLS_STATE_CLOSED;
    if (over)
        return;
    d->state = type == LK_DTLS_EV_CLOSED ? LK_DTLS_STATE_CLOSED : LK_DTLS_STATE_FAILED;
    d->timer_at = LK_NEVER;
    d->event = (lk_dtls_event){.type = type, .err = err};
    d->has_event = true;
}

static bool fingerprint_matches(const lk_dtls *d)
{
    char actual[LK_DTLS_FINGERPRINT_MAX];
    lk_str want = lk_str_of(d->expected), algorithm = lk_str_cut(&want, ' ');
    const EVP_MD *md = hash_of(algorithm);
    X509 *cert = SSL_get1_peer_certificate((SSL *)d->ssl);
    bool ok = md && cert && format_fingerprint(cert, md, actual, sizeof actual) && strlen(actual) == want.len;
    X509_free(cert);
    return ok && lk_memcmp_ct(actual, want.p, want.len) == 0;
}

void lk_dtls_split(lk_dtls_keys *k, bool client, const uint8_t *block, size_t key, size_t salt)
{
    memcpy(client ? k->local_key : k->remote_key, block, key);
    memcpy(client ? k->remote_key : k->local_key, block + key, key);
    memcpy(client ? k->local_salt : k->remote_salt, block + 2 * key, salt);
    memcpy(client ? k->remote_salt : k->local_salt, block + 2 * key + salt, salt);
}

static bool export_keys(const lk_dtls *d, lk_dtls_keys *k)
{
    SSL *ssl = (SSL *)d->ssl;
    uint8_t block[2 * (LK_DTLS_KEY_MAX + LK_DTLS_SALT_MAX)];
    const SRTP_PROTECTION_PROFILE *p = SSL_get_selected_srtp_profile(ssl);
    if (!p)
        return true; /* an association without media */
    k->srtp_profile = (uint16_t)p->id;
    size_t key = p->id == SRTP_AEAD_AES_256_GCM ? 32 : 16, salt = p->id == SRTP_AES128_CM_SHA1_80 ? 14 : 12;
    if (SSL_export_keying_material(ssl, block, 2 * (key + salt), "EXTRACTOR-dtls_srtp", 19, NULL, 0, 0) != 1)
        return false;
    lk_dtls_split(k, d->role == LK_DTLS_CLIENT, block, key, salt);
    lk_secure_zero(block, sizeof block);
    return true;
}

static void verify(lk_dtls *d)
{
    if (d->state != LK_DTLS_STATE_UNVERIFIED || !d->expected[0])
        return;
    if (!fingerprint_matches(d)) {
        finish(d, LK_DTLS_EV_FAILED, LK_ERR_AUTH);
        return;
    }
    lk_dtls_event ev = {.type = LK_DTLS_EV_CONNECTED};
    if (!export_keys(d, &ev.keys)) {
        finish(d, LK_DTLS_EV_FAILED, LK_ERR_INTERNAL);
        return;
    }
    d->state = LK_DTLS_STATE_CONNECTED;
    d->event = ev;
    d->has_event = true;
    lk_secure_zero(&ev, sizeof ev);
}

lk_err lk_dtls_expect(lk_dtls *d, lk_usec now, lk_str algorithm, lk_str hex)
{
    lk_text t;
    LK_UNUSED(now);
    if (!hash_of(algorithm) || hex.len == 0)
        return LK_ERR_INVALID;
    lk_text_init(&t, d->env, sizeof d->expected - 1);
    lk_text_str(&t, algorithm);
    lk_text_ch(&t, ' ');
    for (size_t i = 0; i < hex.len; i++)
        lk_text_ch(&t, hex.p[i] >= 'a' && hex.p[i] <= 'f' ? (char)(hex.p[i] - 32) : hex.p[i]);
    lk_err err = t.bad ? LK_ERR_NOMEM : LK_OK;
    if (err == LK_OK && d->expected[0] && strcmp(d->expected, t.p) != 0)
        err = LK_ERR_STATE;
    if (err == LK_OK)
        (void)lk_str_copy(d->expected, sizeof d->expected, (lk_str){t.p, t.len});
    lk_text_deinit(&t);
    if (err == LK_OK)
        verify(d);
    return err;
}

static unsigned next_timer(SSL *ssl, unsigned usec)
{
    LK_UNUSED(ssl);
    return usec == 0 ? TIMER_FIRST_USEC : LK_MIN(usec * 2, TIMER_MAX_USEC);
}

static void arm_timer(lk_dtls *d, lk_usec now)
{
    struct timeval left;
    d->timer_at = LK_NEVER;
    if (d->state == LK_DTLS_STATE_CONNECTING && DTLSv1_get_timeout((SSL *)d->ssl, &left) == 1)
        d->timer_at = now + LK_SEC(left.tv_sec) + left.tv_usec + 1000; /* never a hair too early */
}

static void advance(lk_dtls *d, lk_usec now)
{
    SSL *ssl = (SSL *)d->ssl;
    if (d->state == LK_DTLS_STATE_CONNECTING) {
        ERR_clear_error();
        int r = SSL_do_handshake(ssl);
        if (r == 1) {
            d->state = LK_DTLS_STATE_UNVERIFIED;
            verify(d);
        } else if (SSL_get_error(ssl, r) != SSL_ERROR_WANT_READ) {
            finish(d, LK_DTLS_EV_FAILED, LK_ERR_TLS);
        }
        ERR_clear_error();
    }
    arm_timer(d, now);
}

lk_err lk_dtls_start(lk_dtls *d, lk_usec now, lk_dtls_role role)
{
    if (d->ssl)
        return LK_ERR_STATE;
    SSL *ssl = SSL_new(d->context->ctx[role]);
    BIO *bio = ssl ? BIO_new(d->context->method) : NULL;
    if (!bio) {
        SSL_free(ssl);
        return LK_ERR_NOMEM;
    }
    BIO_set_data(bio, d);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_mtu(ssl, LK_DTLS_MTU);
    DTLS_set_link_mtu(ssl, LK_DTLS_MTU + 48);
    DTLS_set_timer_cb(ssl, next_timer);
    role == LK_DTLS_CLIENT ? SSL_set_connect_state(ssl) : SSL_set_accept_state(ssl);
    d->ssl = ssl;
    d->role = role;
    d->started_at = now;
    d->state = LK_DTLS_STATE_CONNECTING;
    advance(d, now);
    return LK_OK;
}

/* Whether the datagram is a train of whole records of DTLS 1.x. An encrypted record shorter than what its cipher adds is
 * none either: OpenSSL takes one for a mistake of its own and from then on refuses everything. [RFC6347 s4.1] */
static bool holds_records(const lk_dtls *d, const uint8_t *data, size_t len)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher((SSL *)d->ssl);
    bool chacha = cipher && SSL_CIPHER_get_cipher_nid(cipher) == NID_chacha20_poly1305;
    size_t least = chacha ? 16 : 24; /* [RFC7905 s2]: a tag; [RFC5288 s3]: a nonce of 8 bytes, too */
    lk_rd r = lk_rd_of(data, len);
    do {
        uint8_t type = lk_rd_u8(&r);
        uint16_t version = lk_rd_u16(&r), epoch = lk_rd_u16(&r);
        (void)lk_rd_take(&r, 6); /* sequence number */
        size_t size = lk_rd_u16(&r);
        (void)lk_rd_take(&r, size);
        if (r.bad || type < 20 || type > 25 || version >> 8 != 0xfe || (epoch && size < least))
            return false;
    } while (lk_rd_left(&r));
    return true;
}

void lk_dtls_input(lk_dtls *d, lk_usec now, const uint8_t *data, size_t len)
{
    bool open = d->state == LK_DTLS_STATE_CONNECTING || d->state == LK_DTLS_STATE_UNVERIFIED ||
                d->state == LK_DTLS_STATE_CONNECTED;
    if (!open || !holds_records(d, data, len)) {
        d->dropped++;
        return;
    }
    d->in = (lk_bytes){data, len};
    if (d->state == LK_DTLS_STATE_CONNECTING) {
        advance(d, now);
        if (d->state == LK_DTLS_STATE_FAILED)
            d->in = (lk_bytes){0};
    }
    if (d->in.data) {
        /* Let OpenSSL take the record; data stays inside until poll_data asks. */
        uint8_t none[1];
        ERR_clear_error();
        int r = SSL_peek((SSL *)d->ssl, none, 0);
        int why = SSL_get_error((SSL *)d->ssl, r);
        if (r <= 0 && (why == SSL_ERROR_ZERO_RETURN || (SSL_get_shutdown((SSL *)d->ssl) & SSL_RECEIVED_SHUTDOWN)))
            finish(d, LK_DTLS_EV_CLOSED, LK_OK);
        else if (!SSL_has_pending((SSL *)d->ssl))
            d->dropped++; /* forged, or a flight we have had: OpenSSL says of neither anything */
        ERR_clear_error();
        d->in = (lk_bytes){0};
    }
}

void lk_dtls_tick(lk_dtls *d, lk_usec now)
{
    if (d->state != LK_DTLS_STATE_CONNECTING)
        return;
    if (now >= d->started_at + HANDSHAKE_MAX_USEC) {
        finish(d, LK_DTLS_EV_FAILED, LK_ERR_TIMEOUT);
        return;
    }
    if (now >= d->timer_at) {
        ERR_clear_error();
        if (DTLSv1_handle_timeout((SSL *)d->ssl) < 0)
            finish(d, LK_DTLS_EV_FAILED, LK_ERR_TIMEOUT);
        ERR_clear_error();
        arm_timer(d, now);
    }
}

lk_usec lk_dtls_deadline(const lk_dtls *d)
{
    if (d->state != LK_DTLS_STATE_CONNECTING)
        return LK_NEVER;
    return LK_MIN(d->timer_at, d->started_at + HANDSHAKE_MAX_USEC);
}

bool lk_dtls_poll_tx(lk_dtls *d, lk_bytes *out)
{
    free_bytes(d, &d->sent_last);
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
    lk_secure_zero(&d->event, sizeof d->event);
    d->has_event = false;
    return true;
}

lk_err lk_dtls_send(lk_dtls *d, lk_usec now, const void *data, size_t len)
{
    LK_UNUSED(now);
    if (d->state != LK_DTLS_STATE_CONNECTED)
        return LK_ERR_STATE;
    if (len > RECORD_MAX)
        return LK_ERR_LIMIT;
    if (d->out.count == OUT_MAX)
        return LK_ERR_FULL;
    ERR_clear_error();
    int r = SSL_write((SSL *)d->ssl, data, (int)len);
    ERR_clear_error();
    return r == (int)len ? LK_OK : LK_ERR_TLS;
}

bool lk_dtls_poll_data(lk_dtls *d, uint8_t *out, size_t cap, size_t *len)
{
    if (d->state != LK_DTLS_STATE_CONNECTED)
        return false;
    ERR_clear_error();
    int r = SSL_read((SSL *)d->ssl, out, (int)LK_MIN(cap, (size_t)INT32_MAX));
    ERR_clear_error();
    if (r <= 0)
        return false;
    *len = (size_t)r;
    return true;
}

void lk_dtls_close(lk_dtls *d, lk_usec now)
{
    LK_UNUSED(now);
    if (d->state != LK_DTLS_STATE_CONNECTED && d->state != LK_DTLS_STATE_UNVERIFIED)
        return;
    ERR_clear_error();
    (void)SSL_shutdown((SSL *)d->ssl);
    ERR_clear_error();
    d->state = LK_DTLS_STATE_CLOSED;
}

const char *lk_dtls_cipher(const lk_dtls *d)
{
    const SSL_CIPHER *c = d->ssl ? SSL_get_current_cipher((SSL *)d->ssl) : NULL;
    const char *name = c ? SSL_CIPHER_standard_name(c) : NULL;
    return name ? name : "";
}

size_t lk_dtls_remote_certificate(const lk_dtls *d, uint8_t *out, size_t cap)
{
    X509 *cert = d->ssl ? SSL_get0_peer_certificate((SSL *)d->ssl) : NULL;
    int n = cert ? i2d_X509(cert, NULL) : 0;
    if (n <= 0 || (size_t)n > cap)
        return 0;
    return i2d_X509(cert, &out) == n ? (size_t)n : 0;
}

bool lk_dtls_remote_fingerprint(const lk_dtls *d, char out[96])
{
    X509 *cert = d->ssl ? SSL_get0_peer_certificate((SSL *)d->ssl) : NULL;
    return cert && format_fingerprint(cert, EVP_sha256(), out, 96);
}
