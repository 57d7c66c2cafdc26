// SPDX-License-Identifier: Apache-2.0
#include "dtls/dtls.h"
#include "srtp/srtp.h"
#include "vectors/lk_vectors.h"

#include <openssl/evp.h>

#define ROOM 2048

static bool open_srtp(lk_vec *v, lk_srtp *s, json_t *c, bool receiver, uint16_t window)
{
    lk_bytes key = lk_vec_hex(c, "master_key"), salt = lk_vec_hex(c, "master_salt");
    const lk_srtp_config config = {.profile = (lk_srtp_profile)lk_vec_u64(c, "profile_id", 0),
                                   .key = key.data,
                                   .salt = salt.data,
                                   .rtp_window = window,
                                   .rtcp_window = 128,
                                   .receiver = receiver};
    bool ok = VCHECK(v, lk_srtp_init(s, v->env, &config) == LK_OK);
    lk_vec_free(key);
    lk_vec_free(salt);
    return ok;
}

typedef lk_err (*protect_fn)(lk_srtp *, uint8_t *, size_t *, size_t);
typedef lk_err (*unprotect_fn)(lk_srtp *, uint8_t *, size_t *);

/* Both ways, byte for byte. */
static void round_trip(lk_vec *v, lk_srtp *tx, lk_srtp *rx, lk_bytes plain, lk_bytes sealed, protect_fn protect, unprotect_fn unprotect)
{
    uint8_t buffer[ROOM];
    size_t len = plain.len;
    memcpy(buffer, plain.data, len);
    VEQ(v, protect(tx, buffer, &len, sizeof buffer), LK_OK);
    VMEM(v, buffer, len, sealed.data, sealed.len);
    len = sealed.len;
    memcpy(buffer, sealed.data, len);
    VEQ(v, unprotect(rx, buffer, &len), LK_OK);
    VMEM(v, buffer, len, plain.data, plain.len);
}

static void run_gen(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_srtp tx, rx;
        lk_vec_begin(v, c);
        if (!open_srtp(v, &tx, c, false, 1024))
            continue;
        if (open_srtp(v, &rx, c, true, 1024)) {
            json_t *p;
            size_t i;
            json_array_foreach(json_object_get(c, "rtp"), i, p) {
                lk_bytes plain = lk_vec_hex(p, "rtp"), sealed = lk_vec_hex(p, "srtp");
                round_trip(v, &tx, &rx, plain, sealed, lk_srtp_protect_rtp, lk_srtp_unprotect_rtp);
                lk_vec_free(plain);
                lk_vec_free(sealed);
            }
            json_array_foreach(json_object_get(c, "rtcp"), i, p) {
                lk_bytes plain = lk_vec_hex(p, "rtcp"), sealed = lk_vec_hex(p, "srtcp");
                round_trip(v, &tx, &rx, plain, sealed, lk_srtp_protect_rtcp, lk_srtp_unprotect_rtcp);
                lk_vec_free(plain);
                lk_vec_free(sealed);
            }
            lk_srtp_deinit(&rx);
        }
        lk_srtp_deinit(&tx);
    }
}
LK_VECTOR("srtp/srtp_gen.json", run_gen)

static void run_adversary(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_srtp rx;
        json_t *step;
        size_t i;
        lk_vec_begin(v, c);
        if (!open_srtp(v, &rx, c, true, 128))
            continue;
        json_array_foreach(json_object_get(c, "script"), i, step) {
            lk_bytes in = lk_vec_hex(step, "srtp");
            uint8_t buffer[ROOM];
            size_t len = in.len;
            uint64_t index = 0;
            const lk_srtp_stream *before = in.len >= 12 ? lk_srtp_stream_of(&rx, lk_get_u32(in.data + 8)) : NULL;
            index = before ? before->index : 0;
            memcpy(buffer, in.data, len);
            lk_err err = lk_srtp_unprotect_rtp(&rx, buffer, &len);
            VEQ(v, err == LK_OK, lk_vec_is(step, "expect", "ok"));
            const lk_srtp_stream *after = in.len >= 12 ? lk_srtp_stream_of(&rx, lk_get_u32(in.data + 8)) : NULL;
            if (err != LK_OK)
                VCHECK(v, (after ? after->index : 0) == index);
            lk_vec_free(in);
        }
        lk_srtp_deinit(&rx);
    }
}
LK_VECTOR("srtp/srtp_adversary.json", run_adversary)

