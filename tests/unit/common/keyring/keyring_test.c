#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/keyring/manage.h"
#include "tests/support/folder.h"

static char folder[] = "/tmp/fx_keyring_test_XXXXXX";

static int
make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int
remove_folder(void **state)
{
    (void)state;
    return test_folder_remove(folder);
}

static const char *
path_of(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static fx_recipient
plain_recipient(const char *label)
{
    return (fx_recipient){.label = fx_name_of(label), .kind = FX_RECIPIENT_PLAIN};
}

/* Two scopes; plain and X25519 recipients; two versions and an export of the first scope. */
static fx_keyring *
make_keyring(void)
{
    fx_err err = {0};
    fx_keyring *keyring = fx_keyring_new();
    FX_AUTO(fx_opener) opener = fx_opener_new();
    fx_recipient file = plain_recipient("file");
    fx_recipient anna = {.label = fx_name_of("anna"), .kind = FX_RECIPIENT_X25519};
    fx_name one = fx_name_of("one");
    fx_name two = fx_name_of("two");
    unsigned char private_key[FX_BOX_KEY_BYTES];
    fx_box_key_pair(private_key, anna.public_key);
    (void)fx_keyring_add_recipient(keyring, &file);
    assert_int_equal(fx_keyring_create_scope(keyring, &one, &err), FX_OK);
    assert_int_equal(fx_keyring_create_scope(keyring, &two, &err), FX_OK);
    assert_int_equal(fx_keyring_grant(keyring, opener, &anna, NULL, &err), FX_OK);
    assert_int_equal(fx_keyring_rotate(keyring, opener, &keyring->scopes[0], &err), FX_OK);
    FX_AUTO(fx_keyring) exported = NULL;
    assert_int_equal(
        fx_keyring_export(keyring, opener, &keyring->scopes[0], &two, &exported, &err), FX_OK);
    return keyring;
}

static void
print(const fx_keyring *keyring, fx_buf *out)
{
    fx_err err = {0};
    fx_buf_init(out, FX_KEYRING_MAX_BYTES);
    assert_int_equal(fx_keyring_print(keyring, out, &err), FX_OK);
}

static void
a_keyring_is_read_as_it_was_written(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_BUF_AUTO text;
    FX_BUF_AUTO again;
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_keyring) read = NULL;
    print(keyring, &text);
    assert_int_equal(fx_keyring_parse(fx_buf_bytes(&text), &read, &err), FX_OK);
    assert_non_null(read);
    print(read, &again);
    assert_int_equal(again.size_bytes, text.size_bytes);
    assert_memory_equal(again.data, text.data, text.size_bytes);
    assert_int_equal(read->scope_count, 2);
    assert_int_equal(read->scopes[0].version_count, 2);
    assert_int_equal(read->scopes[0].versions[1].wrap_count, 2);
    assert_int_equal(read->scopes[0].export_count, 1);
    assert_ptr_equal(fx_keyring_find_scope(read, "two"), &read->scopes[1]);
    char hex[FX_SCOPE_ID_TEXT_BYTES];
    fx_scope_id_format(&read->scopes[1].id, hex);
    assert_ptr_equal(fx_keyring_find_scope(read, hex), &read->scopes[1]);
    assert_null(fx_keyring_find_scope(read, "three"));
}

/* Which line, from 1, a place in a text is on. */
static size_t
line_at(const fx_buf *text, size_t place)
{
    size_t line = 1;
    for (size_t i = 0; i < place; i++) {
        line += text->data[i] == '\n' ? 1 : 0;
    }
    return line;
}

static void
every_changed_byte_is_found_on_its_line(void **state)
{
    (void)state;
    FX_BUF_AUTO text;
    FX_AUTO(fx_keyring) keyring = make_keyring();
    print(keyring, &text);
    for (size_t i = 0; i < text.size_bytes; i++) {
        fx_err err = {0};
        FX_AUTO(fx_keyring) read = NULL;
        char line[32];
        text.data[i] ^= 1U;
        fx_code code = fx_keyring_parse(fx_buf_bytes(&text), &read, &err);
        text.data[i] ^= 1U;
        assert_null(read);
        assert_true(
            code == FX_ERR_DAMAGED || (i < strlen("fortress keyring ") && code == FX_ERR_INVALID));
        (void)snprintf(line, sizeof line, "line %zu ", line_at(&text, i));
        assert_true(code == FX_ERR_INVALID || strstr(err.message, line) != NULL);
    }
}

