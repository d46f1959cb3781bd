/* The keyring as text: lines of words, each with a check that chains it to all lines before. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/base/secret.h"
#include "common/keyring/keyring.h"

enum {
    LINE_MAX_BYTES = 12 * 1024,
    WORD_MAX = 12,
    CHECK_BYTES = 4,
    CHECK_TEXT_BYTES = 2 * CHECK_BYTES + 1,
    HEX_MAX_BYTES = 2 * 96 + 1,
    END_BYTES = 4 + 2 * FX_SHA256_BYTES, /* "end HEX64" */
};

static const char keyring_title[] = "fortress keyring ";
static const char identity_title[] = "fortress identity ";

/* ---- the chain ----------------------------------------------------------------------------------
 */

/* Links a line to all before it. */
static void
link_line(unsigned char chain[FX_SHA256_BYTES], fx_bytes line)
{
    FX_AUTO(fx_sha256_stream) stream = fx_sha256_stream_new();
    fx_sha256_stream_add(stream, (fx_bytes){chain, FX_SHA256_BYTES});
    fx_sha256_stream_add(stream, line);
    fx_sha256_stream_finish(stream, chain);
}

/* ---- writing ------------------------------------------------------------------------------------
 */

typedef struct printer {
    fx_buf *out;
    unsigned char chain[FX_SHA256_BYTES];
    size_t line_at;
    fx_err *err;
} printer;

/* All parts give FX_OK or the failure that the printer keeps from then on. */
static void
put(printer *to, const char *text)
{
    if (to->err->code == FX_OK) {
        fx_ignore(fx_buf_append_text(to->out, text, to->err), "kept in the printer");
    }
}

static void
put_number(printer *to, uint64_t number)
{
    if (to->err->code == FX_OK) {
        fx_ignore(
            fx_buf_append_format(to->out, to->err, " %" PRIu64, number), "kept in the printer");
    }
}

static void
put_word(printer *to, const char *text)
{
    put(to, " ");
    put(to, text);
}

static void
put_hex(printer *to, const void *bytes, size_t size_bytes)
{
    char hex[HEX_MAX_BYTES];
    FX_ASSERT(2 * size_bytes < sizeof hex);
    fx_hex_encode((fx_bytes){bytes, size_bytes}, hex);
    put_word(to, hex);
    fx_wipe(hex, sizeof hex);
}

static void
end_line(printer *to)
{
    if (to->err->code != FX_OK) {
        return;
    }
    char check[CHECK_TEXT_BYTES];
    link_line(
        to->chain, (fx_bytes){to->out->data + to->line_at, to->out->size_bytes - to->line_at});
    fx_hex_encode((fx_bytes){to->chain, CHECK_BYTES}, check);
    put_word(to, check);
    put(to, "\n");
    to->line_at = to->out->size_bytes;
}

static void
end_text(printer *to)
{
    put(to, "end");
    put_hex(to, to->chain, sizeof to->chain);
    put(to, "\n");
}

static void
print_recipient(printer *to, const fx_recipient *one)
{
    put(to, "recipient");
    put_word(to, one->label.text);
    put_word(to, fx_recipient_kind_name(one->kind));
    switch (one->kind) {
    case FX_RECIPIENT_PLAIN:
        break;
    case FX_RECIPIENT_PASSPHRASE:
        put_word(to, "scrypt");
        put_number(to, one->scrypt_log2_n);
        put_number(to, one->scrypt_r);
        put_number(to, one->scrypt_p);
        put_hex(to, one->salt, sizeof one->salt);
        put_hex(to, one->public_key, sizeof one->public_key);
        break;
    case FX_RECIPIENT_X25519:
        put_hex(to, one->public_key, sizeof one->public_key);
        break;
    case FX_RECIPIENT_GPG:
    case FX_RECIPIENT_VAULT:
        put_word(to, one->name);
        break;
    }
    end_line(to);
}

