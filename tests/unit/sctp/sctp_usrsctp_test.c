// SPDX-License-Identifier: Apache-2.0
/* Our association against usrsctp, in memory: side 0 of the link is ours, side 1 is theirs. One thread, virtual time. */
#include "sctp_link.h"

/* Below the house's own headers, for it brings system ones. */
#include <sys/time.h>
#include <usrsctp.h>

#define THEIR_TICK LK_MSEC(10)
#define PORT LK_SCTP_PORT

typedef struct theirs {
    struct socket *listening, *sock;
    bool up, closed;
    size_t resets;
    uint8_t message[LK_SCTP_MESSAGE_MAX];
    size_t len;
    link_side side; /* what they received */
    lk_usec tick_at;
} theirs;
static lk_usec world_began;
static sctp_world *world; /* usrsctp has one state per process */
static theirs them;

/* They look at the clock themselves; this program's one is the virtual one. */
int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    static lk_usec last = LK_SEC(1); /* never back, though each test begins anew */
    LK_UNUSED(zone);
    last = LK_MAX(last + 1, (world ? world->now : 0) + world_began);
    tv->tv_sec = last / 1000000;
    tv->tv_usec = last % 1000000;
    return 0;
}

static int their_packet(void *address, void *data, size_t len, uint8_t tos, uint8_t df)
{
    LK_UNUSED(address);
    LK_UNUSED(tos);
    LK_UNUSED(df);
    link_carry(world, 0, (const uint8_t *)data, len);
    return 0;
}

static void their_notification(const void *data)
{
    const union sctp_notification *n = (const union sctp_notification *)data;
    if (n->sn_header.sn_type == SCTP_ASSOC_CHANGE) {
        them.up |= n->sn_assoc_change.sac_state == SCTP_COMM_UP;
        them.closed |= n->sn_assoc_change.sac_state == SCTP_COMM_LOST || n->sn_assoc_change.sac_state == SCTP_SHUTDOWN_COMP;
    } else if (n->sn_header.sn_type == SCTP_STREAM_RESET_EVENT) {
        them.resets += (n->sn_strreset_event.strreset_flags & SCTP_STREAM_RESET_INCOMING_SSN) != 0;
        if (n->sn_strreset_event.strreset_flags & SCTP_STREAM_RESET_INCOMING_SSN)
            them.side.next[n->sn_strreset_event.strreset_stream_list[0] % LINK_STREAMS] = 0;
    }
}

static int their_data(struct socket *sock, union sctp_sockstore from, void *data, size_t len, struct sctp_rcvinfo info,
                      int flags, void *context)
{
    LK_UNUSED(sock);
    LK_UNUSED(from);
    LK_UNUSED(context);
    if (!data) {
        them.closed = true;
        return 1;
    }
    if (flags & MSG_NOTIFICATION) {
        their_notification(data);
    } else if (them.len + len <= sizeof them.message) {
        memcpy(them.message + them.len, data, len);
        them.len += len;
        if (flags & MSG_EOR) {
            lk_sctp_message m = {.stream = info.rcv_sid, .data = them.message, .len = them.len,
                                 .unordered = (info.rcv_flags & SCTP_UNORDERED) != 0};
            them.side.bad += ntohl(info.rcv_ppid) != 53;
            link_check_message(world, &them.side, &m);
            them.len = 0;
        }
    }
    free(data);
    return 1;
}

static struct sockaddr_conn their_address(void *id)
{
    struct sockaddr_conn a = {.sconn_family = AF_CONN, .sconn_port = htons(PORT), .sconn_addr = id};
    return a;
}

static void set_option(struct socket *s, int name, const void *value, socklen_t len)
{
    CHECK_EQ(usrsctp_setsockopt(s, IPPROTO_SCTP, name, value, len), 0);
}

