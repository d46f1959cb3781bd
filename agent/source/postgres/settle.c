#include "agent/source/postgres/settle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/source/postgres/base_backup.h"
#include "agent/source/postgres/format/settings.h"
#include "agent/source/postgres/wal_gaps.h"
#include "common/base/clock.h"
#include "common/base/file.h"

enum { SETTINGS_MAX_BYTES = 4 * 1024 * 1024, MAP_MAX_BYTES = 1024 * 1024 };

/* ---- the reachable window -----------------------------------------------------------------------
 */

typedef struct wal_extent {
    const char *prefix;
    uint32_t segment_bytes;
    uint64_t next; /* the first segment that is missing; names come in order, timelines first */
    uint64_t highest;
} wal_extent;

static void
extend(void *ctx, const char *name)
{
    wal_extent *extent = ctx;
    fx_err err = {0};
    uint32_t timeline = 0;
    uint64_t segment = 0;
    const size_t prefix_bytes = strlen(extent->prefix);
    if (strlen(name) <= prefix_bytes ||
        fx_pg_segment_parse(
            name + prefix_bytes, extent->segment_bytes, &timeline, &segment, &err) != FX_OK) {
        return;
    }
    if (segment == extent->next) {
        extent->next++;
    }
    if (segment > extent->highest) {
        extent->highest = segment;
    }
}

/* WAL stored without a gap from the backup on; a gap is told, for nothing can be replayed past it.
 */
static fx_code
warn_of_gap(
    fx_repository *repository, const fx_base_backup *backup, const fx_events *events, fx_err *err)
{
    char prefix[64];
    (void)snprintf(prefix, sizeof prefix, "wal/%s/", backup->system.identifier);
    /* The backup holds the WAL up to its own end. */
    wal_extent extent = {
        .prefix = prefix,
        .segment_bytes = backup->segment_bytes,
        .next = fx_pg_segment_of(backup->stop, backup->segment_bytes)};
    if (fx_repository_list_named(repository, prefix, extend, &extent, err) != FX_OK) {
        return fx_err_wrap(err, "looking what WAL the repository holds");
    }
    if (extent.highest > extent.next) {
        char reason[160];
        char from[FX_PG_SEGMENT_NAME_BYTES];
        fx_pg_segment_name(backup->stop_timeline, extent.next, backup->segment_bytes, from);
        (void)snprintf(
            reason,
            sizeof reason,
            "the repository lacks WAL segment %s: nothing later can be replayed on this backup",
            from);
        fx_events_warn(events, prefix, reason);
    }
    return FX_OK;
}

static fx_code
check_time(const fx_base_backup *backup, fx_wall target, fx_err *err)
{
    char wanted[FX_WALL_TEXT_BYTES];
    char first[FX_WALL_TEXT_BYTES];
    fx_wall_format(target, wanted);
    fx_wall_format(backup->ended, first);
    if (target.ns != 0 && target.ns < backup->ended.ns) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not restore to %s: this backup reaches times from its own end, %s, on; choose "
            "an "
            "earlier snapshot",
            wanted,
            first);
    }
    if (target.ns > fx_clock_wall().ns) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not restore to %s: it lies in the future; reachable is %s to now",
            wanted,
            first);
    }
    return FX_OK;
}

/* ---- tablespaces --------------------------------------------------------------------------------
 */

/* A line of tablespace_map; the server reads a backslash as quoting the next character. */
static fx_code
append_map_line(fx_buf *map, const char *oid, const char *folder, fx_err *err)
{
    if (fx_buf_append_format(map, err, "%s ", oid) != FX_OK) {
        return err->code;
    }
    for (const char *c = folder; *c != '\0'; c++) {
        const bool quoted = *c == '\n' || *c == '\r' || *c == '\\';
        if ((quoted && fx_buf_append(map, "\\", 1, err) != FX_OK) ||
            fx_buf_append(map, c, 1, err) != FX_OK) {
            return err->code;
        }
    }
    return fx_buf_append(map, "\n", 1, err);
}