static void
print_version(printer *to, const fx_key_version *version)
{
    put(to, "version");
    put_number(to, version->number);
    put_number(to, (uint64_t)version->created.ns);
    put_hex(to, version->public_key, sizeof version->public_key);
    put_hex(to, version->verify_key, sizeof version->verify_key);
    end_line(to);
    for (size_t i = 0; i < version->wrap_count; i++) {
        const fx_wrap *wrap = &version->wraps[i];
        put(to, "wrap");
        put_word(to, wrap->recipient.text);
        put(to, " ");
        if (to->err->code == FX_OK) {
            fx_bytes sealed = {wrap->sealed, wrap->sealed_bytes};
            fx_ignore(fx_base64_encode(sealed, to->out, to->err), "kept in the printer");
        }
        end_line(to);
    }
}

static void
print_scope(printer *to, const fx_keyring_scope *scope)
{
    static const char *const states[] = {"live", "write-only", "erasing", "erased"};
    put(to, "scope");
    put_hex(to, scope->id.bytes, sizeof scope->id.bytes);
    put_word(to, scope->label.text);
    put_word(to, states[scope->state]);
    put_hex(to, scope->id_check, sizeof scope->id_check);
    if (scope->state == FX_SCOPE_WRITE_ONLY) {
        put_hex(to, scope->id_key, sizeof scope->id_key);
    }
    if (scope->state == FX_SCOPE_ERASING) {
        put_hex(to, scope->sign, sizeof scope->sign);
    }
    end_line(to);
    for (size_t i = 0; i < scope->version_count; i++) {
        print_version(to, &scope->versions[i]);
    }
    for (size_t i = 0; i < scope->export_count; i++) {
        put(to, "export");
        put_word(to, scope->exports[i].label.text);
        put_number(to, (uint64_t)scope->exports[i].created.ns);
        end_line(to);
    }
}

/* So that the text, which may hold plain keys, need not move while it grows. */
static size_t
room_for(const fx_keyring *keyring)
{
    enum { LINE_BYTES = 512 };
    size_t size_bytes = LINE_BYTES + keyring->recipient_count * LINE_BYTES;
    for (size_t i = 0; i < keyring->scope_count; i++) {
        const fx_keyring_scope *scope = &keyring->scopes[i];
        size_bytes += LINE_BYTES * (1 + scope->version_count + scope->export_count);
        for (size_t j = 0; j < scope->version_count; j++) {
            const fx_key_version *version = &scope->versions[j];
            for (size_t k = 0; k < version->wrap_count; k++) {
                size_bytes += LINE_BYTES + version->wraps[k].sealed_bytes * 2;
            }
        }
    }
    return size_bytes;
}

fx_code
fx_keyring_print(const fx_keyring *keyring, fx_buf *out, fx_err *err)
{
    *err = (fx_err){0};
    size_t room_bytes = out->size_bytes + room_for(keyring);
    if (room_bytes <= out->max_bytes) {
        fx_buf_reserve(out, room_bytes);
    }
    printer to = {.out = out, .line_at = out->size_bytes, .err = err};
    put(&to, keyring_title);
    put(&to, "1");
    end_line(&to);
    for (size_t i = 0; i < keyring->recipient_count; i++) {
        print_recipient(&to, &keyring->recipients[i]);
    }
    for (size_t i = 0; i < keyring->scope_count; i++) {
        print_scope(&to, &keyring->scopes[i]);
    }
    end_text(&to);
    return err->code;
}

fx_code
fx_identity_print(const unsigned char private_key[FX_BOX_KEY_BYTES], fx_buf *out, fx_err *err)
{
    *err = (fx_err){0};
    printer to = {.out = out, .line_at = out->size_bytes, .err = err};
    put(&to, identity_title);
    put(&to, "1");
    end_line(&to);
    put(&to, "private");
    put_hex(&to, private_key, FX_BOX_KEY_BYTES);
    end_line(&to);
    end_text(&to);
    return err->code;
}

/* ---- reading ------------------------------------------------------------------------------------
 */

typedef struct parser {
    const char *at;
    size_t left_bytes;
    size_t line_number;
    const char *what; /* "keyring" */
    unsigned char chain[FX_SHA256_BYTES];
    char line[LINE_MAX_BYTES]; /* cut into words */
    char *words[WORD_MAX];
    size_t word_count; /* 0: the end was reached */
    fx_err *err;
} parser;

