/* What a tune's own past suggests: `recall.py`, whose Python tells what is done and why. */

#include "library.h"
#include "table.h"

#define LAGS 4
#define SOURCES (1 + LAGS)

/* What an id does to the place where the next will stand: the numbers of recall.py. */
enum { KEEPS, NOTE, PITCH, LENGTH, JOIN, BAR_END, METRE, BARS, STANDS_NOWHERE, UPBEAT };

typedef struct {
    int64_t *numbers;
    int64_t room, held;
} List;

/* The memory of one tune under way. */
struct Recall {
    const int64_t *moves, *ticks; /* of each id */
    int64_t agreements;
    Table stood;    /* (place, bar) -> the id that stood there */
    Table longer;   /* (node, the id in front of its run) -> node */
    List ids, latest;
    int64_t follow, run;
    int64_t bar, position, count, full, length;
    int in_body, joining;
    int64_t right[LAGS], told[2 * SOURCES];
};

static const int lags[LAGS] = {1, 2, 4, 8};

static int add(List *list, int64_t number) {
    if (list->held == list->room) {
        int64_t *larger = realloc(list->numbers, sizeof(int64_t) * 2 * (size_t)list->room);
        if (!larger) return 0;
        list->numbers = larger, list->room *= 2;
    }
    list->numbers[list->held++] = number;
    return 1;
}

/* `Runs.take`. */
static int take_run(Recall *recall, int64_t id) {
    const int64_t here = recall->ids.held;
    int64_t node = 0, length = 0, before = -1;
    if (!add(&recall->ids, id)) return 0;
    for (int64_t place = here; place >= 0 && place > here - recall->agreements; place--) {
        const int64_t fresh = recall->latest.held;
        const Entry *entry = get(&recall->longer, node, recall->ids.numbers[place], fresh);
        if (!entry) return 0;
        node = entry->value;
        if (node == fresh) {
            if (!add(&recall->latest, ~here)) return 0;
            break;
        }
        before = recall->latest.numbers[node];
        length++;
        recall->latest.numbers[node] = here;
        if (before < 0) {
            before = ~before;
            if (length < recall->agreements && before >= length) {
                const int64_t next = recall->latest.held;
                Entry *front = get(&recall->longer, node, recall->ids.numbers[before - length], next);
                if (!front || !add(&recall->latest, ~before)) return 0;
                front->value = next;
            }
        }
    }
    if (recall->run && recall->ids.numbers[recall->follow] == id) {
        recall->follow++, recall->run++;
    } else {
        recall->follow = before + 1, recall->run = length;
    }
    return 1;
}

/* `Recall._move`. */
static void move(Recall *recall, int64_t moved, int64_t ticks) {
    switch (moved) {
    case NOTE:
        recall->length = ticks, recall->position += ticks, recall->count = 0;
        break;
    case PITCH:
        if (!recall->joining && recall->length) recall->position += recall->length, recall->count = 0;
        recall->joining = 0;
        break;
    case LENGTH:
        recall->length = ticks;
        break;
    case JOIN:
        recall->joining = 1;
        break;
    case BAR_END:
        recall->bar++, recall->position = recall->count = 0;
        break;
    case UPBEAT:
        recall->bar--, recall->position = recall->full - ticks, recall->count = 1;
        break;
    case METRE:
        recall->full = ticks;
        break;
    case BARS:
        recall->in_body = 1;
        break;
    }
}

/* A place in a bar as one number: `IDS_A_TICK` of recall.py. */
static int64_t place_of(const Recall *recall) { return recall->position * (1 << 20) + recall->count; }

static int take(Recall *recall, int64_t id) {
    const int64_t moved = recall->moves[id];
    int64_t *told = recall->told;
    if (recall->in_body && moved < STANDS_NOWHERE) {
        for (int lag = 0; lag < LAGS; lag++) {
            if (told[2 * lag + 3]) recall->right[lag] = told[2 * lag + 2] == id ? recall->right[lag] + 1 : 0;
        }
        if (!get(&recall->stood, place_of(recall), recall->bar, id)) return 0;
        recall->count++;
    }
    move(recall, moved, recall->ticks[id]);
    if (!take_run(recall, id)) return 0;
    told[0] = recall->run ? recall->ids.numbers[recall->follow] : 0;
    told[1] = recall->run < recall->agreements ? recall->run : recall->agreements - 1;
    for (int lag = 0; lag < LAGS; lag++) {
        const Entry *entry = find(&recall->stood, place_of(recall), recall->bar - lags[lag]);
        const int64_t agreed = recall->right[lag] + 1, most = recall->agreements - 1;
        told[2 * lag + 2] = entry->value == FREE ? 0 : entry->value;
        told[2 * lag + 3] = entry->value == FREE ? 0 : agreed < most ? agreed : most;
    }
    return 1;
}

EXPORTED void hoyo_end_recall(Recall *recall) {
    if (!recall) return;
    free(recall->stood.entries);
    free(recall->longer.entries);
    free(recall->ids.numbers);
    free(recall->latest.numbers);
    free(recall);
}

/* The memory of a tune that has not begun, 0 where there is no room for it. `moves` and `ticks` (vocabulary,) must
 * outlive it. */
EXPORTED Recall *hoyo_begin_recall(const int64_t *moves, const int64_t *ticks, int agreements) {
    Recall *recall = calloc(1, sizeof(Recall));
    if (!recall) return 0;
    recall->moves = moves, recall->ticks = ticks, recall->agreements = agreements;
    recall->ids.room = recall->latest.room = 256;
    recall->ids.numbers = malloc(sizeof(int64_t) * 256);
    recall->latest.numbers = malloc(sizeof(int64_t) * 256);
    if (!recall->ids.numbers || !recall->latest.numbers || !make_room(&recall->stood, 256) ||
        !make_room(&recall->longer, 256)) {
        hoyo_end_recall(recall);
        return 0;
    }
    add(&recall->latest, 0);
    return recall;
}

/* Each of `count` memories hears the next of its ids (count,); what it then suggests goes into `told` (count,
 * SOURCES, 2): guesses and agreements. 0 where memory has run out. */
EXPORTED int hoyo_recall(Recall *const *recalls, int count, const int64_t *ids, int64_t *told) {
    for (int row = 0; row < count; row++) {
        if (!take(recalls[row], ids[row])) return 0;
        memcpy(told + (size_t)row * 2 * SOURCES, recalls[row]->told, sizeof recalls[row]->told);
    }
    return 1;
}

/* One memory hears the `count` ids of a tune; what it suggests behind each goes into `told` (count, SOURCES, 2). */
EXPORTED int hoyo_recall_tune(Recall *recall, int count, const int64_t *ids, int64_t *told) {
    for (int place = 0; place < count; place++) {
        if (!hoyo_recall(&recall, 1, ids + place, told + (size_t)place * 2 * SOURCES)) return 0;
    }
    return 1;
}