static struct socket *their_socket(void)
{
    static const uint16_t events[] = {SCTP_ASSOC_CHANGE, SCTP_STREAM_RESET_EVENT};
    struct socket *s = usrsctp_socket(AF_CONN, SOCK_STREAM, IPPROTO_SCTP, their_data, NULL, 0, NULL);
    struct sockaddr_conn a = their_address(&them);
    struct sctp_assoc_value reset = {.assoc_id = SCTP_FUTURE_ASSOC, .assoc_value = SCTP_ENABLE_RESET_STREAM_REQ};
    uint32_t on = 1;
    if (!s)
        return NULL;
    usrsctp_set_non_blocking(s, 1);
    set_option(s, SCTP_NODELAY, &on, sizeof on);
    set_option(s, SCTP_ENABLE_STREAM_RESET, &reset, sizeof reset);
    for (size_t i = 0; i < LK_LEN(events); i++) {
        struct sctp_event e = {.se_assoc_id = SCTP_FUTURE_ASSOC, .se_type = events[i], .se_on = 1};
        set_option(s, SCTP_EVENT, &e, sizeof e);
    }
    CHECK_EQ(usrsctp_bind(s, (struct sockaddr *)&a, sizeof a), 0);
    return s;
}

static void their_connect(void)
{
    struct sockaddr_conn a = their_address(&them);
    (void)usrsctp_connect(them.sock, (struct sockaddr *)&a, sizeof a); /* in progress */
}

static bool begin(lk_env *env, uint64_t seed, bool listen)
{
    const lk_sctp_config config = {.checksums = true};
    memset(&them, 0, sizeof them);
    world = link_new(env, seed, &config);
    if (!link_is_up(world))
        return false;
    usrsctp_init_nothreads(0, their_packet, NULL);
    usrsctp_sysctl_set_sctp_ecn_enable(0);
    usrsctp_sysctl_set_sctp_asconf_enable(0);
    usrsctp_sysctl_set_sctp_auth_enable(0);
    usrsctp_register_address(&them);
    struct socket *s = their_socket();
    if (!CHECK(s != NULL))
        return false;
    *(listen ? &them.listening : &them.sock) = s;
    if (listen)
        CHECK_EQ(usrsctp_listen(s, 1), 0);
    them.tick_at = world->now + THEIR_TICK;
    return true;
}

static void end(void)
{
    if (them.sock) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        (void)usrsctp_setsockopt(them.sock, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        usrsctp_close(them.sock);
    }
    if (them.listening)
        usrsctp_close(them.listening);
    if (world) {
        world->cut = true;
        usrsctp_deregister_address(&them);
        for (int i = 0; i < 1000 && usrsctp_finish() != 0; i++)
            usrsctp_handle_timers(100);
        world_began += world->now;
        link_free(world);
    }
    world = NULL;
}

static void drain_ours(void)
{
    sctp_world *w = world;
    link_side *side = &w->side[0];
    lk_sctp_event e;
    lk_bytes p;
    while (lk_sctp_poll_event(side->s, &e)) {
        side->connected |= e.type == LK_SCTP_EV_CONNECTED;
        side->closed += e.type == LK_SCTP_EV_CLOSED;
        if (e.type == LK_SCTP_EV_STREAM_RESET) {
            side->resets++;
            side->next[e.stream % LINK_STREAMS] = 0;
        } else if (e.type == LK_SCTP_EV_MESSAGE) {
            link_check_message(w, side, &e.message);
        }
    }
    while (lk_sctp_poll_tx(side->s, w->now, &p))
        link_carry(w, 1, p.data, p.len);
}

static void run(lk_usec duration)
{
    sctp_world *w = world;
    lk_usec until = w->now + duration;
    for (;;) {
        drain_ours();
        lk_usec at = LK_MIN(lk_sctp_deadline(w->side[0].s), them.tick_at);
        if (w->count)
            at = LK_MIN(at, w->heap[0]->at);
        if (at > until)
            break;
        w->now = LK_MAX(w->now, at);
        while (w->count && w->heap[0]->at <= w->now) {
            link_packet *p = link_take(w);
            if (p->to == 0)
                lk_sctp_input(w->side[0].s, w->now, p->data, p->len);
            else
                usrsctp_conninput(&them, p->data, p->len, 0);
            free(p);
            drain_ours();
        }
        if (lk_sctp_deadline(w->side[0].s) <= w->now)
            lk_sctp_tick(w->side[0].s, w->now);
        if (them.tick_at <= w->now) {
            usrsctp_handle_timers((uint32_t)(THEIR_TICK / 1000));
            them.tick_at = w->now + THEIR_TICK;
        }
        if (them.listening && !them.sock)
            them.sock = usrsctp_accept(them.listening, NULL, NULL);
    }
    w->now = until;
}

