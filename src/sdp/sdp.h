// SPDX-License-Identifier: Apache-2.0
/* sdp/sdp.h - session descriptions: text <-> struct, and whether one may be applied. [RFC8866] [RFC9429]
 *
 * In:      the text of an offer or answer (peer bytes), or a struct filled by the peer connection.
 * Out:     lk_sdp, all memory in the caller's arena; CRLF text in a lk_text.
 * Owner:   the caller's arena; the text given to parse is copied, nothing borrows it.
 * Limits:  2 MiB of text, 16 KiB per line, 4096 sections; per section 128 payload types, 32 extmaps, 64 SSRCs, 32
 *          SSRC groups, 8 rids, 64 candidates, 8 fingerprints, 1024 rtcp-fb: further ones are skipped. Linear time.
 * Deviates: only what a LiveKit session uses is kept; unknown lines and attributes are skipped, not preserved.
 */
#pragma once
#include "base/lk_base.h"

#define LK_SDP_MAX (2u << 20)
#define LK_SDP_LINE_MAX 16384u
#define LK_SDP_MEDIA_MAX 4096u
#define LK_SDP_CODEC_MAX 128u
#define LK_SDP_EXTMAP_MAX 32u
#define LK_SDP_SSRC_MAX 64u
#define LK_SDP_GROUP_MAX 32u
#define LK_SDP_RID_MAX 8u
#define LK_SDP_CANDIDATE_MAX 64u
#define LK_SDP_FINGERPRINT_MAX 8u
#define LK_SDP_FB_MAX 1024u
#define LK_SDP_SCTP_MESSAGE_DEFAULT 65536u /* [RFC8841 s6] */

typedef enum lk_sdp_kind { LK_SDP_OTHER, LK_SDP_AUDIO, LK_SDP_VIDEO, LK_SDP_APPLICATION } lk_sdp_kind;
/* NONE: the line is absent, which means sendrecv. */
typedef enum lk_sdp_dir {
    LK_SDP_DIR_NONE,
    LK_SDP_SENDRECV,
    LK_SDP_SENDONLY,
    LK_SDP_RECVONLY,
    LK_SDP_INACTIVE,
} lk_sdp_dir;
typedef enum lk_sdp_setup {
    LK_SDP_SETUP_NONE,
    LK_SDP_ACTPASS,
    LK_SDP_ACTIVE,
    LK_SDP_PASSIVE,
    LK_SDP_HOLDCONN,
} lk_sdp_setup;

/* ICE and DTLS values, at session or section level; empty = absent. */
typedef struct lk_sdp_fingerprint {
    lk_str hash, value; /* "sha-256", "AB:CD:..." as written */
} lk_sdp_fingerprint;
typedef struct lk_sdp_transport {
    lk_str ice_ufrag, ice_pwd, ice_options;
    lk_sdp_fingerprint *fingerprints;
    size_t fingerprint_count;
    lk_sdp_setup setup;
} lk_sdp_transport;

typedef struct lk_sdp_codec {
    uint8_t pt;
    lk_str name; /* as written; static types without rtpmap get theirs; empty when unknown */
    uint32_t clock_hz;
    uint8_t channels; /* 0 = not written, means 1 */
    lk_str fmtp;      /* parameters without the payload type; empty = none */
} lk_sdp_codec;
typedef struct lk_sdp_fb {
    int16_t pt;   /* -1 = every payload type ("*") */
    lk_str value; /* "nack pli" */
} lk_sdp_fb;
typedef struct lk_sdp_extmap {
    uint8_t id; /* 1..255 */
    lk_sdp_dir dir;
    lk_str uri;
} lk_sdp_extmap;
typedef struct lk_sdp_ssrc {
    uint32_t ssrc;
    lk_str cname, stream, track; /* cname:, msid:<stream> <track> */
} lk_sdp_ssrc;
typedef struct lk_sdp_group {
    lk_str semantics; /* "FID", "SIM", "FEC-FR" */
    uint32_t *ssrcs;
    size_t count;
} lk_sdp_group;
typedef struct lk_sdp_rid {
    lk_str id;
    bool is_send;
    lk_str params; /* rest of the line */
} lk_sdp_rid;

typedef struct lk_sdp_media {
    lk_sdp_kind kind;
    lk_str kind_text, proto; /* written as given; proto empty on write: the usual one of the kind */
    uint16_t port;           /* 0 with bundle_only false: rejected section */
    lk_str connection;       /* address of c=, "0.0.0.0" when empty on write */
    lk_str mid;
    lk_sdp_transport transport;
    lk_sdp_dir dir;
    bool rtcp_mux, rtcp_rsize, bundle_only, end_of_candidates;
    bool has_msid;
    lk_str stream, track; /* of a=msid; stream may be "-", track empty */
    lk_sdp_codec *codecs; /* in the order of the m= line */
    size_t codec_count;
    lk_sdp_fb *fbs;
    size_t fb_count;
    lk_sdp_extmap *extmaps;
    size_t extmap_count;
    lk_sdp_ssrc *ssrcs;
    size_t ssrc_count;
    lk_sdp_group *groups;
    size_t group_count;
    lk_sdp_rid *rids;
    size_t rid_count;
    lk_str simulcast_send, simulcast_recv; /* "q;h;f" */
    lk_str *candidates;                    /* "candidate:..." without "a=" */
    size_t candidate_count;
    lk_str formats;            /* of a section that is not RTP: "webrtc-datachannel" */
    uint16_t sctp_port;        /* 0 = absent */
    uint32_t max_message_size; /* 0 = no limit written as such; only with has_max_message_size */
    bool has_max_message_size;
} lk_sdp_media;

