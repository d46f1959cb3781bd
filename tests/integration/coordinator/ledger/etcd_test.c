/* The ledger's store and member against a real cluster of three etcd members with TLS on loopback.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "coordinator/ledger/etcd.h"
#include "coordinator/ledger/ledger.h"
#include "coordinator/ledger/maintenance.h"
#include "coordinator/ledger/member.h"
#include "tests/support/port.h"

enum { MEMBERS = 3, PATH_BYTES = 128, QUOTA_BYTES = 16 * 1024 * 1024 };

static char folder[] = "/tmp/fx_etcd_test_XXXXXX";
static char client_urls[MEMBERS][PATH_BYTES];
static char peer_urls[MEMBERS][PATH_BYTES];
static char data_dirs[MEMBERS][PATH_BYTES];
static char state_dirs[MEMBERS][PATH_BYTES];
static char names[MEMBERS][16];
static char initial_cluster[MEMBERS * 160];
static char ca[PATH_BYTES];
static char certificate[PATH_BYTES];
static char key[PATH_BYTES];
static fx_etcd_member *members[MEMBERS];
static fx_etcd *etcd;

static void
run(const char *first, const char *second, const char *third, const char *fourth, const char *fifth)
{
    char *argv[7] = {NULL};
    const char *const from[] = {first, second, third, fourth, fifth};
    memcpy(argv, from, sizeof from);
    pid_t pid = 0;
    assert_int_equal(posix_spawnp(&pid, first, NULL, NULL, argv, environ), 0);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void
make_paths(void)
{
    (void)snprintf(ca, sizeof ca, "%s/pki/ca.pem", folder);
    (void)snprintf(certificate, sizeof certificate, "%s/pki/member.pem", folder);
    (void)snprintf(key, sizeof key, "%s/pki/member.key", folder);
    size_t used = 0;
    for (int i = 0; i < MEMBERS; i++) {
        (void)snprintf(names[i], sizeof names[i], "m%d", i);
        (void)snprintf(client_urls[i], PATH_BYTES, "https://127.0.0.1:%d", test_free_port());
        (void)snprintf(peer_urls[i], PATH_BYTES, "https://127.0.0.1:%d", test_free_port());
        (void)snprintf(data_dirs[i], PATH_BYTES, "%s/%s/data", folder, names[i]);
        (void)snprintf(state_dirs[i], PATH_BYTES, "%s/%s", folder, names[i]);
        int length = snprintf(
            initial_cluster + used,
            sizeof initial_cluster - used,
            "%s%s=%s",
            i > 0 ? "," : "",
            names[i],
            peer_urls[i]);
        used += (size_t)length;
    }
}

static fx_etcd_member *
new_member(int i)
{
    fx_member_options options = {
        .binary = "etcd",
        .name = names[i],
        .data_dir = data_dirs[i],
        .client_url = client_urls[i],
        .peer_url = peer_urls[i],
        .initial_cluster = initial_cluster,
        .cluster = "test",
        .state_dir = state_dirs[i],
        .quota_bytes = QUOTA_BYTES,
        .ca_file = ca,
        .certificate_file = certificate,
        .key_file = key,
    };
    return fx_etcd_member_new(&options);
}

static fx_mono
in_ms(int64_t ms)
{
    return fx_mono_after(fx_clock_mono(), FX_DUR_MS(ms));
}

static void
ignore_item(void *ctx, const char *item_key, fx_bytes value, int64_t revision)
{
    (void)ctx;
    (void)item_key;
    (void)value;
    (void)revision;
}

/* Until the cluster answers a linearizable read. */
static void
wait_until_served(fx_err *err)
{
    fx_ledger_store store = fx_etcd_store(etcd);
    fx_mono deadline = in_ms(20000);
    int64_t revision = 0;
    fx_code code = FX_ERR_TIMEOUT;
    while (code != FX_OK && fx_mono_since(deadline, fx_clock_mono()).ns > 0) {
        code = store.read(store.ctx, "/x/", 0, in_ms(1500), ignore_item, NULL, &revision, err);
        if (code != FX_OK) {
            fx_clock_sleep(FX_DUR_MS(50));
        }
    }
    assert_int_equal(code, FX_OK);
}

