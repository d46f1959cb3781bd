/*
 * What every DNS provider keeps, and what RFC 2136 adds. Names under dr.test are served by a Knot
 * that this test starts on loopback.
 */
#include <arpa/inet.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/dns/ldns.h"
#include "coordinator/dns/dns.h"
#include "tests/support/port.h"

#define SECRET       "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
#define WRONG_SECRET "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="

static char folder[] = "/tmp/fx_dns_test_XXXXXX";
static char address[] = "127.0.0.1";
static uint16_t port;
static pid_t server = -1;
static int serial;
static const char *const providers[] = {"fake", "rfc2136"};

static fx_mono
in_ms(int64_t length_ms)
{
    return fx_mono_after(fx_clock_mono(), FX_DUR_MS(length_ms));
}

/* ---- the name server ------------------------------------------------------------------------- */

static void
path_of(const char *name, char out_path[128])
{
    (void)snprintf(out_path, 128, "%s/%s", folder, name);
}

static void
write_file(const char *name, unsigned mode, const char *content)
{
    fx_err err = {0};
    char path[128];
    path_of(name, path);
    assert_int_equal(
        fx_file_replace(path, (fx_bytes){content, strlen(content)}, mode, &err), FX_OK);
}

static int
listen_anywhere(uint16_t *out_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &at_bytes), 0);
    *out_port = ntohs(at.sin_port);
    return fd;
}

static fx_coordinator_dns
options(const char *provider, const char *name, char key_path[128])
{
    path_of("tsig.key", key_path);
    static char zone[] = "dr.test";
    static char key_name[] = "fortress";
    static char algorithm[] = "hmac-sha256";
    static char provider_text[16];
    static char name_text[64];
    (void)snprintf(provider_text, sizeof provider_text, "%s", provider);
    (void)snprintf(name_text, sizeof name_text, "%s", name);
    return (fx_coordinator_dns){
        .provider = provider_text,
        .zone = zone,
        .name = name_text,
        .ttl_s = 10,
        .server = address,
        .port = port,
        .key_name = key_name,
        .key_algorithm = algorithm,
        .key_file = key_path};
}

static fx_dns *
open_name(const char *provider, const char *name)
{
    fx_err err = {0};
    char key_path[128];
    fx_coordinator_dns config = options(provider, name, key_path);
    fx_dns *dns = NULL;
    fx_code code = fx_dns_open(&config, &dns, &err);
    if (code != FX_OK) {
        print_message("%s\n", err.message);
    }
    assert_int_equal(code, FX_OK);
    return dns;
}

/* A name that nothing was said of yet. */
static fx_dns *
open_new(const char *provider)
{
    char name[64];
    (void)snprintf(name, sizeof name, "n%d.dr.test", serial++);
    return open_name(provider, name);
}

static void
wait_for_server(void)
{
    fx_err err = {0};
    FX_AUTO(fx_dns) dns = open_name("rfc2136", "ns.dr.test");
    fx_mono limit = in_ms(10000);
    fx_dns_records records = {0};
    while (fx_dns_get(dns, in_ms(1000), &records, &err) != FX_OK) {
        if (fx_clock_mono().ns > limit.ns) {
            fail_msg("the name server does not answer: %s", err.message);
        }
        fx_clock_sleep(FX_DUR_MS(20));
    }
    assert_int_equal(records.addresses_count, 1);
    assert_int_equal(records.epoch, 0);
}

static const char zone_text[] = "$ORIGIN dr.test.\n"
                                "$TTL 10\n"
                                "@ SOA ns.dr.test. admin.dr.test. 1 3600 600 86400 1\n"
                                "@ NS ns.dr.test.\n"
                                "ns A 127.0.0.1\n"
                                "alias CNAME ns.dr.test.\n"
                                "_fortress.foreign TXT \"something else\"\n";