static fx_code
bad_line(parser *from, const char *why)
{
    return fx_fail(
        from->err,
        FX_ERR_DAMAGED,
        "could not read the %s: line %zu %s",
        from->what,
        from->line_number,
        why);
}

static fx_code
cut_words(parser *from)
{
    char *at = from->line;
    from->word_count = 0;
    while (true) {
        size_t length = strcspn(at, " ");
        if (length == 0 || from->word_count == WORD_MAX) {
            return bad_line(from, "is not one of its kind");
        }
        from->words[from->word_count++] = at;
        if (at[length] == '\0') {
            return FX_OK;
        }
        at[length] = '\0';
        at += length + 1;
    }
}

/* The last line: the digest of all lines, and nothing after it. */
static fx_code
take_end(parser *from, size_t length)
{
    unsigned char digest[FX_SHA256_BYTES];
    fx_err ignored = {0};
    if (length != END_BYTES || from->left_bytes != 0 ||
        fx_hex_decode(from->line + 4, digest, sizeof digest, &ignored) != FX_OK ||
        memcmp(digest, from->chain, sizeof digest) != 0) {
        return bad_line(from, "is damaged");
    }
    from->word_count = 0;
    return FX_OK;
}

/* Takes the next line into `words`, its check compared and cut off. */
static fx_code
next_line(parser *from)
{
    const char *end = memchr(from->at, '\n', from->left_bytes);
    from->line_number++;
    if (end == NULL) {
        return bad_line(from, "is cut short: the file ends too early");
    }
    size_t length = (size_t)(end - from->at);
    if (length >= sizeof from->line || memchr(from->at, '\0', length) != NULL) {
        return bad_line(from, "is damaged");
    }
    memcpy(from->line, from->at, length);
    from->line[length] = '\0';
    from->at = end + 1;
    from->left_bytes -= length + 1;
    if (strncmp(from->line, "end ", 4) == 0) {
        return take_end(from, length);
    }
    char check[CHECK_TEXT_BYTES];
    if (length <= CHECK_TEXT_BYTES) {
        return bad_line(from, "is damaged");
    }
    size_t body_bytes = length - CHECK_TEXT_BYTES;
    link_line(from->chain, (fx_bytes){from->line, body_bytes});
    fx_hex_encode((fx_bytes){from->chain, CHECK_BYTES}, check);
    if (from->line[body_bytes] != ' ' || strcmp(from->line + body_bytes + 1, check) != 0) {
        return bad_line(from, "is damaged: its check is another");
    }
    from->line[body_bytes] = '\0';
    return cut_words(from);
}

/* The first line. What is no such file at all, or a newer one, is told from damage. */
static fx_code
take_title(parser *from, const char *title)
{
    size_t length = strlen(title);
    if (from->left_bytes <= length || memcmp(from->at, title, length) != 0) {
        return fx_fail(
            from->err,
            FX_ERR_INVALID,
            "could not read the %s: the file does not begin with \"%s1\"",
            from->what,
            title);
    }
    bool is_known =
        from->left_bytes > length + 1 && from->at[length] == '1' && from->at[length + 1] == ' ';
    if (next_line(from) != FX_OK) {
        return from->err->code;
    }
    if (!is_known || from->word_count != 3) {
        return fx_fail(
            from->err,
            FX_ERR_UNSUPPORTED,
            "could not read the %s: it is of version \"%.20s\", this program knows 1",
            from->what,
            from->word_count > 2 ? from->words[2] : "");
    }
    return FX_OK;
}

static bool
take_hex(const char *word, void *out_bytes, size_t size_bytes)
{
    fx_err ignored = {0};
    return fx_hex_decode(word, out_bytes, size_bytes, &ignored) == FX_OK;
}

/* Digits alone, without leading zeros. */
static bool
take_number(const char *word, uint64_t most, uint64_t *out_number)
{
    size_t length = strlen(word);
    if (length == 0 || length > 19 || strspn(word, "0123456789") != length ||
        (word[0] == '0' && length > 1)) {
        return false;
    }
    *out_number = strtoull(word, NULL, 10);
    return *out_number <= most;
}

