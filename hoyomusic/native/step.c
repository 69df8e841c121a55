/* One step of a quantised model with AVX2, bit for bit what the ONNX graph of `runtime/graph.py` gives.
 *
 * Sums of products of bytes are whole numbers and so exact in any order; what follows is float32, one operation
 * after the other as in the graph (compile with -ffp-contract=off), and tanh is looked up on its grid.
 * Letters: B rows, E, H widths, L layers, K inputs of a layer (E + H, then 2H), S sources of recall. */

#include "library.h"

#define MOST_LAYERS 16
#define MOST_SOURCES 64

/* What `runtime/native.py` fills in; matrices lie in blocks (see `multiply`), and all start on multiples of 32 bytes. */
struct Model {
    int32_t embedding, hidden, layers, columns, recalls, agreements, table_reach;
    int32_t vocabulary, regions; /* where in the table regions begin, and behind how many of them clocks */
    int32_t layer_steps, layer_zero, output_zero;
    float layer_step, arguments, argument_steps;
    const int8_t *table;                    /* (V + R + C, E) */
    const int8_t *matrices[MOST_LAYERS];    /* (K, 4H) */
    const int32_t *zero_sums[MOST_LAYERS];  /* (4H,): what the zero point adds to each sum */
    const float *scales[MOST_LAYERS];       /* (4H,) */
    const float *biases[MOST_LAYERS];       /* (4H,), the rounder of arguments added */
    const float *unit_steps;                /* (H,) */
    const int8_t *output;                   /* (H, columns) */
    const int32_t *output_zero_sums;        /* (columns,) */
    const float *output_scale, *output_bias; /* (columns,) */
    const float *tanh_table, *sigmoid_table; /* (2 table_reach + 1,): results for arguments from -reach to reach steps */
};

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>

EXPORTED int hoyo_version(void) { return __builtin_cpu_supports("avx2") ? HOYO_VERSION : 0; }

#define AVX2 __attribute__((target("avx2")))

/* A row's weights are read once a step: told so, far enough ahead, the caches keep what the rest of the program needs. */
#define AHEAD 8192

#define LOAD(place) _mm256_load_si256((const __m256i *)(place))

/* The sums within each of four registers, side by side. */
AVX2 static inline __m128i add_across(__m256i a, __m256i b, __m256i c, __m256i d) {
    __m256i four = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
}

AVX2 static inline __m256i add_products(__m256i sums, __m256i inputs, __m256i weights) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(inputs, weights), _mm256_set1_epi16(1)));
}

#define TARGET "avx2"
#define MULTIPLY multiply_avx2
#define ADD_PRODUCTS add_products
#include "multiply.h"

/* Processors that add products of bytes in one instruction have it under one of two names. */
#ifndef HOYO_AVX2_ONLY
#define TARGET "avx512vnni,avx512vl"
#define MULTIPLY multiply_avx512_vnni
#define ADD_PRODUCTS _mm256_dpbusd_epi32
#include "multiply.h"

#define TARGET "avx2,avxvnni"
#define MULTIPLY multiply_avx_vnni
#define ADD_PRODUCTS _mm256_dpbusd_avx_epi32
#include "multiply.h"
#endif

static void (*multiply)(const uint8_t *, const int8_t *, int32_t *, int, int, int) = multiply_avx2;

/* Multiplies from now on as one kind of processor can: 0 AVX2, 1 AVX512-VNNI, 2 AVX-VNNI. Whether this one is of it. */
EXPORTED int hoyo_multiply_as(int kind) {
    if (kind == 0) multiply = multiply_avx2;
#ifndef HOYO_AVX2_ONLY
    if (kind == 1 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl")) {
        multiply = multiply_avx512_vnni;
        return 1;
    }
    if (kind == 2 && __builtin_cpu_supports("avxvnni")) {
        multiply = multiply_avx_vnni;
        return 1;
    }
#endif
    return kind == 0;
}

/* Entries of a table for eight arguments in steps; what lies beyond its reach gets its ends. */
AVX2 static inline __m256 look_up(const float *table, __m256 reach, __m256 steps) {
    __m256 inside = _mm256_min_ps(_mm256_max_ps(steps, _mm256_sub_ps(_mm256_setzero_ps(), reach)), reach);
    return _mm256_i32gather_ps(table, _mm256_cvtps_epi32(_mm256_add_ps(inside, reach)), 4);
}

/* Eight values, rounded half to even, as bytes that count from `zero`. */
AVX2 static inline void store_bytes(uint8_t *bytes, __m256 values, int zero) {
    __m256i whole = _mm256_add_epi32(_mm256_cvtps_epi32(values), _mm256_set1_epi32(zero));
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64((__m128i *)bytes, _mm_packus_epi16(words, words));
}

/* The gates of one layer for one row from the sums of its products, in place, as arguments in steps. */
AVX2 static void add_biases(const Model *model, int layer, int32_t *sums) {
    const int32_t *zero_sums = model->zero_sums[layer];
    const float *scale = model->scales[layer], *bias = model->biases[layer];
    const __m256 rounder = _mm256_set1_ps(model->arguments), steps = _mm256_set1_ps(model->argument_steps);
    for (int gate = 0; gate < 4 * model->hidden; gate += 8) {
        __m256 products = _mm256_cvtepi32_ps(_mm256_sub_epi32(LOAD(sums + gate), LOAD(zero_sums + gate)));
        __m256 raised = _mm256_add_ps(_mm256_mul_ps(products, _mm256_load_ps(scale + gate)), _mm256_load_ps(bias + gate));
        _mm256_store_ps((float *)sums + gate, _mm256_mul_ps(_mm256_sub_ps(raised, rounder), steps));
    }
}

