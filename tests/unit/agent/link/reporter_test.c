#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "agent/link/reporter.h"
#include "common/base/clock.h"
#include "tests/unit/common/wire/certificates.h"

enum { URL_BYTES = 64, COORDINATORS = 2, PATIENCE_MS = 8000 };

static char folder[] = "/tmp/fx_reporter_test_XXXXXX";

/* ---- coordinators that answer each report
 * ---------------------------------------------------------- */

static int first_interval_ms = 100;

typedef struct coordinator {
    fx_link_sender sender;
    fx_wire_server *server;
    atomic_int reports;
    atomic_int next_ms;
    atomic_bool silent;
    atomic_bool refuses;
    char url[URL_BYTES];
} coordinator;

static void
answer(void *ctx, fx_wire_request *request)
{
    coordinator *self = ctx;
    fx_err err;
    FX_AUTO(fx_link_envelope) envelope = NULL;
    (void)atomic_fetch_add(&self->reports, 1);
    if (atomic_load(&self->silent) ||
        fx_link_unpack(fx_wire_request_bytes(request), &envelope, &err) != FX_OK) {
        fx_wire_drop(request);
        return;
    }
    Fortress__Link__ReportReply body;
    fortress__link__report_reply__init(&body);
    Fortress__Link__Refusal refusal;
    fortress__link__refusal__init(&refusal);
    fx_link_envelope reply;
    fx_link_sender_fill(&self->sender, &reply);
    reply.sequence = envelope->sequence;
    body.next_report_ns = atomic_load(&self->next_ms) * FX_NS_PER_MS;
    reply.body_case = FORTRESS__LINK__ENVELOPE__BODY_REPORT_REPLY;
    reply.report_reply = &body;
    if (atomic_load(&self->refuses)) {
        reply.body_case = FORTRESS__LINK__ENVELOPE__BODY_REFUSAL;
        reply.refusal = &refusal;
    }
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_LINK_MESSAGE_MAX_BYTES);
    fx_code code = fx_link_pack(&reply, &bytes, &err);
    FX_ASSERT(code == FX_OK);
    fx_wire_reply(request, fx_buf_bytes(&bytes));
}

