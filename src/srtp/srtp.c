// SPDX-License-Identifier: Apache-2.0
#include "srtp/srtp.h"

#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/core_names.h>

#include "base/canary.h"
#include "crypto/crypto.h"

#define CM_TAG 10
#define GCM_TAG 16
#define RTCP_WORD 4
#define RTCP_E_FLAG 0x80000000u
#define PACKET_MAX 2048

typedef struct profile_row {
    lk_srtp_profile id;
    size_t key_len, salt_len, rtp_tag_len, rtcp_tag_len;
    bool gcm;
    const char *name;
} profile_row;

static const profile_row profiles[] = {
    {LK_SRTP_AES128_CM_SHA1_80, 16, 14, CM_TAG, CM_TAG, false, "AES_CM_128_HMAC_SHA1_80"},
    {LK_SRTP_AES128_CM_SHA1_32, 16, 14, 4, CM_TAG, false, "AES_CM_128_HMAC_SHA1_32"},
    {LK_SRTP_AEAD_AES_128_GCM, 16, 12, GCM_TAG, GCM_TAG, true, "AEAD_AES_128_GCM"},
    {LK_SRTP_AEAD_AES_256_GCM, 32, 12, GCM_TAG, GCM_TAG, true, "AEAD_AES_256_GCM"},
};

static const profile_row *row_of(lk_srtp_profile p)
{
    for (size_t i = 0; i < LK_LEN(profiles); i++)
        if (profiles[i].id == p)
            return &profiles[i];
    return NULL;
}

size_t lk_srtp_key_len(lk_srtp_profile p) { return row_of(p) ? row_of(p)->key_len : 0; }
size_t lk_srtp_salt_len(lk_srtp_profile p) { return row_of(p) ? row_of(p)->salt_len : 0; }
const char *lk_srtp_profile_name(lk_srtp_profile p) { return row_of(p) ? row_of(p)->name : ""; }

static bool aes_ctr(EVP_CIPHER_CTX *c, const uint8_t iv[16], uint8_t *data, size_t len)
{
    int n = 0;
    return EVP_EncryptInit_ex(c, NULL, NULL, NULL, iv) == 1 &&
           EVP_EncryptUpdate(c, data, &n, data, (int)len) == 1 && n == (int)len;
}

lk_err lk_srtp_derive(const uint8_t *key, size_t key_len, const uint8_t salt[14], uint8_t label, uint8_t *out,
                      size_t out_len)
{
    uint8_t iv[16] = {0};
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    memcpy(iv, salt, 14);
    iv[7] ^= label;
    memset(out, 0, out_len);
    bool ok = c && EVP_EncryptInit_ex(c, key_len == 32 ? EVP_aes_256_ctr() : EVP_aes_128_ctr(), NULL, key, NULL) == 1 &&
              aes_ctr(c, iv, out, out_len);
    EVP_CIPHER_CTX_free(c);
    return ok ? LK_OK : LK_ERR_INTERNAL;
}

static lk_err derive_half(const profile_row *row, lk_srtp_keys *k, const lk_srtp_config *config, uint8_t base_label)
{
    uint8_t salt[14] = {0};
    memcpy(salt, config->salt, row->salt_len);
    lk_err err = lk_srtp_derive(config->key, row->key_len, salt, base_label, k->cipher, row->key_len);
    if (err == LK_OK && !row->gcm)
        err = lk_srtp_derive(config->key, row->key_len, salt, (uint8_t)(base_label + 1), k->auth, sizeof k->auth);
    if (err == LK_OK)
        err = lk_srtp_derive(config->key, row->key_len, salt, (uint8_t)(base_label + 2), k->salt, row->salt_len);
    return err;
}

static bool window_ok(uint16_t w) { return w >= 64 && w <= LK_SRTP_WINDOW_MAX && w % 64 == 0; }