static const char knot_text[] = "server:\n"
                                "  rundir: \"%s/run\"\n"
                                "  listen: 127.0.0.1@%u\n"
                                "key:\n"
                                "  - id: fortress\n"
                                "    algorithm: hmac-sha256\n"
                                "    secret: " SECRET "\n"
                                "  - id: onlooker\n"
                                "    algorithm: hmac-sha256\n"
                                "    secret: " SECRET "\n"
                                "acl:\n"
                                "  - id: updates\n"
                                "    key: fortress\n"
                                "    action: update\n"
                                "database:\n"
                                "  storage: \"%s/run\"\n"
                                "zone:\n"
                                "  - domain: dr.test\n"
                                "    storage: \"%s\"\n"
                                "    file: \"zone\"\n"
                                "    acl: updates\n"
                                "    zonefile-sync: -1\n"
                                "    zonefile-load: whole\n"
                                "    journal-content: none\n"
                                "log:\n"
                                "  - target: stderr\n"
                                "    any: error\n";

static int
start_server(void **state)
{
    (void)state;
    char text[2048];
    char path[128];
    assert_non_null(mkdtemp(folder));
    path_of("run", path);
    assert_int_equal(mkdir(path, 0700), 0);
    port = test_free_port();
    (void)snprintf(text, sizeof text, knot_text, folder, port, folder, folder);
    write_file("knot.conf", 0600, text);
    write_file("zone", 0600, zone_text);
    write_file("tsig.key", 0600, SECRET "\n");
    write_file("wrong.key", 0600, WRONG_SECRET "\n");
    path_of("knot.conf", path);
    /* Ends also where the test is killed before its teardown. */
    char program[] = "/usr/bin/setpriv";
    char death_option[] = "--pdeathsig";
    char death_signal[] = "TERM";
    char knot[] = "/usr/sbin/knotd";
    char option[] = "-c";
    char *argv[] = {program, death_option, death_signal, knot, option, path, NULL};
    char *environment[] = {NULL};
    assert_int_equal(posix_spawn(&server, program, NULL, NULL, argv, environment), 0);
    wait_for_server();
    return 0;
}

static int
remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static int
stop_server(void **state)
{
    (void)state;
    int status = 0;
    if (server > 0) {
        (void)kill(server, SIGTERM);
        assert_int_equal(waitpid(server, &status, 0), server);
    }
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): all threads have ended */
    return nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- what every provider keeps --------------------------------------------------------------- */

static fx_code
set_one(fx_dns *dns, const char *to, uint64_t epoch, fx_err *err)
{
    return fx_dns_set(dns, &to, 1, epoch, in_ms(5000), err);
}

static void
must_set(fx_dns *dns, const char *to, uint64_t epoch)
{
    fx_err err = {0};
    if (set_one(dns, to, epoch, &err) != FX_OK) {
        fail_msg("%s (%s)", err.message, err.context);
    }
}

/* Waits where the provider needs time until it answers what was set. */
static void
assert_says(fx_dns *dns, const char *const *expected, unsigned count, uint64_t epoch)
{
    fx_err err = {0};
    fx_dns_records records = {0};
    fx_mono limit = in_ms(fx_dns_can(dns, FX_DNS_ANSWERS_AT_ONCE) ? 0 : 10000);
    do {
        assert_int_equal(fx_dns_get(dns, in_ms(5000), &records, &err), FX_OK);
    } while (records.epoch != epoch && fx_clock_mono().ns < limit.ns);
    assert_int_equal(records.epoch, epoch);
    assert_int_equal(records.addresses_count, count);
    for (unsigned i = 0; i < count; i++) {
        assert_string_equal(records.addresses[i], expected[i]);
    }
    assert_int_equal(records.ttl_s, count == 0 ? 0 : 10);
}

static void
assert_says_one(fx_dns *dns, const char *expected, uint64_t epoch)
{
    assert_says(dns, &expected, 1, epoch);
}

