/* The verbs wal-receive and wal-get. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/backup/wal.h"
#include "agent/verbs/exit_code.h"
#include "agent/verbs/verb.h"
#include "common/repository/gap.h"

enum {
    NAME_BYTES = 128,
    PENDING_GAPS_MAX = 32,
    SWITCH_AFTER_MAX_S = 86400,
};

typedef struct wal_options {
    const char *repo;
    const char *key_file;
    const char *slot;
    const char *primary;
    const char *system;
    unsigned long switch_after_s;
    bool help;
} wal_options;

static const struct option long_options[] = {
    {"repo", required_argument, NULL, 'r'},
    {"key-file", required_argument, NULL, 'k'},
    {"slot", required_argument, NULL, 's'},
    {"primary", required_argument, NULL, 'p'},
    {"system", required_argument, NULL, 'y'},
    {"switch-after", required_argument, NULL, 'w'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool
read_options(int argc, char **argv, wal_options *out)
{
    optind = 1;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread so far
    for (int got = 0; (got = getopt_long(argc, argv, "h", long_options, NULL)) != -1;) {
        char *end = NULL;
        switch (got) {
        case 'r':
            out->repo = optarg;
            break;
        case 'k':
            out->key_file = optarg;
            break;
        case 's':
            out->slot = optarg;
            break;
        case 'p':
            out->primary = optarg;
            break;
        case 'y':
            out->system = optarg;
            break;
        case 'w':
            out->switch_after_s = strtoul(optarg, &end, 10);
            if (end == optarg || *end != '\0' || out->switch_after_s > SWITCH_AFTER_MAX_S) {
                (void)fprintf(stderr, "fortress-agent: --switch-after takes 0 to 86400 seconds\n");
                return false;
            }
            break;
        case 'h':
            out->help = true;
            break;
        default:
            return false; /* getopt_long has said why */
        }
    }
    if (out->key_file == NULL) {
        out->key_file = getenv("FORTRESS_KEY_FILE"); // NOLINT(concurrency-mt-unsafe): likewise
    }
    return true;
}

static fx_code
open_repository(
    const wal_options *options,
    fx_repository_key **out_key,
    fx_repository **out_repository,
    fx_err *err)
{
    const char *scope =
        getenv("FORTRESS_SCOPE"); // NOLINT(concurrency-mt-unsafe): one thread so far
    if (fx_repository_key_load(options->key_file, out_key, err) != FX_OK ||
        fx_repository_key_select(*out_key, scope, err) != FX_OK) {
        return err->code;
    }
    return fx_repository_open(options->repo, *out_key, out_repository, err);
}

static int
usage(const char *text, bool asked)
{
    (void)fputs(text, asked ? stdout : stderr);
    return asked ? FX_EXIT_OK : FX_EXIT_USAGE;
}

/* ---- wal-receive --------------------------------------------------------------------------------
 */

static const char receive_usage[] =
    "Usage: fortress-agent wal-receive CONNINFO --slot NAME --repo URL [--key-file FILE]\n"
    "           [--switch-after SECONDS] [--primary CONNINFO]\n"
    "Receives the WAL of a PostgreSQL server into the repository until SIGTERM.\n"
    "\n"
    "  CONNINFO          of a role with REPLICATION, on the primary or a standby\n"
    "  --slot NAME       replication slot; created if missing\n"
    "  --switch-after S  close a segment that has been open for S seconds (primary only)\n"
    "  --primary CONNINFO  where to close segments while CONNINFO is a standby\n"
    "  --key-file FILE   key of the repository; else FORTRESS_KEY_FILE names it\n";

/* Set before the signals can arrive; fx_wal_receiver_stop() only stores to an atomic. */
static fx_wal_receiver *running;

static void
on_signal(int number)
{
    (void)number;
    fx_wal_receiver_stop(running);
}

/* Gaps that the repository does not have yet. */
typedef struct gap_keeper {
    fx_repository *repository;
    const fx_log *log;
    fx_name host;
    fx_gap_object pending[PENDING_GAPS_MAX];
    size_t count;
} gap_keeper;

static void
put_gaps(gap_keeper *keeper)
{
    size_t left = 0;
    for (size_t i = 0; i < keeper->count; i++) {
        fx_err err = {0};
        if (fx_gap_object_put(keeper->repository, &keeper->pending[i], &err) != FX_OK) {
            FX_LOG(keeper->log, ERROR, "wal.gap_not_stored", FX_ERR_FIELD(&err));
            keeper->pending[left++] = keeper->pending[i];
        }
    }
    keeper->count = left;
}