lk_err lk_srtp_init(lk_srtp *s, const lk_env *env, const lk_srtp_config *config)
{
    const profile_row *row = row_of(config->profile);
    *s = (lk_srtp){.env = env, .profile = config->profile, .receiver = config->receiver,
                   .rtp_window = config->rtp_window, .rtcp_window = config->rtcp_window};
    lk_queue_init(&s->streams, env, sizeof(lk_srtp_stream), LK_SRTP_STREAMS_MAX);
    if (!row || !window_ok(config->rtp_window) || !window_ok(config->rtcp_window))
        return LK_ERR_INVALID;
    lk_err err = derive_half(row, &s->rtp, config, 0);
    return err == LK_OK ? derive_half(row, &s->rtcp, config, 3) : err;
}

static void free_half(lk_srtp_keys *k)
{
    EVP_CIPHER_CTX_free((EVP_CIPHER_CTX *)k->cipher_ctx);
    EVP_MAC_CTX_free((EVP_MAC_CTX *)k->mac_ctx);
    lk_secure_zero(k, sizeof *k);
}

void lk_srtp_deinit(lk_srtp *s)
{
    free_half(&s->rtp);
    free_half(&s->rtcp);
    lk_queue_deinit(&s->streams);
}

/* Contexts cost about a kilobyte each: an idle room has none. */
static lk_err open_half(const lk_srtp *s, lk_srtp_keys *k)
{
    const profile_row *row = row_of(s->profile);
    if (k->cipher_ctx)
        return LK_OK;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    EVP_MAC_CTX *m = NULL;
    const EVP_CIPHER *cipher = !row->gcm             ? EVP_aes_128_ctr()
                               : row->key_len == 32 ? EVP_aes_256_gcm()
                                                    : EVP_aes_128_gcm();
    bool encrypt = !row->gcm || !s->receiver;
    bool ok = c && EVP_CipherInit_ex(c, cipher, NULL, k->cipher, NULL, encrypt) == 1;
    if (ok && !row->gcm) {
        char name[] = "SHA1";
        OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0), OSSL_PARAM_END};
        EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
        m = mac ? EVP_MAC_CTX_new(mac) : NULL;
        EVP_MAC_free(mac); /* the context keeps it */
        ok = m && EVP_MAC_init(m, k->auth, sizeof k->auth, params) == 1;
    }
    if (!ok) {
        EVP_CIPHER_CTX_free(c);
        EVP_MAC_CTX_free(m);
        return LK_ERR_INTERNAL;
    }
    k->cipher_ctx = c;
    k->mac_ctx = m;
    return LK_OK;
}

/* ---- one packet ----------------------------------------------------------------------------------- */

static bool cm_tag(lk_srtp_keys *k, const uint8_t *data, size_t len, const uint8_t *more, size_t more_len,
                   uint8_t *out, size_t out_len)
{
    EVP_MAC_CTX *m = (EVP_MAC_CTX *)k->mac_ctx;
    uint8_t full[LK_SHA1_LEN];
    size_t n = 0;
    bool ok = EVP_MAC_init(m, NULL, 0, NULL) == 1 && EVP_MAC_update(m, data, len) == 1 &&
              (!more_len || EVP_MAC_update(m, more, more_len) == 1) && EVP_MAC_final(m, full, &n, sizeof full) == 1;
    memcpy(out, full, out_len);
    return ok;
}

static void cm_iv(const lk_srtp_keys *k, uint32_t ssrc, uint64_t index, uint8_t iv[16])
{
    uint8_t mix[16] = {0}; /* [RFC3711 s4.1.1] */
    lk_put_u32(mix + 4, ssrc);
    lk_put_u16(mix + 8, (uint16_t)(index >> 32));
    lk_put_u32(mix + 10, (uint32_t)index);
    for (int i = 0; i < 14; i++)
        iv[i] = (uint8_t)(mix[i] ^ k->salt[i]);
    iv[14] = iv[15] = 0;
}

static bool cm_crypt(lk_srtp_keys *k, uint32_t ssrc, uint64_t index, uint8_t *data, size_t len)
{
    uint8_t iv[16];
    cm_iv(k, ssrc, index, iv);
    return len == 0 || aes_ctr((EVP_CIPHER_CTX *)k->cipher_ctx, iv, data, len);
}

