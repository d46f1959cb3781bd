/* Name servers that take dynamic updates signed with a TSIG key: BIND, Knot, PowerDNS, NSD's
 * masters. Provider "rfc2136", asking and changing the zone's primary server. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/secret.h"
#include "common/dns/ldns.h"
#include "coordinator/dns/dns.h"

enum { KEY_FILE_MAX_BYTES = 1024, DNS_PORT = 53 };

static const char epoch_key[] = "epoch=";

typedef struct rfc2136_dns {
    char *zone;
    char *name;
    char *epoch_name; /* "_fortress.NAME" */
    char *server;
    uint16_t port;
    char *key_name;
    char *key_algorithm;
    fx_secret *key;
} rfc2136_dns;

static fx_ldns_server
server_of(const rfc2136_dns *dns)
{
    return (fx_ldns_server){.address = dns->server, .port = dns->port};
}

static fx_ldns_key
key_of(const rfc2136_dns *dns)
{
    return (fx_ldns_key){
        .name = dns->key_name, .algorithm = dns->key_algorithm, .base64 = dns->key};
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Takes the one word that the open file holds. */
static fx_code
read_key(int fd, const char *path, fx_secret **out_key, fx_err *err)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return fx_fail_errno(err, errno, "could not look at the TSIG key file %.150s", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not use TSIG key file %.150s: it is no file", path);
    }
    if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not use TSIG key file %.150s: its mode %03o lets others at it; chmod 600 it",
            path,
            (unsigned)(status.st_mode & 0777));
    }
    char text[KEY_FILE_MAX_BYTES];
    ssize_t count = read(fd, text, sizeof text);
    if (count < 0) {
        return fx_fail_errno(err, errno, "could not read the TSIG key file %.150s", path);
    }
    size_t size_bytes = (size_t)count;
    while (size_bytes > 0 && strchr(" \t\r\n", text[size_bytes - 1]) != NULL) {
        size_bytes--;
    }
    if (size_bytes == 0 || size_bytes == sizeof text || memchr(text, '\n', size_bytes) != NULL) {
        fx_wipe(text, sizeof text);
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use TSIG key file %.150s: one line with the secret in base64 is expected",
            path);
    }
    *out_key = fx_secret_new((fx_bytes){text, size_bytes});
    fx_wipe(text, sizeof text);
    return FX_OK;
}

static fx_code
load_key(const char *path, fx_secret **out_key, fx_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return fx_fail_errno(err, errno, "could not open the TSIG key file %.150s", path);
    }
    fx_code code = read_key(fd, path, out_key, err);
    (void)close(fd);
    return code;
}

static char *
copy(const char *text)
{
    char *copied = strdup(text);
    FX_ASSERT(copied != NULL);
    return copied;
}

static fx_code
rfc2136_open(void *state, const fx_coordinator_dns *config, fx_err *err)
{
    rfc2136_dns *dns = state;
    if (config->server == NULL || config->key_name == NULL || config->key_algorithm == NULL ||
        config->key_file == NULL) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use dns: rfc2136 needs server, key_name, key_algorithm and key_file");
    }
    dns->zone = copy(config->zone);
    dns->name = copy(config->name);
    dns->server = copy(config->server);
    dns->port = config->port == 0 ? DNS_PORT : config->port;
    dns->key_name = copy(config->key_name);
    dns->key_algorithm = copy(config->key_algorithm);
    if (asprintf(&dns->epoch_name, "_fortress.%s", config->name) < 0) {
        dns->epoch_name = NULL;
    }
    FX_ASSERT(dns->epoch_name != NULL);
    if (load_key(config->key_file, &dns->key, err) != FX_OK) {
        return err->code;
    }
    fx_ldns_server server = server_of(dns);
    fx_ldns_key key = key_of(dns);
    if (fx_ldns_check_server(&server, err) != FX_OK || fx_ldns_check_key(&key, err) != FX_OK ||
        fx_ldns_check_name(dns->zone, err) != FX_OK) {
        return err->code;
    }
    return fx_ldns_check_name(dns->epoch_name, err);
}