static void
a_keyring_that_is_cut_anywhere_is_refused(void **state)
{
    (void)state;
    FX_BUF_AUTO text;
    FX_AUTO(fx_keyring) keyring = make_keyring();
    print(keyring, &text);
    for (size_t i = 0; i < text.size_bytes; i++) {
        fx_err err = {0};
        FX_AUTO(fx_keyring) read = NULL;
        assert_int_not_equal(fx_keyring_parse((fx_bytes){text.data, i}, &read, &err), FX_OK);
        assert_null(read);
    }
    fx_err err = {0};
    FX_AUTO(fx_keyring) read = NULL;
    assert_int_equal(fx_buf_append_text(&text, "\n", &err), FX_OK);
    assert_int_equal(fx_keyring_parse(fx_buf_bytes(&text), &read, &err), FX_ERR_DAMAGED);
}

/* Builds a text of lines with the right checks, as another program might. */
static void
chain_lines(const char *const lines[], size_t count, fx_buf *out)
{
    static const char digits[] = "0123456789abcdef";
    fx_err err = {0};
    unsigned char chain[FX_SHA256_BYTES] = {0};
    fx_buf_init(out, FX_KEYRING_MAX_BYTES);
    for (size_t i = 0; i <= count; i++) {
        size_t check_bytes = i < count ? 4 : sizeof chain;
        char check[2 * FX_SHA256_BYTES + 1] = "";
        if (i < count) {
            FX_AUTO(fx_sha256_stream) stream = fx_sha256_stream_new();
            fx_sha256_stream_add(stream, (fx_bytes){chain, sizeof chain});
            fx_sha256_stream_add(stream, (fx_bytes){lines[i], strlen(lines[i])});
            fx_sha256_stream_finish(stream, chain);
        }
        for (size_t j = 0; j < check_bytes; j++) {
            check[2 * j] = digits[chain[j] >> 4];
            check[2 * j + 1] = digits[chain[j] & 15U];
        }
        assert_int_equal(
            fx_buf_append_format(out, &err, "%s %s\n", i < count ? lines[i] : "end", check), FX_OK);
    }
}

#define HEX8  "0123456789abcdef"
#define HEX16 HEX8 HEX8
#define HEX32 HEX16 HEX16

static fx_code
parse_lines(const char *second, const char *third, const char *fourth, fx_err *err)
{
    const char *lines[] = {"fortress keyring 1", second, third, fourth};
    size_t count = 1;
    while (count < 4 && lines[count] != NULL) {
        count++;
    }
    FX_BUF_AUTO text;
    FX_AUTO(fx_keyring) read = NULL;
    chain_lines(lines, count, &text);
    return fx_keyring_parse(fx_buf_bytes(&text), &read, err);
}

