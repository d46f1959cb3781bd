#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/hex.h"
#include "common/keyring/manage.h"
#include "common/repository/collect.h"
#include "common/repository/index_writer.h"
#include "common/repository/internal.h"
#include "common/repository/object.h"
#include "common/repository/scopes.h"
#include "common/repository/sweep.h"
#include "common/repository/tree.h"
#include "common/store/fault/fault.h"
#include "tests/support/folder.h"

enum { URL_BYTES = 128 };

static char folder[] = "/tmp/fx_scopes_test_XXXXXX";
static int serial;

static int
make_folder(void **state)
{
    (void)state;
    fx_store_allow_test_drivers();
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int
remove_folder(void **state)
{
    (void)state;
    return test_folder_remove(folder);
}

static void
new_url(char url[URL_BYTES])
{
    (void)snprintf(url, URL_BYTES, "posix:%s/%d", folder, serial++);
}

/* A plain keyring with two scopes, "one" and "two". */
static fx_keyring *
make_keyring(void)
{
    fx_err err = {0};
    fx_keyring *keyring = fx_keyring_new();
    fx_recipient file = {.label = fx_name_of("file"), .kind = FX_RECIPIENT_PLAIN};
    fx_name one = fx_name_of("one");
    fx_name two = fx_name_of("two");
    (void)fx_keyring_add_recipient(keyring, &file);
    assert_int_equal(fx_keyring_create_scope(keyring, &one, &err), FX_OK);
    assert_int_equal(fx_keyring_create_scope(keyring, &two, &err), FX_OK);
    return keyring;
}

static fx_repository_key *
open_key(const fx_keyring *keyring)
{
    fx_err err = {0};
    fx_repository_key *key = NULL;
    FX_AUTO(fx_opener) opener = fx_opener_new();
    assert_int_equal(fx_repository_key_of(keyring, opener, &key, &err), FX_OK);
    return key;
}

static fx_keyring *
export_one(fx_keyring *keyring)
{
    fx_err err = {0};
    fx_keyring *exported = NULL;
    FX_AUTO(fx_opener) opener = fx_opener_new();
    fx_name label = fx_name_of("web-1");
    assert_int_equal(
        fx_keyring_export(keyring, opener, &keyring->scopes[0], &label, &exported, &err), FX_OK);
    return exported;
}

static void
put(const char *url, const fx_repository_key *key, const char *name, const char *content)
{
    fx_err err = {0};
    FX_AUTO(fx_repository) repository = NULL;
    fx_bytes bytes = {content, strlen(content)};
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_put_named(repository, name, bytes, &err), FX_OK);
}

static fx_code
get(const char *url, const fx_repository_key *key, const char *name, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    FX_BUF_AUTO content;
    fx_buf_init(&content, FX_NAMED_MAX_BYTES);
    assert_int_equal(fx_repository_open(url, key, &repository, err), FX_OK);
    fx_code code = fx_repository_get_named(repository, name, &content, err);
    assert_int_equal(content.size_bytes > 0, code == FX_OK);
    return code;
}

static void
a_key_reads_its_scopes_and_no_other(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    new_url(url);
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_repository_key) key = open_key(keyring);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    put(url, key, "a", "of one");
    assert_int_equal(fx_repository_key_select(key, "three", &err), FX_ERR_NOT_FOUND);
    assert_int_equal(fx_repository_key_select(key, "two", &err), FX_OK);
    put(url, key, "b", "of two");
    assert_int_equal(get(url, key, "a", &err), FX_OK);
    assert_int_equal(get(url, key, "b", &err), FX_OK);

    FX_AUTO(fx_opener) opener = fx_opener_new();
    assert_int_equal(fx_keyring_erase(keyring, opener, &keyring->scopes[1], &err), FX_OK);
    FX_AUTO(fx_repository_key) less = open_key(keyring);
    assert_int_equal(get(url, less, "a", &err), FX_OK);
    assert_int_equal(get(url, less, "b", &err), FX_ERR_WRONG_KEY);
    assert_non_null(strstr(err.message, "erased"));
    FX_AUTO(fx_repository) repository = NULL;
    fx_verify_report report = {0};
    assert_int_equal(fx_repository_open(url, less, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_verify(repository, true, NULL, NULL, &report, &err), FX_OK);
    assert_int_equal(report.locked_count, 1);
}

