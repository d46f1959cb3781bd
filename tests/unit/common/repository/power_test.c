/*
 * Power goes off at any instant of a repository's life: what was acknowledged is there afterwards,
 * and the next run works and cleans up. The store is the posix one, whose order of writes and syncs
 * is what is tested.
 */
#include "tests/unit/common/repository/engine.h"
#include "tests/unit/common/repository/power.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include "common/keyring/manage.h"
#include "common/repository/collect.h"
#include "common/repository/internal.h"
#include "common/repository/retention.h"
#include "common/repository/scopes.h"

enum {
    VERSIONS = 8,
    NEXT_VERSION = 90,
    PATH_BYTES = 256,
    FOLDERS_MAX = 64,
    OTHERS_EACH = 7, /* of so many instants one is looked at with the other kinds of loss */
};

/* What the life that is recorded has promised, by the number of the op before which it did. */
typedef struct promise {
    fx_snapshot snapshot;
    size_t acknowledged; /* 0: not */
    size_t going;        /* its forgetting had begun; 0: not */
    size_t gone;
} promise;

typedef struct life {
    promise promises[VERSIONS];
    size_t keyed;
    size_t created;
    size_t rotated;
} life;
static const fx_collect_options options = {.live_percent = 60};
static life *lived; /* shared with the process that lives it */

/* ---- the life
 * -------------------------------------------------------------------------------------- */

static void
live_backup(const char *url, int version)
{
    fx_err err = {0};
    assert_int_equal(backup(url, version, &lived->promises[version].snapshot, &err), FX_OK);
    lived->promises[version].acknowledged = notes->op_count;
}

/* As the verb does: what a policy does not keep, one after the other. */
static void
live_forget(const char *url, unsigned keep_last)
{
    fx_err err = {0};
    fx_snapshot_list list;
    size_t unreadable_count = 0;
    fx_verdict verdicts[VERSIONS];
    const fx_retention policy = {.last = keep_last};
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(fx_repository_open(url, NULL, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_list(repository, &list, &unreadable_count, &err), FX_OK);
    assert_in_range(list.count, keep_last + 1, VERSIONS);
    fx_retention_decide(list.items, list.count, &policy, fx_clock_wall(), verdicts);
    for (size_t i = 0; i < list.count; i++) {
        for (int version = 0; version < VERSIONS && verdicts[i].keep == 0; version++) {
            promise *one = &lived->promises[version];
            if (strcmp(one->snapshot.id, list.items[i].id) == 0) {
                one->going = notes->op_count;
                assert_int_equal(fx_repository_forget(repository, one->snapshot.id, &err), FX_OK);
                one->gone = notes->op_count;
            }
        }
    }
    fx_snapshot_list_free(&list);
}

static void
live_collect(const char *url, uint64_t removed_pack_count)
{
    fx_err err = {0};
    fx_collect_report report = {0};
    assert_int_equal(fx_repository_collect(url, key, &options, &report, &err), FX_OK);
    assert_int_equal(report.removed_pack_count, removed_pack_count);
}

static void
load_key(const char *path)
{
    fx_err err = {0};
    fx_repository_key_free(key);
    key = NULL;
    assert_int_equal(fx_repository_key_load(path, &key, &err), FX_OK);
}

/* As the verb does. */
static void
live_rotate(const char *url, const char *path)
{
    fx_err err = {0};
    fx_keyring_edit edit;
    FX_AUTO(fx_keyring) keyring = NULL;
    FX_AUTO(fx_opener) opener = fx_opener_new();
    assert_int_equal(fx_keyring_edit_begin(path, &edit, &keyring, &err), FX_OK);
    assert_int_equal(fx_keyring_rotate(keyring, opener, &keyring->scopes[0], &err), FX_OK);
    assert_int_equal(fx_keyring_edit_save(&edit, keyring, &err), FX_OK);
    fx_keyring_edit_end(&edit);
    load_key(path);
    assert_int_equal(fx_repository_publish(url, key, &err), FX_OK);
    lived->rotated = notes->op_count;
}

/* All that a repository goes through; its folder and that of its key file are made on the way. */
static void
live(const char *place)
{
    fx_err err = {0};
    char url[URL_BYTES];
    char path[PATH_BYTES];
    (void)snprintf(url, sizeof url, "posix:%.80s/store/deep/repo", place);
    (void)snprintf(path, sizeof path, "%.80s/key", place);
    assert_int_equal(fx_repository_key_create(path, &err), FX_OK);
    lived->keyed = notes->op_count;
    load_key(path);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    lived->created = notes->op_count;
    live_backup(url, 1);
    live_backup(url, 2);
    live_backup(url, 3);
    live_forget(url, 1);
    live_collect(url, 2);
    live_backup(url, 4);
    live_rotate(url, path);
    live_backup(url, 5);
    live_forget(url, 1);
    live_collect(url, 2);
}

/* ---- what is left of it
 * ---------------------------------------------------------------------------- */

static bool
is_listed(const fx_snapshot_list *list, const char *id)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].id, id) == 0) {
            return true;
        }
    }
    return false;
}

