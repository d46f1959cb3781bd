#include "tests/unit/common/repository/collecting.h"

#include "common/base/hex.h"
#include "common/repository/key.h"
#include "common/repository/lease.h"
#include "common/repository/plain.h"
#include "common/repository/repair.h"
#include "common/repository/voucher.h"
#include "common/store/store.h"
#include "proto/repository.pb-c.h"

#include <sys/wait.h>

static fx_code
write_one(fx_writer *writer, int index, int version, fx_chunk_id *out_id, fx_err *err)
{
    FX_BUF_AUTO content;
    content_of(index, version, &content);
    return fx_writer_add_chunk(writer, FX_CHUNK_DATA, fx_buf_bytes(&content), out_id, err);
}

/* It may count on what is about to go. */
static void
a_writer_at_work_is_waited_for_or_revoked(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot first;
    fx_snapshot second = {.host = fx_name_of("db1"), .source = "files:test", .kind = "files"};
    fx_collect_report report = {0};
    fx_chunk_id root;
    new_repository(url);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    assert_int_equal(forget(url, first.id, &err), FX_OK);
    assert_int_equal(write_one(writer, 0, 1, &root, &err), FX_OK);

    assert_int_equal(collect(url, &at_once, &report, &err), FX_ERR_BUSY);
    assert_non_null(strstr(err.message, "a writer of host"));
    assert_int_equal(count_objects(url, "/packs/"), 1);
    assert_int_equal(count_objects(url, "/marks/"), 0);

    fx_collect_options revoking = at_once;
    revoking.revoke = true;
    assert_int_equal(collect(url, &revoking, &report, &err), FX_OK);
    assert_int_equal(report.revoked_count, 1);
    assert_int_equal(report.removed_pack_count, 1);
    assert_int_equal(fx_writer_commit(writer, &root, &second, &err), FX_ERR_STALE);
    assert_int_equal(count_objects(url, "/snapshots/"), 0);
    expect_whole(url, 0);
}

/* The mark was there before its lease: it must not count on marked packs. */
static void
a_writer_that_sees_a_mark_stores_what_is_marked_again(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot first;
    fx_snapshot second;
    new_repository(url);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    fx_id_set packs = {0};
    fx_chunk_id name;
    const char *hex = strrchr(object_at(url, "/packs/"), '/') + 1;
    assert_int_equal(fx_hex_decode(hex, name.bytes, sizeof name.bytes, &err), FX_OK);
    (void)fx_id_set_add(&packs, &name);
    FX_AUTO(fx_store) store = NULL;
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(fx_mark_put(store, "0-mark", &packs, &err), FX_OK);
    fx_id_set_free(&packs);
    assert_int_equal(backup(url, 1, &second, &err), FX_OK);
    assert_true(second.added_bytes > UINT64_C(2) * 24000);
    assert_int_equal(fx_mark_remove(store, "0-mark", &err), FX_OK);
}

/* Its snapshot came after all was settled: it must not be taken for one. */
static void
a_late_snapshot_of_a_revoked_writer_is_void(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot first;
    fx_id_set none = {0};
    fx_snapshot_list list;
    fx_collect_report report = {0};
    size_t unreadable_count = 0;
    new_repository(url);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_store) store = NULL;
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_list(repository, &list, &unreadable_count, &err), FX_OK);
    assert_int_equal(list.count, 1);
    assert_int_equal(fx_lease_settle(store, list.items[0].lease, &none, &err), FX_OK);
    fx_snapshot_list_free(&list);
    assert_int_equal(fx_repository_list(repository, &list, &unreadable_count, &err), FX_OK);
    assert_int_equal(list.count, 0);
    fx_snapshot_list_free(&list);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(report.void_snapshot_count, 1);
    assert_int_equal(count_objects(url, "/packs/"), 0);
    assert_int_equal(count_objects(url, "/snapshots/"), 0);
}

/* It says nothing of snapshots of other leases; of those of its own nobody can say whether they
 * count. */
