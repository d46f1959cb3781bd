#include "tests/unit/common/repository/engine.h"

static void
restores_what_was_saved_and_stores_it_once(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    new_url(url);
    fx_snapshot first;
    fx_snapshot second;
    fx_verify_report report = {0};
    assert_int_equal(backup(url, 1, &first, &err), FX_ERR_NOT_FOUND);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(fx_repository_create(url, key, &err), FX_ERR_EXISTS);
    assert_int_equal(backup(url, 1, &first, &err), FX_OK);
    assert_int_equal(backup(url, 2, &second, &err), FX_OK);
    assert_true(first.added_bytes > UINT64_C(2) * 24000);
    assert_true(second.added_bytes < 24000 + 5000);
    assert_int_equal(restore(url, first.id, 1, &err), FX_OK);
    assert_int_equal(restore(url, second.id, 2, &err), FX_OK);
    assert_int_equal(verify(url, true, &report, &err), FX_OK);
    assert_int_equal(report.snapshot_count, 2);
    assert_int_equal(report.pack_count, 2);
    assert_true(report.read_bytes > first.added_bytes);
}

static void
snapshots_are_listed_without_a_key_and_found(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    new_url(url);
    fx_snapshot snapshots[2];
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(backup(url, 1, &snapshots[0], &err), FX_OK);
    assert_int_equal(backup(url, 2, &snapshots[1], &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(fx_repository_open(url, NULL, &repository, &err), FX_OK);
    fx_snapshot_list list = {0};
    size_t unreadable_count = 9;
    assert_int_equal(fx_repository_list(repository, &list, &unreadable_count, &err), FX_OK);
    assert_int_equal(list.count, 2);
    assert_int_equal(unreadable_count, 0);
    assert_string_equal(list.items[0].id, snapshots[0].id);
    assert_string_equal(list.items[1].host.text, "db1");
    assert_string_equal(list.items[1].note, "{}");
    fx_snapshot_list_free(&list);

    fx_wall any = {0};
    fx_wall early = {.ns = 1001};
    fx_snapshot found;
    assert_int_equal(
        fx_repository_find(repository, "latest", NULL, NULL, any, &found, &err), FX_OK);
    assert_string_equal(found.id, snapshots[1].id);
    assert_int_equal(
        fx_repository_find(repository, "latest", NULL, NULL, early, &found, &err), FX_OK);
    assert_string_equal(found.id, snapshots[0].id);
    char prefix[9] = "";
    memcpy(prefix, snapshots[0].id, 8);
    assert_int_equal(fx_repository_find(repository, prefix, NULL, NULL, any, &found, &err), FX_OK);
    fx_code code = fx_repository_find(repository, "latest", "x", NULL, any, &found, &err);
    assert_int_equal(code, FX_ERR_NOT_FOUND);
    code = fx_repository_find(repository, "0f", NULL, NULL, any, &found, &err);
    assert_int_equal(code, FX_ERR_INVALID);
    fx_root root;
    code = fx_repository_snapshot_root(repository, snapshots[0].id, &root, &err);
    assert_int_equal(code, FX_ERR_WRONG_KEY);
}

static void
another_key_is_told_from_damage(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char path[64];
    new_url(url);
    (void)snprintf(path, sizeof path, "%s/other", folder);
    FX_AUTO(fx_repository_key) other = NULL;
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(fx_repository_key_create(path, &err), FX_OK);
    assert_int_equal(fx_repository_key_create(path, &err), FX_ERR_EXISTS);
    assert_int_equal(fx_repository_key_load(path, &other, &err), FX_OK);
    assert_int_equal(fx_repository_open(url, other, &repository, &err), FX_ERR_WRONG_KEY);
    assert_int_equal(chmod(path, 0640), 0);
    fx_repository_key *third = NULL;
    assert_int_equal(fx_repository_key_load(path, &third, &err), FX_ERR_DENIED);
    assert_int_equal(fx_file_replace(path, (fx_bytes){"junk", 4}, 0600, &err), FX_OK);
    assert_int_equal(fx_repository_key_load(path, &third, &err), FX_ERR_INVALID);
}

static void
count_name(void *ctx, const char *name)
{
    char *seen = ctx;
    size_t used = strlen(seen);
    (void)snprintf(seen + used, 100 - used, "%s ", name);
}

static void
streams_keep_their_name_and_content(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    static unsigned char large[9 * 1024 * 1024];
    for (size_t i = 0; i < sizeof large; i++) {
        large[i] = (unsigned char)(i >> 12);
    }
    fx_bytes content = {large, sizeof large};
    assert_int_equal(fx_repository_put_named(repository, "wal/1/B", content, &err), FX_OK);
    assert_int_equal(fx_repository_put_named(repository, "wal/1/B", content, &err), FX_OK);
    fx_bytes other = {"x", 1};
    fx_code code = fx_repository_put_named(repository, "wal/1/B", other, &err);
    assert_int_equal(code, FX_ERR_EXISTS);
    assert_int_equal(fx_repository_put_named(repository, "wal/1/A", other, &err), FX_OK);
    FX_BUF_AUTO out;
    fx_buf_init(&out, FX_NAMED_MAX_BYTES);
    assert_int_equal(fx_repository_get_named(repository, "wal/1/B", &out, &err), FX_OK);
    assert_int_equal(out.size_bytes, sizeof large);
    assert_memory_equal(out.data, large, sizeof large);
    assert_int_equal(fx_repository_get_named(repository, "wal/1/C", &out, &err), FX_ERR_NOT_FOUND);
    char seen[100] = "";
    assert_int_equal(fx_repository_list_named(repository, "wal/", count_name, seen, &err), FX_OK);
    assert_string_equal(seen, "wal/1/A wal/1/B ");

    char from[URL_BYTES + 64];
    char to[URL_BYTES + 64]; /* one stream in another's place */
    (void)snprintf(from, sizeof from, "%s/streams/wal/1/A", url + strlen("posix:"));
    (void)snprintf(to, sizeof to, "%s/streams/wal/1/B", url + strlen("posix:"));
    assert_int_equal(rename(from, to), 0);
    fx_buf_clear(&out);
    assert_int_equal(fx_repository_get_named(repository, "wal/1/B", &out, &err), FX_ERR_DAMAGED);
}

/* ---- damage
 * --------------------------------------------------------------------------------------------- */

static void
flip(const char *path, size_t offset, unsigned char mask)
{
    assert_int_equal(chmod(path, 0600), 0);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_true(byte != EOF);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    assert_true(fputc(byte ^ mask, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

static void
one_changed_byte_anywhere_is_found_and_never_restored(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    new_url(url);
    fx_snapshot snapshot;
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(backup(url, 1, &snapshot, &err), FX_OK);
    object_count = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    assert_int_equal(nftw(url + strlen("posix:"), note_object, 16, FTW_PHYS), 0);
    assert_int_equal(object_count, 6); /* config, key, pack, index, voucher, snapshot */
    fx_rng rng;
    fx_rng_init(&rng, 20261123);
    for (size_t i = 0; i < object_count; i++) {
        struct stat info;
        assert_int_equal(stat(objects[i], &info), 0);
        for (int round = 0; round < 160; round++) {
            /* Every place of head and foot in turn, and others by chance. */
            size_t size = (size_t)info.st_size;
            size_t place = round < 80    ? (size_t)round * 2
                           : round < 120 ? size - 1 - (size_t)(round - 80) * 2
                                         : (size_t)fx_rng_below(&rng, size);
            place = place < size ? place : size - 1;
            unsigned char mask = (unsigned char)(1U << fx_rng_below(&rng, 8));
            flip(objects[i], place, mask);
            fx_verify_report report = {0};
            fx_err found = {0};
            assert_int_not_equal(verify(url, true, &report, &found), FX_OK);
            (void)restore(url, snapshot.id, 1, &found); /* asserts that nothing wrong comes back */
            flip(objects[i], place, mask);
        }
    }
    fx_verify_report report = {0};
    assert_int_equal(verify(url, true, &report, &err), FX_OK);
}

static void
missing_and_short_objects_are_named(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    new_url(url);
    fx_snapshot snapshot;
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(backup(url, 1, &snapshot, &err), FX_OK);
    object_count = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    assert_int_equal(nftw(url + strlen("posix:"), note_object, 16, FTW_PHYS), 0);
    for (size_t i = 0; i < object_count; i++) {
        if (strstr(objects[i], "/packs/") == NULL) {
            continue;
        }
        struct stat info;
        fx_verify_report report = {0};
        assert_int_equal(stat(objects[i], &info), 0);
        assert_int_equal(chmod(objects[i], 0600), 0);
        assert_int_equal(truncate(objects[i], info.st_size - 1), 0);
        assert_int_equal(verify(url, false, &report, &err), FX_ERR_DAMAGED);
        assert_non_null(strstr(err.message, strstr(objects[i], "packs/")));
        assert_int_equal(report.damage_count, 2); /* the pack, and the snapshot that it breaks */
        assert_int_equal(unlink(objects[i]), 0);
        assert_int_equal(verify(url, false, &report, &err), FX_ERR_DAMAGED);
    }
    assert_int_not_equal(restore(url, snapshot.id, 1, &err), FX_OK);
}

/* The stored object whose path has `part` in it. */
/* The store fails for a while: chunks of a pack that it did not take must not be committed. */
static void
a_writer_that_failed_commits_nothing(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char obstacle[URL_BYTES + 16];
    new_url(url);
    (void)snprintf(obstacle, sizeof obstacle, "%s/packs", url + strlen("posix:"));
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    assert_int_equal(fx_file_replace(obstacle, (fx_bytes){"x", 1}, 0600, &err), FX_OK);
    static uint64_t words[256 * 1024];
    fx_bytes content = {words, sizeof words};
    fx_rng rng;
    fx_rng_init(&rng, 7);
    fx_chunk_id id;
    fx_code code = FX_OK;
    /* Packs are stored in the background: a few fit in memory before the failure shows. */
    for (int i = 0; i < 64 && code == FX_OK; i++) {
        for (size_t j = 0; j < sizeof words / sizeof words[0]; j++) {
            words[j] = fx_rng_next(&rng);
        }
        code = fx_writer_add_chunk(writer, FX_CHUNK_DATA, content, &id, &err);
    }
    assert_int_not_equal(code, FX_OK);
    assert_int_equal(unlink(obstacle), 0);
    fx_err again = {0};
    assert_int_equal(fx_writer_add_chunk(writer, FX_CHUNK_DATA, content, &id, &again), code);
    assert_string_equal(again.message, err.message);
    fx_snapshot snapshot = {.host = fx_name_of("db1"), .source = "files:test", .kind = "files"};
    assert_int_equal(fx_writer_commit(writer, &id, &snapshot, &again), code);
    fx_verify_report report = {0};
    assert_int_equal(verify(url, true, &report, &err), FX_OK);
    assert_int_equal(report.snapshot_count, 0);
}

/* Takes the last blob of a stored object out, with its line of the directory. */
static void
drop_last_blob(const char *path, size_t last_bytes)
{
    enum { LINE_BYTES = 44, FOOT_BYTES = 32, COUNT_AT = 16 };
    fx_err err = {0};
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, 64 << 20);
    assert_int_equal(fx_file_read(path, &bytes, &err), FX_OK);
    unsigned char *foot = bytes.data + bytes.size_bytes - FOOT_BYTES;
    size_t count = foot[COUNT_AT];
    size_t lines_at = bytes.size_bytes - FOOT_BYTES - count * LINE_BYTES;
    foot[COUNT_AT]--;
    FX_BUF_AUTO shorter;
    fx_buf_init(&shorter, 64 << 20);
    size_t lines_bytes = (count - 1) * LINE_BYTES;
    assert_int_equal(fx_buf_append(&shorter, bytes.data, lines_at - last_bytes, &err), FX_OK);
    assert_int_equal(fx_buf_append(&shorter, bytes.data + lines_at, lines_bytes, &err), FX_OK);
    assert_int_equal(fx_buf_append(&shorter, foot, FOOT_BYTES, &err), FX_OK);
    assert_int_equal(fx_file_replace(path, fx_buf_bytes(&shorter), 0600, &err), FX_OK);
}

static void
a_stream_without_its_last_blob_is_damaged(void **state)
{
    (void)state;
    enum { PART_BYTES = 4 * 1024 * 1024, LAST_BYTES = 5 };
    fx_err err = {0};
    char url[URL_BYTES];
    new_url(url);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    static unsigned char content[PART_BYTES + LAST_BYTES];
    fx_bytes all = {content, sizeof content};
    assert_int_equal(fx_repository_put_named(repository, "wal/1/A", all, &err), FX_OK);
    drop_last_blob(object_at(url, "streams/wal/1/A"), LAST_BYTES + 16);
    FX_BUF_AUTO out;
    fx_buf_init(&out, FX_NAMED_MAX_BYTES);
    assert_int_equal(fx_repository_get_named(repository, "wal/1/A", &out, &err), FX_ERR_DAMAGED);
    assert_int_equal(out.size_bytes, 0);
    /* Storing it again says which object stands in the way. */
    assert_int_equal(fx_repository_put_named(repository, "wal/1/A", all, &err), FX_ERR_DAMAGED);
    assert_non_null(strstr(err.message, "streams/wal/1/A"));
    assert_non_null(strstr(err.message, "remove"));
}

static void
a_key_is_not_written_through_a_dangling_link(void **state)
{
    (void)state;
    fx_err err = {0};
    char path[64];
    struct stat info;
    (void)snprintf(path, sizeof path, "%s/dangling", folder);
    assert_int_equal(symlink("nowhere", path), 0);
    assert_int_equal(fx_repository_key_create(path, &err), FX_ERR_EXISTS);
    assert_int_equal(lstat(path, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
}

static void
old_temporaries_are_removed(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char path[2][URL_BYTES + 32];
    new_url(url);
    fx_snapshot snapshot;
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    struct timespec old[2] = {{0}, {0}};
    old[0].tv_sec = old[1].tv_sec = fx_clock_wall().ns / 1000000000 - INT64_C(25) * 3600;
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path[i], sizeof path[i], "%s/tmp/%d", url + strlen("posix:"), i);
        assert_int_equal(fx_file_replace(path[i], (fx_bytes){"x", 1}, 0600, &err), FX_OK);
    }
    assert_int_equal(utimensat(AT_FDCWD, path[0], old, 0), 0);
    assert_int_equal(backup(url, 1, &snapshot, &err), FX_OK);
    assert_int_equal(access(path[0], F_OK), -1);
    assert_int_equal(access(path[1], F_OK), 0);
}

/* Two snapshots; the index of one or both is damaged or gone. */
static void
a_damaged_index_costs_no_snapshot(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        fx_err err = {0};
        char url[URL_BYTES];
        new_url(url);
        fx_snapshot snapshots[3];
        fx_verify_report report = {0};
        assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
        assert_int_equal(backup(url, 1, &snapshots[0], &err), FX_OK);
        if (how == 0) {
            flip(object_at(url, "/indexes/"), 200, 1);
        } else {
            assert_int_equal(unlink(object_at(url, "/indexes/")), 0);
        }
        assert_int_equal(restore(url, snapshots[0].id, 1, &err), FX_OK);
        assert_int_equal(verify(url, true, &report, &err), FX_ERR_DAMAGED);
        assert_int_equal(report.damage_count, 1);
        assert_int_equal(report.pack_count, 1);
        /* A writer stores again what only the damaged index knew. */
        assert_int_equal(backup(url, 2, &snapshots[1], &err), FX_OK);
        assert_true(snapshots[1].added_bytes > UINT64_C(2) * 24000);
        assert_int_equal(restore(url, snapshots[0].id, 1, &err), FX_OK);
        assert_int_equal(restore(url, snapshots[1].id, 2, &err), FX_OK);
        assert_int_equal(verify(url, true, &report, &err), FX_ERR_DAMAGED);
        assert_int_equal(report.damage_count, 1);
        assert_int_equal(report.pack_count, 2);
    }
}

/* What the copy says is stored must be so: it is dropped once an index that it holds is gone. */
static void
a_copy_of_the_index_is_used_while_it_is_true(void **state)
{
    (void)state;
    enum { VERSIONS = 8 }; /* so many index objects are worth a copy */
    fx_err err = {0};
    char url[URL_BYTES];
    static char where[URL_BYTES]; /* outlives a failure */
    fx_snapshot snapshots[VERSIONS + 1];
    fx_verify_report report = {0};
    new_url(url);
    (void)snprintf(where, sizeof where, "%s/cache", folder);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    cache = where;
    for (int version = 1; version <= VERSIONS; version++) {
        assert_int_equal(backup(url, version, &snapshots[version], &err), FX_OK);
        assert_true(version == 1 || snapshots[version].added_bytes < 24000 + 5000);
    }
    assert_int_equal(backup(url, VERSIONS, &snapshots[0], &err), FX_OK);
    /* Once it is written, the store's index objects are not read any more: damage does not show. */
    flip(object_at(url, "/indexes/"), 200, 1);
    assert_int_equal(backup(url, VERSIONS, &snapshots[0], &err), FX_OK);
    assert_true(snapshots[0].added_bytes < 5000);
    for (int i = 0; i < VERSIONS; i++) {
        assert_int_equal(unlink(object_at(url, "/indexes/")), 0);
    }
    assert_int_equal(backup(url, VERSIONS, &snapshots[0], &err), FX_OK);
    assert_true(snapshots[0].added_bytes > UINT64_C(2) * 24000);
    cache = NULL;
    assert_int_equal(restore(url, snapshots[0].id, VERSIONS, &err), FX_OK);
    assert_int_equal(restore(url, snapshots[1].id, 1, &err), FX_OK);
    assert_int_equal(verify(url, true, &report, &err), FX_ERR_DAMAGED);
}

/* ---- power loss
 * ----------------------------------------------------------------------------------------- */

/* Cuts a second backup at each of its writes in turn. */
static void
power_loss_leaves_every_acknowledged_snapshot(void **state)
{
    (void)state;
    static const char *const kinds[] = {"lose", "doubt"};
    for (size_t kind = 0; kind < 2; kind++) {
        for (int cut = 1; cut < 10; cut++) {
            fx_err err = {0};
            char url[URL_BYTES];
            char cut_url[URL_BYTES + 32];
            new_url(url);
            (void)snprintf(cut_url, sizeof cut_url, "fault:%s:%d:%s", kinds[kind], cut, url);
            fx_snapshot first;
            fx_snapshot second;
            fx_verify_report report = {0};
            assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
            assert_int_equal(backup(url, 1, &first, &err), FX_OK);
            fx_code code = backup(cut_url, 2, &second, &err);
            assert_int_equal(restore(url, first.id, 1, &err), FX_OK);
            assert_int_equal(verify(url, true, &report, &err), FX_OK);
            if (code == FX_OK) {
                assert_true(cut > 4); /* pack, index, voucher, snapshot */
                assert_int_equal(restore(url, second.id, 2, &err), FX_OK);
                break;
            }
            assert_int_equal(backup(url, 3, &second, &err), FX_OK);
            assert_int_equal(restore(url, second.id, 3, &err), FX_OK);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restores_what_was_saved_and_stores_it_once),
        cmocka_unit_test(snapshots_are_listed_without_a_key_and_found),
        cmocka_unit_test(another_key_is_told_from_damage),
        cmocka_unit_test(streams_keep_their_name_and_content),
        cmocka_unit_test(one_changed_byte_anywhere_is_found_and_never_restored),
        cmocka_unit_test(missing_and_short_objects_are_named),
        cmocka_unit_test(a_damaged_index_costs_no_snapshot),
        cmocka_unit_test(a_copy_of_the_index_is_used_while_it_is_true),
        cmocka_unit_test(a_writer_that_failed_commits_nothing),
        cmocka_unit_test(a_stream_without_its_last_blob_is_damaged),
        cmocka_unit_test(a_key_is_not_written_through_a_dangling_link),
        cmocka_unit_test(old_temporaries_are_removed),
        cmocka_unit_test(power_loss_leaves_every_acknowledged_snapshot),
    };
    return cmocka_run_group_tests_name("repository", tests, make_folder, remove_folder);
}