static void
check_set_and_replace(fx_dns *dns)
{
    assert_says(dns, NULL, 0, 0);
    must_set(dns, "127.0.0.11", 1);
    assert_says_one(dns, "127.0.0.11", 1);
    must_set(dns, "127.0.0.12", 2);
    assert_says_one(dns, "127.0.0.12", 2);
    must_set(dns, "127.0.0.12", 9);
    assert_says_one(dns, "127.0.0.12", 9);
    must_set(dns, "127.0.0.13", 9);
    assert_says_one(dns, "127.0.0.13", 9);
}

static void
check_both_families(fx_dns *dns)
{
    fx_err err = {0};
    const char *given[] = {"fd00:0:0::1", "127.0.0.12", "127.0.0.11"};
    const char *expected[] = {"127.0.0.11", "127.0.0.12", "fd00::1"};
    assert_int_equal(fx_dns_set(dns, given, 3, 1, in_ms(5000), &err), FX_OK);
    assert_says(dns, expected, 3, 1);
    assert_int_equal(fx_dns_set(dns, given, 3, 1, in_ms(5000), &err), FX_OK);
    assert_says(dns, expected, 3, 1);
    must_set(dns, "fd00::2", 2);
    assert_says_one(dns, "fd00::2", 2);
    must_set(dns, "127.0.0.11", 3);
    assert_says_one(dns, "127.0.0.11", 3);
}

static void
check_repeat(fx_dns *dns)
{
    must_set(dns, "127.0.0.11", 4);
    must_set(dns, "127.0.0.11", 4);
    must_set(dns, "127.0.0.11", 4);
    assert_says_one(dns, "127.0.0.11", 4);
}

static bool
observe(fx_dns *dns, const char *expected, uint64_t epoch, uint64_t seen_epoch)
{
    fx_err err = {0};
    fx_dns_target target = {&expected, 1, epoch};
    fx_dns_records seen = {0};
    bool is_so = false;
    fx_code code = fx_dns_observe(dns, &target, in_ms(5000), &is_so, &seen, &err);
    if (code != FX_OK) {
        fail_msg("%s (%s)", err.message, err.context);
    }
    assert_int_equal(seen.epoch, seen_epoch);
    return is_so;
}

static void
check_observe(fx_dns *dns)
{
    fx_err err = {0};
    assert_false(observe(dns, "127.0.0.11", 1, 0));
    assert_says(dns, NULL, 0, 0);
    must_set(dns, "127.0.0.11", 4);
    assert_true(observe(dns, "127.0.0.11", 4, 4));
    assert_false(observe(dns, "127.0.0.12", 4, 4));
    assert_false(observe(dns, "127.0.0.11", 3, 4));
    assert_false(observe(dns, "127.0.0.11", 5, 4));
    assert_says_one(dns, "127.0.0.11", 4);
    fx_dns_target none = {NULL, 0, 4};
    fx_dns_records seen = {0};
    bool is_so = false;
    assert_int_equal(fx_dns_observe(dns, &none, in_ms(5000), &is_so, &seen, &err), FX_ERR_INVALID);
}

static void
check_stale(fx_dns *dns)
{
    fx_err err = {0};
    must_set(dns, "127.0.0.11", 5);
    assert_int_equal(set_one(dns, "127.0.0.12", 4, &err), FX_ERR_STALE);
    assert_int_equal(err.outcome, FX_CLASS_PERMANENT);
    assert_non_null(strstr(err.message, "epoch 5"));
    assert_says_one(dns, "127.0.0.11", 5);
    must_set(dns, "127.0.0.12", UINT64_MAX);
    assert_says_one(dns, "127.0.0.12", UINT64_MAX);
}