static bool
take_name(const char *word, fx_name *out_name)
{
    fx_err ignored = {0};
    return fx_name_parse(word, "label", out_name, &ignored) == FX_OK;
}

static bool
take_instant(const char *word, fx_wall *out_when)
{
    uint64_t number = 0;
    if (!take_number(word, INT64_MAX, &number)) {
        return false;
    }
    out_when->ns = (int64_t)number;
    return true;
}

static bool
take_scrypt(char *const words[], fx_recipient *one)
{
    uint64_t log2_n = 0;
    uint64_t r = 0;
    uint64_t p = 0;
    if (strcmp(words[0], "scrypt") != 0 || !take_number(words[1], FX_SCRYPT_LOG2_N_MAX, &log2_n) ||
        !take_number(words[2], FX_SCRYPT_R_MAX, &r) ||
        !take_number(words[3], FX_SCRYPT_P_MAX, &p) || log2_n < FX_SCRYPT_LOG2_N_MIN || r == 0 ||
        p == 0) {
        return false;
    }
    one->scrypt_log2_n = (unsigned)log2_n;
    one->scrypt_r = (unsigned)r;
    one->scrypt_p = (unsigned)p;
    return take_hex(words[4], one->salt, sizeof one->salt) &&
           take_hex(words[5], one->public_key, sizeof one->public_key);
}

static bool
take_recipient_words(const parser *from, fx_recipient *one)
{
    static const size_t counts[FX_RECIPIENT_KINDS] = {3, 9, 4, 4, 4};
    char *const *words = from->words;
    if (from->word_count < 3 || !take_name(words[1], &one->label)) {
        return false;
    }
    size_t kind = 0;
    while (kind < FX_RECIPIENT_KINDS &&
           strcmp(words[2], fx_recipient_kind_name((fx_recipient_kind)kind)) != 0) {
        kind++;
    }
    if (kind == FX_RECIPIENT_KINDS || from->word_count != counts[kind]) {
        return false;
    }
    one->kind = (fx_recipient_kind)kind;
    switch (one->kind) {
    case FX_RECIPIENT_PLAIN:
        return true;
    case FX_RECIPIENT_PASSPHRASE:
        return take_scrypt(words + 3, one);
    case FX_RECIPIENT_X25519:
        return take_hex(words[3], one->public_key, sizeof one->public_key);
    case FX_RECIPIENT_GPG:
    case FX_RECIPIENT_VAULT:
        if (strlen(words[3]) >= sizeof one->name) {
            return false;
        }
        memcpy(one->name, words[3], strlen(words[3]) + 1);
        return true;
    }
    return false;
}

static fx_code
take_recipient(parser *from, fx_keyring *keyring)
{
    fx_recipient one = {0};
    if (!take_recipient_words(from, &one)) {
        return bad_line(from, "is no recipient of a known kind");
    }
    if (keyring->scope_count > 0 || keyring->recipient_count == FX_RECIPIENT_MAX ||
        fx_keyring_find_recipient(keyring, &one.label) != NULL) {
        return bad_line(from, "is one recipient too many, or out of place");
    }
    (void)fx_keyring_add_recipient(keyring, &one);
    return FX_OK;
}

static bool
take_scope_words(const parser *from, fx_keyring_scope *scope)
{
    static const char *const states[] = {"live", "write-only", "erasing", "erased"};
    static const size_t counts[] = {5, 6, 6, 5};
    char *const *words = from->words;
    if (from->word_count < 5 || !take_hex(words[1], scope->id.bytes, sizeof scope->id.bytes) ||
        !take_name(words[2], &scope->label) ||
        !take_hex(words[4], scope->id_check, sizeof scope->id_check)) {
        return false;
    }
    size_t state = 0;
    while (state <= FX_SCOPE_ERASED && strcmp(words[3], states[state]) != 0) {
        state++;
    }
    if (state > FX_SCOPE_ERASED || from->word_count != counts[state]) {
        return false;
    }
    scope->state = (fx_scope_state)state;
    unsigned char check[FX_ID_CHECK_BYTES];
    switch (scope->state) {
    case FX_SCOPE_LIVE:
    case FX_SCOPE_ERASED:
        return true;
    case FX_SCOPE_WRITE_ONLY:
        if (!take_hex(words[5], scope->id_key, sizeof scope->id_key)) {
            return false;
        }
        fx_id_check(scope->id_key, check);
        return memcmp(check, scope->id_check, sizeof check) == 0;
    case FX_SCOPE_ERASING:
        return take_hex(words[5], scope->sign, sizeof scope->sign);
    }
    return false;
}

