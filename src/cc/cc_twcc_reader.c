// SPDX-License-Identifier: Apache-2.0
#include "cc/twcc.h"

#define UNIT_USEC 250
#define REF_USEC 64000
#define MASK (LK_TWCC_WINDOW - 1)

static uint16_t symbols_in(uint16_t chunk)
{
    return chunk & 0x8000 ? (chunk & 0x4000 ? 7 : 14) : (uint16_t)(chunk & 0x1fff);
}
/* 0 lost, 1 small delta, 2 large delta, 3 reserved. */
static unsigned symbol_at(uint16_t chunk, unsigned i)
{
    return !(chunk & 0x8000)  ? (chunk >> 13) & 3u
           : (chunk & 0x4000) ? (chunk >> (12 - 2 * i)) & 3u
                              : (chunk >> (13 - i)) & 1u;
}

lk_err lk_twcc_read(lk_twcc_reader *out, const lk_rtcp_packet *packet)
{
    if (packet->kind != LK_RTCP_KIND_TWCC)
        return LK_ERR_WIRE;
    lk_twcc_reader r = {.chunks = lk_rd_of(packet->body.data, packet->body.len)};
    r.seq = lk_rd_u16(&r.chunks);
    r.left = lk_rd_u16(&r.chunks);
    r.ref_64ms = lk_rd_u24(&r.chunks);
    r.feedback_count = lk_rd_u8(&r.chunks);
    r.deltas = r.chunks; /* walk the chunks once to find where the deltas start and that they are all there */
    size_t delta_bytes = 0;
    for (unsigned left = r.left; left && !r.deltas.bad;) {
        uint16_t chunk = lk_rd_u16(&r.deltas), symbols = symbols_in(chunk);
        if (symbols == 0)
            return LK_ERR_WIRE;
        for (unsigned i = 0; i < symbols && left; i++, left--) {
            unsigned s = symbol_at(chunk, i);
            if (s == 3)
                return LK_ERR_WIRE;
            delta_bytes += s;
        }
    }
    if (r.deltas.bad || lk_rd_left(&r.deltas) < delta_bytes)
        return LK_ERR_WIRE;
    *out = r;
    return LK_OK;
}

bool lk_twcc_next(lk_twcc_reader *r, lk_twcc_status *out)
{
    if (r->left == 0)
        return false;
    if (r->symbol == r->symbols) {
        r->chunk = lk_rd_u16(&r->chunks);
        r->symbols = symbols_in(r->chunk);
        r->symbol = 0;
    }
    unsigned s = symbol_at(r->chunk, r->symbol++);
    if (s == 1)
        r->at_250us += lk_rd_u8(&r->deltas);
    else if (s == 2)
        r->at_250us += (int16_t)lk_rd_u16(&r->deltas);
    if (r->chunks.bad || r->deltas.bad || r->symbols == 0)
        return false;
    *out = (lk_twcc_status){.seq = r->seq++, .received = s != 0, .at_250us = s ? r->at_250us : 0};
    r->left--;
    return true;
}

void lk_twcc_history_init(lk_twcc_history *h, const lk_env *env, uint16_t first_seq)
{
    *h = (lk_twcc_history){.env = env, .next_seq = first_seq};
}

void lk_twcc_history_deinit(lk_twcc_history *h)
{
    if (h->env)
        lk_release(h->env, h->sent, LK_TWCC_WINDOW * sizeof *h->sent);
    h->sent = NULL;
}

uint16_t lk_twcc_history_send(lk_twcc_history *h, lk_usec now, size_t bytes)
{
    uint16_t seq = h->next_seq++;
    if (!h->sent) {
        h->sent = lk_alloc(h->env, LK_TWCC_WINDOW * sizeof *h->sent);
        for (size_t i = 0; h->sent && i < LK_TWCC_WINDOW; i++)
            h->sent[i].at = LK_NEVER;
    }
    if (h->sent)
        h->sent[seq & MASK] = (lk_twcc_sent){.at = now, .bytes = (uint32_t)bytes, .seq = seq};
    return seq;
}

size_t lk_twcc_history_feedback(lk_twcc_history *h, const lk_rtcp_packet *packet, lk_twcc_result *results, size_t cap)
{
    lk_twcc_reader r;
    lk_twcc_status s;
    size_t n = 0;
    if (!h->sent || lk_twcc_read(&r, packet) != LK_OK)
        return 0;
    if (!h->started)
        h->reference = r.ref_64ms;
    h->started = true;
    h->reference += (int32_t)((r.ref_64ms - (uint32_t)h->reference) << 8) >> 8; /* nearest with these 24 bits */
    while (n < cap && lk_twcc_next(&r, &s)) {
        lk_twcc_sent *sent = &h->sent[s.seq & MASK];
        if (sent->at == LK_NEVER || sent->seq != s.seq)
            continue;
        results[n++] = (lk_twcc_result){.seq = s.seq, .received = s.received, .sent_at = sent->at, .bytes = sent->bytes,
                                        .arrived_at = h->reference * REF_USEC + s.at_250us * UNIT_USEC};
        if (s.received)
            sent->at = LK_NEVER;
    }
    return n;
}