static void
check_arguments(fx_dns *dns)
{
    fx_err err = {0};
    const char *twice[] = {"fd00::1", "fd00:0::1"};
    const char *many[FX_DNS_ADDRESS_MAX + 1] = {
        "127.0.0.1",
        "127.0.0.2",
        "127.0.0.3",
        "127.0.0.4",
        "127.0.0.5",
        "127.0.0.6",
        "127.0.0.7",
        "127.0.0.8",
        "127.0.0.9"};
    assert_int_equal(set_one(dns, "127.0.0.256", 1, &err), FX_ERR_INVALID);
    assert_int_equal(set_one(dns, "ns.dr.test", 1, &err), FX_ERR_INVALID);
    assert_int_equal(set_one(dns, "", 1, &err), FX_ERR_INVALID);
    assert_int_equal(fx_dns_set(dns, NULL, 0, 1, in_ms(5000), &err), FX_ERR_INVALID);
    assert_int_equal(fx_dns_set(dns, twice, 2, 1, in_ms(5000), &err), FX_ERR_INVALID);
    assert_int_equal(
        fx_dns_set(dns, many, FX_DNS_ADDRESS_MAX + 1, 1, in_ms(5000), &err), FX_ERR_INVALID);
    assert_says(dns, NULL, 0, 0);
    assert_int_equal(fx_dns_set(dns, many, FX_DNS_ADDRESS_MAX, 1, in_ms(5000), &err), FX_OK);
    assert_says(dns, many, FX_DNS_ADDRESS_MAX, 1);
}

enum { WRITERS = 8 };

typedef struct writer {
    fx_dns *dns;
    uint64_t epoch;
    fx_code code;
    fx_err err;
} writer;

static void *
write_once(void *argument)
{
    writer *self = argument;
    char to[32];
    (void)snprintf(to, sizeof to, "127.0.0.%u", (unsigned)(100 + self->epoch));
    self->code = set_one(self->dns, to, self->epoch, &self->err);
    return NULL;
}

typedef struct watcher {
    fx_dns *dns;
    atomic_bool stop;
    unsigned looks;
    bool missed; /* an answer, or an epoch that had been there */
} watcher;

static void *
watch(void *argument)
{
    watcher *self = argument;
    uint64_t highest = 0;
    while (!atomic_load(&self->stop)) {
        fx_err err = {0};
        fx_dns_records records = {0};
        self->missed |= fx_dns_get(self->dns, in_ms(5000), &records, &err) != FX_OK ||
                        records.addresses_count != 1 || records.epoch < highest;
        highest = records.epoch;
        self->looks++;
    }
    return NULL;
}

/* Tells whether the highest of the epochs won and every lower one was either in time or refused. */
static bool
race_ends_well(fx_dns *dns, uint64_t highest)
{
    pthread_t threads[WRITERS];
    writer writers[WRITERS] = {0};
    unsigned started = 0;
    for (; started < WRITERS; started++) {
        writers[started] = (writer){.dns = dns, .epoch = highest - started};
        if (pthread_create(&threads[started], NULL, write_once, &writers[started]) != 0) {
            break;
        }
    }
    bool well = started == WRITERS;
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
        well &= writers[i].code == FX_OK || (i > 0 && writers[i].code == FX_ERR_STALE);
    }
    fx_err err = {0};
    fx_dns_records records = {0};
    char expected[32];
    (void)snprintf(expected, sizeof expected, "127.0.0.%u", (unsigned)(100 + highest));
    return well && fx_dns_get(dns, in_ms(5000), &records, &err) == FX_OK &&
           records.epoch == highest && strcmp(records.addresses[0], expected) == 0;
}

static void
check_race(fx_dns *dns)
{
    pthread_t watching;
    watcher eye = {.dns = dns};
    bool well = true;
    must_set(dns, "127.0.0.99", 1);
    assert_int_equal(pthread_create(&watching, NULL, watch, &eye), 0);
    for (unsigned round = 0; round < 4; round++) {
        well &= race_ends_well(dns, 1 + (uint64_t)(round + 1) * WRITERS);
    }
    /* Asserted once no thread looks at this frame any more. */
    atomic_store(&eye.stop, true);
    assert_int_equal(pthread_join(watching, NULL), 0);
    assert_true(well);
    assert_true(eye.looks > 0);
    assert_false(eye.missed);
}

static void
for_each(void (*check)(fx_dns *dns))
{
    for (size_t i = 0; i < sizeof providers / sizeof providers[0]; i++) {
        FX_AUTO(fx_dns) dns = open_new(providers[i]);
        check(dns);
    }
}