static void
coordinator_open(coordinator *self, const char *name)
{
    test_tls_paths paths;
    fx_err err = {0};
    fx_name cluster = fx_name_of("quickstart");
    fx_name own = fx_name_of(name);
    atomic_store(&self->next_ms, first_interval_ms);
    fx_link_sender_init(&self->sender, &cluster, &own, (fx_wall){.ns = 1});
    fx_wire_server_options options = {
        .url = "tls+tcp://127.0.0.1:0",
        .tls = test_tls_of(&paths, folder, "ca", name),
        .message_max_bytes = FX_LINK_MESSAGE_MAX_BYTES,
        .connection_max = 8,
        .request_max = 8,
        .handler = answer,
        .ctx = self,
    };
    if (fx_wire_server_open(&options, &self->server, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    (void)snprintf(
        self->url, sizeof(self->url), "tls+tcp://127.0.0.1:%u", fx_wire_server_port(self->server));
}

/* ---- the agent's side
 * ------------------------------------------------------------------------------ */

typedef struct agent {
    coordinator coordinators[COORDINATORS];
    fx_loop *loop;
    fx_link_sender sender;
    fx_reporter *reporter;
    int replies[COORDINATORS];
    int stop_after[COORDINATORS]; /* stop the loop at so many replies */
    bool late;
    bool wrong_instant;
} agent;

static fx_code
pack_report(void *ctx, fx_buf *out, fx_err *err)
{
    (void)ctx;
    Fortress__Link__Report report;
    fortress__link__report__init(&report);
    report.host = fx_link_text("db1");
    report.region = fx_link_text("us-west-2");
    unsigned char *room = NULL;
    size_t size_bytes = fortress__link__report__get_packed_size(&report);
    if (fx_buf_extend(out, size_bytes, &room, err) != FX_OK) {
        return err->code;
    }
    (void)fortress__link__report__pack(&report, room);
    return FX_OK;
}

static void
take_reply(void *ctx, const fx_reporter_reply *reply)
{
    agent *self = ctx;
    fx_mono now = fx_clock_mono();
    size_t from = strcmp(reply->coordinator.text, "usw2-coord") == 0 ? 0 : 1;
    self->wrong_instant = self->wrong_instant || reply->sent_at.ns > now.ns ||
                          now.ns - reply->sent_at.ns > 5000 * FX_NS_PER_MS;
    self->replies[from]++;
    if (self->replies[from] == self->stop_after[from]) {
        fx_loop_stop(self->loop);
    }
}

static void
give_up(void *ctx)
{
    agent *self = ctx;
    self->late = true;
    fx_loop_stop(self->loop);
}

static agent *
agent_open(void)
{
    test_tls_paths paths;
    fx_err err = {0};
    agent *self = calloc(1, sizeof(*self));
    assert_non_null(self);
    coordinator_open(&self->coordinators[0], "usw2-coord");
    coordinator_open(&self->coordinators[1], "use1-coord");
    self->loop = fx_loop_new();
    fx_name cluster = fx_name_of("quickstart");
    fx_name host = fx_name_of("db1");
    fx_link_sender_init(&self->sender, &cluster, &host, (fx_wall){.ns = 1});
    const fx_reporter_target targets[COORDINATORS] = {
        {.name = fx_name_of("usw2-coord"),
         .region = fx_name_of("us-west-2"),
         .url = self->coordinators[0].url},
        {.name = fx_name_of("use1-coord"),
         .region = fx_name_of("us-east-1"),
         .url = self->coordinators[1].url},
    };
    fx_reporter_options options = {
        .loop = self->loop,
        .sender = &self->sender,
        .region = fx_name_of("us-west-2"),
        .targets = targets,
        .target_count = COORDINATORS,
        .tls = test_tls_of(&paths, folder, "ca", "db1"),
        .report = pack_report,
        .reply = take_reply,
        .ctx = self,
    };
    if (fx_reporter_open(&options, &self->reporter, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    return self;
}

/* Runs the loop until the replies of that coordinator are so many. */
static void
run_until(agent *self, size_t from, int replies)
{
    self->stop_after[from] = replies;
    fx_loop_timer *patience =
        fx_loop_timer_start(self->loop, FX_DUR_MS(PATIENCE_MS), (fx_dur){0}, give_up, self);
    fx_loop_run(self->loop);
    fx_loop_timer_stop(patience);
    assert_false(self->late);
    assert_false(self->wrong_instant);
}

static void
agent_close(agent *self)
{
    fx_reporter_free(self->reporter);
    for (size_t i = 0; i < COORDINATORS; i++) {
        fx_wire_server_free(self->coordinators[i].server);
    }
    fx_loop_post(self->loop, give_up, self); /* after all that was posted before */
    fx_loop_run(self->loop);
    fx_loop_free(self->loop);
    free(self);
}

/* ---- tests
 * ----------------------------------------------------------------------------------------- */

static void
reports_to_its_own_region(void **state)
{
    (void)state;
    agent *self = agent_open();
    run_until(self, 0, 3);
    assert_int_equal(self->replies[1], 0);
    assert_int_equal(atomic_load(&self->coordinators[1].reports), 0);
    agent_close(self);
}

/* The own coordinator fails: the other gets the report at once. */
static void
turns_to_the_next(void **state)
{
    (void)state;
    agent *self = agent_open();
    run_until(self, 0, 1);
    atomic_store(&self->coordinators[0].silent, true);
    run_until(self, 1, 2);
    agent_close(self);
}

/* A refusal is no reply: another coordinator may know better. */
static void
a_refusal_turns_to_the_next(void **state)
{
    (void)state;
    agent *self = agent_open();
    atomic_store(&self->coordinators[0].refuses, true);
    run_until(self, 1, 1);
    agent_close(self);
}

static void
wake_reporter(void *ctx)
{
    agent *self = ctx;
    fx_reporter_wake(self->reporter);
}

/* With the next report due in ten seconds, later than our patience, a wake brings it now. */
static void
can_be_woken(void **state)
{
    (void)state;
    first_interval_ms = 10000;
    agent *self = agent_open();
    first_interval_ms = 100;
    run_until(self, 0, 1);
    fx_loop_post(self->loop, wake_reporter, self);
    run_until(self, 0, 2);
    agent_close(self);
}

/* Ending waits for no coordinator. */
static void
ends_at_once(void **state)
{
    (void)state;
    agent_close(agent_open());
}

static int
make_certificates(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    test_authority *authority = test_authority_new(folder, "ca");
    test_certificate_make(authority, folder, "usw2-coord", "coordinator", "usw2-coord");
    test_certificate_make(authority, folder, "use1-coord", "coordinator", "use1-coord");
    test_certificate_make(authority, folder, "db1", "agent", "db1");
    test_authority_free(authority);
    return 0;
}

static int
remove_certificates(void **state)
{
    (void)state;
    test_folder_remove(folder);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_to_its_own_region),
        cmocka_unit_test(turns_to_the_next),
        cmocka_unit_test(a_refusal_turns_to_the_next),
        cmocka_unit_test(can_be_woken),
        cmocka_unit_test(ends_at_once),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