/* What was acknowledged is listed, what was forgotten is not, and what is listed can be read. */
static void
check_promises(const char *url, size_t cut)
{
    fx_err err = {0};
    fx_snapshot_list list;
    size_t unreadable_count = 0;
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_list(repository, &list, &unreadable_count, &err), FX_OK);
    for (int version = 1; version < VERSIONS; version++) {
        const promise *one = &lived->promises[version];
        bool is_there = one->snapshot.id[0] != '\0' && is_listed(&list, one->snapshot.id);
        if (one->acknowledged > 0 && one->acknowledged <= cut) {
            assert_true(is_there || (one->going > 0 && one->going < cut));
            assert_true(!is_there || one->gone == 0 || one->gone > cut);
        }
        if (is_there) {
            assert_int_equal(restore(url, one->snapshot.id, version, &err), FX_OK);
        }
    }
    fx_snapshot_list_free(&list);
}

/* The next runs work, and leave nothing of those that ended. */
static void
run_next(const char *url)
{
    fx_err err = {0};
    fx_snapshot next;
    fx_collect_report report = {0};
    fx_verify_report verified = {0};
    assert_int_equal(fx_repository_publish(url, key, &err), FX_OK);
    assert_int_equal(backup(url, NEXT_VERSION, &next, &err), FX_OK);
    assert_int_equal(fx_repository_collect(url, key, &options, &report, &err), FX_OK);
    assert_int_equal(restore(url, next.id, NEXT_VERSION, &err), FX_OK);
    assert_int_equal(verify(url, true, &verified, &err), FX_OK);
    object_count = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    assert_int_equal(nftw(url + strlen("posix:"), note_object, 16, FTW_PHYS), 0);
    for (size_t i = 0; i < object_count; i++) {
        assert_null(strstr(objects[i], "/marks/"));
        assert_null(strstr(objects[i], "/leases/"));
    }
    (void)object_at(url, next.id);
}

static void
check_left(const char *place, size_t cut)
{
    fx_err err = {0};
    char url[URL_BYTES];
    char path[PATH_BYTES];
    (void)snprintf(url, sizeof url, "posix:%.80s/store/deep/repo", place);
    (void)snprintf(path, sizeof path, "%.80s/key", place);
    if (cut < lived->keyed) {
        return;
    }
    load_key(path);
    if (cut < lived->created) { /* perhaps there is none yet: it is made again */
        fx_code code = fx_repository_create(url, key, &err);
        assert_true(code == FX_OK || code == FX_ERR_EXISTS);
    }
    check_promises(url, cut);
    if (cut >= lived->rotated) {
        assert_int_equal(fx_repository_key_writes(key)->version_count, 2);
    }
    run_next(url);
    check_promises(url, cut);
}

static void
check_cut(size_t cut, loss how)
{
    static uint64_t last_prints[LOSS_SOME + 1];
    char left_url[URL_BYTES];
    new_url(left_url);
    const char *place = left_url + strlen("posix:");
    uint64_t print = power_cut(cut, how, cut, place);
    if (print != last_prints[how]) {
        last_prints[how] = print;

        check_left(place, cut);
    }
    assert_int_equal(test_folder_remove(place), 0);
}

/* In a process of its own, which is gone afterwards: so it is with the power. */
static void
live_in_child(const char *place)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        live(place);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void
power_loss_at_any_instant_takes_nothing_that_was_acknowledged(void **state)
{
    (void)state;
    char life_url[URL_BYTES];
    new_url(life_url);
    const char *place = life_url + strlen("posix:");
    assert_int_equal(mkdir(place, 0700), 0);
    lived = mmap(NULL, sizeof *lived, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(lived, MAP_FAILED);
    power_record(place);
    live_in_child(place);
    is_recording = false;
    assert_in_range(notes->op_count, 100, OPS_MAX);
    for (size_t cut = 0; cut <= notes->op_count; cut++) {
        check_cut(cut, LOSS_ALL);
        if (cut % OTHERS_EACH == 0) {
            check_cut(cut, cut / OTHERS_EACH % 2 == 0 ? LOSS_DATA : LOSS_SOME);
        }
    }
    power_forget();
    assert_int_equal(munmap(lived, sizeof *lived), 0);
}

/* ---- killed first
 * ---------------------------------------------------------------------------------- */

/* What a process does at a place; the second one is not killed. */
typedef void (*run_at)(const char *place, bool is_second);

/*
 * One process is killed right after it has made its folder number `count`, before it could sync
 * that; the next one finds it, and then the power goes off. false: the first made fewer.
 */
static bool
kill_then_cut(run_at run, size_t count, const char *place, const char *left_place)
{
    int status = 0;
    assert_int_equal(mkdir(place, 0700), 0);
    power_record(place);
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            kill_after_folders = i == 0 ? count : 0;
            run(place, i == 1);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (i == 0 && WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            power_forget();
            return false;
        }
        assert_true(i == 0 ? WTERMSIG(status) == SIGKILL : status == 0);
    }
    is_recording = false;
    (void)power_cut(notes->op_count, LOSS_ALL, 0, left_place);
    power_forget();
    return true;
}

