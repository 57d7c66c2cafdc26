// SPDX-License-Identifier: Apache-2.0
#include "jitter/assembly.h"
#include "lk_test.h"

static const uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};

static void arrive(lk_assembly *a, lk_usec now, uint16_t seq, bool begin, bool key, bool marker)
{
    const lk_rtp_piece piece = {.data = {bytes, sizeof bytes}, .begin = begin, .key = key};
    lk_assembly_input(a, now, seq, 1000, marker, &piece);
}

/* How often a key frame is asked for until `until`, by somebody who looks every millisecond. */
static unsigned asked(lk_assembly *a, lk_usec from, lk_usec until)
{
    unsigned n = 0;
    lk_assembled frame;
    for (lk_usec now = from; now < until; now += LK_MSEC(1)) {
        while (lk_assembly_poll(a, now, &frame)) {
        }
        n += lk_assembly_poll_wish(a, now);
    }
    return n;
}

LK_TEST(a_wish_for_a_key_frame_is_said_again_soon_but_not_while_one_arrives)
{
    for (int coming = 0; coming < 2; coming++) {
        lk_assembly *a;
        if (!CHECK_OK(lk_assembly_new(&a, env)))
            return;
        lk_assembly_set_wait(a, LK_MSEC(520));
        arrive(a, LK_SEC(1), 10, true, false, true); /* a delta frame: nothing to decode yet */
        CHECK(lk_test_oom() || asked(a, LK_SEC(1), LK_SEC(1) + LK_MSEC(10)) == 1);
        if (coming) /* half of the key frame */
            arrive(a, LK_SEC(1) + LK_MSEC(50), 11, true, true, false);
        unsigned again = asked(a, LK_SEC(1) + LK_MSEC(50), LK_SEC(1) + LK_MSEC(510));
        CHECK(lk_test_oom() || again == (coming ? 0 : 1));
        lk_assembly_free(a);
    }
}