/* One that cannot be put is tried again with the next and at the end: a process keeps no memory
 * beyond that, as `run` does. */
static void
on_gap(void *ctx, const fx_wal_gap *found)
{
    gap_keeper *keeper = ctx;
    fx_gap_object gap = {
        .timeline = found->timeline,
        .segment_bytes = found->segment_bytes,
        .from = found->from,
        .to = found->to,
        .found = found->found_at,
        .host = keeper->host,
    };
    (void)snprintf(gap.stream, sizeof gap.stream, "wal/%s/", found->system);
    (void)snprintf(gap.reason, sizeof gap.reason, "%s", found->reason);
    if (keeper->count == PENDING_GAPS_MAX) {
        keeper->count--; /* it was told when it was found, and again each time it was not put */
        memmove(
            &keeper->pending[0], &keeper->pending[1], keeper->count * sizeof keeper->pending[0]);
    }
    keeper->pending[keeper->count++] = gap;
    put_gaps(keeper);
}

static fx_name
name_of_host(void)
{
    struct utsname self;
    fx_name name = {{0}};
    fx_err ignored = {0};
    if (uname(&self) == 0) {
        fx_ignore(
            fx_name_parse(self.nodename, "host", &name, &ignored), "it is for people: then none");
    }
    return name;
}

static fx_code
receive(const char *conninfo, const wal_options *options, fx_err *err)
{
    const fx_log log = {.fd = STDERR_FILENO, .min_level = FX_INFO, .program = "agent"};
    FX_AUTO(fx_repository_key) key = NULL;
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_wal_receiver) receiver = NULL;
    if (open_repository(options, &key, &repository, err) != FX_OK) {
        return err->code;
    }
    gap_keeper keeper = {.repository = repository, .log = &log, .host = name_of_host()};
    const fx_wal_config config = {
        .conninfo = conninfo,
        .primary_conninfo = options->primary,
        .slot = options->slot,
        .switch_after = FX_DUR_MS((int64_t)options->switch_after_s * 1000),
        .repository = repository,
        .log = &log,
        .gap = on_gap,
        .ctx = &keeper};
    if (fx_wal_receiver_new(&config, &receiver, err) != FX_OK) {
        return err->code;
    }
    running = receiver;
    const struct sigaction action = {.sa_handler = on_signal};
    if (sigaction(SIGTERM, &action, NULL) != 0 || sigaction(SIGINT, &action, NULL) != 0) {
        return fx_fail_errno(err, errno, "could not wait for signals");
    }
    fx_wal_receiver_run(receiver);
    put_gaps(&keeper);
    const struct sigaction before = {.sa_handler = SIG_DFL};
    (void)sigaction(SIGTERM, &before, NULL); /* the receiver goes away now */
    (void)sigaction(SIGINT, &before, NULL);
    return FX_OK;
}

int
fx_verb_wal_receive(int argc, char **argv)
{
    wal_options options = {0};
    fx_err err = {0};
    if (!read_options(argc, argv, &options)) {
        return FX_EXIT_USAGE;
    }
    if (options.help || optind + 1 != argc || options.repo == NULL || options.slot == NULL ||
        options.key_file == NULL) {
        return usage(receive_usage, options.help);
    }
    if (receive(argv[optind], &options, &err) != FX_OK) {
        return fx_exit_print(&err);
    }
    return FX_EXIT_OK;
}

/* ---- wal-get ------------------------------------------------------------------------------------
 */

static const char get_usage[] =
    "Usage: fortress-agent wal-get FILE TARGET --system ID --repo URL [--key-file FILE]\n"
    "Writes a WAL segment or timeline history of the repository to TARGET: for restore_command.\n"
    "\n"
    "Exit status: 0 written; 6 the repository has no such file; 200 failed otherwise, which stops\n"
    "recovery instead of ending it too early.\n";

typedef struct best_partial {
    const char *prefix; /* "wal/SYSTEM/SEGMENT." */
    char name[NAME_BYTES];
} best_partial;

/* Names come in order and lengths have eight digits: the last is the longest. */
static void
note_partial(void *ctx, const char *name)
{
    static const char ending[] = ".partial";
    best_partial *best = ctx;
    const size_t length = strlen(name);
    const size_t prefix = strlen(best->prefix);
    if (length == prefix + 8 + sizeof ending - 1 && length < sizeof best->name &&
        strcmp(name + length - (sizeof ending - 1), ending) == 0) {
        memcpy(best->name, name, length + 1);
    }
}

