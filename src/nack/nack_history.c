// SPDX-License-Identifier: Apache-2.0
#include "nack/nack.h"
#include "rtp/rtp.h"

#define PACKETS_DEFAULT 256u
#define PACKETS_LIMIT 16384u
#define BYTES_DEFAULT 65536u
#define AGE_DEFAULT LK_SEC(2)
#define RTT_DEFAULT LK_MSEC(100)
#define RTT_MIN LK_MSEC(10)
#define SHARE 4           /* resent bytes: at most a quarter of the sent ones */
#define START_BYTES 6000  /* credit before anything is known: four full packets */

struct lk_nack_sent {
    uint64_t at; /* position of its first byte among all bytes ever written */
    lk_usec sent_at, resent_at;
    uint16_t seq, len;
    bool used;
};

void lk_nack_history_init(lk_nack_history *h, const lk_env *env, const lk_nack_history_config *config)
{
    *h = (lk_nack_history){.env = env, .config = *config, .rtt_usec = RTT_DEFAULT, .tokens_bytes = START_BYTES};
    uint32_t want = LK_MIN(config->packets_max ? config->packets_max : PACKETS_DEFAULT, PACKETS_LIMIT), packets = 16;
    while (packets < want)
        packets *= 2;
    h->config.packets_max = packets;
    h->config.bytes_max = LK_MAX(config->bytes_max ? config->bytes_max : BYTES_DEFAULT, LK_RTP_PACKET_MAX);
    h->config.age_max_usec = config->age_max_usec ? config->age_max_usec : AGE_DEFAULT;
    h->rtx_seq = config->rtx_first_seq;
    h->window_at = LK_NEVER;
    h->resends_left = LK_NACK_RESENDS_PER_NACK_MAX;
}

void lk_nack_history_deinit(lk_nack_history *h)
{
    if (h->env) {
        lk_release(h->env, h->slots, h->config.packets_max * sizeof *h->slots);
        lk_release(h->env, h->data, h->config.bytes_max);
    }
    h->slots = NULL;
    h->data = NULL;
}

void lk_nack_history_set_rtx(lk_nack_history *h, uint8_t pt, uint32_t ssrc, uint16_t first_seq)
{
    if (!h->config.has_rtx || h->config.rtx_ssrc != ssrc)
        h->rtx_seq = first_seq;
    h->config.has_rtx = true;
    h->config.rtx_pt = pt;
    h->config.rtx_ssrc = ssrc;
}

void lk_nack_history_set_rtt(lk_nack_history *h, lk_usec rtt_usec)
{
    h->rtt_usec = LK_MAX(rtt_usec, RTT_MIN);
}

static bool allocate(lk_nack_history *h)
{
    if (h->slots)
        return true;
    lk_nack_sent *slots = lk_alloc0(h->env, h->config.packets_max * sizeof *slots);
    uint8_t *data = lk_alloc(h->env, h->config.bytes_max);
    if (!slots || !data) {
        lk_release(h->env, slots, h->config.packets_max * sizeof *slots);
        lk_release(h->env, data, h->config.bytes_max);
        return false;
    }
    h->slots = slots;
    h->data = data;
    return true;
}

/* Credit grows with what is sent and never exceeds a quarter of the last second. */
static void count_sent(lk_nack_history *h, lk_usec now, size_t len)
{
    if (h->window_at == LK_NEVER)
        h->window_at = now;
    if (now - h->window_at >= LK_SEC(1)) {
        h->rate_bytes = now - h->window_at < LK_SEC(2) ? h->window_bytes : 0;
        h->window_bytes = 0;
        h->window_at = now;
    }
    h->window_bytes += len;
    int64_t cap = (int64_t)(LK_MAX(h->rate_bytes, h->window_bytes) / SHARE) + START_BYTES;
    h->tokens_bytes = LK_MIN(h->tokens_bytes + (int64_t)len / SHARE, cap);
}