static void
a_scope_that_the_repository_lacks_is_not_written_to(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    new_url(url);
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_repository_key) key = open_key(keyring);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    fx_name late = fx_name_of("late");
    assert_int_equal(fx_keyring_create_scope(keyring, &late, &err), FX_OK);
    FX_AUTO(fx_repository_key) more = open_key(keyring);
    FX_AUTO(fx_repository) repository = NULL;
    fx_bytes bytes = {"x", 1};
    assert_int_equal(fx_repository_key_select(more, "late", &err), FX_OK);
    assert_int_equal(fx_repository_open(url, more, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_put_named(repository, "a", bytes, &err), FX_ERR_WRONG_KEY);
    assert_non_null(strstr(err.message, "late"));
    assert_int_equal(fx_repository_publish(url, more, &err), FX_OK);
    put(url, more, "a", "x");
}

static void
a_writer_knows_what_it_stored_and_reads_nothing(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    new_url(url);
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_repository_key) key = open_key(keyring);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    FX_AUTO(fx_keyring) exported = export_one(keyring);
    FX_AUTO(fx_repository_key) writer = open_key(exported);
    assert_false(fx_repository_key_can_read(writer));
    assert_true(fx_repository_key_can_read(key));
    put(url, writer, "a", "of the writer");
    put(url, writer, "a", "of the writer"); /* once more: it is there */
    put(url, writer, "empty", "");
    put(url, writer, "empty", "");
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(fx_repository_open(url, writer, &repository, &err), FX_OK);
    fx_bytes other = {"of the reader", 13};
    fx_bytes shorter = {"of the write", 12};
    assert_int_equal(fx_repository_put_named(repository, "a", other, &err), FX_ERR_EXISTS);
    assert_int_equal(fx_repository_put_named(repository, "a", shorter, &err), FX_ERR_EXISTS);
    assert_int_equal(fx_repository_put_named(repository, "empty", shorter, &err), FX_ERR_EXISTS);
    assert_int_equal(get(url, writer, "a", &err), FX_ERR_WRONG_KEY);
    assert_non_null(strstr(err.message, "only write"));
    assert_int_equal(get(url, key, "a", &err), FX_OK);
    assert_int_equal(fx_repository_create("fake:x", writer, &err), FX_ERR_WRONG_KEY);
}

/* A flipped bit in scope or key version must not make an object pass for somebody else's. */
static void
an_object_of_a_key_that_nobody_has_is_damaged(void **state)
{
    (void)state;
    enum { SCOPE_AT = 132, VERSION_AT = 140 };
    fx_err err = {0};
    char url[URL_BYTES];
    char path[URL_BYTES + 16];
    new_url(url);
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_repository_key) key = open_key(keyring);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    put(url, key, "a", "content");
    (void)snprintf(path, sizeof path, "%s/streams/a", url + strlen("posix:"));
    for (long place = SCOPE_AT; place < VERSION_AT + 4; place++) {
        assert_int_equal(chmod(path, 0600), 0);
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        assert_int_equal(fseek(file, place, SEEK_SET), 0);
        int byte = fgetc(file);
        assert_int_equal(fseek(file, place, SEEK_SET), 0);
        assert_true(fputc(byte ^ 2, file) != EOF);
        assert_int_equal(fflush(file), 0);
        assert_int_equal(get(url, key, "a", &err), FX_ERR_DAMAGED);
        assert_int_equal(fseek(file, place, SEEK_SET), 0);
        assert_true(fputc(byte, file) != EOF);
        assert_int_equal(fclose(file), 0);
    }
    assert_int_equal(get(url, key, "a", &err), FX_OK);
}

