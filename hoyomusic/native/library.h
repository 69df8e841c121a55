/* What the parts of the library share. */

#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

/* `VERSION` of __init__.py: told apart from libraries that were compiled for an older or newer program. */
#define HOYO_VERSION 3

/* So many ids may be chosen from: room for them is taken on the stack. */
#define MOST_CHOICES 4096

/* A model, what is wished of a draw, and the memory of one tune: see step.c, draw.c and recall.c. */
typedef struct Model Model;
typedef struct Wish Wish;
typedef struct Recall Recall;

EXPORTED void hoyo_step(const Model *model, int batch, const int64_t *tokens, const int64_t *recall,
                        const uint8_t *states, uint8_t *new_states, float *logits, uint8_t *scratch);
EXPORTED int hoyo_recall(Recall *const *recalls, int count, const int64_t *ids, int64_t *told);
int64_t draw_one(const Wish *wish, const float *logits, const uint8_t *repeats, const int64_t *choices, int64_t count,
                 int64_t tune, int64_t step);