static void
a_damaged_settlement_matters_for_its_own_lease(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char store_key[FX_STORE_KEY_MAX_BYTES];
    fx_snapshot first;
    fx_snapshot_list list;
    size_t unreadable_count = 0;
    const fx_bytes damaged = {"FXSETTLE", 8};
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(10000));
    new_repository(url);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_store) store = NULL;
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_store_put(store, "settled/another", damaged, deadline, &err), FX_OK);
    assert_int_equal(fx_repository_list(repository, &list, &unreadable_count, &err), FX_OK);
    assert_int_equal(list.count, 1);
    (void)snprintf(store_key, sizeof store_key, "settled/%s", list.items[0].lease);
    fx_snapshot_list_free(&list);
    assert_int_equal(fx_store_put(store, store_key, damaged, deadline, &err), FX_OK);
    assert_int_equal(
        fx_repository_list(repository, &list, &unreadable_count, &err), FX_ERR_DAMAGED);
    assert_non_null(strstr(err.message, store_key));
}

/* Nothing is damaged, but so many packs are named that are not there. */
static void
expect_remnants(const char *url, uint64_t count)
{
    fx_err err = {0};
    fx_verify_report report = {0};
    const fx_repair_options looking = {.key = key, .dry_run = true};
    fx_repair_report looked = {0};
    assert_int_equal(verify(url, false, &report, &err), FX_OK);
    assert_int_equal(report.remnant_count, count);
    assert_int_equal(report.damage_count, 0);
    assert_int_equal(fx_repository_repair(url, NULL, 0, &looking, &looked, &err), FX_OK);
    assert_int_equal(looked.damaged_count, 0);
}

/* What it stored was removed, and then its index object came: nobody may count on that. */
static void
a_late_index_of_a_revoked_writer_is_not_believed(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char name[FX_STORE_KEY_MAX_BYTES];
    fx_snapshot snapshot;
    fx_collect_report report = {0};
    fx_chunk_id id;
    FX_BUF_AUTO late;
    fx_buf_init(&late, 1 << 20);
    new_repository(url);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    FX_AUTO(fx_store) store = NULL;
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    for (int i = 0; i < FILES; i++) {
        assert_int_equal(write_one(writer, i, 1, &id, &err), FX_OK);
    }
    assert_int_equal(fx_writer_flush(writer, &err), FX_OK);
    const char *path = object_at(url, "/indexes/");
    assert_int_equal(fx_file_read(path, &late, &err), FX_OK);
    (void)snprintf(name, sizeof name, "indexes/%s", strrchr(path, '/') + 1);
    fx_collect_options revoking = at_once;
    revoking.revoke = true;
    assert_int_equal(collect(url, &revoking, &report, &err), FX_OK);
    assert_int_equal(report.removed_pack_count, 1);
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(10000));
    assert_int_equal(fx_store_put(store, name, fx_buf_bytes(&late), deadline, &err), FX_OK);
    expect_remnants(url, 1);

    assert_int_equal(backup(url, 1, &snapshot, &err), FX_OK);
    assert_int_equal(restore(url, snapshot.id, 1, &err), FX_OK);
    assert_int_equal(collect(url, &revoking, &report, &err), FX_OK);
    assert_int_equal(report.removed_pack_count, 0);
    assert_int_equal(count_objects(url, "/indexes/"), 1);
    assert_int_equal(restore(url, snapshot.id, 1, &err), FX_OK);
    expect_whole(url, 1);
    expect_remnants(url, 0);
}

/* Takes the bytes of the only object of a kind, and gives its name. */
static void
take_object(const char *url, const char *part, fx_buf *bytes, char out_name[FX_STORE_KEY_MAX_BYTES])
{
    fx_err err = {0};
    fx_buf_init(bytes, 1 << 20);
    const char *path = object_at(url, part);
    assert_int_equal(fx_file_read(path, bytes, &err), FX_OK);
    (void)snprintf(out_name, FX_STORE_KEY_MAX_BYTES, "%s", strstr(path, part) + 1);
}