static void gcm_iv(const lk_srtp_keys *k, uint32_t ssrc, uint64_t index48, uint8_t iv[12])
{
    uint8_t mix[12] = {0}; /* [RFC7714 s8.1, s9.1] */
    lk_put_u32(mix + 2, ssrc);
    lk_put_u16(mix + 6, (uint16_t)(index48 >> 32));
    lk_put_u32(mix + 8, (uint32_t)index48);
    for (int i = 0; i < 12; i++)
        iv[i] = (uint8_t)(mix[i] ^ k->salt[i]);
}

static bool gcm_seal(lk_srtp_keys *k, const uint8_t iv[12], const uint8_t *aad, size_t aad_len, const uint8_t *aad2,
                     size_t aad2_len, uint8_t *data, size_t len)
{
    EVP_CIPHER_CTX *c = (EVP_CIPHER_CTX *)k->cipher_ctx;
    int n = 0;
    return EVP_EncryptInit_ex(c, NULL, NULL, NULL, iv) == 1 &&
           EVP_EncryptUpdate(c, NULL, &n, aad, (int)aad_len) == 1 &&
           (!aad2_len || EVP_EncryptUpdate(c, NULL, &n, aad2, (int)aad2_len) == 1) &&
           (!len || EVP_EncryptUpdate(c, data, &n, data, (int)len) == 1) &&
           EVP_EncryptFinal_ex(c, data + len, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, data + len) == 1;
}

static bool gcm_open(lk_srtp_keys *k, const uint8_t iv[12], const uint8_t *aad, size_t aad_len, const uint8_t *aad2,
                     size_t aad2_len, uint8_t *data, size_t len, const uint8_t *tag)
{
    EVP_CIPHER_CTX *c = (EVP_CIPHER_CTX *)k->cipher_ctx;
    uint8_t expected[GCM_TAG], none[1];
    int n = 0;
    memcpy(expected, tag, sizeof expected);
    return EVP_DecryptInit_ex(c, NULL, NULL, NULL, iv) == 1 &&
           EVP_DecryptUpdate(c, NULL, &n, aad, (int)aad_len) == 1 &&
           (!aad2_len || EVP_DecryptUpdate(c, NULL, &n, aad2, (int)aad2_len) == 1) &&
           (!len || EVP_DecryptUpdate(c, data, &n, data, (int)len) == 1) &&
           EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, GCM_TAG, expected) == 1 &&
           EVP_DecryptFinal_ex(c, none, &n) == 1;
}

/* Header bytes that stay clear; 0 when the packet is not RTP version 2. */
static size_t rtp_header_len(const uint8_t *p, size_t len)
{
    if (len < 12 || (p[0] >> 6) != 2)
        return 0;
    size_t n = 12 + 4u * (p[0] & 15u);
    if (p[0] & 0x10) {
        if (len < n + 4)
            return 0;
        n += 4 + 4u * (size_t)lk_get_u16(p + n + 2);
    }
    return n <= len ? n : 0;
}

static lk_srtp_stream *find_stream(const lk_srtp *s, uint32_t ssrc)
{
    for (size_t i = 0; i < s->streams.count; i++) {
        lk_srtp_stream *t = (lk_srtp_stream *)lk_queue_peek((lk_queue *)&s->streams, i);
        if (t->ssrc == ssrc)
            return t;
    }
    return NULL;
}

const lk_srtp_stream *lk_srtp_stream_of(const lk_srtp *s, uint32_t ssrc) { return find_stream(s, ssrc); }

/* The table entry for an SSRC that has proved itself; a full table gives up its oldest. */
static lk_srtp_stream *add_stream(lk_srtp *s, uint32_t ssrc)
{
    lk_srtp_stream fresh = {.ssrc = ssrc}, *oldest = NULL;
    lk_err err = lk_queue_push(&s->streams, &fresh);
    if (err == LK_OK)
        return (lk_srtp_stream *)lk_queue_peek(&s->streams, s->streams.count - 1);
    if (err != LK_ERR_FULL || !s->receiver)
        return NULL; /* a sender that forgot an index would reuse it */
    for (size_t i = 0; i < s->streams.count; i++) {
        lk_srtp_stream *t = (lk_srtp_stream *)lk_queue_peek(&s->streams, i);
        if (!oldest || t->used_at < oldest->used_at)
            oldest = t;
    }
    *oldest = fresh;
    return oldest;
}