static void
no_changed_bit_of_a_key_object_passes(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_keyring) keyring = make_keyring();
    fx_keyring_free(export_one(keyring)); /* the keyring notes it */
    FX_AUTO(fx_repository_key) key = open_key(keyring);
    const fx_keyring_scope *scope = &keyring->scopes[0];
    FX_AUTO(fx_key_object) object = fx_key_object_of(keyring, scope, &scope->versions[0]);
    FX_AUTO(fx_key_object) read = NULL;
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_KEY_OBJECT_MAX_BYTES);
    object->serial = 7;
    assert_int_equal(
        fx_key_object_encode(object, key->scopes[0].versions[0].sign, &bytes, &err), FX_OK);
    assert_int_equal(fx_key_object_decode(fx_buf_bytes(&bytes), &read, &err), FX_OK);
    assert_int_equal(read->serial, 7);
    assert_string_equal(read->label.text, "one");
    assert_string_equal(read->recipients[0].kind, "plain");
    assert_string_equal(read->exports[0].label.text, "web-1");
    assert_memory_equal(read->public_key, object->public_key, sizeof read->public_key);
    for (size_t i = 0; i < bytes.size_bytes * 8; i++) {
        FX_AUTO(fx_key_object) none = NULL;
        bytes.data[i / 8] ^= (unsigned char)(1U << (i % 8));
        assert_int_not_equal(fx_key_object_decode(fx_buf_bytes(&bytes), &none, &err), FX_OK);
        bytes.data[i / 8] ^= (unsigned char)(1U << (i % 8));
    }
    /* Signed by another: the digest alone does not make it one. */
    FX_BUF_AUTO forged;
    FX_AUTO(fx_key_object) none = NULL;
    fx_buf_init(&forged, FX_KEY_OBJECT_MAX_BYTES);
    assert_int_equal(
        fx_key_object_encode(object, key->scopes[1].versions[0].sign, &forged, &err), FX_OK);
    assert_int_equal(fx_key_object_decode(fx_buf_bytes(&forged), &none, &err), FX_ERR_DAMAGED);
    assert_non_null(strstr(err.message, "signature"));
}

static void
a_statement_is_of_its_scope_version_and_use(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_opener) opener = fx_opener_new();
    assert_int_equal(fx_keyring_rotate(keyring, opener, &keyring->scopes[0], &err), FX_OK);
    FX_AUTO(fx_keyring) exported = export_one(keyring);
    FX_AUTO(fx_repository_key) key = open_key(keyring);
    FX_AUTO(fx_repository_key) writer = open_key(exported);
    unsigned char signature[FX_SIGN_BYTES];
    fx_bytes said = {"opened", 6};
    fx_bytes other = {"Opened", 6};
    const fx_scope_keys *scope = &key->scopes[0];
    assert_int_equal(fx_scope_sign(scope, "use", said, signature, &err), FX_OK);
    assert_true(fx_scope_check(scope, 2, "use", said, signature));
    assert_true(fx_scope_check(&writer->scopes[0], 2, "use", said, signature));
    assert_false(fx_scope_check(scope, 1, "use", said, signature));
    assert_false(fx_scope_check(scope, 0, "use", said, signature));
    assert_false(fx_scope_check(scope, 3, "use", said, signature));
    assert_false(fx_scope_check(scope, 2, "us", said, signature));
    assert_false(fx_scope_check(scope, 2, "use", other, signature));
    assert_false(fx_scope_check(&key->scopes[1], 1, "use", said, signature));
    fx_code code = fx_scope_sign(&writer->scopes[0], "use", said, signature, &err);
    assert_int_equal(code, FX_ERR_WRONG_KEY);
}