/* A writer vouches only for what was there when it had put its index object. */
static void
a_pack_that_was_vouched_for_is_missed_also_where_a_writer_was_revoked(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char index_name[FX_STORE_KEY_MAX_BYTES];
    char voucher_name[FX_STORE_KEY_MAX_BYTES];
    char id[FX_LEASE_ID_BYTES] = "0000000000000001-00000000000000000000000000000001";
    fx_snapshot snapshot;
    fx_collect_report collected = {0};
    fx_verify_report report = {0};
    FX_BUF_AUTO index;
    FX_BUF_AUTO voucher;
    FX_AUTO(fx_store) store = NULL;
    const fx_mono deadline = fx_repository_deadline();
    new_repository(url);
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(backup(url, 1, &snapshot, &err), FX_OK);
    take_object(url, "/indexes/", &index, index_name);
    take_object(url, "/verified/", &voucher, voucher_name);
    assert_int_equal(forget(url, snapshot.id, &err), FX_OK);
    assert_int_equal(collect(url, &at_once, &collected, &err), FX_OK);
    assert_int_equal(count_objects(url, "/packs/"), 0);
    assert_int_equal(fx_store_put(store, index_name, fx_buf_bytes(&index), deadline, &err), FX_OK);
    /* Nobody was revoked: no index object comes late. */
    assert_int_equal(verify(url, false, &report, &err), FX_ERR_DAMAGED);
    assert_int_equal(report.damage_count, 1);
    err = (fx_err){0};
    assert_int_equal(fx_lease_revoke(store, id, &err), FX_OK);
    expect_remnants(url, 1);
    assert_int_equal(
        fx_store_put(store, voucher_name, fx_buf_bytes(&voucher), deadline, &err), FX_OK);
    assert_int_equal(verify(url, false, &report, &err), FX_ERR_DAMAGED);
    assert_int_equal(report.damage_count, 1);
    assert_int_equal(report.remnant_count, 0);
    err = (fx_err){0};
    assert_int_equal(collect(url, &at_once, &collected, &err), FX_OK);
    expect_remnants(url, 0);
}

static void
a_pack_that_a_snapshot_needs_is_missed_whatever_was_revoked(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char id[FX_LEASE_ID_BYTES] = "0000000000000001-00000000000000000000000000000001";
    fx_snapshot snapshot;
    fx_verify_report report = {0};
    FX_AUTO(fx_store) store = NULL;
    new_repository(url);
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(backup(url, 1, &snapshot, &err), FX_OK);
    assert_int_equal(fx_lease_revoke(store, id, &err), FX_OK);
    assert_int_equal(unlink(object_at(url, "/verified/")), 0);
    assert_int_equal(unlink(object_at(url, "/packs/")), 0);
    assert_int_equal(verify(url, false, &report, &err), FX_ERR_DAMAGED);
    assert_int_equal(report.damage_count, 2); /* the snapshot, the pack */
    assert_int_equal(report.remnant_count, 0);
    const fx_repair_options looking = {.key = key, .dry_run = true};
    fx_repair_report looked = {0};
    assert_int_equal(fx_repository_repair(url, NULL, 0, &looking, &looked, &err), FX_ERR_DAMAGED);
    assert_int_equal(looked.damaged_count, 1);
    assert_int_equal(looked.affected_snapshot_count, 1);
}

/* Stopped, revoked and let go on: what it stored since was perhaps removed. */
static void
a_writer_that_was_revoked_puts_no_index_object_and_no_voucher(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot first;
    fx_collect_report report = {0};
    fx_chunk_id id;
    const fx_index_pack pack = {.blob_count = 1};
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    new_repository(url);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    assert_int_equal(write_one(writer, 2, 2, &id, &err), FX_OK);
    assert_int_equal(forget(url, first.id, &err), FX_OK);
    fx_collect_options revoking = at_once;
    revoking.revoke = true;
    assert_int_equal(collect(url, &revoking, &report, &err), FX_OK);
    assert_int_equal(report.revoked_count, 1);
    assert_int_equal(fx_writer_flush(writer, &err), FX_ERR_STALE);
    assert_int_equal(count_objects(url, "/indexes/"), 0);
    assert_int_equal(count_objects(url, "/verified/"), 0);

    fx_voucher_writer voucher;
    err = (fx_err){0};
    fx_voucher_writer_init(&voucher, repository->store, fx_repository_key_writes(key));
    voucher.lease = fx_writer_lease(writer);
    assert_int_equal(
        fx_voucher_writer_add(&voucher, &pack, id.bytes, sizeof id, true, &err), FX_OK);
    assert_int_equal(fx_voucher_writer_finish(&voucher, &err), FX_ERR_STALE);
    assert_int_equal(count_objects(url, "/verified/"), 0);
    fx_voucher_writer_free(&voucher);
}