/* Does the scope that ends here have what its state calls for? */
static bool
is_complete(const fx_keyring *keyring)
{
    if (keyring->scope_count == 0) {
        return true;
    }
    const fx_keyring_scope *scope = &keyring->scopes[keyring->scope_count - 1];
    bool has_wraps = true;
    bool has_none = true;
    for (size_t i = 0; i < scope->version_count; i++) {
        has_wraps = has_wraps && scope->versions[i].wrap_count > 0;
        has_none = has_none && scope->versions[i].wrap_count == 0;
    }
    return scope->version_count > 0 && (scope->state == FX_SCOPE_LIVE ? has_wraps : has_none);
}

static fx_code
take_scope(parser *from, fx_keyring *keyring)
{
    fx_keyring_scope one = {0};
    if (!is_complete(keyring)) {
        return bad_line(from, "follows a scope that lacks keys");
    }
    bool is_valid = take_scope_words(from, &one) && keyring->scope_count < FX_SCOPE_MAX;
    for (size_t i = 0; is_valid && i < keyring->scope_count; i++) {
        const fx_keyring_scope *other = &keyring->scopes[i];
        is_valid = memcmp(&other->id, &one.id, sizeof one.id) != 0;
    }
    if (is_valid) {
        fx_keyring_scope *added = fx_keyring_add_scope(keyring, &one.id, &one.label);
        *added = one;
    }
    fx_wipe(&one, sizeof one);
    return is_valid ? FX_OK : bad_line(from, "is no scope");
}

static fx_code
take_version(parser *from, fx_keyring *keyring)
{
    fx_keyring_scope *scope =
        keyring->scope_count == 0 ? NULL : &keyring->scopes[keyring->scope_count - 1];
    uint64_t number = 0;
    fx_key_version one = {0};
    if (scope == NULL || scope->version_count == FX_KEY_VERSION_MAX || scope->export_count > 0 ||
        from->word_count != 5 || !take_number(from->words[1], FX_KEY_VERSION_MAX, &number) ||
        number != scope->version_count + 1 || !take_instant(from->words[2], &one.created) ||
        !take_hex(from->words[3], one.public_key, sizeof one.public_key) ||
        !take_hex(from->words[4], one.verify_key, sizeof one.verify_key)) {
        return bad_line(from, "is no key version");
    }
    fx_key_version *added = fx_keyring_add_version(scope);
    one.number = added->number;
    *added = one;
    return FX_OK;
}

/* The version that a line belongs to; NULL out of place. */
static fx_key_version *
last_version(const fx_keyring *keyring)
{
    if (keyring->scope_count == 0) {
        return NULL;
    }
    const fx_keyring_scope *scope = &keyring->scopes[keyring->scope_count - 1];
    return scope->version_count == 0 || scope->export_count > 0
               ? NULL
               : &scope->versions[scope->version_count - 1];
}

static fx_code
take_wrap(parser *from, fx_keyring *keyring)
{
    fx_key_version *version = last_version(keyring);
    fx_name label = {""};
    FX_BUF_AUTO sealed;
    fx_buf_init(&sealed, FX_WRAP_MAX_BYTES);
    fx_buf_reserve(&sealed, FX_WRAP_MAX_BYTES);
    fx_err ignored = {0};
    bool is_valid =
        version != NULL && from->word_count == 3 && version->wrap_count < FX_RECIPIENT_MAX &&
        take_name(from->words[1], &label) && fx_keyring_find_recipient(keyring, &label) != NULL &&
        fx_base64_decode(from->words[2], &sealed, &ignored) == FX_OK && sealed.size_bytes > 0;
    for (size_t i = 0; is_valid && i < version->wrap_count; i++) {
        is_valid = !fx_name_is(&version->wraps[i].recipient, &label);
    }
    if (is_valid) {
        fx_keyring_add_wrap(version, &label, fx_buf_bytes(&sealed));
    }
    fx_wipe(sealed.data, sealed.size_bytes);
    return is_valid ? FX_OK : bad_line(from, "is no wrapped key of a recipient");
}