static int
start_cluster(void **state)
{
    (void)state;
    fx_err err = {0};
    assert_non_null(mkdtemp(folder));
    make_paths();
    char pki[PATH_BYTES];
    (void)snprintf(pki, sizeof pki, "%s/pki", folder);
    char script[4096];
    const char *source = getenv("FORTRESS_SOURCE"); /* NOLINT(concurrency-mt-unsafe): one thread */
    (void)snprintf(script, sizeof script, "%s/deploy/pki.sh", source);
    run(script, "init", pki, "test", NULL);
    run("/bin/sh", "-c", "exec \"$0\" issue \"$1\" coordinator member 127.0.0.1", script, pki);
    const char *endpoints[MEMBERS];
    for (int i = 0; i < MEMBERS; i++) {
        endpoints[i] = client_urls[i];
        members[i] = new_member(i);
        assert_int_equal(fx_etcd_member_tend(members[i], fx_clock_mono(), &err), FX_OK);
    }
    fx_http_tls tls = {.ca_file = ca, .certificate_file = certificate, .key_file = key};
    assert_int_equal(fx_etcd_open(endpoints, MEMBERS, &tls, &etcd, &err), FX_OK);
    wait_until_served(&err);
    return 0;
}

static int
stop_cluster(void **state)
{
    (void)state;
    for (int i = 0; i < MEMBERS; i++) {
        pid_t pid = fx_etcd_member_pid(members[i]);
        if (pid > 0) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, NULL, 0);
        }
        fx_etcd_member_free(members[i]);
    }
    fx_etcd_free(etcd);
    run("/bin/rm", "-rf", folder, NULL, NULL);
    return 0;
}

/* A stop takes hold some time after kill has returned: until then the member still answers. */
static void
pause_member(int i)
{
    pid_t pid = fx_etcd_member_pid(members[i]);
    int status = 0;
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
}

static void
resume_member(int i)
{
    assert_int_equal(kill(fx_etcd_member_pid(members[i]), SIGCONT), 0);
}

static fx_ledger_touch
put(const char *name, int64_t revision, const char *value)
{
    fx_ledger_touch touch = {
        .compare = true, .revision = revision, .put = true, .value = {value, strlen(value)}};
    (void)snprintf(touch.key, sizeof touch.key, "%s", name);
    return touch;
}

static fx_code
commit(const fx_ledger_touch *touch, int64_t *out_revision, fx_err *err)
{
    fx_ledger_store store = fx_etcd_store(etcd);
    return store.commit(store.ctx, touch, 1, in_ms(5000), out_revision, err);
}

typedef struct seen {
    size_t count;
    char last_key[64];
    char last_value[64];
    int64_t last_revision;
} seen;

static void
note(void *ctx, const char *item_key, fx_bytes value, int64_t revision)
{
    seen *s = ctx;
    s->count++;
    s->last_revision = revision;
    (void)snprintf(s->last_key, sizeof s->last_key, "%s", item_key);
    (void)snprintf(
        s->last_value,
        sizeof s->last_value,
        "%.*s",
        (int)value.size_bytes,
        (const char *)value.data);
}

static seen
read_all(const char *prefix, size_t newest_max)
{
    fx_err err = {0};
    seen s = {0};
    int64_t revision = 0;
    fx_ledger_store store = fx_etcd_store(etcd);
    fx_code code =
        store.read(store.ctx, prefix, newest_max, in_ms(5000), note, &s, &revision, &err);
    assert_int_equal(code, FX_OK);
    assert_true(revision >= s.last_revision);
    return s;
}

static void
commits_only_at_the_compared_revision(void **state)
{
    (void)state;
    fx_err err = {0};
    int64_t first = 0;
    int64_t second = 0;
    fx_ledger_touch touch = put("/a/one", 0, "1");
    assert_int_equal(commit(&touch, &first, &err), FX_OK);
    assert_int_equal(commit(&touch, &second, &err), FX_ERR_CONFLICT);
    touch = put("/a/one", first, "2");
    assert_int_equal(commit(&touch, &second, &err), FX_OK);
    assert_true(second > first);
    seen s = read_all("/a/", 0);
    assert_int_equal(s.count, 1);
    assert_string_equal(s.last_key, "/a/one");
    assert_string_equal(s.last_value, "2");
    assert_int_equal(s.last_revision, second);
    touch.put = false;
    touch.remove = true;
    touch.revision = second;
    assert_int_equal(commit(&touch, &second, &err), FX_OK);
    assert_int_equal(read_all("/a/", 0).count, 0);
}

