/* Tunes go on together until one comes to where its grammar has not told what follows: `walking.py`. */

#include "library.h"
#include "table.h"

/* A place in a grammar as far as it is known: its choices (count,), and what each id (vocabulary,) is alike to. */
typedef struct {
    const int64_t *choices, *alike;
    int64_t count, sixteenth;
} Place;

struct Automaton {
    Place *places;
    int64_t room, held;
    Table behind; /* (place, what an id is alike to) -> place */
};
typedef struct Automaton Automaton;

/* One tune: the place behind its last id, what tells its draws from others, what the model hears beside its ids, the
 * number of ids at which its grammar wants to be asked, and whether it waits for that. */
typedef struct {
    int64_t place, tune, label, clock_of_bar, watched, waits;
} Row;

/* What `walking.py` fills in. Of the two states the one at `current` has heard all ids but the last. */
typedef struct {
    const Model *model;
    const Wish *wish;
    const Automaton *automaton;
    Recall *const *recalls; /* (rows,) */
    Row *rows;
    int64_t *ids;                          /* (steps + 1, rows): the last ids first, behind them what is chosen */
    int64_t *tokens, *told;                /* (rows, 3), (rows, sources, 2) */
    uint8_t *states[2], *scratch;
    float *logits;                         /* (rows, columns) */
    int64_t columns, count, steps, taken, current;
} Walk;

enum { NO_MEMORY = -1, NO_CHOICE = -2 };

/* Steps made, at most `steps`, until a row waits; the ids that were chosen lie in `ids`. Else NO_MEMORY, or
 * NO_CHOICE less the row for which `draw_one` finds nothing. */
EXPORTED int64_t hoyo_walk(Walk *walk) {
    const int64_t count = walk->count;
    for (int64_t steps = 1;; steps++) {
        const int64_t *heard = walk->ids + (steps - 1) * count;
        int64_t *chosen = walk->ids + steps * count, waiting = 0;
        if (!hoyo_recall(walk->recalls, (int)count, heard, walk->told)) return NO_MEMORY;
        for (int64_t at = 0; at < count; at++) {
            const Row *row = walk->rows + at;
            walk->tokens[3 * at] = heard[at];
            walk->tokens[3 * at + 1] = row->label;
            walk->tokens[3 * at + 2] = walk->automaton->places[row->place].sixteenth + row->clock_of_bar;
        }
        hoyo_step(walk->model, (int)count, walk->tokens, walk->told, walk->states[walk->current],
                  walk->states[!walk->current], walk->logits, walk->scratch);
        walk->current = !walk->current;
        for (int64_t at = 0; at < count; at++) {
            Row *row = walk->rows + at;
            const Place *place = walk->automaton->places + row->place;
            const float *logits = walk->logits + at * walk->columns;
            chosen[at] = draw_one(walk->wish, logits, 0, place->choices, place->count, row->tune, walk->taken);
            if (chosen[at] < 0) return NO_CHOICE - at;
            row->waits = 1;
            if (place->alike && walk->taken + 1 < row->watched) {
                const Entry *entry = find(&walk->automaton->behind, row->place, place->alike[chosen[at]]);
                if (entry->value != FREE) row->place = entry->value, row->waits = 0;
            }
            waiting += row->waits;
        }
        walk->taken++;
        if (waiting || steps == walk->steps) return steps;
    }
}

EXPORTED void hoyo_end_automaton(Automaton *automaton) {
    if (!automaton) return;
    free(automaton->places);
    free(automaton->behind.entries);
    free(automaton);
}

/* An automaton that knows no place yet; 0 where there is no room for it. */
EXPORTED Automaton *hoyo_begin_automaton(void) {
    Automaton *automaton = calloc(1, sizeof(Automaton));
    if (!automaton) return 0;
    automaton->room = 1024;
    automaton->places = malloc(sizeof(Place) * 1024);
    if (automaton->places && make_room(&automaton->behind, 1024)) return automaton;
    hoyo_end_automaton(automaton);
    return 0;
}

/* Adds a place and returns its number, -1 where memory has run out; what is pointed to must outlive the automaton. */
EXPORTED int64_t hoyo_add_place(Automaton *automaton, const int64_t *choices, int64_t count, const int64_t *alike,
                                int64_t sixteenth) {
    if (automaton->held == automaton->room) {
        Place *larger = realloc(automaton->places, sizeof(Place) * 2 * (size_t)automaton->room);
        if (!larger) return -1;
        automaton->places = larger, automaton->room *= 2;
    }
    automaton->places[automaton->held] = (Place){choices, alike, count, sixteenth};
    return automaton->held++;
}

/* Notes which place lies behind another for ids that are alike; 0 where memory has run out. */
EXPORTED int hoyo_lead(Automaton *automaton, int64_t place, int64_t alike, int64_t behind) {
    return get(&automaton->behind, place, alike, behind) != 0;
}