static fx_code
move_tablespace(
    const fx_settle_options *options, const char *oid, fx_buf *map, bool *io_made, fx_err *err)
{
    char base[PATH_MAX];
    char from[PATH_MAX];
    char to[PATH_MAX];
    const int base_length = snprintf(base, sizeof base, "%s.tablespaces", options->final);
    const int from_length = snprintf(from, sizeof from, "%s/pg_tblspc/%s", options->folder, oid);
    const int to_length = snprintf(to, sizeof to, "%s.tablespaces/%s", options->final, oid);
    if (base_length >= PATH_MAX || from_length >= PATH_MAX || to_length >= PATH_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "could not place tablespace %s: path too long", oid);
    }
    if (!*io_made && mkdir(base, 0700) != 0) {
        return fx_fail_errno(
            err, errno, "could not make \"%.150s\" for the backup's tablespaces", base);
    }
    *io_made = true;
    if (rename(from, to) != 0) {
        return fx_fail_errno(err, errno, "could not move tablespace %s to \"%.120s\"", oid, to);
    }
    return append_map_line(map, oid, to, err);
}

/*
 * A snapshot holds a tablespace as the folder pg_tblspc/OID. It goes beside the data directory,
 * never to its old place, where the original may still live; the server makes the links from the
 * map.
 */
static fx_code
place_tablespaces(const fx_settle_options *options, fx_buf *map, fx_err *err)
{
    const int fd = openat(options->folder_fd, "pg_tblspc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return FX_OK;
    }
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (folder == NULL) {
        const int reason = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return fx_fail_errno(err, reason, "could not look for tablespaces");
    }
    fx_code code = FX_OK;
    bool made = false;
    for (;;) {
        errno = 0;
        // NOLINTNEXTLINE(concurrency-mt-unsafe): a stream of our own
        const struct dirent *entry = readdir(folder);
        if (entry == NULL && errno != 0) {
            code = fx_fail_errno(err, errno, "could not look for tablespaces");
        }
        if (entry == NULL || code != FX_OK) {
            break;
        }
        if (strspn(entry->d_name, "0123456789") == strlen(entry->d_name)) {
            code = move_tablespace(options, entry->d_name, map, &made, err);
        }
    }
    (void)closedir(folder);
    return code;
}

/* ---- files --------------------------------------------------------------------------------------
 */

static fx_code
path_of(const fx_settle_options *options, const char *name, char out_path[PATH_MAX], fx_err *err)
{
    if (snprintf(out_path, PATH_MAX, "%s/%s", options->folder, name) >= PATH_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "path too long: \"%.120s\"", options->folder);
    }
    return FX_OK;
}

/* What the settings refer to must hold wherever the server is started. */
static fx_code
absolute(const char *path, char out_path[PATH_MAX], fx_err *err)
{
    if (strncmp(path, "posix:", 6) == 0) {
        path += 6;
    } else if (path[0] != '/' && strchr(path, ':') != NULL) {
        (void)snprintf(out_path, PATH_MAX, "%s", path); /* of another store */
        return FX_OK;
    }
    if (realpath(path, out_path) == NULL) {
        return fx_fail_errno(err, errno, "could not find \"%.150s\"", path);
    }
    return FX_OK;
}