static void
rfc2136_close(void *state)
{
    rfc2136_dns *dns = state;
    free(dns->zone);
    free(dns->name);
    free(dns->epoch_name);
    free(dns->server);
    free(dns->key_name);
    free(dns->key_algorithm);
    fx_secret_free(dns->key);
}

/* ---- reading --------------------------------------------------------------------------------- */

static fx_code
parse_epoch(const rfc2136_dns *dns, const fx_ldns_answer *answer, uint64_t *out_epoch, fx_err *err)
{
    if (answer->records_count == 0) {
        *out_epoch = 0;
        return FX_OK;
    }
    const fx_ldns_record *record = &answer->records[0];
    uint64_t epoch = 0;
    char expected[FX_LDNS_TEXT_MAX_BYTES];
    if (record->type == FX_LDNS_TXT && answer->records_count == 1 &&
        strncmp(record->text, epoch_key, strlen(epoch_key)) == 0) {
        epoch = strtoull(record->text + strlen(epoch_key), NULL, 10);
    }
    /* Written back, since a prerequisite must name the very text. */
    (void)snprintf(expected, sizeof expected, "%s%" PRIu64, epoch_key, epoch);
    if (epoch == 0 || strcmp(expected, record->text) != 0) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not read the epoch in %.100s: one TXT record \"epoch=N\" is expected; remove "
            "what is there if nothing else needs it",
            dns->epoch_name);
    }
    *out_epoch = epoch;
    return FX_OK;
}

static fx_code
keep_addresses(
    const rfc2136_dns *dns, const fx_ldns_answer *answer, fx_dns_records *records, fx_err *err)
{
    for (unsigned i = 0; i < answer->records_count; i++) {
        const fx_ldns_record *from = &answer->records[i];
        if (from->type == FX_LDNS_CNAME) {
            return fx_fail(
                err,
                FX_ERR_INVALID,
                "could not use the name %.80s: it is an alias (CNAME) of %.80s; remove that record",
                dns->name,
                from->text);
        }
        if (records->addresses_count == FX_DNS_ADDRESS_MAX) {
            return fx_fail(
                err,
                FX_ERR_LIMIT,
                "could not read the name %.100s: it has over %d addresses",
                dns->name,
                FX_DNS_ADDRESS_MAX);
        }
        (void)snprintf(
            records->addresses[records->addresses_count],
            FX_DNS_ADDRESS_MAX_BYTES,
            "%.*s",
            FX_DNS_ADDRESS_MAX_BYTES - 1,
            from->text);
        bool is_first = records->addresses_count == 0;
        records->ttl_s = is_first || records->ttl_s == from->ttl_s ? from->ttl_s : 0;
        records->addresses_count++;
    }
    return FX_OK;
}

static fx_code
rfc2136_get(void *state, fx_mono deadline, fx_dns_records *out_records, fx_err *err)
{
    const rfc2136_dns *dns = state;
    fx_ldns_server server = server_of(dns);
    static const fx_ldns_type types[] = {FX_LDNS_A, FX_LDNS_AAAA};
    fx_dns_records records = {0};
    fx_ldns_answer answer = {0};
    if (fx_ldns_query(&server, dns->epoch_name, FX_LDNS_TXT, deadline, &answer, err) != FX_OK ||
        parse_epoch(dns, &answer, &records.epoch, err) != FX_OK) {
        return err->code;
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (fx_ldns_query(&server, dns->name, types[i], deadline, &answer, err) != FX_OK ||
            keep_addresses(dns, &answer, &records, err) != FX_OK) {
            return err->code;
        }
    }
    fx_dns_records_sort(&records);
    *out_records = records;
    return FX_OK;
}

/* ---- changing -------------------------------------------------------------------------------- */

enum { CHANGES_MAX = FX_DNS_ADDRESS_MAX + 8, EPOCH_TEXT_BYTES = 32 };

typedef struct change_list {
    fx_ldns_change items[CHANGES_MAX];
    unsigned count;
} change_list;

static void
push(change_list *list, fx_ldns_change change)
{
    FX_ASSERT(list->count < CHANGES_MAX);
    list->items[list->count++] = change;
}