/* Who can only put and get keeps what a collector is about to remove, and puts it back: the
 * signature of the voucher is still good. */
static void
what_was_removed_and_comes_back_is_not_believed(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot first;
    fx_snapshot second;
    fx_collect_report report = {0};
    static const char *const kinds[] = {"/indexes/", "/verified/"};
    char paths[2][sizeof objects[0]];
    fx_buf kept[2];
    new_repository(url);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    for (size_t i = 0; i < 2; i++) {
        fx_buf_init(&kept[i], 1 << 20);
        (void)snprintf(paths[i], sizeof paths[i], "%s", object_at(url, kinds[i]));
        assert_int_equal(fx_file_read(paths[i], &kept[i], &err), FX_OK);
    }
    assert_int_equal(forget(url, first.id, &err), FX_OK);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(count_objects(url, "/packs/"), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(fx_file_replace(paths[i], fx_buf_bytes(&kept[i]), 0600, &err), FX_OK);
        fx_buf_free(&kept[i]);
    }
    assert_int_equal(backup(url, 1, &second, &err), FX_OK);
    assert_int_equal(restore(url, second.id, 1, &err), FX_OK);
}

/* A put of its may still be on its way: from the settlement on, it counts no more. */
static void
a_writer_that_is_gone_is_revoked_and_settled(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    int status = 0;
    fx_snapshot snapshots[2];
    fx_collect_report report = {0};
    new_repository(url);
    assert_int_equal(backup(url, 1, &snapshots[0], &err), FX_OK);
    assert_int_equal(backup(url, 2, &snapshots[1], &err), FX_OK);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fx_repository *repository = NULL;
        fx_writer *writer = NULL;
        _exit(
            fx_repository_open(url, key, &repository, &err) == FX_OK &&
                    fx_writer_open(repository, &writer, &err) == FX_OK
                ? 0
                : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(forget(url, snapshots[0].id, &err), FX_OK);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(count_objects(url, "/revocations/"), 1);
    assert_int_equal(count_objects(url, "/settled/"), 1);
    assert_int_equal(count_objects(url, "/leases/"), 0);
    expect_whole(url, 1);
}

/* What a lease says of where its process was; NULL: as this process would. */
typedef struct whereabouts {
    const char *boot;
    char *node;
    char *machine;
} whereabouts;

/* Leaves a lease as a process of that place would that was broken off. */
static void
leave_lease(const char *url, const whereabouts *at, char out_id[FX_LEASE_ID_BYTES])
{
    fx_err err = {0};
    char store_key[FX_STORE_KEY_MAX_BYTES];
    char place[128];
    fx_bytes body;
    FX_BUF_AUTO bytes;
    FX_AUTO(fx_store) store = NULL;
    const fx_mono deadline = fx_repository_deadline();
    fx_buf_init(&bytes, 4096);
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(fx_lease_begin(store, out_id, &err), FX_OK);
    (void)snprintf(store_key, sizeof store_key, "leases/%s", out_id);
    assert_int_equal(fx_store_get(store, store_key, 0, 4096, deadline, &bytes, &err), FX_OK);
    assert_int_equal(fx_plain_decode("FXLEASE1", fx_buf_bytes(&bytes), &body, &err), FX_OK);
    Fortress__Repository__Lease *own =
        fortress__repository__lease__unpack(NULL, body.size_bytes, body.data);
    assert_non_null(own);
    assert_non_null(strchr(own->place, '/'));
    Fortress__Repository__Lease told = *own;
    if (at->boot != NULL) {
        (void)snprintf(place, sizeof place, "%s%.80s", at->boot, strchr(own->place, '/'));
        told.place = place;
    }
    told.node = at->node == NULL ? own->node : at->node;
    told.machine = at->machine == NULL ? own->machine : at->machine;
    fx_buf_clear(&bytes);
    assert_int_equal(fx_plain_encode("FXLEASE1", &told.base, &bytes, &err), FX_OK);
    fortress__repository__lease__free_unpacked(own, NULL);
    assert_int_equal(fx_store_remove(store, store_key, deadline, &err), FX_OK);
    assert_int_equal(fx_store_put(store, store_key, fx_buf_bytes(&bytes), deadline, &err), FX_OK);
}

#define OTHER_BOOT "00000000-1111-2222-3333-444444444444"

/* A reboot leaves no process; a clone of the machine may be at work. */
static void
a_writer_of_this_machine_before_it_was_started_is_revoked(void **state)
{
    (void)state;
    static char another[] = "another";
    static char none[] = "";
    static const struct {
        whereabouts at;
        bool is_revoked;
    } rows[] = {
        {{OTHER_BOOT, NULL, NULL}, true},
        {{OTHER_BOOT, another, NULL}, false},
        {{OTHER_BOOT, NULL, another}, false},
        {{OTHER_BOOT, NULL, none}, false}, /* of an older program */
        {{"no boot", NULL, NULL}, false},
        {{NULL, NULL, NULL}, false}, /* this process, which lives */
    };
    if (access("/etc/machine-id", R_OK) != 0) {
        skip();
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fx_err err = {0};
        char url[URL_BYTES];
        char id[FX_LEASE_ID_BYTES];
        fx_snapshot first;
        fx_collect_report report = {0};
        new_url(url);
        assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
        assert_int_equal(backup(url, 1, &first, &err), FX_OK);
        assert_int_equal(forget(url, first.id, &err), FX_OK);
        leave_lease(url, &rows[i].at, id);
        fx_code code = collect(url, &at_once, &report, &err);
        assert_int_equal(code, rows[i].is_revoked ? FX_OK : FX_ERR_BUSY);
        assert_int_equal(count_objects(url, "/revocations/"), rows[i].is_revoked);
        assert_int_equal(count_objects(url, "/settled/"), rows[i].is_revoked);
        assert_int_equal(count_objects(url, "/leases/"), !rows[i].is_revoked);
        assert_int_equal(count_objects(url, "/packs/"), !rows[i].is_revoked);
    }
}

/* Two that remove at once lose data: a guess is not enough. */
static void
a_collector_of_this_machine_before_it_was_started_is_not_taken_over(void **state)
{
    (void)state;
    const whereabouts at = {.boot = OTHER_BOOT};
    const fx_id_set none = {0};
    fx_err err = {0};
    char url[URL_BYTES];
    char id[FX_LEASE_ID_BYTES];
    fx_collect_report report = {0};
    FX_AUTO(fx_store) store = NULL;
    new_repository(url);
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    leave_lease(url, &at, id);
    assert_int_equal(fx_mark_put(store, id, &none, &err), FX_OK);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_ERR_BUSY);
    assert_int_equal(count_objects(url, "/marks/"), 1);
    assert_int_equal(count_objects(url, "/revocations/"), 0);
    fx_collect_options taking = at_once;
    taking.take_over = true;
    assert_int_equal(collect(url, &taking, &report, &err), FX_OK);
    assert_int_equal(count_objects(url, "/marks/"), 0);
}

