#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <sys/socket.h>

#include "common/base/clock.h"
#include "coordinator/fleet/listener.h"
#include "coordinator/fleet/peer.h"
#include "tests/unit/common/wire/certificates.h"

enum { PATH_BYTES = 256, URL_BYTES = 64, CALL_MS = 5000, LOG_BYTES = 65536 };

static char folder[] = "/tmp/fx_listener_test_XXXXXX";

/* ---- a coordinator: a listener on a loop of its own thread
 * ----------------------------------------- */

typedef struct coordinator {
    fx_loop *loop;
    pthread_t thread;
    fx_link_sender sender;
    fx_listener *listener;
    fx_log log;
    char url[URL_BYTES];
    int reports; /* of the loop's thread */
    int digests;
} coordinator;

static void
endorse(const fx_link_envelope *request, fx_link_envelope *reply, fx_listener_message *message)
{
    static unsigned char signature[FX_SIGNATURE_BYTES] = {1, 2, 3};
    Fortress__Link__Endorsement endorsement;
    fortress__link__endorsement__init(&endorsement);
    Fortress__Link__EndorseReply body;
    fortress__link__endorse_reply__init(&body);
    endorsement.coordinator = fx_link_text("usw2-coord");
    endorsement.region = fx_link_text("us-west-2");
    endorsement.signature.data = signature;
    endorsement.signature.len = sizeof(signature);
    if (request->endorse_request->order.len == 4) {
        body.endorsement = &endorsement;
    } else {
        body.refused_reason = fx_link_text("the plan does not ask for it");
    }
    reply->body_case = FORTRESS__LINK__ENVELOPE__BODY_ENDORSE_REPLY;
    reply->endorse_reply = &body;
    fx_listener_reply(message, reply);
    reply->endorse_reply = NULL; /* it was on this stack */
}

static void
handle(void *ctx, fx_listener_message *message)
{
    coordinator *self = ctx;
    Fortress__Link__ReportReply report_reply;
    fortress__link__report_reply__init(&report_reply);
    Fortress__Link__DigestReply digest_reply;
    fortress__link__digest_reply__init(&digest_reply);
    fx_link_envelope reply;
    fortress__link__envelope__init(&reply);
    switch (message->envelope->body_case) {
    case FORTRESS__LINK__ENVELOPE__BODY_REPORT:
        self->reports++;
        reply.body_case = FORTRESS__LINK__ENVELOPE__BODY_REPORT_REPLY;
        reply.report_reply = &report_reply;
        fx_listener_reply(message, &reply);
        break;
    case FORTRESS__LINK__ENVELOPE__BODY_DIGEST:
        self->digests++;
        digest_reply.accepted = true;
        reply.body_case = FORTRESS__LINK__ENVELOPE__BODY_DIGEST_REPLY;
        reply.digest_reply = &digest_reply;
        fx_listener_reply(message, &reply);
        break;
    case FORTRESS__LINK__ENVELOPE__BODY_ENDORSE_REQUEST:
        endorse(message->envelope, &reply, message);
        break;
    default:
        fx_assert_fail("the listener lets nothing else pass", __FILE__, __LINE__);
    }
}

static void *
run_loop(void *ctx)
{
    coordinator *self = ctx;
    fx_loop_run(self->loop);
    return NULL;
}