static void
newest_records_come_first(void **state)
{
    (void)state;
    fx_err err = {0};
    int64_t revision = 0;
    static const char *const keys[] = {"/h/c", "/h/a", "/h/b"};
    for (size_t i = 0; i < 3; i++) {
        fx_ledger_touch touch = put(keys[i], 0, "x");
        assert_int_equal(commit(&touch, &revision, &err), FX_OK);
    }
    seen s = read_all("/h/", 2);
    assert_int_equal(s.count, 2);
    assert_string_equal(s.last_key, "/h/a");
}

typedef struct racer {
    pthread_t thread;
    int wins;
} racer;

static void *
race(void *ctx)
{
    racer *r = ctx;
    for (int round = 0; round < 20; round++) {
        fx_err err = {0};
        int64_t revision = 0;
        char name[32];
        (void)snprintf(name, sizeof name, "/race/%d", round);
        fx_ledger_touch touch = put(name, 0, "mine");
        fx_code code = commit(&touch, &revision, &err);
        if (code == FX_OK) {
            r->wins++;
        } else if (code != FX_ERR_CONFLICT) {
            r->wins = -1000;
        }
    }
    return NULL;
}

static void
of_two_racing_writers_exactly_one_wins(void **state)
{
    (void)state;
    racer racers[2] = {0};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        (void)pthread_join(racers[i].thread, NULL);
    }
    assert_int_equal(racers[0].wins + racers[1].wins, 20);
}

/* The first endpoint hangs: reads still come within a poll's deadline, from another. */
static void
a_stopped_member_is_passed_over(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_ledger_store store = fx_etcd_store(etcd);
    pause_member(0);
    wait_until_served(&err); /* it may have led: then an election comes first */
    int64_t revision = 0;
    fx_mono began = fx_clock_mono();
    for (int i = 0; i < 5; i++) {
        seen s = {0};
        assert_int_equal(
            store.read(store.ctx, "/h/", 0, in_ms(1000), note, &s, &revision, &err), FX_OK);
    }
    assert_true(fx_dur_ms(fx_mono_since(fx_clock_mono(), began)) < 3000);
    resume_member(0);
}

static void
a_running_member_is_adopted_and_a_dead_one_restarted(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_etcd_member *other = new_member(1);
    assert_int_equal(fx_etcd_member_tend(other, fx_clock_mono(), &err), FX_OK);
    pid_t pid = fx_etcd_member_pid(members[1]);
    assert_int_equal(fx_etcd_member_pid(other), pid);

    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    fx_mono deadline = in_ms(10000);
    do {
        assert_int_equal(fx_etcd_member_tend(other, fx_clock_mono(), &err), FX_OK);
    } while ((fx_etcd_member_pid(other) == 0 || fx_etcd_member_pid(other) == pid) &&
             fx_mono_since(deadline, fx_clock_mono()).ns > 0);
    assert_true(fx_etcd_member_pid(other) > 0 && fx_etcd_member_pid(other) != pid);
    fx_etcd_member_free(members[1]);
    members[1] = other;
    wait_until_served(&err);
    assert_int_equal(read_all("/h/", 0).count, 3);
}

static void
adopts_the_running_member(int i)
{
    fx_err err = {0};
    char path[PATH_BYTES + 16];
    char text[64] = "";
    fx_etcd_member *other = new_member(i);
    assert_int_equal(fx_etcd_member_tend(other, fx_clock_mono(), &err), FX_OK);
    assert_int_equal(fx_etcd_member_pid(other), fx_etcd_member_pid(members[i]));
    fx_etcd_member_free(other);
    (void)snprintf(path, sizeof path, "%s/etcd.pid", state_dirs[i]);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    (void)fclose(file);
    assert_int_equal(strtol(text, NULL, 10), fx_etcd_member_pid(members[i]));
}

/* Two on one data folder cannot be: the second would hang at its lock. */
static void
a_running_member_is_adopted_without_its_pid_file(void **state)
{
    (void)state;
    char path[PATH_BYTES + 16];
    (void)snprintf(path, sizeof path, "%s/etcd.pid", state_dirs[2]);
    assert_int_equal(unlink(path), 0);
    adopts_the_running_member(2);
    FILE *file = fopen(path, "we"); /* names a process that is no etcd */
    assert_non_null(file);
    assert_true(fprintf(file, "%d 17\n", (int)getpid()) > 0);
    (void)fclose(file);
    adopts_the_running_member(2);
}

