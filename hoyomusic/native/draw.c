/* Draws the next ids in whole numbers: `sampling.draw`, whose Python tells what is done and why. */

#include "library.h"

/* Distances reach so far, where the weight is 0: `TABLE_SIZE` of sampling.py. */
#define FARTHEST 21504

/* What `sampling.py` fills in. */
struct Wish {
    double levels_a_nat; /* 0: the best id is taken */
    double top_p;
    float repetition;
    int32_t top_k;
    uint32_t seed_low, seed_high, stream, width; /* of a row of logits */
    const int32_t *weights;                        /* (FARTHEST + 1,) */
};

/* The first word of Philox4x32-10. */
static uint32_t random_word(const Wish *wish, uint32_t step, uint32_t tune) {
    uint32_t a = step, b = tune, c = wish->stream, d = 0, low = wish->seed_low, high = wish->seed_high;
    for (int round = 0; round < 10; round++) {
        uint64_t first = (uint64_t)0xD2511F53 * a, second = (uint64_t)0xCD9E8D57 * c;
        a = (uint32_t)(second >> 32) ^ b ^ low, b = (uint32_t)second;
        c = (uint32_t)(first >> 32) ^ d ^ high, d = (uint32_t)first;
        low += 0x9E3779B9, high += 0xBB67AE85;
    }
    return a;
}

/* The largest whole number that is not above; what is too large to have a fraction is one. */
static inline double round_down(double value) {
    if (!(value > -4503599627370496.0 && value < 4503599627370496.0)) return value;
    double whole = (double)(int64_t)value;
    return whole > value ? whole - 1 : whole;
}

/* The places of `count` distances, nearest first and of equal ones the first first: sorted by their two digits. */
static const uint32_t *sort(const int32_t *distances, uint32_t *places, uint32_t *spare, int64_t count) {
    for (int shift = 0; shift < 16; shift += 8) {
        int64_t starts[257] = {0};
        for (int64_t at = 0; at < count; at++) starts[(distances[at] >> shift & 255) + 1]++;
        for (int digit = 0; digit < 256; digit++) starts[digit + 1] += starts[digit];
        for (int64_t at = 0; at < count; at++) {
            uint32_t place = shift ? spare[at] : (uint32_t)at;
            (shift ? places : spare)[starts[distances[place] >> shift & 255]++] = place;
        }
    }
    return places;
}

/* Makes 0 the weights of all that top_k and top_p leave out. */
static void cut(const Wish *wish, const int32_t *distances, int32_t *weights, uint32_t *room, int64_t count) {
    const uint32_t *order = sort(distances, room, room + MOST_CHOICES, count);
    int64_t kept = wish->top_k && wish->top_k < count ? wish->top_k : count;
    if (wish->top_p < 1) {
        int64_t sum = 0, running = 0, all = kept;
        for (int64_t at = 0; at < all; at++) sum += weights[order[at]];
        int64_t wanted = (int64_t)(wish->top_p * (double)sum);
        for (kept = 0; kept < all;) {
            running += weights[order[kept++]];
            if (running >= wanted) break;
        }
    }
    for (int64_t at = kept; at < count; at++) weights[order[at]] = 0;
}

/* One of `count` choices for a row of logits (width,) and perhaps of marks; -1 where none is allowed or the logits are
 * not finite. */
int64_t draw_one(const Wish *wish, const float *logits, const uint8_t *repeats, const int64_t *choices, int64_t count,
                 int64_t tune, int64_t step) {
    float values[MOST_CHOICES];
    int32_t distances[MOST_CHOICES], weights[MOST_CHOICES];
    uint32_t room[2 * MOST_CHOICES];
    int64_t best = 0, sum = 0;
    for (int64_t at = 0; at < count; at++) {
        float value = logits[choices[at]];
        if (repeats && repeats[choices[at]]) value -= wish->repetition;
        values[at] = value;
        if (value != value) return -1;
        if (value > values[best]) best = at;
    }
    if (!count || values[best] - values[best] != 0) return -1;
    if (!wish->levels_a_nat || count == 1) return choices[best];
    const double highest = round_down(values[best] * wish->levels_a_nat + 0.5);
    for (int64_t at = 0; at < count; at++) {
        double distance = highest - round_down(values[at] * wish->levels_a_nat + 0.5);
        distances[at] = distance < FARTHEST ? (int32_t)distance : FARTHEST;
        weights[at] = wish->weights[distances[at]];
    }
    if (wish->top_k || wish->top_p < 1) cut(wish, distances, weights, room, count);
    for (int64_t at = 0; at < count; at++) sum += weights[at];
    const double word = random_word(wish, (uint32_t)step, (uint32_t)tune);
    int64_t drawn = (int64_t)(word * (double)sum / 4294967296.0), at = 0;
    for (int64_t running = weights[0]; running <= drawn; running += weights[at]) at++;
    return choices[at];
}

/* For each of `rows` one of its choices. `logits` (rows, width), `repeats` likewise or none. `told` holds how many
 * choices each row has (rows,), the tunes (rows,), room for what is chosen (rows,), then all choices, one row's behind
 * the other's. The first row for which `draw_one` finds nothing is told, else -1. */
EXPORTED int64_t hoyo_draw(const Wish *wish, int rows, const float *logits, const uint8_t *repeats, int64_t step,
                           int64_t *told) {
    const int64_t *counts = told, *tunes = told + rows, *choices = told + 3 * (size_t)rows;
    for (int row = 0; row < rows; choices += counts[row++]) {
        const size_t at = (size_t)row * wish->width;
        const int64_t found = draw_one(wish, logits + at, repeats ? repeats + at : 0, choices, counts[row], tunes[row], step);
        if (found < 0) return row;
        told[2 * (size_t)rows + row] = found;
    }
    return -1;
}