static void
coordinator_open(coordinator *self)
{
    test_tls_paths paths;
    char log_path[PATH_BYTES];
    fx_err err = {0};
    fx_name cluster = fx_name_of("quickstart");
    fx_name name = fx_name_of("usw2-coord");
    memset(self, 0, sizeof(*self));
    (void)snprintf(log_path, sizeof(log_path), "%s/log", folder);
    FILE *file = fopen(log_path, "we");
    assert_non_null(file);
    self->log = (fx_log){.fd = dup(fileno(file)), .min_level = FX_INFO, .program = "test"};
    (void)fclose(file);
    self->loop = fx_loop_new();
    fx_link_sender_init(&self->sender, &cluster, &name, (fx_wall){.ns = 1});
    fx_listener_options options = {
        .loop = self->loop,
        .sender = &self->sender,
        .url = "tls+tcp://127.0.0.1:0",
        .tls = test_tls_of(&paths, folder, "ca", "usw2-coord"),
        .handler = handle,
        .ctx = self,
        .log = &self->log,
    };
    if (fx_listener_open(&options, &self->listener, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    (void)snprintf(
        self->url, sizeof(self->url), "tls+tcp://127.0.0.1:%u", fx_listener_port(self->listener));
    assert_int_equal(pthread_create(&self->thread, NULL, run_loop, self), 0);
}

static void
stop_loop(void *ctx)
{
    fx_loop_stop(ctx);
}

/* Runs what was posted by those that have been freed. */
static void
drain_and_free(fx_loop *loop)
{
    fx_loop_post(loop, stop_loop, loop);
    fx_loop_run(loop);
    fx_loop_free(loop);
}

static void
coordinator_close(coordinator *self)
{
    fx_loop_stop(self->loop);
    (void)pthread_join(self->thread, NULL);
    fx_listener_free(self->listener);
    drain_and_free(self->loop);
    (void)close(self->log.fd);
}

/* How often the log says so. */
static int
count_in_log(const char *text)
{
    static char content[LOG_BYTES];
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/log", folder);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t size_bytes = fread(content, 1, sizeof(content) - 1, file);
    content[size_bytes] = '\0';
    (void)fclose(file);
    int count = 0;
    for (const char *at = strstr(content, text); at != NULL; at = strstr(at + 1, text)) {
        count++;
    }
    return count;
}

/* ---- those who speak to it
 * ------------------------------------------------------------------------- */

typedef struct speaker {
    fx_link_sender sender;
    fx_wire_client *client;
} speaker;

static void
speaker_open(speaker *self, const coordinator *to, const char *certificate, const char *name)
{
    test_tls_paths paths;
    fx_err err = {0};
    fx_name cluster = fx_name_of("quickstart");
    fx_name own = fx_name_of(name);
    fx_link_sender_init(&self->sender, &cluster, &own, (fx_wall){.ns = 100});
    fx_wire_client_options options = {
        .url = to->url,
        .tls = test_tls_of(&paths, folder, "ca", certificate),
        .peer_name = fx_name_of("usw2-coord"),
        .peer_role = fx_name_of("coordinator"),
        .message_max_bytes = (size_t)2 * FX_LINK_MESSAGE_MAX_BYTES,
        .redial_min = FX_DUR_MS(20),
        .redial_max = FX_DUR_MS(200),
    };
    if (fx_wire_client_open(&options, &self->client, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
}

static fx_code
send_bytes(speaker *self, fx_bytes bytes, fx_link_envelope **out_reply, fx_err *err)
{
    FX_BUF_AUTO answer;
    fx_buf_init(&answer, FX_LINK_MESSAGE_MAX_BYTES);
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(CALL_MS));
    if (fx_wire_client_call(self->client, bytes, deadline, &answer, err) != FX_OK) {
        return err->code;
    }
    return fx_link_unpack(fx_buf_bytes(&answer), out_reply, err);
}

/* Sends it and gives the code of the refusal, FX_OK for a real answer. */
static fx_code
say(speaker *self, const fx_link_envelope *envelope)
{
    fx_err err = {0};
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_LINK_MESSAGE_MAX_BYTES);
    FX_AUTO(fx_link_envelope) reply = NULL;
    assert_int_equal(fx_link_pack(envelope, &bytes, &err), FX_OK);
    if (send_bytes(self, fx_buf_bytes(&bytes), &reply, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    FX_ASSERT(reply != NULL);
    assert_true(reply->sequence == envelope->sequence);
    assert_string_equal(reply->sender, "usw2-coord");
    if (reply->body_case == FORTRESS__LINK__ENVELOPE__BODY_REFUSAL) {
        return (fx_code)reply->refusal->code;
    }
    return FX_OK;
}

static void
make_report(
    speaker *self, const char *host, Fortress__Link__Report *report, fx_link_envelope *envelope)
{
    fx_link_sender_fill(&self->sender, envelope);
    fortress__link__report__init(report);
    report->host = fx_link_text(host);
    report->region = fx_link_text("us-west-2");
    envelope->body_case = FORTRESS__LINK__ENVELOPE__BODY_REPORT;
    envelope->report = report;
}

static fx_code
report_for(speaker *self, const char *host)
{
    fx_link_envelope envelope;
    Fortress__Link__Report report;
    make_report(self, host, &report, &envelope);
    return say(self, &envelope);
}

/* ---- tests
 * ----------------------------------------------------------------------------------------- */

typedef struct scene {
    coordinator coordinator;
    speaker db1; /* honest, and has to be served throughout */
} scene;

static int
begin(void **state)
{
    static scene here;
    memset(&here, 0, sizeof(here));
    coordinator_open(&here.coordinator);
    speaker_open(&here.db1, &here.coordinator, "db1", "db1");
    *state = &here;
    assert_int_equal(report_for(&here.db1, "db1"), FX_OK);
    return 0;
}

static int
end(void **state)
{
    scene *here = *state;
    assert_int_equal(report_for(&here->db1, "db1"), FX_OK);
    fx_wire_client_free(here->db1.client);
    coordinator_close(&here->coordinator);
    return 0;
}

/* A valid certificate does not speak for another host, neither on the envelope nor in the report.
 */
static void
nobody_speaks_for_another(void **state)
{
    scene *here = *state;
    speaker db2;
    speaker_open(&db2, &here->coordinator, "db2", "db2");
    assert_int_equal(report_for(&db2, "db1"), FX_ERR_DENIED);
    fx_name cluster = fx_name_of("quickstart");
    fx_name false_name = fx_name_of("db1");
    fx_link_sender_init(&db2.sender, &cluster, &false_name, (fx_wall){.ns = 100});
    assert_int_equal(report_for(&db2, "db1"), FX_ERR_DENIED);
    assert_int_equal(count_in_log("message.refused"), 2);
    assert_int_equal(count_in_log("peer=\"db2\""), 2);
    fx_wire_client_free(db2.client);
}

/* A false name must not use up the numbers of the one whose name it is. */
static void
refused_messages_leave_no_mark(void **state)
{
    scene *here = *state;
    speaker db2;
    speaker_open(&db2, &here->coordinator, "db2", "db1");
    atomic_store(&db2.sender.sequence, 1000000);
    db2.sender.started.ns = INT64_MAX;
    assert_int_equal(report_for(&db2, "db1"), FX_ERR_DENIED);
    assert_int_equal(report_for(&here->db1, "db1"), FX_OK);
    fx_wire_client_free(db2.client);
}

static void
other_clusters_are_refused(void **state)
{
    scene *here = *state;
    speaker db2;
    speaker_open(&db2, &here->coordinator, "db2", "db2");
    db2.sender.cluster = fx_name_of("production");
    assert_int_equal(report_for(&db2, "db2"), FX_ERR_DENIED);
    assert_int_equal(count_in_log("message.refused"), 1);
    fx_wire_client_free(db2.client);
}

/* The same bytes twice: the second time refused. */
static void
replayed_messages_are_refused(void **state)
{
    scene *here = *state;
    fx_link_envelope envelope;
    Fortress__Link__Report report;
    make_report(&here->db1, "db1", &report, &envelope);
    assert_int_equal(say(&here->db1, &envelope), FX_OK);
    assert_int_equal(say(&here->db1, &envelope), FX_ERR_STALE);
    assert_int_equal(count_in_log("code=\"STALE\""), 1);
}

/* Agents send reports only, coordinators none, and another role nothing. */
static void
roles_have_their_messages(void **state)
{
    scene *here = *state;
    fx_link_envelope envelope;
    Fortress__Link__Digest digest;
    fortress__link__digest__init(&digest);
    digest.coordinator = fx_link_text("db1");
    digest.region = fx_link_text("us-west-2");
    fx_link_sender_fill(&here->db1.sender, &envelope);
    envelope.body_case = FORTRESS__LINK__ENVELOPE__BODY_DIGEST;
    envelope.digest = &digest;
    assert_int_equal(say(&here->db1, &envelope), FX_ERR_DENIED);

    speaker coord;
    speaker_open(&coord, &here->coordinator, "use1-coord", "use1-coord");
    assert_int_equal(report_for(&coord, "use1-coord"), FX_ERR_DENIED);
    fx_link_sender_fill(&coord.sender, &envelope);
    envelope.body_case = FORTRESS__LINK__ENVELOPE__BODY_DIGEST;
    envelope.digest = &digest; /* of another coordinator */
    assert_int_equal(say(&coord, &envelope), FX_ERR_DENIED);
    fx_wire_client_free(coord.client);

    speaker guest;
    speaker_open(&guest, &here->coordinator, "guest", "guest");
    assert_int_equal(report_for(&guest, "guest"), FX_ERR_DENIED);
    fx_wire_client_free(guest.client);
    assert_int_equal(count_in_log("message.refused"), 4);
}

/* Bytes that are no message end the connection, and so does a message that is too long. */
static void
garbage_is_dropped(void **state)
{
    scene *here = *state;
    static unsigned char data[FX_LINK_MESSAGE_MAX_BYTES + 1];
    memset(data, 0xff, sizeof(data));
    speaker db2;
    speaker_open(&db2, &here->coordinator, "db2", "db2");
    fx_err err;
    fx_link_envelope *reply = NULL;
    fx_bytes garbage = {.data = data, .size_bytes = 1000};
    assert_int_equal(send_bytes(&db2, garbage, &reply, &err), FX_ERR_UNREACHABLE);
    fx_bytes empty = {.data = data, .size_bytes = 0};
    assert_int_not_equal(send_bytes(&db2, empty, &reply, &err), FX_OK);
    assert_int_equal(count_in_log("message.refused"), 2);
    fx_bytes large = {.data = data, .size_bytes = sizeof(data)};
    assert_int_equal(send_bytes(&db2, large, &reply, &err), FX_ERR_UNREACHABLE);
    assert_int_equal(count_in_log("connection.closed"), 1);
    assert_int_equal(report_for(&db2, "db2"), FX_OK);
    fx_wire_client_free(db2.client);
}

/* Garbage on the port, before any TLS: refused and logged. */
static void
garbage_on_the_port_is_refused(void **state)
{
    scene *here = *state;
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(fx_listener_port(here->coordinator.listener)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t length = sizeof(address);
    char line[URL_BYTES * 2];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    /* Another program's test may dial this port too, which was free a moment ago. */
    (void)snprintf(
        line, sizeof(line), "connection.refused address=\"127.0.0.1:%d\"", ntohs(address.sin_port));
    assert_true(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL) == 18);
    char byte = 0;
    while (recv(fd, &byte, 1, 0) > 0) { /* an alert, then the end */
    }
    (void)close(fd);
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(CALL_MS));
    while (count_in_log(line) == 0 && fx_clock_mono().ns < deadline.ns) {
        fx_clock_sleep(FX_DUR_MS(5)); /* the line is written after the end of the connection */
    }
    assert_int_equal(count_in_log(line), 1);
}

/* What a peer can provoke does not fill the log. */
static void
the_log_is_bounded(void **state)
{
    scene *here = *state;
    speaker db2;
    speaker_open(&db2, &here->coordinator, "db2", "db2");
    for (int i = 0; i < 100; i++) {
        assert_int_equal(report_for(&db2, "db1"), FX_ERR_DENIED);
    }
    int lines = count_in_log("message.refused");
    assert_true(lines >= 20 && lines < 60);
    fx_wire_client_free(db2.client);
}

/* ---- the line between coordinators
 * ----------------------------------------------------------------- */

typedef struct endorsed {
    fx_loop *loop;
    fx_code codes[3];
    char reasons[3][FX_ERR_MESSAGE_MAX_BYTES];
    int count;
    bool late;
} endorsed;

static void
note_endorsed(void *ctx, const fx_endorsement *endorsement, const fx_err *err)
{
    endorsed *self = ctx;
    self->codes[self->count] = endorsement != NULL ? FX_OK : err->code;
    (void)snprintf(
        self->reasons[self->count],
        FX_ERR_MESSAGE_MAX_BYTES,
        "%s",
        endorsement != NULL ? endorsement->region.text : err->message);
    self->count++;
    if (self->count == 2) {
        fx_loop_stop(self->loop);
    }
}

static void
give_up(void *ctx)
{
    endorsed *self = ctx;
    self->late = true;
    fx_loop_stop(self->loop);
}

static fx_peer *
open_peer(fx_loop *loop, fx_link_sender *sender, const char *url)
{
    test_tls_paths paths;
    fx_err err = {0};
    fx_name cluster = fx_name_of("quickstart");
    fx_name name = fx_name_of("use1-coord");
    fx_link_sender_init(sender, &cluster, &name, (fx_wall){.ns = 1});
    fx_peer_options options = {
        .loop = loop,
        .sender = sender,
        .url = url,
        .tls = test_tls_of(&paths, folder, "ca", "use1-coord"),
        .name = fx_name_of("usw2-coord"),
        .region = fx_name_of("us-west-2"),
    };
    fx_peer *peer = NULL;
    if (fx_peer_open(&options, &peer, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    return peer;
}

/* Digests arrive; a request for an endorsement brings it, or the reason why not. */
static void
coordinators_speak_to_each_other(void **state)
{
    scene *here = *state;
    fx_link_sender sender;
    endorsed result = {.loop = fx_loop_new()};
    fx_peer *peer = open_peer(result.loop, &sender, here->coordinator.url);
    Fortress__Link__Digest digest;
    fortress__link__digest__init(&digest);
    unsigned char packed[256];
    digest.coordinator = fx_link_text("use1-coord");
    digest.region = fx_link_text("us-east-1");
    size_t size_bytes = fortress__link__digest__pack(&digest, packed);
    fx_peer_send_digest(peer, (fx_bytes){.data = packed, .size_bytes = size_bytes});
    fx_err err;
    fx_bytes good = {.data = "good", .size_bytes = 4};
    fx_bytes bad = {.data = "worse", .size_bytes = 5};
    assert_int_equal(fx_peer_endorse(peer, good, note_endorsed, &result, &err), FX_OK);
    assert_int_equal(fx_peer_endorse(peer, bad, note_endorsed, &result, &err), FX_OK);

    fx_loop_timer *patience =
        fx_loop_timer_start(result.loop, FX_DUR_MS(CALL_MS), (fx_dur){0}, give_up, &result);
    fx_loop_run(result.loop);
    fx_loop_timer_stop(patience);

    assert_false(result.late);
    assert_int_equal(result.codes[0], FX_OK);
    assert_string_equal(result.reasons[0], "us-west-2");
    assert_int_equal(result.codes[1], FX_ERR_DENIED);
    assert_non_null(strstr(result.reasons[1], "the plan does not ask for it"));
    assert_true(fx_peer_is_reachable(peer));
    fx_peer_free(peer);
    drain_and_free(result.loop);
}

/* A peer that cannot be reached: bounded, and every request is told when the line is closed. */
static void
an_unreachable_peer_is_bounded(void **state)
{
    (void)state;
    fx_link_sender sender;
    fx_loop *loop = fx_loop_new();
    static endorsed results[FX_PEER_REQUEST_MAX];
    fx_peer *peer = open_peer(loop, &sender, "tls+tcp://127.0.0.1:1");
    fx_err err;
    fx_bytes order = {.data = "good", .size_bytes = 4};
    for (int i = 0; i < FX_PEER_REQUEST_MAX; i++) {
        results[i].loop = loop;
        assert_int_equal(fx_peer_endorse(peer, order, note_endorsed, &results[i], &err), FX_OK);
    }
    assert_int_equal(fx_peer_endorse(peer, order, note_endorsed, &results[0], &err), FX_ERR_BUSY);
    fx_peer_free(peer);
    for (int i = 0; i < FX_PEER_REQUEST_MAX; i++) {
        assert_int_equal(results[i].count, 1);
        assert_int_not_equal(results[i].codes[0], FX_OK);
    }
    drain_and_free(loop);
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
    test_certificate_make(authority, folder, "db2", "agent", "db2");
    test_certificate_make(authority, folder, "guest", "guest", "guest");
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
        cmocka_unit_test_setup_teardown(nobody_speaks_for_another, begin, end),
        cmocka_unit_test_setup_teardown(refused_messages_leave_no_mark, begin, end),
        cmocka_unit_test_setup_teardown(other_clusters_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(replayed_messages_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(roles_have_their_messages, begin, end),
        cmocka_unit_test_setup_teardown(garbage_is_dropped, begin, end),
        cmocka_unit_test_setup_teardown(garbage_on_the_port_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(the_log_is_bounded, begin, end),
        cmocka_unit_test_setup_teardown(coordinators_speak_to_each_other, begin, end),
        cmocka_unit_test(an_unreachable_peer_is_bounded),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