static fx_ldns_type
type_of(const char *address)
{
    return strchr(address, ':') != NULL ? FX_LDNS_AAAA : FX_LDNS_A;
}

static void
push_addresses(
    change_list *list, const rfc2136_dns *dns, fx_ldns_change_kind kind, const fx_dns_records *from)
{
    for (unsigned i = 0; i < from->addresses_count; i++) {
        const char *address = from->addresses[i];
        push(
            list,
            (fx_ldns_change){
                .kind = kind,
                .type = type_of(address),
                .name = dns->name,
                .text = address,
                .ttl_s = from->ttl_s});
    }
}

static bool
has_type(const fx_dns_records *records, fx_ldns_type type)
{
    for (unsigned i = 0; i < records->addresses_count; i++) {
        if (type_of(records->addresses[i]) == type) {
            return true;
        }
    }
    return false;
}

/*
 * Answers to questions are not signed: before "all is so already" is believed, the server confirms
 * it under its signature.
 */
static void
require_addresses(change_list *list, const rfc2136_dns *dns, const fx_dns_records *seen)
{
    push_addresses(list, dns, FX_LDNS_REQUIRE, seen);
    for (int i = 0; i < 2; i++) {
        fx_ldns_type type = i == 0 ? FX_LDNS_A : FX_LDNS_AAAA;
        if (!has_type(seen, type)) {
            push(
                list,
                (fx_ldns_change){.kind = FX_LDNS_REQUIRE_ABSENT, .type = type, .name = dns->name});
        }
    }
}

static fx_code
rfc2136_replace(
    void *state,
    const fx_dns_records *seen,
    const fx_dns_records *wanted,
    fx_mono deadline,
    fx_err *err)
{
    const rfc2136_dns *dns = state;
    char seen_epoch[EPOCH_TEXT_BYTES];
    char wanted_epoch[EPOCH_TEXT_BYTES];
    (void)snprintf(seen_epoch, sizeof seen_epoch, "%s%" PRIu64, epoch_key, seen->epoch);
    (void)snprintf(wanted_epoch, sizeof wanted_epoch, "%s%" PRIu64, epoch_key, wanted->epoch);
    change_list list = {0};
    fx_ldns_change epoch = {.type = FX_LDNS_TXT, .name = dns->epoch_name};
    epoch.kind = seen->epoch == 0 ? FX_LDNS_REQUIRE_ABSENT : FX_LDNS_REQUIRE;
    epoch.text = seen->epoch == 0 ? NULL : seen_epoch;
    push(&list, epoch);
    if (fx_dns_records_equal(seen, wanted)) {
        require_addresses(&list, dns, seen);
    } else {
        /* Beside an alias a server drops addresses and reports success: RFC 2136 section 3.4.2.2 */
        fx_ldns_change set = {
            .kind = FX_LDNS_REQUIRE_ABSENT, .type = FX_LDNS_CNAME, .name = dns->name};
        push(&list, set);
        set.kind = FX_LDNS_REMOVE_SET;
        set.type = FX_LDNS_A;
        push(&list, set);
        set.type = FX_LDNS_AAAA;
        push(&list, set);
        push_addresses(&list, dns, FX_LDNS_ADD, wanted);
        epoch.kind = FX_LDNS_REMOVE_SET;
        epoch.text = NULL;
        push(&list, epoch);
        epoch.kind = FX_LDNS_ADD;
        epoch.text = wanted_epoch;
        epoch.ttl_s = wanted->ttl_s;
        push(&list, epoch);
    }
    fx_ldns_server server = server_of(dns);
    fx_ldns_key key = key_of(dns);
    fx_ldns_update update = {.zone = dns->zone, .changes = list.items, .changes_count = list.count};
    return fx_ldns_send_update(&server, &key, &update, deadline, err);
}

const fx_dns_driver fx_dns_driver_rfc2136 = {
    .name = "rfc2136",
    .abilities = FX_DNS_ANSWERS_AT_ONCE,
    .state_bytes = sizeof(rfc2136_dns),
    .open = rfc2136_open,
    .close = rfc2136_close,
    .get = rfc2136_get,
    .replace = rfc2136_replace,
};