/* One step for `batch` rows. `tokens` (B, 3): ids, regions and clocks; `recall` (B, S, 2): guesses and agreements. `states` and `new_states` (B, 5LH bytes): outputs of all layers as bytes, then cells as
 * floats. `scratch` holds B x (2 x 2H bytes + 4 x the largest number of columns) bytes, aligned to 32.
 * `logits` (B, columns) come with what the guesses bring. */
AVX2 EXPORTED void hoyo_step(const Model *model, int batch, const int64_t *tokens, const int64_t *recall,
                             const uint8_t *states, uint8_t *new_states, float *logits, uint8_t *scratch) {
    const int hidden = model->hidden, layers = model->layers, embedding = model->embedding;
    const size_t row_bytes = (size_t)5 * layers * hidden;
    const int widest = (embedding > hidden ? embedding : hidden) + hidden;
    uint8_t *inputs = scratch;
    uint8_t *last = inputs + (size_t)batch * widest;
    int32_t *sums = (int32_t *)(last + (size_t)batch * hidden);

    for (int layer = 0; layer < layers; layer++) {
        const int below = layer ? hidden : embedding, width = below + hidden;
        for (int row = 0; row < batch; row++) {
            uint8_t *given = inputs + (size_t)row * width;
            if (layer) {
                memcpy(given, new_states + row * row_bytes + (size_t)(layer - 1) * hidden, hidden);
            } else {
                const int8_t *id = model->table + tokens[3 * row] * embedding;
                const int8_t *region = model->table + (model->vocabulary + tokens[3 * row + 1]) * embedding;
                const int8_t *clock = model->table + (model->vocabulary + model->regions + tokens[3 * row + 2]) * embedding;
                for (int place = 0; place < embedding; place++) {
                    int sum = id[place] + region[place] + clock[place], most = model->layer_steps;
                    given[place] = (uint8_t)((sum > most ? most : sum < -most ? -most : sum) + model->layer_zero);
                }
            }
            memcpy(given + below, states + row * row_bytes + (size_t)layer * hidden, hidden);
        }
        multiply(inputs, model->matrices[layer], sums, batch, width, 4 * hidden);
        const __m256 rounder = _mm256_set1_ps(model->arguments), steps = _mm256_set1_ps(model->argument_steps);
        const __m256 reach = _mm256_set1_ps((float)model->table_reach), step = _mm256_set1_ps(model->layer_step);
        for (int row = 0; row < batch; row++) {
            const float *gates = (const float *)(sums + (size_t)row * 4 * hidden);
            add_biases(model, layer, sums + (size_t)row * 4 * hidden);
            const size_t cells_at = row * row_bytes + (size_t)layers * hidden + sizeof(float) * layer * hidden;
            const float *cells = (const float *)(states + cells_at);
            float *new_cells = (float *)(new_states + cells_at);
            uint8_t *outputs = new_states + row * row_bytes + (size_t)layer * hidden;
            for (int unit = 0; unit < hidden; unit += 8) {
                __m256 input = look_up(model->sigmoid_table, reach, _mm256_load_ps(gates + unit));
                __m256 forget = look_up(model->sigmoid_table, reach, _mm256_load_ps(gates + hidden + unit));
                __m256 value = look_up(model->tanh_table, reach, _mm256_load_ps(gates + 2 * hidden + unit));
                __m256 open = look_up(model->sigmoid_table, reach, _mm256_load_ps(gates + 3 * hidden + unit));
                __m256 kept = _mm256_mul_ps(forget, _mm256_loadu_ps(cells + unit));
                __m256 cell = _mm256_add_ps(kept, _mm256_mul_ps(input, value));
                _mm256_storeu_ps(new_cells + unit, cell);
                __m256 argument = _mm256_mul_ps(_mm256_sub_ps(_mm256_add_ps(cell, rounder), rounder), steps);
                __m256 shown = _mm256_mul_ps(open, look_up(model->tanh_table, reach, argument));
                store_bytes(outputs + unit, _mm256_div_ps(shown, step), model->layer_zero);
                if (layer + 1 == layers) {
                    __m256 scaled = _mm256_mul_ps(shown, _mm256_load_ps(model->unit_steps + unit));
                    store_bytes(last + (size_t)row * hidden + unit, scaled, model->output_zero);
                }
            }
        }
    }
    multiply(last, model->output, sums, batch, hidden, model->columns);
    for (int row = 0; row < batch; row++) {
        float *found = logits + (size_t)row * model->columns;
        const int32_t *sum = sums + (size_t)row * model->columns;
        for (int column = 0; column < model->columns; column++) {
            float product = (float)(sum[column] - model->output_zero_sums[column]) * model->output_scale[column];
            found[column] = product + model->output_bias[column];
        }
        const int64_t *guesses = recall + (size_t)row * 2 * model->recalls;
        float trust[MOST_SOURCES];
        for (int source = 0; source < model->recalls; source++) {
            trust[source] = found[model->vocabulary + source * model->agreements + guesses[2 * source + 1]];
        }
        for (int source = 0; source < model->recalls; source++) found[guesses[2 * source]] += trust[source];
    }
}

#else

EXPORTED int hoyo_version(void) { return 0; }

#endif