static fx_code
write_settings(const char *system, const fx_settle_options *options, fx_err *err)
{
    char agent[PATH_MAX];
    char url[PATH_MAX];
    char key_file[PATH_MAX];
    char path[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", agent, sizeof agent - 1);
    if (length <= 0) {
        return fx_fail_errno(err, errno, "could not find the path of this program");
    }
    agent[length] = '\0';
    if (absolute(options->url, url, err) != FX_OK ||
        absolute(options->key_file, key_file, err) != FX_OK ||
        path_of(options, "postgresql.auto.conf", path, err) != FX_OK) {
        return err->code;
    }
    const fx_recovery recovery = {
        .agent = agent,
        .url = url,
        .key_file = key_file,
        .system = system,
        .target_time = options->target_time};
    FX_BUF_AUTO old = {0};
    FX_BUF_AUTO settings = {0};
    fx_buf_init(&old, SETTINGS_MAX_BYTES);
    fx_buf_init(&settings, SETTINGS_MAX_BYTES);
    if (fx_file_read(path, &old, err) != FX_OK && err->code != FX_ERR_NOT_FOUND) {
        return err->code;
    }
    if (fx_recovery_settings(fx_buf_bytes(&old), &recovery, &settings, err) != FX_OK) {
        return err->code;
    }
    return fx_file_replace(path, fx_buf_bytes(&settings), 0600, err);
}

static fx_code
write_signals(const fx_settle_options *options, fx_err *err)
{
    char path[PATH_MAX];
    if (unlinkat(options->folder_fd, "standby.signal", 0) != 0 && errno != ENOENT) {
        return fx_fail_errno(err, errno, "could not remove standby.signal");
    }
    if (path_of(options, "recovery.signal", path, err) != FX_OK) {
        return err->code;
    }
    return fx_file_replace(path, (fx_bytes){.data = ""}, 0600, err);
}

static fx_code
replace_map(const fx_settle_options *options, const fx_buf *map, fx_err *err)
{
    char path[PATH_MAX];
    if (map->size_bytes == 0) {
        return FX_OK;
    }
    if (path_of(options, "tablespace_map", path, err) != FX_OK) {
        return err->code;
    }
    return fx_file_replace(path, fx_buf_bytes(map), 0600, err);
}

/* The owner of the folder's content owns what was written here too: PostgreSQL reads and replaces
 * it. */
static fx_code
give_to_owner(const fx_settle_options *options, fx_err *err)
{
    static const char *const names[] = {
        "postgresql.auto.conf", "recovery.signal", "tablespace_map"};
    struct stat version = {0};
    if (geteuid() != 0) {
        return FX_OK;
    }
    if (fstatat(options->folder_fd, "PG_VERSION", &version, 0) != 0) {
        return fx_fail_errno(err, errno, "could not find PG_VERSION in what was restored");
    }
    for (size_t at = 0; at < sizeof names / sizeof names[0]; at++) {
        if (fchownat(
                options->folder_fd,
                names[at],
                version.st_uid,
                version.st_gid,
                AT_SYMLINK_NOFOLLOW) != 0 &&
            errno != ENOENT) {
            return fx_fail_errno(err, errno, "could not give \"%s\" to its owner", names[at]);
        }
    }
    if (fchown(options->folder_fd, version.st_uid, version.st_gid) != 0) {
        return fx_fail_errno(err, errno, "could not give the data directory to its owner");
    }
    return FX_OK;
}

fx_code
fx_postgres_settle(
    fx_repository *repository,
    const fx_snapshot *snapshot,
    const fx_settle_options *options,
    const fx_events *events,
    fx_err *err)
{
    FX_ASSERT(options->folder != NULL && options->final != NULL);
    fx_base_backup backup = {0};
    FX_BUF_AUTO map = {0};
    fx_buf_init(&map, MAP_MAX_BYTES);
    if (fx_base_backup_read_note(snapshot, &backup, err) != FX_OK ||
        warn_of_gap(repository, &backup, events, err) != FX_OK) {
        return err->code;
    }
    if (faccessat(options->folder_fd, "postgresql.conf", F_OK, 0) != 0) {
        fx_events_warn(
            events,
            "postgresql.conf",
            "it was kept outside of the data directory and is not in the backup: start the server "
            "with -c config_file=… and -c hba_file=…");
    }
    if (fchmod(options->folder_fd, 0700) != 0) {
        return fx_fail_errno(err, errno, "could not close the data directory to others");
    }
    if (write_settings(backup.system.identifier, options, err) != FX_OK ||
        write_signals(options, err) != FX_OK || place_tablespaces(options, &map, err) != FX_OK ||
        replace_map(options, &map, err) != FX_OK) {
        return err->code;
    }
    return give_to_owner(options, err);
}

fx_code
fx_postgres_check(
    fx_repository *repository,
    const fx_snapshot *snapshot,
    const fx_check_options *options,
    const fx_events *events,
    fx_err *err)
{
    fx_base_backup backup = {0};
    if (fx_base_backup_read_note(snapshot, &backup, err) != FX_OK ||
        check_time(&backup, options->target_time, err) != FX_OK) {
        return err->code;
    }
    const fx_gap_question question = {
        .backup = &backup, .target = options->target_time, .is_ignored = options->ignores_gaps};
    return fx_gaps_check_target(repository, &question, events, err);
}