/* Position of an index against the window: true if it may be new. */
static bool window_free(const lk_srtp_window *w, uint16_t size, uint64_t highest, uint64_t index)
{
    if (index > highest)
        return true;
    uint64_t age = highest - index;
    if (age >= size)
        return false;
    uint64_t at = index % size;
    return !(w->bits[at / 64] >> (at % 64) & 1);
}

static void window_mark(lk_srtp_window *w, uint16_t size, uint64_t *highest, bool started, uint64_t index)
{
    if (!started || index > *highest) {
        uint64_t from = started ? *highest + 1 : index;
        if (!started || index - *highest >= size) {
            memset(w->bits, 0, sizeof w->bits);
        } else {
            for (uint64_t i = from; i <= index; i++)
                w->bits[i % size / 64] &= ~(1ull << (i % size % 64));
        }
        *highest = index;
    }
    w->bits[index % size / 64] |= 1ull << (index % size % 64);
}

lk_err lk_srtp_protect_rtp(lk_srtp *s, uint8_t *p, size_t *len, size_t cap)
{
    const profile_row *row = row_of(s->profile);
    size_t head = rtp_header_len(p, *len);
    if (!head)
        return LK_ERR_WIRE;
    if (cap < *len || cap - *len < row->rtp_tag_len)
        return LK_ERR_FULL;
    lk_err err = open_half(s, &s->rtp);
    if (err != LK_OK)
        return err;
    uint32_t ssrc = lk_get_u32(p + 8);
    uint16_t seq = lk_get_u16(p + 2);
    lk_srtp_stream *t = find_stream(s, ssrc);
    if (!t && !(t = add_stream(s, ssrc)))
        return LK_ERR_NOMEM;
    /* A resent packet keeps the roll-over it had: nearest to the highest. */
    uint64_t index = seq;
    if (t->started) {
        int64_t near = (int64_t)t->index + lk_seq16_diff(seq, (uint16_t)t->index);
        if (near < 0)
            return LK_ERR_STATE;
        index = (uint64_t)near;
    }
    if (index >> 48)
        return LK_ERR_STATE;
    uint8_t roc[4];
    lk_put_u32(roc, (uint32_t)(index >> 16));
    bool ok;
    if (row->gcm) {
        uint8_t iv[12];
        gcm_iv(&s->rtp, ssrc, index, iv);
        ok = gcm_seal(&s->rtp, iv, p, head, NULL, 0, p + head, *len - head);
    } else {
        ok = cm_crypt(&s->rtp, ssrc, index, p + head, *len - head) &&
             cm_tag(&s->rtp, p, *len, roc, sizeof roc, p + *len, row->rtp_tag_len);
    }
    if (!ok)
        return LK_ERR_INTERNAL;
    if (!t->started || index > t->index)
        t->index = index;
    t->started = true;
    *len += row->rtp_tag_len;
    return LK_OK;
}

/* The rest of a body: lead bytes in place, then payload_len from elsewhere. */
static bool encrypt_parts(EVP_CIPHER_CTX *c, uint8_t *at, size_t lead_len, const uint8_t *payload, size_t payload_len)
{
    int n = 0;
    return (!lead_len || EVP_EncryptUpdate(c, at, &n, at, (int)lead_len) == 1) &&
           (!payload_len || EVP_EncryptUpdate(c, at + lead_len, &n, payload, (int)payload_len) == 1);
}