static void
lines_that_make_no_sense_are_refused_by_number(void **state)
{
    (void)state;
    fx_err err = {0};
    const char *scrypt17 = "recipient a passphrase scrypt 17 8 1 " HEX16 " " HEX32;
    const char *scope = "scope " HEX8 " a erased " HEX16;
    const char *version = "version 1 5 " HEX32 " " HEX32;
    assert_int_equal(parse_lines("recipient a plain", NULL, NULL, &err), FX_OK);
    assert_int_equal(parse_lines(scrypt17, NULL, NULL, &err), FX_OK);
    assert_int_equal(parse_lines("recipient a plain", scope, version, &err), FX_OK);
    const char *const bad[][3] = {
        {"recipient a plain", "recipient a plain"},                /* twice */
        {"recipient a plain x"},                                   /* a word too many */
        {"recipient a brass"},                                     /* unknown kind */
        {"recipient -a plain"},                                    /* no label */
        {"recipient a x25519 " HEX16},                             /* too short */
        {"recipient a passphrase scrypt 16 8 1 " HEX16 " " HEX32}, /* too cheap */
        {"recipient a passphrase scrypt 23 8 1 " HEX16 " " HEX32}, /* too dear */
        {"recipient a passphrase scrypt 17 0 1 " HEX16 " " HEX32},
        {"recipient a passphrase scrypt 17 8 17 " HEX16 " " HEX32},
        {"recipient a passphrase scrypt 017 8 1 " HEX16 " " HEX32},
        {scope, scope},                            /* no version */
        {scope, version, scope},                   /* the id twice */
        {scope, version, version},                 /* the number twice */
        {version},                                 /* no scope */
        {scope, "version 2 5 " HEX32 " " HEX32},   /* a hole */
        {scope, version, "recipient a plain"},     /* out of place */
        {scope, version, "wrap a AAAA"},           /* no recipient */
        {"recipient a plain", "wrap a AAAA"},      /* no version */
        {"scope " HEX8 " a live " HEX16, version}, /* live, no wraps */
        {"scope " HEX8 " a asleep " HEX16, version},
        {"scope " HEX8 " a write-only " HEX16 " " HEX32, version}, /* another check */
        {"export a 5"},
        {"recipient  a plain"}, /* two blanks */
        {"whatever"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (fx_err){0};
        assert_int_equal(parse_lines(bad[i][0], bad[i][1], bad[i][2], &err), FX_ERR_DAMAGED);
        assert_non_null(strstr(err.message, "line "));
    }
    const char *newer[] = {"fortress keyring 2"};
    FX_BUF_AUTO text;
    FX_AUTO(fx_keyring) read = NULL;
    chain_lines(newer, 1, &text);
    assert_int_equal(fx_keyring_parse(fx_buf_bytes(&text), &read, &err), FX_ERR_UNSUPPORTED);
    fx_bytes other = {"-----BEGIN", 10};
    assert_int_equal(fx_keyring_parse(other, &read, &err), FX_ERR_INVALID);
}

static fx_code
open_newest(const fx_keyring *keyring, size_t scope, fx_scope_secret *out_secret, fx_err *err)
{
    FX_AUTO(fx_opener) opener = fx_opener_new();
    const fx_keyring_scope *one = &keyring->scopes[scope];
    return fx_keyring_open_version(
        keyring, opener, one, &one->versions[one->version_count - 1], out_secret, err);
}

static void
rotation_keeps_the_id_key_and_the_recipients(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_opener) opener = fx_opener_new();
    fx_keyring_scope *scope = &keyring->scopes[0];
    fx_scope_secret first;
    fx_scope_secret second;
    assert_int_equal(
        fx_keyring_open_version(keyring, opener, scope, &scope->versions[0], &first, &err), FX_OK);
    assert_int_equal(open_newest(keyring, 0, &second, &err), FX_OK);
    assert_memory_equal(first.id_key, second.id_key, sizeof first.id_key);
    assert_memory_not_equal(first.box, second.box, sizeof first.box);
    assert_memory_not_equal(first.sign, second.sign, sizeof first.sign);
    assert_int_equal(scope->versions[1].wrap_count, scope->versions[0].wrap_count);
}

static void
a_recipient_goes_unless_it_is_the_last(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_keyring) keyring = make_keyring();
    fx_name file = fx_name_of("file");
    fx_name anna = fx_name_of("anna");
    fx_name nobody = fx_name_of("nobody");
    fx_scope_secret secret;
    assert_int_equal(fx_keyring_revoke(keyring, &nobody, NULL, &err), FX_ERR_NOT_FOUND);
    assert_int_equal(fx_keyring_revoke(keyring, &file, &keyring->scopes[0], &err), FX_OK);
    assert_int_equal(open_newest(keyring, 0, &secret, &err), FX_ERR_WRONG_KEY);
    assert_non_null(strstr(err.message, "anna (x25519)"));
    assert_int_equal(open_newest(keyring, 1, &secret, &err), FX_OK);
    assert_int_equal(keyring->recipient_count, 2); /* the other scope still has it */
    assert_int_equal(
        fx_keyring_revoke(keyring, &file, &keyring->scopes[0], &err), FX_ERR_NOT_FOUND);
    assert_int_equal(fx_keyring_revoke(keyring, &anna, NULL, &err), FX_ERR_CONFLICT);
    assert_int_equal(fx_keyring_revoke(keyring, &file, &keyring->scopes[1], &err), FX_OK);
    assert_int_equal(keyring->recipient_count, 1);
}

static void
keys_that_do_not_belong_together_are_refused(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_scope_secret secret;
    FX_AUTO(fx_keyring) keyring = make_keyring();
    fx_key_version *one = &keyring->scopes[1].versions[0];
    fx_key_version *other = &keyring->scopes[0].versions[0];
    fx_wrap wrap = one->wraps[0];
    one->wraps[0] = other->wraps[0];
    other->wraps[0] = wrap;
    assert_int_equal(open_newest(keyring, 1, &secret, &err), FX_ERR_DAMAGED);
    assert_non_null(strstr(err.message, "belong together"));
}