static void
sets_and_replaces(void **state)
{
    (void)state;
    for_each(check_set_and_replace);
}

static void
keeps_addresses_of_both_families(void **state)
{
    (void)state;
    for_each(check_both_families);
}

static void
repeats_without_harm(void **state)
{
    (void)state;
    for_each(check_repeat);
}

static void
observes_without_a_change(void **state)
{
    (void)state;
    for_each(check_observe);
}

static void
refuses_a_lower_epoch(void **state)
{
    (void)state;
    for_each(check_stale);
}

static void
refuses_bad_addresses(void **state)
{
    (void)state;
    for_each(check_arguments);
}

static void
ends_a_race_at_the_highest_epoch_without_a_missing_answer(void **state)
{
    (void)state;
    for_each(check_race);
}

static void
refuses_bad_options(void **state)
{
    (void)state;
    fx_err err = {0};
    char key_path[128];
    fx_dns *dns = NULL;
    fx_coordinator_dns good = options("fake", "db.dr.test", key_path);
    fx_coordinator_dns config = good;
    char outside[] = "dbdr.test";
    char unknown[] = "route666";
    config.name = outside;
    assert_int_equal(fx_dns_open(&config, &dns, &err), FX_ERR_INVALID);
    config = good;
    config.provider = unknown;
    assert_int_equal(fx_dns_open(&config, &dns, &err), FX_ERR_UNSUPPORTED);
    config = good;
    config.ttl_s = 0;
    assert_int_equal(fx_dns_open(&config, &dns, &err), FX_ERR_INVALID);
    config.ttl_s = FX_DNS_TTL_MAX_S + 1;
    assert_int_equal(fx_dns_open(&config, &dns, &err), FX_ERR_INVALID);
    assert_null(dns);
}

/* ---- what RFC 2136 adds ---------------------------------------------------------------------- */

static void
refuses_a_bad_server_or_key(void **state)
{
    (void)state;
    fx_err err = {0};
    char key_path[128];
    fx_dns *dns = NULL;
    fx_coordinator_dns good = options("rfc2136", "db.dr.test", key_path);
    fx_coordinator_dns config = good;
    char host[] = "ns.dr.test";
    char md5[] = "hmac-md5";
    char label[] = "a..dr.test";
    char open_path[128];
    config.server = host;
    assert_int_equal(fx_dns_open(&config, &dns, &err), FX_ERR_INVALID);
    config = good;
    config.key_algorithm = md5;
    assert_int_equal(fx_dns_open(&config, &dns, &err), FX_ERR_UNSUPPORTED);
    config = good;
    config.name = label;
    assert_int_equal(fx_dns_open(&config, &dns, &err), FX_ERR_INVALID);
    config = good;
    config.key_file = open_path;
    path_of("none", open_path);
    assert_int_equal(fx_dns_open(&config, &dns, &err), FX_ERR_NOT_FOUND);
    write_file("none", 0600, "no base64!\n");
    assert_int_equal(fx_dns_open(&config, &dns, &err), FX_ERR_INVALID);
    write_file("none", 0600, "");
    assert_int_equal(fx_dns_open(&config, &dns, &err), FX_ERR_INVALID);
    write_file("none", 0640, SECRET);
    assert_int_equal(fx_dns_open(&config, &dns, &err), FX_ERR_DENIED);
    assert_non_null(strstr(err.message, "640"));
    assert_non_null(strstr(err.message, "chmod"));
    assert_null(dns);
}

