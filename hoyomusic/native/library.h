/* What the parts of the library share. */

#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

/* `VERSION` of __init__.py: told apart from libraries that were compiled for an older or newer program. */
#define HOYO_VERSION 2

/* So many ids may be chosen from: room for them is taken on the stack. */
#define MOST_CHOICES 4096