/* One object holds 65,536 packs at most: a large collection has many. */
static void
marks_in_many_objects_are_one(void **state)
{
    (void)state;
    enum { MARKS = 12 };
    const whereabouts at = {.boot = OTHER_BOOT};
    fx_err err = {0};
    char url[URL_BYTES];
    char id[FX_LEASE_ID_BYTES];
    fx_id_set all = {0};
    fx_collect_report report = {0};
    FX_AUTO(fx_store) store = NULL;
    new_repository(url);
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    leave_lease(url, &at, id);
    for (unsigned number = 1; number <= MARKS; number++) {
        char name[FX_LEASE_ID_BYTES];
        fx_id_set one = {0};
        const fx_chunk_id pack = {{(unsigned char)number}};
        assert_true(snprintf(name, sizeof name, "%.49s.%u", id, number) < (int)sizeof name);
        assert_true(fx_id_set_add(&one, &pack));
        assert_int_equal(fx_mark_put(store, name, &one, &err), FX_OK);
        fx_id_set_free(&one);
    }
    assert_int_equal(fx_marks_read(store, &all, &err), FX_OK);
    assert_int_equal(all.count, MARKS);
    fx_id_set_free(&all);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_ERR_BUSY);
    assert_int_equal(count_objects(url, "/marks/"), MARKS);
    fx_collect_options taking = at_once;
    taking.take_over = true;
    assert_int_equal(collect(url, &taking, &report, &err), FX_OK);
    assert_int_equal(count_objects(url, "/marks/"), 0);
}