/* ---- upkeep
 * ------------------------------------------------------------------------------------------- */

static fx_ledger_door
open_door(fx_revision *out_leader)
{
    fx_err err = {0};
    fx_ledger_door door = {.store = fx_etcd_store(etcd), .cluster = fx_name_of("test")};
    fx_leadership take = {
        .act = FX_LEADERSHIP_TAKE,
        .leader = {.coordinator = fx_name_of("a"), .term = 1, .incarnation = {1}}};
    fx_ledger *ledger = calloc(1, sizeof *ledger);
    assert_non_null(ledger);
    assert_int_equal(fx_ledger_read(&door, in_ms(5000), ledger, &err), FX_OK);
    take.leader.revision = ledger->leader.revision;
    take.beat.revision = ledger->beat.revision;
    free(ledger);
    assert_int_equal(fx_ledger_lead(&door, &take, in_ms(5000), out_leader, &err), FX_OK);
    return door;
}

static void
put_history(const char *kind, int number, size_t size_bytes)
{
    static char value[256 * 1024];
    fx_err err = {0};
    int64_t revision = 0;
    fx_ledger_touch touch = {.put = true, .value = {value, size_bytes}};
    (void)snprintf(
        touch.key, sizeof touch.key, "/fortress/test/history/%s/%s-%d", kind, kind, number);
    assert_int_equal(commit(&touch, &revision, &err), FX_OK);
}

/* Gives how many went. */
static size_t
prune_all(const fx_ledger_door *door, fx_revision leader)
{
    fx_err err = {0};
    fx_history_keep keep = {.decisions = 100, .plans = 20};
    size_t sum = 0;
    size_t removed = 1;
    while (removed > 0) {
        assert_int_equal(fx_ledger_prune(door, &keep, leader, in_ms(5000), &removed, &err), FX_OK);
        assert_true(removed <= (size_t)FX_LEDGER_PRUNE_MAX + FX_LEDGER_PRUNE_MAX);
        sum += removed;
    }
    return sum;
}

static void
the_oldest_of_the_history_goes_in_batches_by_the_leader_alone(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_revision leader = {0};
    fx_ledger_door door = open_door(&leader);
    for (int i = 0; i < 230; i++) {
        put_history("decision", i, 100);
    }
    for (int i = 0; i < 21; i++) {
        put_history("plan", i, 100);
    }
    fx_history_keep keep = {.decisions = 100, .plans = 20};
    fx_revision deposed = {leader.value - 1};
    size_t removed = 7;
    assert_int_equal(
        fx_ledger_prune(&door, &keep, deposed, in_ms(5000), &removed, &err), FX_ERR_CONFLICT);
    assert_int_equal(read_all("/fortress/test/history/", 0).count, 251);
    assert_int_equal(prune_all(&door, leader), 131);
    seen s = read_all("/fortress/test/history/decision/", 100);
    assert_int_equal(s.count, 100);
    assert_string_equal(s.last_key, "/fortress/test/history/decision/decision-130");
    s = read_all("/fortress/test/history/plan/", 20);
    assert_int_equal(s.count, 20);
    assert_string_equal(s.last_key, "/fortress/test/history/plan/plan-1");
    assert_int_equal(read_all("/fortress/test/live/", 0).count, 2);
}

static fx_store_health
look(void)
{
    fx_store_health health;
    fx_etcd_look(etcd, QUOTA_BYTES, &health);
    return health;
}

static void
each_member_tells_its_size_and_who_leads(void **state)
{
    (void)state;
    fx_store_health health = look();
    size_t leaders = 0;
    assert_int_equal(health.member_count, MEMBERS);
    for (size_t i = 0; i < MEMBERS; i++) {
        assert_true(health.members[i].answers);
        assert_true(health.members[i].size_bytes > 0);
        assert_string_equal(health.members[i].endpoint, client_urls[i]);
        leaders += health.members[i].leads;
    }
    assert_int_equal(leaders, 1);
    assert_true(health.revision > 0);
    assert_int_equal(fx_store_judge(&health), FX_STORE_WELL);
    pause_member(1);
    health = look();
    resume_member(1);
    assert_true(health.members[0].answers && health.members[2].answers);
    assert_false(health.members[1].answers);
}

/* Carries out what is decided until nothing is left to do. Gives how many members were
 * defragmented. */
