// SPDX-License-Identifier: Apache-2.0
#include "cc/trend.h"

#define GROUP_USEC LK_MSEC(5)          /* packets sent within it are one group [draft-ietf-rmcat-gcc-02 s5.2] */
#define GROUP_ARRIVAL_USEC LK_MSEC(100) /* a group that arrives longer than this is closed */
#define RESTART_USEC LK_SEC(3)         /* a jump of the delay: another path or another clock */
#define SILENCE_USEC LK_SEC(1) /* nothing was sent for so long: what was seen before it says nothing of now */
#define SMOOTHING 0.9
#define GAIN 4.0
#define GAIN_GROUPS 60u
#define THRESHOLD_START 12.5
#define THRESHOLD_MIN 6.0
#define THRESHOLD_MAX 600.0
#define THRESHOLD_OUTLIER 15.0 /* further above the threshold than this: a spike, teaches nothing */
#define THRESHOLD_UP 0.0087
#define THRESHOLD_DOWN 0.039
#define OVER_MSEC 10.0 /* overuse has to last this long */

void lk_trend_init(lk_trend *t)
{
    *t = (lk_trend){.threshold_msec = THRESHOLD_START};
}

static double msec(lk_usec t) { return (double)t / 1000.0; }

/* Slope of the regression line: milliseconds of delay per millisecond. */
static double slope_of(const lk_trend *t)
{
    double mean_x = 0, mean_y = 0, above = 0, below = 0;
    for (size_t i = 0; i < LK_TREND_POINTS; i++) {
        mean_x += t->x_msec[i] / LK_TREND_POINTS;
        mean_y += t->y_msec[i] / LK_TREND_POINTS;
    }
    for (size_t i = 0; i < LK_TREND_POINTS; i++) {
        double dx = t->x_msec[i] - mean_x;
        above += dx * (t->y_msec[i] - mean_y);
        below += dx * dx;
    }
    return below > 0 ? above / below : 0;
}

/* The threshold follows the trend slowly upwards and faster downwards: a flow that competes with one that fills the queue
 * would otherwise be starved by its own caution. [draft-ietf-rmcat-gcc-02 s5.4] */
static void adapt_threshold(lk_trend *t, double trend, double passed_msec)
{
    double size = trend < 0 ? -trend : trend;
    if (size > t->threshold_msec + THRESHOLD_OUTLIER)
        return;
    double k = size < t->threshold_msec ? THRESHOLD_DOWN : THRESHOLD_UP;
    t->threshold_msec += k * (size - t->threshold_msec) * LK_CLAMP(passed_msec, 0.0, 100.0);
    t->threshold_msec = LK_CLAMP(t->threshold_msec, THRESHOLD_MIN, THRESHOLD_MAX);
}

static void judge(lk_trend *t, double slope, double spacing_msec, double passed_msec)
{
    double trend = slope * GAIN * LK_MIN(t->points, GAIN_GROUPS);
    if (trend > t->threshold_msec) {
        t->over_msec += t->over_groups == 0 ? spacing_msec / 2 : spacing_msec;
        t->over_groups++;
        if (t->over_msec > OVER_MSEC && t->over_groups > 1 && slope >= t->slope) {
            t->over_msec = 0;
            t->over_groups = 0;
            t->state = LK_TREND_OVERUSE;
        }
    } else {
        t->over_msec = 0;
        t->over_groups = 0;
        t->state = trend < -t->threshold_msec ? LK_TREND_UNDERUSE : LK_TREND_NORMAL;
    }
    t->slope = slope;
    adapt_threshold(t, trend, passed_msec);
}

static void close_group(lk_trend *t)
{
    lk_usec delay = (t->arrived_at - t->zero_arrived_at) - (t->sent_at - t->zero_sent_at);
    double y = msec(delay);
    if (t->points && (y - t->smoothed_msec > msec(RESTART_USEC) || t->smoothed_msec - y > msec(RESTART_USEC)))
        t->points = 0;
    if (t->points == 0) {
        t->zero_sent_at = t->last_sent_at = t->sent_at;
        t->zero_arrived_at = t->last_arrived_at = t->arrived_at;
        t->smoothed_msec = y = 0;
        t->state = LK_TREND_NORMAL;
    }
    t->smoothed_msec = SMOOTHING * t->smoothed_msec + (1 - SMOOTHING) * y;
    t->x_msec[t->points % LK_TREND_POINTS] = msec(t->arrived_at - t->zero_arrived_at);
    t->y_msec[t->points % LK_TREND_POINTS] = t->smoothed_msec;
    t->points++;
    if (t->points >= LK_TREND_POINTS)
        judge(t, slope_of(t), msec(t->sent_at - t->last_sent_at), msec(t->arrived_at - t->last_arrived_at));
    t->last_sent_at = t->sent_at;
    t->last_arrived_at = t->arrived_at;
}

/* Also what a queue released in one piece counts as one group, however far apart it was sent: its spacing says nothing
 * about the bottleneck. */
static bool belongs(const lk_trend *t, lk_usec sent_at, lk_usec arrived_at)
{
    if (sent_at - t->first_sent_at <= GROUP_USEC)
        return true;
    lk_usec apart = arrived_at - t->arrived_at;
    return apart <= GROUP_USEC && apart < sent_at - t->sent_at && arrived_at - t->first_arrived_at < GROUP_ARRIVAL_USEC;
}

void lk_trend_input(lk_trend *t, lk_usec sent_at, lk_usec arrived_at)
{
    if (t->open && sent_at < t->first_sent_at)
        return;
    if (t->open && belongs(t, sent_at, arrived_at)) {
        t->sent_at = LK_MAX(t->sent_at, sent_at);
        t->arrived_at = LK_MAX(t->arrived_at, arrived_at);
        return;
    }
    if (t->open && sent_at - t->sent_at > SILENCE_USEC) {
        t->points = t->over_groups = 0;
        t->over_msec = 0;
        t->state = LK_TREND_NORMAL;
    } else if (t->open) {
        close_group(t);
    }
    t->open = true;
    t->first_sent_at = t->sent_at = sent_at;
    t->first_arrived_at = t->arrived_at = arrived_at;
}