/* Whatever of a rotation's key objects a power loss takes, the next one that publishes puts it. */
static void
a_rotation_survives_power_loss_at_every_write(void **state)
{
    (void)state;
    const char *const kinds[] = {"lose", "doubt"};
    for (size_t kind = 0; kind < 2; kind++) {
        for (int cut = 1;; cut++) {
            assert_true(cut < 10);
            fx_err err = {0};
            char url[URL_BYTES];
            char cut_url[URL_BYTES + 32];
            new_url(url);
            (void)snprintf(cut_url, sizeof cut_url, "fault:%s:%d:%s", kinds[kind], cut, url);
            FX_AUTO(fx_keyring) keyring = make_keyring();
            FX_AUTO(fx_opener) opener = fx_opener_new();
            FX_AUTO(fx_repository_key) key = open_key(keyring);
            assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
            put(url, key, "a", "before");
            assert_int_equal(fx_keyring_rotate(keyring, opener, &keyring->scopes[0], &err), FX_OK);
            assert_int_equal(fx_keyring_rotate(keyring, opener, &keyring->scopes[1], &err), FX_OK);
            FX_AUTO(fx_repository_key) rotated = open_key(keyring);
            fx_code code = fx_repository_publish(cut_url, rotated, &err);
            put(url, rotated, "b", "after");
            assert_int_equal(get(url, rotated, "a", &err), FX_OK);
            assert_int_equal(fx_repository_publish(url, rotated, &err), FX_OK);
            assert_int_equal(get(url, rotated, "b", &err), FX_OK);
            FX_AUTO(fx_repository) repository = NULL;
            fx_verify_report report = {0};
            assert_int_equal(fx_repository_open(url, rotated, &repository, &err), FX_OK);
            assert_int_equal(
                fx_repository_verify(repository, true, NULL, NULL, &report, &err), FX_OK);
            if (code == FX_OK) {
                assert_true(cut > 2);
                break;
            }
        }
    }
}

static void
note_scope(void *ctx, const fx_scope_summary *summary)
{
    char *seen = ctx;
    size_t used = strlen(seen);
    assert_non_null(summary->newest);
    (void)snprintf(
        seen + used,
        100 - used,
        "%s %u %zu;",
        summary->newest->label.text,
        summary->version_count,
        summary->erasure_count);
}

static void
an_erasure_that_was_interrupted_goes_on(void **state)
{
    (void)state;
    /* Two records are put; the first or the second is lost on the way. */
    for (int cut = 2; cut <= 6; cut++) {
        fx_err err = {0};
        char url[URL_BYTES];
        char cut_url[URL_BYTES + 32];
        char path[URL_BYTES];
        new_url(url);
        (void)snprintf(
            cut_url,
            sizeof cut_url,
            "fault:%s:%d:%s",
            cut % 2 == 0 ? "lose" : "doubt",
            cut / 2,
            url);
        (void)snprintf(path, sizeof path, "%s/ring%d", folder, serial++);
        FX_AUTO(fx_keyring) keyring = make_keyring();
        FX_AUTO(fx_repository_key) key = open_key(keyring);
        assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
        assert_int_equal(fx_keyring_create(path, keyring, &err), FX_OK);
        fx_code code = FX_ERR_FAILED;
        for (int attempt = 0; attempt < 2 && code != FX_OK; attempt++) {
            FX_AUTO(fx_keyring) edited = NULL;
            FX_AUTO(fx_opener) opener = fx_opener_new();
            FX_AUTO(fx_erasure) erasure = NULL;
            fx_keyring_edit edit;
            assert_int_equal(fx_keyring_edit_begin(path, &edit, &edited, &err), FX_OK);
            const fx_erase_request request = {
                .url = attempt == 0 ? cut_url : url,
                .edit = &edit,
                .keyring = edited,
                .opener = opener,
                .scope = "two",
            };
            code = fx_repository_erase_scope(&request, &erasure, &err);
            fx_keyring_edit_end(&edit);
            assert_int_equal(code == FX_OK, erasure != NULL);
            if (code == FX_OK && erasure != NULL) {
                assert_true(erasure->is_done);
                assert_int_equal(erasure->holder_count, 1);
                assert_true(erasure->holders[0].is_destroyed);
            }
        }
        assert_int_equal(code, FX_OK);
        FX_AUTO(fx_keyring) left = NULL;
        char seen[100] = "";
        assert_int_equal(fx_keyring_load(path, &left, &err), FX_OK);
        assert_int_equal(left->scopes[1].state, FX_SCOPE_ERASED);
        assert_int_equal(left->scopes[1].versions[0].wrap_count, 0);
        assert_int_equal(left->scopes[0].versions[0].wrap_count, 1);
        assert_int_equal(fx_repository_list_scopes(url, note_scope, seen, &err), FX_OK);
        assert_non_null(strstr(seen, "one 1 0;"));
        assert_non_null(strstr(seen, "two 1 1;"));
    }
}