/* Anybody can put that a lease is over where the store lets him: then no collector waits for it. */
static void
a_backup_that_somebody_else_said_is_over_is_not_acknowledged(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char name[FX_STORE_KEY_MAX_BYTES];
    fx_snapshot first;
    fx_snapshot second = {.host = fx_name_of("db1"), .source = "files:test", .kind = "files"};
    fx_collect_report report = {0};
    fx_chunk_id root;
    FX_BUF_AUTO bytes;
    Fortress__Repository__Lease over;
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    const fx_mono deadline = fx_repository_deadline();
    fortress__repository__lease__init(&over);
    fx_buf_init(&bytes, 4096);
    new_repository(url);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    assert_int_equal(
        write_one(writer, 0, 1, &root, &err), FX_OK); /* it is in the first one's pack */
    assert_int_equal(forget(url, first.id, &err), FX_OK);
    assert_int_equal(fx_plain_encode("FXLEASE1", &over.base, &bytes, &err), FX_OK);
    (void)snprintf(name, sizeof name, "leases-over/%s", fx_writer_lease(writer));
    assert_int_equal(
        fx_store_put(repository->store, name, fx_buf_bytes(&bytes), deadline, &err), FX_OK);
    assert_int_equal(fx_writer_commit(writer, &root, &second, &err), FX_ERR_STALE);
    err = (fx_err){0};
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(count_objects(url, "/packs/"), 0);
    expect_whole(url, 0);
}

/* It revoked itself and took its lease away: its snapshot counts if the collector saw it. */
static void
a_revoked_writer_without_a_lease_is_settled(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot snapshots[2];
    fx_snapshot_list list;
    fx_collect_report report = {0};
    size_t unreadable_count = 0;
    new_repository(url);
    assert_int_equal(backup(url, 1, &snapshots[0], &err), FX_OK);
    assert_int_equal(backup(url, 2, &snapshots[1], &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_store) store = NULL;
    assert_int_equal(fx_store_open(url, &store, &err), FX_OK);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_list(repository, &list, &unreadable_count, &err), FX_OK);
    assert_int_equal(list.count, 2);
    for (size_t i = 0; i < list.count; i++) {
        assert_int_equal(fx_lease_revoke(store, list.items[i].lease, &err), FX_OK);
    }
    fx_snapshot_list_free(&list);
    assert_int_equal(forget(url, snapshots[0].id, &err), FX_OK);
    assert_int_equal(collect(url, &at_once, &report, &err), FX_OK);
    assert_int_equal(count_objects(url, "/settled/"), 2);
    assert_int_equal(restore(url, snapshots[1].id, 2, &err), FX_OK);
    expect_whole(url, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_writer_at_work_is_waited_for_or_revoked),
        cmocka_unit_test(a_writer_that_sees_a_mark_stores_what_is_marked_again),
        cmocka_unit_test(a_late_snapshot_of_a_revoked_writer_is_void),
        cmocka_unit_test(a_damaged_settlement_matters_for_its_own_lease),
        cmocka_unit_test(a_late_index_of_a_revoked_writer_is_not_believed),
        cmocka_unit_test(a_pack_that_was_vouched_for_is_missed_also_where_a_writer_was_revoked),
        cmocka_unit_test(a_pack_that_a_snapshot_needs_is_missed_whatever_was_revoked),
        cmocka_unit_test(a_writer_that_was_revoked_puts_no_index_object_and_no_voucher),
        cmocka_unit_test(what_was_removed_and_comes_back_is_not_believed),
        cmocka_unit_test(a_writer_that_is_gone_is_revoked_and_settled),
        cmocka_unit_test(a_writer_of_this_machine_before_it_was_started_is_revoked),
        cmocka_unit_test(a_collector_of_this_machine_before_it_was_started_is_not_taken_over),
        cmocka_unit_test(marks_in_many_objects_are_one),
        cmocka_unit_test(a_backup_that_somebody_else_said_is_over_is_not_acknowledged),
        cmocka_unit_test(a_revoked_writer_without_a_lease_is_settled),
    };
    return cmocka_run_group_tests_name("collect_writers", tests, make_folder, remove_folder);
}