/* Fills up with zeros to a whole segment, whose size is in the header of its first page. */
static fx_code
fill_up(fx_buf *content, fx_err *err)
{
    enum { SEGMENT_SIZE_AT = 32, HEADER_BYTES = 40 };
    uint32_t segment_bytes = 0;
    if (content->size_bytes >= HEADER_BYTES) {
        memcpy(&segment_bytes, content->data + SEGMENT_SIZE_AT, sizeof segment_bytes);
    }
    if (segment_bytes < content->size_bytes || segment_bytes > FX_NAMED_MAX_BYTES) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "the open segment was stored before its header came");
    }
    unsigned char *room = NULL;
    const size_t missing = segment_bytes - content->size_bytes;
    if (fx_buf_extend(content, missing, &room, err) != FX_OK) {
        return err->code;
    }
    memset(room, 0, missing);
    return FX_OK;
}

static fx_code
get(fx_repository *repository, const char *system, const char *file, fx_buf *content, fx_err *err)
{
    char name[NAME_BYTES];
    char prefix[NAME_BYTES];
    const int length = snprintf(name, sizeof name, "wal/%s/%s", system, file);
    if (length >= NAME_BYTES || strchr(file, '/') != NULL || strchr(system, '/') != NULL) {
        return fx_fail(err, FX_ERR_INVALID, "\"%.60s\" is no name of a WAL file", file);
    }
    fx_code code = fx_repository_get_named(repository, name, content, err);
    if (code != FX_ERR_NOT_FOUND || strlen(file) != FX_PG_SEGMENT_NAME_BYTES - 1) {
        return code;
    }
    (void)snprintf(prefix, sizeof prefix, "wal/%s/%.24s.", system, file);
    best_partial best = {.prefix = prefix};
    if (fx_repository_list_named(repository, prefix, note_partial, &best, err) != FX_OK) {
        return err->code;
    }
    if (best.name[0] == '\0') {
        return fx_fail(err, FX_ERR_NOT_FOUND, "the repository has no WAL \"%s\"", file);
    }
    code = fx_repository_get_named(repository, best.name, content, err);
    return code == FX_OK ? fill_up(content, err) : code;
}

/* The server makes it durable when it keeps it. */
static fx_code
write_file(const char *path, fx_bytes content, fx_err *err)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return fx_fail_errno(err, errno, "could not create \"%.150s\"", path);
    }
    const unsigned char *at = content.data;
    size_t left = content.size_bytes;
    while (left > 0) {
        const ssize_t written = write(fd, at, left);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            const int reason = errno;
            (void)close(fd);
            return fx_fail_errno(err, reason, "could not write \"%.150s\"", path);
        }
        at += written;
        left -= (size_t)written;
    }
    if (close(fd) != 0) {
        return fx_fail_errno(err, errno, "could not write \"%.150s\"", path);
    }
    return FX_OK;
}

static fx_code
get_to_file(const char *file, const char *path, const wal_options *options, fx_err *err)
{
    FX_AUTO(fx_repository_key) key = NULL;
    FX_AUTO(fx_repository) repository = NULL;
    FX_BUF_AUTO content = {0};
    fx_buf_init(&content, FX_NAMED_MAX_BYTES);
    if (open_repository(options, &key, &repository, err) != FX_OK) {
        /* a repository or key that is gone is no absent segment */
        return err->code == FX_ERR_NOT_FOUND
                   ? fx_fail(err, FX_ERR_FAILED, "could not open the repository")
                   : err->code;
    }
    if (get(repository, options->system, file, &content, err) != FX_OK) {
        return err->code;
    }
    if (write_file(path, fx_buf_bytes(&content), err) != FX_OK) {
        return err->code == FX_ERR_NOT_FOUND
                   ? fx_fail(err, FX_ERR_IO, "there is no folder for \"%.150s\"", path)
                   : err->code;
    }
    return FX_OK;
}

int
fx_verb_wal_get(int argc, char **argv)
{
    wal_options options = {0};
    fx_err err = {0};
    if (!read_options(argc, argv, &options)) {
        return FX_EXIT_RECOVERY_STOPS;
    }
    if (options.help || optind + 2 != argc || options.repo == NULL || options.system == NULL ||
        options.key_file == NULL) {
        (void)usage(get_usage, options.help);
        return options.help ? FX_EXIT_OK : FX_EXIT_RECOVERY_STOPS;
    }
    if (get_to_file(argv[optind], argv[optind + 1], &options, &err) == FX_OK) {
        return FX_EXIT_OK;
    }
    if (err.code == FX_ERR_NOT_FOUND) {
        return FX_EXIT_NOT_FOUND; /* asked for at every end of WAL: no news */
    }
    (void)fx_exit_print(&err);
    return FX_EXIT_RECOVERY_STOPS;
}
