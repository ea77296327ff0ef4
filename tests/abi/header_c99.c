/* The public header in a strict C99 program: it must compile alone, first and twice. */
#include <nibble/nibble.h>
#include <nibble/nibble.h>

const char* nibble_header_version(void);

const char* nibble_header_version(void) { return nbl_version(); }