static void run_split(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        lk_bytes ekm = lk_vec_hex(c, "ekm"), ck = lk_vec_hex(c, "client_key"), cs = lk_vec_hex(c, "client_salt"),
                 sk = lk_vec_hex(c, "server_key"), ss = lk_vec_hex(c, "server_salt");
        lk_srtp_profile profile = (lk_srtp_profile)lk_vec_u64(c, "profile_id", 0);
        size_t key = lk_srtp_key_len(profile), salt = lk_srtp_salt_len(profile);
        lk_dtls_keys client, server;
        if (VEQ(v, ekm.len, 2 * (key + salt))) {
            lk_dtls_split(&client, true, ekm.data, key, salt);
            lk_dtls_split(&server, false, ekm.data, key, salt);
            VMEM(v, client.local_key, key, ck.data, ck.len);
            VMEM(v, client.local_salt, salt, cs.data, cs.len);
            VMEM(v, client.remote_key, key, sk.data, sk.len);
            VMEM(v, server.local_salt, salt, ss.data, ss.len);
            VMEM(v, server.remote_key, key, ck.data, ck.len);
        }
        const lk_bytes all[] = {ekm, ck, cs, sk, ss};
        for (size_t i = 0; i < LK_LEN(all); i++)
            lk_vec_free(all[i]);
    }
}
LK_VECTOR("srtp/dtls_srtp_split.json", run_split)

/* ---- values of the RFCs ------------------------------------------------------------------------------------- */

static void check_keystream(lk_vec *v, json_t *c)
{
    lk_bytes key = lk_vec_hex(c, "session_key"), counter = lk_vec_hex(c, "counter"), want = lk_vec_hex(c, "keystream");
    uint8_t got[16], zero[16] = {0};
    int n = 0;
    EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();
    VCHECK(v, EVP_EncryptInit_ex(x, EVP_aes_128_ctr(), NULL, key.data, counter.data) == 1 &&
                  EVP_EncryptUpdate(x, got, &n, zero, sizeof zero) == 1);
    VMEM(v, got, (size_t)n, want.data, want.len);
    EVP_CIPHER_CTX_free(x);
    lk_vec_free(key);
    lk_vec_free(counter);
    lk_vec_free(want);
}

static void check_kdf(lk_vec *v, json_t *c)
{
    lk_bytes key = lk_vec_hex(c, "master_key"), salt = lk_vec_hex(c, "master_salt"), want = lk_vec_hex(c, "out");
    uint8_t got[128], padded[14] = {0};
    memcpy(padded, salt.data, LK_MIN(salt.len, sizeof padded));
    VEQ(v, lk_srtp_derive(key.data, key.len, padded, (uint8_t)lk_vec_u64(c, "label", 0), got, want.len), LK_OK);
    VMEM(v, got, want.len, want.data, want.len);
    lk_vec_free(key);
    lk_vec_free(salt);
    lk_vec_free(want);
}

/* The session key and salt are put in the place of derived ones. */
static void check_session(lk_vec *v, json_t *c, bool rtcp)
{
    lk_srtp s;
    lk_bytes key = lk_vec_hex(c, "key"), salt = lk_vec_hex(c, "salt");
    lk_bytes plain = lk_vec_hex(c, rtcp ? "rtcp" : "rtp"), sealed = lk_vec_hex(c, rtcp ? "srtcp" : "srtp");
    const lk_srtp_config config = {.profile = key.len == 32 ? LK_SRTP_AEAD_AES_256_GCM : LK_SRTP_AEAD_AES_128_GCM,
                                   .key = key.data,
                                   .salt = salt.data,
                                   .rtp_window = 128,
                                   .rtcp_window = 128,
                                   .receiver = true};
    if (VCHECK(v, lk_srtp_init(&s, v->env, &config) == LK_OK)) {
        lk_srtp_keys *half = rtcp ? &s.rtcp : &s.rtp;
        uint8_t buffer[ROOM];
        size_t len = sealed.len;
        memcpy(half->cipher, key.data, key.len);
        memcpy(half->salt, salt.data, salt.len);
        memcpy(buffer, sealed.data, len);
        VEQ(v, (rtcp ? lk_srtp_unprotect_rtcp : lk_srtp_unprotect_rtp)(&s, buffer, &len), LK_OK);
        VMEM(v, buffer, len, plain.data, plain.len);
        lk_srtp_deinit(&s);
    }
    lk_vec_free(key);
    lk_vec_free(salt);
    lk_vec_free(plain);
    lk_vec_free(sealed);
}

static void run_rfc(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        if (lk_vec_is(c, "kind", "aes-cm-keystream"))
            check_keystream(v, c);
        else if (lk_vec_is(c, "kind", "kdf"))
            check_kdf(v, c);
        else
            check_session(v, c, lk_vec_is(c, "kind", "srtcp-gcm-session-key"));
    }
}
LK_VECTOR("fixed/srtp_rfc.json", run_rfc)