static void
erase_two(const char *url, const char *path)
{
    fx_err err = {0};
    FX_AUTO(fx_keyring) edited = NULL;
    FX_AUTO(fx_opener) opener = fx_opener_new();
    FX_AUTO(fx_erasure) erasure = NULL;
    fx_keyring_edit edit;
    assert_int_equal(fx_keyring_edit_begin(path, &edit, &edited, &err), FX_OK);
    const fx_erase_request request = {
        .url = url, .edit = &edit, .keyring = edited, .opener = opener, .scope = "two"};
    assert_int_equal(fx_repository_erase_scope(&request, &erasure, &err), FX_OK);
    fx_keyring_edit_end(&edit);
}

static const fx_sweep_options all_of_it = {.dry_run = false};

/* The power goes at each removal: the other scope's objects stay, and the next run ends it. */
static void
a_sweep_that_is_cut_off_anywhere_takes_nothing_else(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char path[URL_BYTES];
    fx_sweep_report report = {0};
    new_url(url);
    (void)snprintf(path, sizeof path, "%s/ring%d", folder, serial++);
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_repository_key) key = open_key(keyring);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(fx_keyring_create(path, keyring, &err), FX_OK);
    put(url, key, "a", "of one");
    assert_int_equal(fx_repository_key_select(key, "two", &err), FX_OK);
    put(url, key, "b", "of two");
    put(url, key, "c", "of two, too");
    put(url, key, "d", "of two as well");
    assert_int_equal(
        fx_repository_sweep_erased(url, keyring, &all_of_it, &report, &err), FX_ERR_NOT_FOUND);
    erase_two(url, path);
    FX_AUTO(fx_keyring) left = NULL;
    assert_int_equal(fx_keyring_load(path, &left, &err), FX_OK);
    for (int cut = 1; cut <= 4; cut++) {
        char cut_url[URL_BYTES + 32];
        (void)snprintf(cut_url, sizeof cut_url, "fault:lose:2:%s", url); /* one goes each time */
        fx_code code = fx_repository_sweep_erased(cut_url, left, &all_of_it, &report, &err);
        assert_int_equal(code, cut <= 2 ? FX_ERR_UNREACHABLE : FX_OK);
        assert_int_equal(get(url, key, "a", &err), FX_OK);
    }
    assert_int_equal(report.scope_count, 1);
    assert_int_equal(report.other_count, 0);
    assert_int_equal(get(url, key, "b", &err), FX_ERR_NOT_FOUND);
    assert_int_equal(get(url, key, "d", &err), FX_ERR_NOT_FOUND);
    assert_int_equal(get(url, key, "a", &err), FX_OK);
}

/* Who has not the scope's newest private key can put records that say so; they prove nothing. */
static void
a_forged_erasure_sweeps_nothing(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char path[URL_BYTES];
    fx_sweep_report report = {0};
    new_url(url);
    (void)snprintf(path, sizeof path, "%s/ring%d", folder, serial++);
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_repository_key) key = open_key(keyring);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(fx_keyring_create(path, keyring, &err), FX_OK);
    assert_int_equal(fx_repository_key_select(key, "two", &err), FX_OK);
    put(url, key, "b", "of two");
    erase_two(url, path);
    FX_AUTO(fx_keyring) left = NULL;
    assert_int_equal(fx_keyring_load(path, &left, &err), FX_OK);
    left->scopes[1].versions[0].verify_key[0] ^= 1; /* as if another had signed */
    assert_int_equal(
        fx_repository_sweep_erased(url, left, &all_of_it, &report, &err), FX_ERR_NOT_FOUND);
    assert_int_equal(get(url, key, "b", &err), FX_OK);
}

/* A snapshot of nothing in the scope that is written to: one pack, of a tree. */
static void
save(const char *url, const fx_repository_key *key, const char *source, fx_snapshot *out_snapshot)
{
    fx_err err = {0};
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    fx_chunk_id root;
    fx_tree empty = {0};
    fx_snapshot snapshot = {.host = fx_name_of("db1"), .kind = "files", .note = "{}"};
    (void)snprintf(snapshot.source, sizeof snapshot.source, "%s", source);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    assert_int_equal(fx_tree_write(writer, &empty, &root, &err), FX_OK);
    assert_int_equal(fx_writer_commit(writer, &root, &snapshot, &err), FX_OK);
    *out_snapshot = snapshot;
}