static bool their_send(uint16_t stream, uint32_t number, size_t len, bool unordered, bool once)
{
    static uint8_t buffer[LK_SCTP_MESSAGE_MAX];
    struct sctp_sendv_spa spa = {.sendv_flags = SCTP_SEND_SNDINFO_VALID};
    link_message(buffer, len, number, world->now);
    spa.sendv_sndinfo.snd_sid = stream;
    spa.sendv_sndinfo.snd_ppid = htonl(53);
    spa.sendv_sndinfo.snd_flags = (uint16_t)(SCTP_EOR | (unordered ? SCTP_UNORDERED : 0));
    if (once) {
        spa.sendv_flags |= SCTP_SEND_PRINFO_VALID;
        spa.sendv_prinfo.pr_policy = SCTP_PR_SCTP_RTX;
        spa.sendv_prinfo.pr_value = 0;
    }
    return usrsctp_sendv(them.sock, buffer, len, NULL, 0, &spa, sizeof spa, SCTP_SENDV_SPA, 0) == (ssize_t)len;
}

static void open_channel(bool we, bool they)
{
    if (we)
        CHECK_OK(lk_sctp_connect(world->side[0].s, world->now));
    if (they)
        their_connect();
    run(LK_SEC(20));
    CHECK(world->side[0].connected && them.up && them.sock);
}

LK_TEST(usrsctp_comes_up_whoever_begins)
{
    if (lk_test_oom())
        return;
    for (int who = 1; who <= 3; who++) {
        for (unsigned loss = 0; loss <= 200; loss += 100) {
            if (begin(env, 1 + loss, who == 1)) {
                world->delay = LK_MSEC(10);
                world->loss_permille = loss;
                open_channel(who & 1, (who & 2) != 0);
            }
            end();
        }
    }
}

LK_TEST(usrsctp_and_we_deliver_everything_once_and_in_order)
{
    if (lk_test_oom())
        return;
    for (unsigned loss = 0; loss <= 50; loss += 25) {
        if (begin(env, 5 + loss, false)) {
            world->delay = LK_MSEC(10);
            open_channel(true, true);
            world->loss_permille = loss;
            world->jitter = LK_MSEC(3);
            world->twice_permille = loss;
            uint32_t sent = 0, theirs_sent = 0;
            for (int i = 0; i < 20000 && (sent < 300 || theirs_sent < 300); i++) {
                size_t len = i % 10 == 0 ? 30000 : 12 + (size_t)i % 1500;
                if (sent < 300 && link_send(world, 0, sent, len, (lk_sctp_message){.stream = 1}) == LK_OK)
                    sent++;
                if (theirs_sent < 300 && their_send(2, theirs_sent, len, false, false))
                    theirs_sent++;
                run(LK_MSEC(10));
            }
            CHECK(sent == 300 && theirs_sent == 300);
            for (int i = 0; i < 120 && (them.side.messages < 300 || world->side[0].messages < 300); i++)
                run(LK_SEC(1));
            CHECK_EQ(them.side.messages, 300);
            CHECK_EQ(world->side[0].messages, 300);
            CHECK(them.side.bad == 0 && world->side[0].bad == 0);
            CHECK(!them.closed && !world->side[0].closed);
        }
        end();
    }
}