/* Gives at how many folders the first was killed. */
static size_t
kill_after_each_folder(run_at run, void (*check)(const char *left_place))
{
    bool is_killed = true;
    size_t count = 0;
    while (is_killed) {
        char url[URL_BYTES];
        char left_url[URL_BYTES];
        new_url(url);
        new_url(left_url);
        const char *place = url + strlen("posix:");
        const char *left_place = left_url + strlen("posix:");
        assert_in_range(count, 0, FOLDERS_MAX);
        is_killed = kill_then_cut(run, count + 1, place, left_place);
        if (is_killed) {
            check(left_place);
            assert_int_equal(test_folder_remove(left_place), 0);
            count++;
        }
        assert_int_equal(test_folder_remove(place), 0);
    }
    return count;
}

static void
store_objects(const char *place, bool is_second)
{
    fx_err err = {0};
    char url[URL_BYTES];
    FX_AUTO(fx_store) store = NULL;
    const fx_mono deadline = fx_repository_deadline();
    const fx_bytes body = {"body", 4};
    (void)snprintf(url, sizeof url, "posix:%.80s/store/deep/repo", place);
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(fx_store_prepare(store, &err), FX_OK);
    const char *name = is_second ? "packs/ab/second" : "packs/ab/first";
    assert_int_equal(fx_store_put(store, name, body, deadline, &err), FX_OK);
    assert_int_equal(fx_store_append(store, "streams/a/b/c", 0, body, deadline, &err), FX_OK);
}

static void
check_objects(const char *left_place)
{
    static const char *const names[] = {"packs/ab/second", "streams/a/b/c"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof path, "%.80s/store/deep/repo/%.80s", left_place, names[i]);
        assert_int_equal(access(path, R_OK), 0);
    }
}

static void
an_object_in_a_folder_whose_maker_was_killed_is_there_after_a_power_loss(void **state)
{
    (void)state;
    assert_int_equal(kill_after_each_folder(store_objects, check_objects), 9);
}

static void
run_backup(const char *place, bool is_second)
{
    fx_err err = {0};
    char url[URL_BYTES];
    (void)snprintf(url, sizeof url, "posix:%.80s/store/deep/repo", place);
    fx_code code = fx_repository_create(url, key, &err);
    assert_true(code == FX_OK || (is_second && code == FX_ERR_EXISTS));
    live_backup(url, is_second ? 2 : 1);
}

static void
check_second(const char *left_place)
{
    fx_err err = {0};
    char url[URL_BYTES];
    (void)snprintf(url, sizeof url, "posix:%.80s/store/deep/repo", left_place);
    assert_int_equal(restore(url, lived->promises[2].snapshot.id, 2, &err), FX_OK);
}

static void
a_backup_after_one_that_was_killed_is_there_after_a_power_loss(void **state)
{
    (void)state;
    lived = mmap(NULL, sizeof *lived, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(lived, MAP_FAILED);
    assert_in_range(kill_after_each_folder(run_backup, check_second), 12, FOLDERS_MAX);
    assert_int_equal(munmap(lived, sizeof *lived), 0);
}

int
main(void)
{
    static const char in_memory[] = "/dev/shm/fx_power_XXXXXX"; /* hundreds of small trees */
    _Static_assert(sizeof in_memory <= sizeof folder, "it takes the place of the other");
    if (access("/dev/shm", W_OK) == 0) {
        memcpy(folder, in_memory, sizeof in_memory);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_object_in_a_folder_whose_maker_was_killed_is_there_after_a_power_loss),
        cmocka_unit_test(a_backup_after_one_that_was_killed_is_there_after_a_power_loss),
        cmocka_unit_test(power_loss_at_any_instant_takes_nothing_that_was_acknowledged),
    };
    return cmocka_run_group_tests_name("power", tests, make_folder, remove_folder);
}