static void
an_export_writes_and_opens_nothing(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_scope_secret secret;
    FX_BUF_AUTO text;
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_opener) opener = fx_opener_new();
    FX_AUTO(fx_keyring) exported = NULL;
    FX_AUTO(fx_keyring) again = NULL;
    fx_name label = fx_name_of("web-1");
    fx_keyring_scope *scope = &keyring->scopes[1];
    assert_int_equal(open_newest(keyring, 1, &secret, &err), FX_OK);
    assert_int_equal(fx_keyring_export(keyring, opener, scope, &label, &exported, &err), FX_OK);
    assert_string_equal(scope->exports[0].label.text, "web-1");
    assert_int_equal(exported->scopes[0].state, FX_SCOPE_WRITE_ONLY);
    assert_int_equal(exported->recipient_count, 0);
    assert_memory_equal(exported->scopes[0].id_key, secret.id_key, sizeof secret.id_key);
    assert_int_equal(open_newest(exported, 0, &secret, &err), FX_ERR_WRONG_KEY);
    assert_int_equal(
        fx_keyring_export(exported, opener, exported->scopes, &label, &again, &err),
        FX_ERR_WRONG_KEY);
    print(exported, &text);
    assert_null(strstr(fx_buf_text(&text), "wrap "));
    assert_int_equal(fx_keyring_parse(fx_buf_bytes(&text), &again, &err), FX_OK);
}

static void
erasing_leaves_no_key_but_the_one_that_signs(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_scope_secret secret;
    FX_BUF_AUTO text;
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_opener) opener = fx_opener_new();
    FX_AUTO(fx_keyring) read = NULL;
    fx_keyring_scope *scope = &keyring->scopes[0];
    assert_int_equal(open_newest(keyring, 0, &secret, &err), FX_OK);
    assert_int_equal(fx_keyring_erase(keyring, opener, scope, &err), FX_OK);
    assert_memory_equal(scope->sign, secret.sign, sizeof secret.sign);
    assert_int_equal(open_newest(keyring, 0, &secret, &err), FX_ERR_WRONG_KEY);
    assert_int_equal(fx_keyring_erase(keyring, opener, scope, &err), FX_ERR_WRONG_KEY);
    assert_int_equal(fx_keyring_rotate(keyring, opener, scope, &err), FX_ERR_WRONG_KEY);
    print(keyring, &text);
    assert_int_equal(fx_keyring_parse(fx_buf_bytes(&text), &read, &err), FX_OK);
    assert_int_equal(read->scopes[0].state, FX_SCOPE_ERASING);
    fx_keyring_finish_erasing(scope);
    static const unsigned char zeros[FX_KEY_BYTES];
    assert_memory_equal(scope->sign, zeros, sizeof zeros);
    assert_int_equal(open_newest(keyring, 1, &secret, &err), FX_OK);
}

static void
a_passphrase_opens_and_another_does_not(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_scope_secret secret;
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_opener) opener = fx_opener_new();
    fx_recipient ops;
    fx_name label = fx_name_of("ops");
    fx_name file = fx_name_of("file");
    char path[128];
    (void)snprintf(path, sizeof path, "%s", path_of("passphrase"));
    fx_bytes right = {"correct horse\nsecond line", 24};
    fx_bytes wrong = {"correct house\n", 14};
    assert_int_equal(fx_file_replace(path, right, 0600, &err), FX_OK);
    assert_int_equal(
        setenv("FORTRESS_PASSPHRASE_FILE", path, 1), 0); /* NOLINT(concurrency-mt-unsafe) */
    assert_int_equal(fx_recipient_of_passphrase(&label, &ops, &err), FX_OK);
    assert_int_equal(ops.scrypt_log2_n, FX_SCRYPT_LOG2_N_MIN);
    assert_int_equal(fx_keyring_grant(keyring, opener, &ops, NULL, &err), FX_OK);
    assert_int_equal(fx_keyring_revoke(keyring, &file, NULL, &err), FX_OK);
    assert_int_equal(open_newest(keyring, 0, &secret, &err), FX_OK);
    assert_int_equal(fx_file_replace(path, wrong, 0600, &err), FX_OK);
    assert_int_equal(open_newest(keyring, 0, &secret, &err), FX_ERR_WRONG_KEY);
    assert_non_null(strstr(err.message, "passphrase"));
    assert_int_equal(unsetenv("FORTRESS_PASSPHRASE_FILE"), 0); /* NOLINT(concurrency-mt-unsafe) */
}