static size_t
tend_space(void)
{
    fx_err err = {0};
    fx_upkeep_past past = {.compacted_at = {0}};
    fx_store_health health = look();
    size_t defragmented = 0;
    for (int i = 0; i < 20; i++) {
        fx_upkeep next = fx_upkeep_decide(&health, &past, fx_clock_mono());
        if (next.act == FX_UPKEEP_NOTHING) {
            break;
        }
        if (next.act == FX_UPKEEP_COMPACT) {
            past.compacted_at = fx_clock_mono();
            assert_int_equal(fx_etcd_compact(etcd, health.revision, in_ms(9000), &err), FX_OK);
            assert_int_equal(fx_etcd_compact(etcd, health.revision, in_ms(9000), &err), FX_OK);
        } else if (next.act == FX_UPKEEP_DEFRAGMENT) {
            past.defragmented_at[next.member] = fx_clock_mono();
            assert_int_equal(fx_etcd_defragment(etcd, next.member, in_ms(9000), &err), FX_OK);
            defragmented++;
        } else {
            assert_int_equal(fx_etcd_disarm(etcd, in_ms(9000), &err), FX_OK);
        }
        health = look();
    }
    return defragmented;
}

/* Old revisions of one key fill the database until nothing can be written, and then there is room
 * again. */
static void
a_full_database_is_seen_and_makes_room_again(void **state)
{
    (void)state;
    static char value[1024 * 1024];
    fx_err err = {0};
    fx_revision leader = {0};
    fx_ledger_door door = open_door(&leader);
    for (int i = 0; i < 40; i++) {
        put_history("plan", 1000 + i, 100000);
    }
    int64_t revision = 0;
    fx_ledger_touch touch = {.put = true, .value = {value, sizeof value}};
    (void)snprintf(touch.key, sizeof touch.key, "/fill");
    fx_code code = FX_OK;
    for (int i = 0; i < 60 && code == FX_OK; i++) {
        code = commit(&touch, &revision, &err);
    }
    assert_int_equal(code, FX_ERR_UNREACHABLE);
    assert_non_null(strstr(err.message, "database space exceeded"));
    assert_int_equal(err.outcome, FX_CLASS_TRANSIENT); /* certainly not done */
    fx_store_health health = look();
    assert_true(health.no_space);
    assert_int_equal(fx_store_judge(&health), FX_STORE_NO_SPACE);

    /* Deleting needs no space: the leader prunes even now. */
    assert_int_equal(prune_all(&door, leader), 40);
    assert_true(tend_space() > 0);
    health = look();
    assert_false(health.no_space);
    assert_int_equal(fx_store_judge(&health), FX_STORE_WELL);
    for (size_t i = 0; i < MEMBERS; i++) {
        assert_true(health.members[i].size_bytes < QUOTA_BYTES / 2);
    }
    assert_int_equal(commit(&touch, &revision, &err), FX_OK);
}

static void
without_a_quorum_nothing_is_promised(void **state)
{
    (void)state;
    fx_err err = {0};
    pause_member(1);
    pause_member(2);
    fx_ledger_store store = fx_etcd_store(etcd);
    int64_t revision = 0;
    seen s = {0};
    fx_code code = store.read(store.ctx, "/h/", 0, in_ms(1500), note, &s, &revision, &err);
    assert_int_not_equal(code, FX_OK);
    fx_ledger_touch touch = put("/q", 0, "1");
    code = store.commit(store.ctx, &touch, 1, in_ms(1500), &revision, &err);
    assert_int_not_equal(code, FX_OK);
    assert_int_not_equal(code, FX_ERR_CONFLICT);
    resume_member(1);
    resume_member(2);
    wait_until_served(&err);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commits_only_at_the_compared_revision),
        cmocka_unit_test(newest_records_come_first),
        cmocka_unit_test(of_two_racing_writers_exactly_one_wins),
        cmocka_unit_test(a_stopped_member_is_passed_over),
        cmocka_unit_test(a_running_member_is_adopted_and_a_dead_one_restarted),
        cmocka_unit_test(a_running_member_is_adopted_without_its_pid_file),
        cmocka_unit_test(the_oldest_of_the_history_goes_in_batches_by_the_leader_alone),
        cmocka_unit_test(each_member_tells_its_size_and_who_leads),
        cmocka_unit_test(a_full_database_is_seen_and_makes_room_again),
        cmocka_unit_test(without_a_quorum_nothing_is_promised),
    };
    return cmocka_run_group_tests_name("etcd", tests, start_cluster, stop_cluster);
}
