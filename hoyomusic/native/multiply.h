/* Products of bytes for one kind of processor: step.c includes this once for each, with what adds products to sums
 * (`ADD_PRODUCTS`), a name (`MULTIPLY`) and what the compiler may use (`TARGET`). */

/* sums (B, columns) of inputs (B, width) times a matrix laid out in blocks of 4 columns x 32 inputs, column by column,
 * so that memory is read in one line; the weights of four columns stay in the nearest cache for all rows. */
__attribute__((target(TARGET))) static void MULTIPLY(const uint8_t *inputs, const int8_t *matrix, int32_t *sums, int batch,
                                                     int width, int columns) {
    for (int column = 0; column < columns; column += 4) {
        const int8_t *weights = matrix + (size_t)column * width;
        int row = 0;
        for (; row + 1 < batch; row += 2) {
            const uint8_t *first = inputs + (size_t)row * width, *second = first + width;
            __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
            for (int place = 0; place < width; place += 32) {
                const int8_t *block = weights + 4 * place;
                __m256i x = LOAD(first + place), y = LOAD(second + place);
                __m256i u = LOAD(block), v = LOAD(block + 32), w = LOAD(block + 64), z = LOAD(block + 96);
                a = ADD_PRODUCTS(a, x, u), b = ADD_PRODUCTS(b, x, v), c = ADD_PRODUCTS(c, x, w), d = ADD_PRODUCTS(d, x, z);
                e = ADD_PRODUCTS(e, y, u), f = ADD_PRODUCTS(f, y, v), g = ADD_PRODUCTS(g, y, w), h = ADD_PRODUCTS(h, y, z);
            }
            _mm_storeu_si128((__m128i *)(sums + (size_t)row * columns + column), add_across(a, b, c, d));
            _mm_storeu_si128((__m128i *)(sums + (size_t)(row + 1) * columns + column), add_across(e, f, g, h));
        }
        if (row < batch) {
            const uint8_t *given = inputs + (size_t)row * width;
            __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
            for (int place = 0; place < width; place += 32) {
                const int8_t *block = weights + 4 * place;
                __m256i x = LOAD(given + place);
                _mm_prefetch((const char *)block + AHEAD, _MM_HINT_NTA);
                _mm_prefetch((const char *)block + AHEAD + 64, _MM_HINT_NTA);
                a = ADD_PRODUCTS(a, x, LOAD(block)), b = ADD_PRODUCTS(b, x, LOAD(block + 32));
                c = ADD_PRODUCTS(c, x, LOAD(block + 64)), d = ADD_PRODUCTS(d, x, LOAD(block + 96));
            }
            _mm_storeu_si128((__m128i *)(sums + (size_t)row * columns + column), add_across(a, b, c, d));
        }
    }
}

#undef ADD_PRODUCTS
#undef MULTIPLY
#undef TARGET