static void
a_changed_keyring_replaces_and_overwrites_the_old_one(void **state)
{
    (void)state;
    fx_err err = {0};
    char path[128];
    char link_path[128];
    struct stat info;
    (void)snprintf(path, sizeof path, "%s", path_of("ring"));
    (void)snprintf(link_path, sizeof link_path, "%s", path_of("ring-link"));
    FX_AUTO(fx_keyring) keyring = make_keyring();
    FX_AUTO(fx_keyring) read = NULL;
    FX_AUTO(fx_keyring) busy = NULL;
    assert_int_equal(fx_keyring_create(path, keyring, &err), FX_OK);
    assert_int_equal(fx_keyring_create(path, keyring, &err), FX_ERR_EXISTS);
    assert_int_equal(symlink(path, link_path), 0);
    assert_int_equal(link(path, path_of("old")), 0); /* another name of the old bytes */
    fx_keyring_edit edit;
    fx_keyring_edit other;
    fx_bytes leftover = {"keys of a change that was killed", 32};
    assert_int_equal(fx_file_replace(path_of("ring.new"), leftover, 0600, &err), FX_OK);
    assert_int_equal(fx_keyring_edit_begin(link_path, &edit, &read, &err), FX_OK);
    assert_int_equal(access(path_of("ring.new"), F_OK), -1);
    assert_int_equal(fx_keyring_edit_begin(path, &other, &busy, &err), FX_ERR_BUSY);
    FX_AUTO(fx_opener) opener = fx_opener_new();
    assert_int_equal(fx_keyring_rotate(read, opener, &read->scopes[1], &err), FX_OK);
    assert_int_equal(fx_keyring_edit_save(&edit, read, &err), FX_OK);
    assert_int_equal(fx_keyring_rotate(read, opener, &read->scopes[1], &err), FX_OK);
    assert_int_equal(fx_keyring_edit_save(&edit, read, &err), FX_OK); /* still locked: twice */
    assert_int_equal(fx_keyring_edit_begin(path, &other, &busy, &err), FX_ERR_BUSY);
    fx_keyring_edit_end(&edit);
    assert_int_equal(lstat(link_path, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(fx_keyring_load(path, &busy, &err), FX_OK);
    assert_int_equal(busy->scopes[1].version_count, 3);
    FX_BUF_AUTO old;
    fx_buf_init(&old, FX_KEYRING_MAX_BYTES);
    assert_int_equal(fx_file_read(path_of("old"), &old, &err), FX_OK);
    assert_true(old.size_bytes > 100);
    for (size_t i = 0; i < old.size_bytes; i++) {
        assert_int_equal(old.data[i], 0);
    }
    assert_int_equal(chmod(path, 0640), 0);
    FX_AUTO(fx_keyring) none = NULL;
    assert_int_equal(fx_keyring_load(path, &none, &err), FX_ERR_DENIED);
}

static void
an_identity_is_read_as_it_was_written(void **state)
{
    (void)state;
    fx_err err = {0};
    unsigned char private_key[FX_BOX_KEY_BYTES];
    unsigned char public_key[FX_BOX_KEY_BYTES];
    unsigned char read[FX_BOX_KEY_BYTES];
    FX_BUF_AUTO text;
    fx_buf_init(&text, 1024);
    fx_box_key_pair(private_key, public_key);
    assert_int_equal(fx_identity_print(private_key, &text, &err), FX_OK);
    assert_int_equal(fx_identity_parse(fx_buf_bytes(&text), read, &err), FX_OK);
    assert_memory_equal(read, private_key, sizeof read);
    text.data[40] ^= 1U;
    assert_int_equal(fx_identity_parse(fx_buf_bytes(&text), read, &err), FX_ERR_DAMAGED);
    assert_non_null(strstr(err.message, "line 2"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_keyring_is_read_as_it_was_written),
        cmocka_unit_test(every_changed_byte_is_found_on_its_line),
        cmocka_unit_test(a_keyring_that_is_cut_anywhere_is_refused),
        cmocka_unit_test(lines_that_make_no_sense_are_refused_by_number),
        cmocka_unit_test(rotation_keeps_the_id_key_and_the_recipients),
        cmocka_unit_test(a_recipient_goes_unless_it_is_the_last),
        cmocka_unit_test(keys_that_do_not_belong_together_are_refused),
        cmocka_unit_test(an_export_writes_and_opens_nothing),
        cmocka_unit_test(erasing_leaves_no_key_but_the_one_that_signs),
        cmocka_unit_test(a_passphrase_opens_and_another_does_not),
        cmocka_unit_test(a_changed_keyring_replaces_and_overwrites_the_old_one),
        cmocka_unit_test(an_identity_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