lk_err lk_srtp_seal_rtp(lk_srtp *s, uint64_t index, uint8_t *out, size_t header_len, size_t lead_len, const uint8_t *payload,
                        size_t payload_len, size_t cap, size_t *len)
{
    const profile_row *row = row_of(s->profile);
    size_t body = lead_len + payload_len, total = header_len + body;
    if (cap < total + row->rtp_tag_len)
        return LK_ERR_FULL;
    if (index >> 48)
        return LK_ERR_STATE;
    lk_err err = open_half(s, &s->rtp);
    if (err != LK_OK)
        return err;
    EVP_CIPHER_CTX *c = (EVP_CIPHER_CTX *)s->rtp.cipher_ctx;
    uint32_t ssrc = lk_get_u32(out + 8);
    uint8_t iv[16];
    int n = 0;
    bool ok;
    if (row->gcm) {
        gcm_iv(&s->rtp, ssrc, index, iv);
        ok = EVP_EncryptInit_ex(c, NULL, NULL, NULL, iv) == 1 && EVP_EncryptUpdate(c, NULL, &n, out, (int)header_len) == 1 &&
             encrypt_parts(c, out + header_len, lead_len, payload, payload_len) && EVP_EncryptFinal_ex(c, out + total, &n) == 1 &&
             EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, out + total) == 1;
    } else {
        uint8_t roc[4];
        lk_put_u32(roc, (uint32_t)(index >> 16));
        cm_iv(&s->rtp, ssrc, index, iv);
        ok = EVP_EncryptInit_ex(c, NULL, NULL, NULL, iv) == 1 &&
             encrypt_parts(c, out + header_len, lead_len, payload, payload_len) &&
             cm_tag(&s->rtp, out, total, roc, sizeof roc, out + total, row->rtp_tag_len);
    }
    if (!ok)
        return LK_ERR_INTERNAL;
    *len = total + row->rtp_tag_len;
    return LK_OK;
}

static bool open_rtp_at(lk_srtp *s, const profile_row *row, uint64_t index, size_t head, uint8_t *p, size_t body_end)
{
    uint32_t ssrc = lk_get_u32(p + 8);
    if (row->gcm) {
        uint8_t iv[12];
        gcm_iv(&s->rtp, ssrc, index, iv);
        return gcm_open(&s->rtp, iv, p, head, NULL, 0, p + head, body_end - head, p + body_end);
    }
    uint8_t roc[4], tag[CM_TAG];
    lk_put_u32(roc, (uint32_t)(index >> 16));
    return cm_tag(&s->rtp, p, body_end, roc, sizeof roc, tag, sizeof tag) &&
           lk_memcmp_ct(tag, p + body_end, row->rtp_tag_len) == 0 &&
           cm_crypt(&s->rtp, ssrc, index, p + head, body_end - head);
}

lk_err lk_srtp_unprotect_rtp(lk_srtp *s, uint8_t *p, size_t *len)
{
    const profile_row *row = row_of(s->profile);
    size_t head = rtp_header_len(p, *len);
    if (!head || *len < head + row->rtp_tag_len || *len > PACKET_MAX)
        return LK_ERR_WIRE;
    lk_err err = open_half(s, &s->rtp);
    if (err != LK_OK)
        return err;
    uint32_t ssrc = lk_get_u32(p + 8);
    uint16_t seq = lk_get_u16(p + 2);
    size_t body_end = *len - row->rtp_tag_len;
    lk_srtp_stream *t = find_stream(s, ssrc);
    bool started = t && t->started;
    uint64_t index = seq;
    if (started) {
        int64_t near = (int64_t)t->index + lk_seq16_diff(seq, (uint16_t)t->index);
        index = near < 0 ? seq : (uint64_t)near;
        if ((near < 0 || !window_free(&t->seen, s->rtp_window, t->index, index)) && !LK_CANARY_IS(LK_CANARY_REPLAY)) {
            s->replayed++;
            return LK_ERR_AGAIN;
        }
    }
    uint8_t copy[PACKET_MAX];
    bool retry = !started && seq < 32768;
    if (retry)
        memcpy(copy, p, *len);
    bool ok = open_rtp_at(s, row, index, head, p, body_end);
    if (!ok && retry) {
        memcpy(p, copy, *len);
        index = 65536u + seq;
        ok = open_rtp_at(s, row, index, head, p, body_end);
    }
    if (!ok) {
        s->auth_failed++;
        return LK_ERR_AUTH;
    }
    if (!t && !(t = add_stream(s, ssrc)))
        return LK_ERR_NOMEM;
    window_mark(&t->seen, s->rtp_window, &t->index, t->started, index);
    t->started = true;
    t->used_at = ++s->clock;
    *len = body_end;
    return LK_OK;
}

