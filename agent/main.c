/* fortress-agent: finds the verb on the command line and runs it. */
#include "agent/verbs/exit_code.h"
#include "agent/verbs/verb.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

typedef struct verb {
    const char *words;
    fx_verb_function run;
    const char *summary;
} verb;

static const verb verbs[] = {
#define FX_VERB(words, function, summary) {words, function, summary},
#include "agent/verbs.def"
#undef FX_VERB
    {NULL, NULL, NULL},
};

static void
print_help(FILE *out)
{
    (void)fputs(
        "Usage: fortress-agent VERB [OPTION…]\n"
        "Protects and restores what runs on this host.\n"
        "\n",
        out);
    for (const verb *each = verbs; each->words != NULL; each++) {
        (void)fprintf(out, "  %-16s %s\n", each->words, each->summary);
    }
    (void)fputs(
        "\n"
        "  fortress-agent VERB --help    what a verb takes\n"
        "  fortress-agent --version      the version of this program\n"
        "\n"
        "Exit status: 0 done, 3 done with warnings, 2 wrong usage, another: failed\n"
        "(docs/reference/exit-codes.md).\n",
        out);
}

/* How many arguments the verb's words take up at the start of `argv`; 0 when they are not there. */
static int
match_words(const verb *candidate, int argc, char **argv)
{
    const char *words = candidate->words;
    for (int index = 0; index < argc; index++) {
        size_t length = strcspn(words, " ");
        if (strlen(argv[index]) != length || memcmp(argv[index], words, length) != 0) {
            return 0;
        }
        if (words[length] == '\0') {
            return index + 1;
        }
        words += length + 1;
    }
    return 0;
}

static int
run_verb(const verb *chosen, int word_count, int argc, char **argv)
{
    char words[64];
    (void)snprintf(words, sizeof words, "%s", chosen->words);
    argv[word_count - 1] = words;
    return chosen->run(argc - word_count + 1, argv + word_count - 1);
}

/* Freed buffers from this size on go back to the system. By itself glibc raises it to that of the
 * largest one that was freed, and keeps them: mallopt(3). */
enum { LARGE_BUFFER_BYTES = 128 * 1024 };

int
main(int argc, char **argv)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread as yet */
    (void)mallopt(M_MMAP_THRESHOLD, LARGE_BUFFER_BYTES);
    /* A reader of our output or a peer that goes away is an error of that write, not our end. */
    (void)signal(SIGPIPE, SIG_IGN); // NOLINT(cert-err33-c): SIGPIPE can be ignored everywhere

    if (argc < 2) {
        print_help(stderr);
        return FX_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return FX_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)puts("fortress-agent " FX_VERSION);
        return FX_EXIT_OK;
    }
    for (const verb *each = verbs; each->words != NULL; each++) {
        int word_count = match_words(each, argc - 1, argv + 1);
        if (word_count > 0) {
            return run_verb(each, word_count, argc - 1, argv + 1);
        }
    }
    (void)fprintf(
        stderr, "fortress-agent: there is no verb \"%s\"; see fortress-agent --help\n", argv[1]);
    return FX_EXIT_USAGE;
}
