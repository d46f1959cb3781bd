/* Verbs of the command line: a function each, listed in agent/verbs.def. */
#pragma once

#include "common/base/err.h"

/*
 * A verb gets its own words as argv[0] ("backup files") and its options from argv[1] on, and
 * returns the program's exit status.
 */
typedef int (*fx_verb_function)(int argc, char **argv);

#define FX_VERB(words, function, summary) int function(int argc, char **argv);
#include "agent/verbs.def"
#undef FX_VERB