static void
assert_denied(const char *key_name, const char *key_file, const char *reason)
{
    fx_err err = {0};
    char ignored[128];
    char path[128];
    char name[32];
    fx_coordinator_dns config = options("rfc2136", "denied.dr.test", ignored);
    path_of(key_file, path);
    (void)snprintf(name, sizeof name, "%s", key_name);
    config.key_name = name;
    config.key_file = path;
    FX_AUTO(fx_dns) dns = NULL;
    assert_int_equal(fx_dns_open(&config, &dns, &err), FX_OK);
    assert_int_equal(set_one(dns, "127.0.0.11", 1, &err), FX_ERR_DENIED);
    assert_int_equal(err.outcome, FX_CLASS_PERMANENT);
    assert_non_null(strstr(err.message, key_name));
    assert_non_null(strstr(err.message, "dr.test"));
    assert_non_null(strstr(err.message, "127.0.0.1"));
    if (strstr(err.message, reason) == NULL) {
        fail_msg("%s", err.message);
    }
    assert_says(dns, NULL, 0, 0);
}

static void
says_which_key_was_denied(void **state)
{
    (void)state;
    assert_denied("fortress", "wrong.key", "BADSIG");
    assert_denied("nobody", "tsig.key", "BADKEY");
    assert_denied("onlooker", "tsig.key", "no right to update");
}

static void
refuses_an_alias_and_a_foreign_record(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_dns) alias = open_name("rfc2136", "alias.dr.test");
    assert_int_equal(set_one(alias, "127.0.0.11", 1, &err), FX_ERR_INVALID);
    assert_non_null(strstr(err.message, "CNAME"));
    FX_AUTO(fx_dns) foreign = open_name("rfc2136", "foreign.dr.test");
    assert_int_equal(set_one(foreign, "127.0.0.11", 1, &err), FX_ERR_DAMAGED);
}

/* Addresses that an administrator made before the first epoch. */
static void
takes_over_existing_addresses(void **state)
{
    (void)state;
    FX_AUTO(fx_dns) dns = open_name("rfc2136", "NS.dr.test.");
    must_set(dns, "127.0.0.1", 1);
    assert_says_one(dns, "127.0.0.1", 1);
}

static fx_code
send_conditional(uint16_t to, fx_mono deadline, fx_err *err)
{
    FX_AUTO(fx_secret) secret = fx_secret_new((fx_bytes){SECRET, strlen(SECRET)});
    fx_ldns_server at = {.address = address, .port = to};
    fx_ldns_key key = {.name = "fortress", .algorithm = "hmac-sha256", .base64 = secret};
    fx_ldns_change changes[] = {
        {.kind = FX_LDNS_REQUIRE,
         .type = FX_LDNS_TXT,
         .name = "_fortress.ns.dr.test",
         .text = "epoch=77"},
        {.kind = FX_LDNS_REMOVE_SET, .type = FX_LDNS_A, .name = "ns.dr.test"}};
    fx_ldns_update update = {.zone = "dr.test", .changes = changes, .changes_count = 2};
    return fx_ldns_send_update(&at, &key, &update, deadline, err);
}

static void
changes_nothing_when_the_prerequisite_fails(void **state)
{
    (void)state;
    fx_err err = {0};
    assert_int_equal(send_conditional(port, in_ms(5000), &err), FX_ERR_CONFLICT);
    assert_int_equal(err.outcome, FX_CLASS_PERMANENT);
    FX_AUTO(fx_dns) dns = open_name("rfc2136", "ns.dr.test");
    fx_dns_records records = {0};
    assert_int_equal(fx_dns_get(dns, in_ms(5000), &records, &err), FX_OK);
    assert_int_equal(records.addresses_count, 1);
}

/* ---- servers that are gone or lie ------------------------------------------------------------ */

typedef enum manner { SILENT, CLOSES, UNSIGNED, GARBAGE } manner;

typedef struct liar {
    int listener;
    manner manner;
    int silent_fd;
} liar;

static void *
lie_once(void *argument)
{
    liar *self = argument;
    unsigned char message[2 + 65535] = {0};
    int fd = accept(self->listener, NULL, NULL);
    if (fd < 0 || recv(fd, message, sizeof message, 0) < 14) {
        abort();
    }
    message[4] |= 0x80;
    message[5] = 0;
    memset(message + 6, 0, 8); /* no records follow */
    message[0] = 0;
    message[1] = self->manner == GARBAGE ? 5 : 12;
    if (self->manner >= UNSIGNED &&
        send(fd, message, 2U + message[1], MSG_NOSIGNAL) != 2 + message[1]) {
        abort();
    }
    if (self->manner == SILENT) {
        self->silent_fd = fd;
    } else {
        (void)close(fd);
    }
    return NULL;
}

