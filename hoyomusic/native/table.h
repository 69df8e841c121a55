/* A table from two numbers to one that grows as it is filled. */

#include <stdlib.h>

#define FREE INT64_MIN

/* A table from two numbers to one; rows without a value are free. It holds at most half of what it has room for. */
typedef struct {
    int64_t first, second;
    int64_t value;
} Entry;

typedef struct {
    Entry *entries;
    int64_t room, held;
} Table;

/* The entry of two numbers; of none with such numbers a free one. */
static inline Entry *find(const Table *table, int64_t first, int64_t second) {
    uint64_t mixed = (uint64_t)first * 0x9E3779B97F4A7C15u ^ (uint64_t)second * 0xC2B2AE3D27D4EB4Fu;
    mixed ^= mixed >> 29;
    for (int64_t at = (int64_t)(mixed & (uint64_t)(table->room - 1));; at = (at + 1) & (table->room - 1)) {
        Entry *entry = table->entries + at;
        if (entry->value == FREE || (entry->first == first && entry->second == second)) return entry;
    }
}

/* Room for so many entries, a power of two; 0 where memory has run out. */
static int make_room(Table *table, int64_t room) {
    Table larger = {malloc(sizeof(Entry) * (size_t)room), room, table->held};
    if (!larger.entries) return 0;
    for (int64_t at = 0; at < room; at++) larger.entries[at].value = FREE;
    for (int64_t at = 0; at < table->room; at++) {
        const Entry *entry = table->entries + at;
        if (entry->value != FREE) *find(&larger, entry->first, entry->second) = *entry;
    }
    free(table->entries);
    *table = larger;
    return 1;
}

/* The entry of two numbers, made with `value` if there was none; 0 where memory has run out. */
static Entry *get(Table *table, int64_t first, int64_t second, int64_t value) {
    Entry *entry = find(table, first, second);
    if (entry->value != FREE) return entry;
    if (2 * table->held >= table->room) {
        if (!make_room(table, 2 * table->room)) return 0;
        entry = find(table, first, second);
    }
    table->held++;
    entry->first = first, entry->second = second, entry->value = value;
    return entry;
}