typedef struct lk_sdp {
    lk_str origin_user, origin_addr; /* written as "-" and "127.0.0.1" when empty */
    uint64_t origin_id, origin_version;
    lk_str name; /* s=, "-" when empty */
    bool ice_lite, extmap_allow_mixed;
    lk_str msid_semantic; /* " WMS *", empty = absent */
    lk_str *bundle;       /* mids of the (first) BUNDLE group, in order: bundle[0] tags the transport */
    size_t bundle_count;
    lk_sdp_transport transport;
    lk_sdp_dir dir;
    lk_sdp_media *media;
    size_t media_count;
    const char *flaw; /* first thing found by parse that forbids to apply it; NULL = none. Static text */
} lk_sdp;

/* Fills *out from text. LK_ERR_WIRE: not a session description (no v=0 first, a line without "x=", NUL or lone CR,
 * a port past 65535); LK_ERR_LIMIT: larger than the limits above; LK_ERR_NOMEM. *out is written only on success.
 * What parses but must not be applied is reported by lk_sdp_check, not here. */
LK_NODISCARD lk_err lk_sdp_parse(lk_sdp *out, lk_arena *arena, const char *text, size_t len);

/* May this be set as a remote description? LK_ERR_PROTOCOL with *why = one static sentence part: no or only weak
 * fingerprints, short ice-pwd or ufrag, bundled media without rtcp-mux, a mid twice or a BUNDLE mid nobody has, two
 * meanings for one payload type or extmap id, an impossible number, a transport that is not DTLS. why may be NULL. */
LK_NODISCARD lk_err lk_sdp_check(const lk_sdp *sdp, const char **why);

/* Appends the text. LK_ERR_INVALID: a value holds CR, LF, NUL, or a token (mid, msid, cname, rid, ufrag, pwd, name)
 * holds a space or is empty where it must not be; LK_ERR_NOMEM: out refuses to grow. On error out
 * is as before. parse(write(x)) gives x back for everything the struct can say. */
LK_NODISCARD lk_err lk_sdp_write(const lk_sdp *sdp, lk_text *out);

/* ---- looking things up; NULL or false when absent ---------------------------------------------------- */
lk_sdp_media *lk_sdp_media_by_mid(const lk_sdp *sdp, lk_str mid);
/* Values that hold for a section: its own, else the session's, else those of the section that tags the bundle. */
lk_str lk_sdp_ufrag(const lk_sdp *sdp, const lk_sdp_media *media);
lk_str lk_sdp_pwd(const lk_sdp *sdp, const lk_sdp_media *media);
lk_sdp_setup lk_sdp_setup_of(const lk_sdp *sdp, const lk_sdp_media *media);
/* The first well-formed sha-256 fingerprint ("AB:CD:...", 95 characters); NULL when there is none. */
const lk_sdp_fingerprint *lk_sdp_fingerprint_of(const lk_sdp *sdp, const lk_sdp_media *media);
/* NONE resolved to the session's direction or sendrecv. */
lk_sdp_dir lk_sdp_dir_of(const lk_sdp *sdp, const lk_sdp_media *media);
static inline bool lk_sdp_dir_sends(lk_sdp_dir d) { return d == LK_SDP_SENDRECV || d == LK_SDP_SENDONLY; }
static inline bool lk_sdp_dir_receives(lk_sdp_dir d) { return d == LK_SDP_SENDRECV || d == LK_SDP_RECVONLY; }
lk_sdp_codec *lk_sdp_codec_by_name(const lk_sdp_media *media, const char *name); /* first, case ignored */
lk_sdp_codec *lk_sdp_codec_by_pt(const lk_sdp_media *media, uint8_t pt);
/* The rtx payload type whose apt is pt; -1 when there is none. [RFC4588 s8.1] */
int lk_sdp_rtx_for(const lk_sdp_media *media, uint8_t pt);
bool lk_sdp_has_fb(const lk_sdp_media *media, uint8_t pt, const char *value);
uint8_t lk_sdp_extmap_id(const lk_sdp_media *media, const char *uri); /* 0 = not negotiated */
/* Value of key in "a=1;b=2"; keys compare without case, blanks around are dropped. */
bool lk_sdp_fmtp_get(lk_str fmtp, const char *key, lk_str *value);
/* Other SSRC of a two-member group, e.g. RTX of a media SSRC with "FID"; 0 = none. */
uint32_t lk_sdp_group_peer(const lk_sdp_media *media, const char *semantics, uint32_t ssrc);
