// SPDX-License-Identifier: Apache-2.0
/* The usual bit rates of the reference: the first preset wider than the picture, of the aspect nearest to it. */
#include "room/room_internal.h"

typedef struct preset {
    uint32_t width, height;
    lk_session_encoding encoding;
} preset;

static const preset wide[] = {
    {160, 90, {90000, 15}},      {320, 180, {160000, 15}},   {384, 216, {180000, 15}},
    {640, 360, {450000, 20}},    {960, 540, {800000, 25}},   {1280, 720, {1700000, 30}},
    {1920, 1080, {3000000, 30}}, {2560, 1440, {5000000, 30}}, {3840, 2160, {8000000, 30}},
};
static const preset narrow[] = {
    {160, 120, {80000, 15}},     {240, 180, {100000, 15}},   {320, 240, {150000, 15}},
    {480, 360, {225000, 20}},    {640, 480, {300000, 20}},   {720, 540, {450000, 25}},
    {960, 720, {1500000, 30}},   {1440, 1080, {2500000, 30}}, {1920, 1440, {3500000, 30}},
};
static const preset screen_share[] = {
    {640, 360, {200000, 3}},     {1280, 720, {400000, 5}},   {1280, 720, {1000000, 15}},
    {1920, 1080, {1500000, 15}}, {1920, 1080, {3000000, 30}},
};

lk_session_encoding lk_session_encoding_of(uint32_t width, uint32_t height, bool screen)
{
    uint32_t longer = LK_MAX(width, height), shorter = LK_MAX(LK_MIN(width, height), 1u);
    double aspect = (double)longer / shorter, to_wide = aspect - 16.0 / 9, to_narrow = aspect - 4.0 / 3;
    const preset *list = narrow;
    size_t count = LK_LEN(narrow);
    if (screen) {
        list = screen_share;
        count = LK_LEN(screen_share);
    } else if (to_wide * to_wide < to_narrow * to_narrow) {
        list = wide;
        count = LK_LEN(wide);
    }
    for (size_t i = 0; i < count; i++)
        if (list[i].width > longer)
            return list[i].encoding;
    return list[count - 1].encoding;
}