/* As who may write to one scope can: an index object of it that names all packs that there are. */
static void
claim_packs(const char *url, const fx_repository_key *key)
{
    fx_err err = {0};
    fx_session session;
    fx_index_writer writer;
    fx_id_set packs = {0};
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_list_packs(repository, &packs, &err), FX_OK);
    assert_int_equal(packs.count, 1);
    assert_int_equal(fx_session_begin(key, &session, &err), FX_OK);
    fx_index_writer_init(&writer, repository->store, &session);
    for (size_t i = 0; i < packs.capacity; i++) {
        fx_index_pack pack = {.size_bytes = 1000, .blob_count = 1};
        if (packs.used[i]) {
            memcpy(pack.name, packs.slots[i].bytes, sizeof pack.name);
            assert_int_equal(
                fx_index_writer_add(&writer, &pack, pack.name, sizeof pack.name, &err), FX_OK);
        }
    }
    assert_int_equal(fx_index_writer_finish(&writer, &err), FX_OK);
    fx_index_writer_free(&writer);
    fx_id_set_free(&packs);
}

static void
a_collector_takes_no_pack_of_another_scope(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_root root;
    fx_snapshot snapshot;
    fx_collect_report report = {0};
    const fx_collect_options options = {.live_percent = 60};
    new_url(url);
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_repository_key) key = open_key(keyring);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    assert_int_equal(fx_repository_key_select(key, "two", &err), FX_OK);
    save(url, key, "files:two", &snapshot);
    assert_int_equal(fx_repository_key_select(key, "one", &err), FX_OK);
    claim_packs(url, key);
    assert_int_equal(fx_repository_collect(url, key, &options, &report, &err), FX_OK);
    assert_int_equal(report.removed_pack_count, 0);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_tree) tree = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_repository_snapshot_root(repository, snapshot.id, &root, &err), FX_OK);
    assert_int_equal(fx_tree_read(&root.chunks, &root.id, &tree, &err), FX_OK);
    /* What it claimed is not said again. */
    fx_verify_report found = {0};
    assert_int_equal(fx_repository_verify(repository, true, NULL, NULL, &found, &err), FX_OK);
}

static void
a_collection_counts_the_needed_chunks_of_all_scopes(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    fx_snapshot snapshot;
    fx_collect_report report = {0};
    const fx_collect_options options = {.live_percent = 60};
    new_url(url);
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_repository_key) key = open_key(keyring);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    save(url, key, "files:one", &snapshot);
    assert_int_equal(fx_repository_key_select(key, "two", &err), FX_OK);
    save(url, key, "files:two", &snapshot);
    assert_int_equal(fx_repository_collect(url, key, &options, &report, &err), FX_OK);
    assert_int_equal(report.chunk_count, 2);
    assert_int_equal(report.live_chunk_count, 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_reads_its_scopes_and_no_other),
        cmocka_unit_test(a_sweep_that_is_cut_off_anywhere_takes_nothing_else),
        cmocka_unit_test(a_forged_erasure_sweeps_nothing),
        cmocka_unit_test(a_collector_takes_no_pack_of_another_scope),
        cmocka_unit_test(a_collection_counts_the_needed_chunks_of_all_scopes),
        cmocka_unit_test(a_scope_that_the_repository_lacks_is_not_written_to),
        cmocka_unit_test(a_writer_knows_what_it_stored_and_reads_nothing),
        cmocka_unit_test(an_object_of_a_key_that_nobody_has_is_damaged),
        cmocka_unit_test(no_changed_bit_of_a_key_object_passes),
        cmocka_unit_test(a_statement_is_of_its_scope_version_and_use),
        cmocka_unit_test(a_rotation_survives_power_loss_at_every_write),
        cmocka_unit_test(an_erasure_that_was_interrupted_goes_on),
    };
    return cmocka_run_group_tests_name("scopes", tests, make_folder, remove_folder);
}