static void
assert_update_by_liar(manner with, fx_code expected)
{
    fx_err err = {0};
    uint16_t at = 0;
    liar self = {.manner = with, .silent_fd = -1};
    pthread_t thread;
    self.listener = listen_anywhere(&at);
    assert_int_equal(pthread_create(&thread, NULL, lie_once, &self), 0);
    fx_mono before = fx_clock_mono();
    fx_code code = send_conditional(at, in_ms(with == SILENT ? 300 : 5000), &err);
    fx_dur took = fx_mono_since(fx_clock_mono(), before);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(self.listener);
    (void)close(self.silent_fd);
    assert_int_equal(code, expected);
    assert_int_equal(err.outcome, FX_CLASS_UNKNOWN);
    assert_false(fx_dur_over(took, FX_DUR_MS(3000)));
}

static void
knows_nothing_after_an_update_without_a_proven_answer(void **state)
{
    (void)state;
    assert_update_by_liar(SILENT, FX_ERR_TIMEOUT);
    assert_update_by_liar(CLOSES, FX_ERR_UNREACHABLE);
    assert_update_by_liar(UNSIGNED, FX_ERR_WRONG_KEY);
    assert_update_by_liar(GARBAGE, FX_ERR_DAMAGED);
}

static void
ends_by_the_deadline_when_the_server_is_gone_or_silent(void **state)
{
    (void)state;
    fx_err err = {0};
    uint16_t silent = 0;
    char key_path[128];
    fx_coordinator_dns config = options("rfc2136", "db.dr.test", key_path);
    config.port = test_free_port();
    FX_AUTO(fx_dns) gone = NULL;
    assert_int_equal(fx_dns_open(&config, &gone, &err), FX_OK);
    assert_int_equal(set_one(gone, "127.0.0.11", 1, &err), FX_ERR_UNREACHABLE);
    assert_int_equal(err.outcome, FX_CLASS_TRANSIENT);

    int listener = listen_anywhere(&silent);
    config.port = silent;
    FX_AUTO(fx_dns) mute = NULL;
    assert_int_equal(fx_dns_open(&config, &mute, &err), FX_OK);
    const char *to = "127.0.0.11";
    fx_mono before = fx_clock_mono();
    assert_int_equal(fx_dns_set(mute, &to, 1, 1, in_ms(300), &err), FX_ERR_TIMEOUT);
    assert_int_equal(err.outcome, FX_CLASS_TRANSIENT); /* nothing was asked to change */
    assert_false(fx_dur_over(fx_mono_since(fx_clock_mono(), before), FX_DUR_MS(3000)));
    (void)close(listener);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_and_replaces),
        cmocka_unit_test(keeps_addresses_of_both_families),
        cmocka_unit_test(repeats_without_harm),
        cmocka_unit_test(observes_without_a_change),
        cmocka_unit_test(refuses_a_lower_epoch),
        cmocka_unit_test(refuses_bad_addresses),
        cmocka_unit_test(ends_a_race_at_the_highest_epoch_without_a_missing_answer),
        cmocka_unit_test(refuses_bad_options),
        cmocka_unit_test(refuses_a_bad_server_or_key),
        cmocka_unit_test(says_which_key_was_denied),
        cmocka_unit_test(refuses_an_alias_and_a_foreign_record),
        cmocka_unit_test(changes_nothing_when_the_prerequisite_fails),
        cmocka_unit_test(takes_over_existing_addresses),
        cmocka_unit_test(knows_nothing_after_an_update_without_a_proven_answer),
        cmocka_unit_test(ends_by_the_deadline_when_the_server_is_gone_or_silent),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