lk_err lk_srtp_protect_rtcp(lk_srtp *s, uint8_t *p, size_t *len, size_t cap)
{
    const profile_row *row = row_of(s->profile);
    if (*len < 8 || (p[0] >> 6) != 2)
        return LK_ERR_WIRE;
    if (cap < *len || cap - *len < row->rtcp_tag_len + RTCP_WORD)
        return LK_ERR_FULL;
    lk_err err = open_half(s, &s->rtcp);
    if (err != LK_OK)
        return err;
    uint32_t ssrc = lk_get_u32(p + 4);
    lk_srtp_stream *t = find_stream(s, ssrc);
    if (!t && !(t = add_stream(s, ssrc)))
        return LK_ERR_NOMEM;
    uint32_t index = t->rtcp_started ? t->rtcp_index + 1 : 1;
    if (index & RTCP_E_FLAG)
        return LK_ERR_STATE; /* [RFC3711 s9.2] */
    uint8_t word[RTCP_WORD];
    lk_put_u32(word, index | RTCP_E_FLAG);
    bool ok;
    if (row->gcm) {
        uint8_t iv[12];
        gcm_iv(&s->rtcp, ssrc, index, iv);
        ok = gcm_seal(&s->rtcp, iv, p, 8, word, sizeof word, p + 8, *len - 8);
        memcpy(p + *len + GCM_TAG, word, sizeof word);
    } else {
        ok = cm_crypt(&s->rtcp, ssrc, index, p + 8, *len - 8);
        memcpy(p + *len, word, sizeof word);
        ok = ok && cm_tag(&s->rtcp, p, *len + RTCP_WORD, NULL, 0, p + *len + RTCP_WORD, CM_TAG);
    }
    if (!ok)
        return LK_ERR_INTERNAL;
    t->rtcp_index = index;
    t->rtcp_started = true;
    *len += row->rtcp_tag_len + RTCP_WORD;
    return LK_OK;
}

lk_err lk_srtp_unprotect_rtcp(lk_srtp *s, uint8_t *p, size_t *len)
{
    const profile_row *row = row_of(s->profile);
    if (*len < 8 + row->rtcp_tag_len + RTCP_WORD || (p[0] >> 6) != 2 || *len > PACKET_MAX)
        return LK_ERR_WIRE;
    lk_err err = open_half(s, &s->rtcp);
    if (err != LK_OK)
        return err;
    uint32_t ssrc = lk_get_u32(p + 4);
    size_t body_end = *len - row->rtcp_tag_len - RTCP_WORD;
    const uint8_t *word = row->gcm ? p + *len - RTCP_WORD : p + body_end;
    uint32_t value = lk_get_u32(word), index = value & ~RTCP_E_FLAG;
    bool encrypted = (value & RTCP_E_FLAG) != 0;
    lk_srtp_stream *t = find_stream(s, ssrc);
    if (t && t->rtcp_started && !window_free(&t->rtcp_seen, s->rtcp_window, t->rtcp_index, index)) {
        s->replayed++;
        return LK_ERR_AGAIN;
    }
    bool ok;
    if (row->gcm) {
        uint8_t iv[12], w[RTCP_WORD];
        memcpy(w, word, sizeof w);
        gcm_iv(&s->rtcp, ssrc, index, iv);
        ok = encrypted ? gcm_open(&s->rtcp, iv, p, 8, w, sizeof w, p + 8, body_end - 8, p + body_end)
                       : gcm_open(&s->rtcp, iv, p, body_end, w, sizeof w, p + body_end, 0, p + body_end);
    } else {
        uint8_t tag[CM_TAG];
        ok = cm_tag(&s->rtcp, p, body_end + RTCP_WORD, NULL, 0, tag, CM_TAG) &&
             lk_memcmp_ct(tag, p + body_end + RTCP_WORD, CM_TAG) == 0 &&
             (!encrypted || cm_crypt(&s->rtcp, ssrc, index, p + 8, body_end - 8));
    }
    if (!ok) {
        s->auth_failed++;
        return LK_ERR_AUTH;
    }
    if (!t && !(t = add_stream(s, ssrc)))
        return LK_ERR_NOMEM;
    uint64_t highest = t->rtcp_index;
    window_mark(&t->rtcp_seen, s->rtcp_window, &highest, t->rtcp_started, index);
    t->rtcp_index = (uint32_t)highest;
    t->rtcp_started = true;
    t->used_at = ++s->clock;
    *len = body_end;
    return LK_OK;
}