void lk_nack_history_store(lk_nack_history *h, lk_usec now, const uint8_t *packet, size_t len)
{
    if (len < LK_RTP_HEADER_LEN || len > LK_RTP_PACKET_MAX)
        return;
    count_sent(h, now, len);
    if (!allocate(h))
        return;
    uint64_t at = h->written, offset = at % h->config.bytes_max;
    if (offset + len > h->config.bytes_max) /* packets lie in one piece */
        at += h->config.bytes_max - offset;
    memcpy(h->data + at % h->config.bytes_max, packet, len);
    h->written = at + len;
    uint16_t seq = lk_get_u16(packet + 2);
    h->slots[seq & (h->config.packets_max - 1)] =
        (lk_nack_sent){.at = at, .sent_at = now, .resent_at = LK_NEVER, .seq = seq, .len = (uint16_t)len, .used = true};
}

void lk_nack_history_begin(lk_nack_history *h) { h->resends_left = LK_NACK_RESENDS_PER_NACK_MAX; }

/* Original header with the RTX numbers, then the original sequence number, then the payload. [RFC4588 s4] */
static size_t wrap_rtx(lk_nack_history *h, const uint8_t *packet, size_t len, uint8_t *out, size_t cap)
{
    lk_rtp_packet p;
    if (lk_rtp_parse(&p, packet, len) != LK_OK)
        return 0;
    size_t total = p.header_len + 2 + p.payload_len;
    if (total > cap)
        return 0;
    memcpy(out, packet, p.header_len);
    out[0] = (uint8_t)(out[0] & ~0x20u); /* padding stays behind */
    out[1] = (uint8_t)((packet[1] & 0x80u) | h->config.rtx_pt);
    lk_put_u16(out + 2, h->rtx_seq);
    lk_put_u32(out + 8, h->config.rtx_ssrc);
    lk_put_u16(out + p.header_len, p.seq);
    memcpy(out + p.header_len + 2, p.payload, p.payload_len);
    h->rtx_seq++;
    return total;
}

size_t lk_nack_history_resend(lk_nack_history *h, lk_usec now, uint16_t seq, uint8_t *out, size_t cap)
{
    if (!h->slots)
        return 0;
    lk_nack_sent *s = &h->slots[seq & (h->config.packets_max - 1)];
    bool overwritten = h->written - s->at > h->config.bytes_max;
    if (!s->used || s->seq != seq || overwritten || now - s->sent_at > h->config.age_max_usec)
        return 0;
    if (s->resent_at != LK_NEVER && now - s->resent_at < h->rtt_usec * 3 / 4)
        return 0;
    if (h->resends_left == 0 || h->tokens_bytes < s->len || s->len > cap) {
        h->refused++;
        return 0;
    }
    const uint8_t *packet = h->data + s->at % h->config.bytes_max;
    size_t len = s->len;
    if (h->config.has_rtx)
        len = wrap_rtx(h, packet, len, out, cap);
    else
        memcpy(out, packet, len);
    if (len == 0)
        return 0;
    s->resent_at = now;
    h->resends_left--;
    h->tokens_bytes -= (int64_t)len;
    h->resent_packets++;
    h->resent_bytes += len;
    return len;
}

size_t lk_nack_unwrap_rtx(uint8_t *out, size_t cap, const uint8_t *packet, size_t len, uint8_t media_pt,
                          uint32_t media_ssrc)
{
    lk_rtp_packet p;
    if (lk_rtp_parse(&p, packet, len) != LK_OK || p.payload_len < 2)
        return 0;
    size_t total = p.header_len + p.payload_len - 2;
    if (total > cap)
        return 0;
    uint16_t seq = lk_get_u16(p.payload);
    memmove(out, packet, p.header_len);
    memmove(out + p.header_len, p.payload + 2, p.payload_len - 2);
    out[0] = (uint8_t)(out[0] & ~0x20u);
    out[1] = (uint8_t)((out[1] & 0x80u) | (media_pt & 0x7fu));
    lk_put_u16(out + 2, seq);
    lk_put_u32(out + 8, media_ssrc);
    return total;
}