LK_TEST(usrsctp_and_we_give_up_what_may_be_lost)
{
    if (lk_test_oom())
        return;
    for (int unordered = 0; unordered < 2; unordered++) {
        if (begin(env, 9, false)) {
            world->delay = LK_MSEC(10);
            open_channel(true, true);
            world->loss_permille = 100;
            for (uint32_t i = 0; i < 300; i++) {
                CHECK_OK(link_send(world, 0, i, i % 20 ? 300 : 4000,
                                   (lk_sctp_message){.stream = 3, .unordered = unordered, .limit_retransmits = true}));
                CHECK(their_send(3, i, i % 20 ? 300 : 4000, unordered, true));
                run(LK_MSEC(20));
            }
            world->loss_permille = 0;
            run(LK_SEC(100)); /* theirs waits for timeouts that double */
            CHECK_OK(link_send(world, 0, 300, 1000, (lk_sctp_message){.stream = 3}));
            CHECK(their_send(3, 300, 1000, false, false));
            run(LK_SEC(5));
            CHECK(them.side.next[3] == 301 && world->side[0].next[3] == 301);
            CHECK(them.side.messages > 200 && them.side.messages < 300);
            CHECK(world->side[0].messages > 200 && world->side[0].messages < 300);
            CHECK(them.side.bad == 0 && world->side[0].bad == 0 && !them.closed && !world->side[0].closed);
            CHECK_EQ(lk_sctp_deadline(world->side[0].s), LK_NEVER);
        }
        end();
    }
}

static bool their_reset(uint16_t stream)
{
    union {
        struct sctp_reset_streams r;
        uint8_t bytes[sizeof(struct sctp_reset_streams) + 4];
    } u;
    memset(&u, 0, sizeof u);
    u.r.srs_flags = SCTP_STREAM_RESET_OUTGOING;
    u.r.srs_number_streams = 1;
    memcpy(u.bytes + offsetof(struct sctp_reset_streams, srs_stream_list), &stream, sizeof stream);
    return usrsctp_setsockopt(them.sock, IPPROTO_SCTP, SCTP_RESET_STREAMS, &u,
                              (socklen_t)(sizeof(struct sctp_reset_streams) + sizeof stream)) == 0;
}

LK_TEST(usrsctp_and_we_reset_streams)
{
    if (lk_test_oom())
        return;
    for (unsigned loss = 0; loss <= 100; loss += 50) {
        if (begin(env, 3, false)) {
            world->delay = LK_MSEC(10);
            open_channel(true, true);
            world->loss_permille = loss;
            for (uint32_t round = 0; round < 2; round++) {
                for (uint32_t i = 0; i < 5; i++) {
                    CHECK_OK(link_send(world, 0, i, 3000, (lk_sctp_message){.stream = 4}));
                    CHECK(their_send(4, i, 3000, false, false));
                }
                if (round == 0) { /* ours first, then theirs in answer */
                    CHECK_OK(lk_sctp_reset_stream(world->side[0].s, world->now, 4));
                    run(LK_SEC(20));
                    CHECK(their_reset(4));
                } else { /* theirs first: ours follows by itself */
                    run(LK_SEC(20));
                    CHECK(their_reset(4));
                }
                run(LK_SEC(20));
                CHECK(them.resets > round && (loss || them.resets == round + 1)); /* told to wait, they do it twice */
                CHECK_EQ(world->side[0].resets, round + 1);
            }
            CHECK(them.side.messages == 10 && world->side[0].messages == 10);
            CHECK(them.side.bad == 0 && world->side[0].bad == 0 && !them.closed && !world->side[0].closed);
        }
        end();
    }
}

LK_TEST(usrsctp_and_we_part_in_order)
{
    if (lk_test_oom())
        return;
    for (int who = 0; who < 3; who++) {
        if (begin(env, 2, false)) {
            world->delay = LK_MSEC(10);
            open_channel(true, true);
            CHECK_OK(link_send(world, 0, 0, 30000, (lk_sctp_message){.stream = 1}));
            if (who == 0)
                lk_sctp_shutdown(world->side[0].s, world->now);
            else if (who == 1)
                CHECK_EQ(usrsctp_shutdown(them.sock, SHUT_WR), 0);
            else
                lk_sctp_abort(world->side[0].s, world->now);
            run(LK_SEC(5));
            CHECK_EQ(world->side[0].closed, 1);
            CHECK(them.closed);
            CHECK_EQ(them.side.messages, who < 2);
        }
        end();
    }
}