static fx_code
take_export(parser *from, fx_keyring *keyring)
{
    fx_keyring_scope *scope =
        keyring->scope_count == 0 ? NULL : &keyring->scopes[keyring->scope_count - 1];
    fx_export one = {0};
    if (scope == NULL || scope->version_count == 0 || scope->export_count == FX_EXPORT_MAX ||
        from->word_count != 3 || !take_name(from->words[1], &one.label) ||
        !take_instant(from->words[2], &one.created)) {
        return bad_line(from, "is no export");
    }
    fx_keyring_add_export(scope, &one);
    return FX_OK;
}

static fx_code
take_line(parser *from, fx_keyring *keyring)
{
    static const struct {
        const char *word;
        fx_code (*take)(parser *from, fx_keyring *keyring);
    } kinds[] = {
        {"recipient", take_recipient},
        {"scope", take_scope},
        {"version", take_version},
        {"wrap", take_wrap},
        {"export", take_export},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(from->words[0], kinds[i].word) == 0) {
            return kinds[i].take(from, keyring);
        }
    }
    return bad_line(from, "is of an unknown kind");
}

static parser *
parser_new(fx_bytes text, const char *what, fx_err *err)
{
    parser *from = calloc(1, sizeof *from);
    FX_ASSERT(from != NULL);
    from->at = text.data;
    from->left_bytes = text.size_bytes;
    from->what = what;
    from->err = err;
    return from;
}

static void
parser_free(parser *from)
{
    fx_wipe(from, sizeof *from); /* lines of plain recipients are keys */
    free(from);
}

static fx_code
parse_keyring(parser *from, fx_keyring *keyring)
{
    if (take_title(from, keyring_title) != FX_OK || next_line(from) != FX_OK) {
        return from->err->code;
    }
    while (from->word_count > 0) {
        if (take_line(from, keyring) != FX_OK || next_line(from) != FX_OK) {
            return from->err->code;
        }
    }
    return is_complete(keyring) ? FX_OK : bad_line(from, "ends a scope that lacks keys");
}

fx_code
fx_keyring_parse(fx_bytes text, fx_keyring **out_keyring, fx_err *err)
{
    FX_AUTO(fx_keyring) keyring = fx_keyring_new();
    if (text.size_bytes > FX_KEYRING_MAX_BYTES) {
        return fx_fail(err, FX_ERR_INVALID, "could not read the keyring: it is too long");
    }
    parser *from = parser_new(text, "keyring", err);
    fx_code code = parse_keyring(from, keyring);
    parser_free(from);
    if (code == FX_OK) {
        *out_keyring = FX_TAKE(keyring);
    }
    return code;
}

static fx_code
parse_identity(parser *from, unsigned char out_private[FX_BOX_KEY_BYTES])
{
    if (take_title(from, identity_title) != FX_OK || next_line(from) != FX_OK) {
        return from->err->code;
    }
    unsigned char private_key[FX_BOX_KEY_BYTES];
    if (from->word_count != 2 || strcmp(from->words[0], "private") != 0 ||
        !take_hex(from->words[1], private_key, sizeof private_key)) {
        return bad_line(from, "is no private key");
    }
    fx_code code = next_line(from);
    if (code == FX_OK && from->word_count != 0) {
        code = bad_line(from, "is one too many");
    }
    if (code == FX_OK) {
        memcpy(out_private, private_key, sizeof private_key);
    }
    fx_wipe(private_key, sizeof private_key);
    return code;
}

fx_code
fx_identity_parse(fx_bytes text, unsigned char out_private[FX_BOX_KEY_BYTES], fx_err *err)
{
    parser *from = parser_new(text, "identity", err);
    fx_code code = parse_identity(from, out_private);
    parser_free(from);
    return code;
}
