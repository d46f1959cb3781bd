/* Orders as the daemon takes them: what is refused, put off, carried out once and how it is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/run/agent.h"
#include "agent/service/store.h"
#include "common/base/file.h"
#include "tests/unit/common/wire/certificates.h"

enum { RUNNING_MAX = 8, COORDINATORS = 3, EPOCH = 5, PATH_BYTES = 256 };

static char journal_path[64];
static const fx_log silent = {.fd = -1, .min_level = FX_ERROR, .program = "test"};

typedef struct place {
    fx_agent_config config; /* one job, and no repository: each run of it fails */
    fx_config_job job;
    fx_agent agent;
} place;

static int
begin(void **state)
{
    fx_err err = {0};
    static char name[] = "orders-db";
    static char host[] = "usw2-db1";
    place *here = calloc(1, sizeof(*here));
    assert_non_null(here);
    (void)snprintf(journal_path, sizeof(journal_path), "/tmp/fx_orders_test_XXXXXX");
    int fd = mkstemp(journal_path);
    (void)close(fd);
    (void)unlink(journal_path);
    here->job = (fx_config_job){.name = name, .kind = FX_CONFIG_JOB_FILES, .interval_s = 3600};
    here->config.host = host;
    here->config.jobs = &here->job;
    here->config.jobs_count = 1;
    here->agent = (fx_agent){
        .config = &here->config,
        .log = &silent,
        .cluster = fx_name_of("test"),
        .host = fx_name_of(host),
        .loop = fx_loop_new(),
    };
    here->agent.jobs = fx_jobs_open(here->agent.loop, &here->config, NULL, &silent);
    assert_int_equal(fx_journal_open(journal_path, &here->agent.journal, &err), FX_OK);
    *state = here;
    return 0;
}

static int
end(void **state)
{
    place *here = *state;
    if (here->agent.loop != NULL) {
        fx_jobs_stop(here->agent.jobs);
        fx_loop_free(here->agent.loop);
    }
    fx_jobs_free(here->agent.jobs);
    fx_journal_free(here->agent.journal);
    (void)unlink(journal_path);
    free(here);
    return 0;
}

static fx_link_order
backup(const char *id)
{
    fx_link_order order;
    fortress__link__order__init(&order);
    order.id = fx_link_text(id);
    order.kind = FORTRESS__LINK__ORDER_KIND__ORDER_BACKUP;
    order.cluster = fx_link_text("test");
    order.host = fx_link_text("usw2-db1");
    order.job = fx_link_text("orders-db");
    return order;
}

static void
take(place *here, const fx_link_order *order)
{
    fx_err err = {0};
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_LINK_ORDER_MAX_BYTES);
    if (fx_link_order_pack(order, &bytes, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    Fortress__Link__SignedOrder message;
    fortress__link__signed_order__init(&message);
    message.order.data = bytes.data;
    message.order.len = bytes.size_bytes;
    fx_agent_take_order(&here->agent, &message);
}

/* Lets every order that was begun end. */
static void
wait_for_all(place *here)
{
    fx_jobs_stop(here->agent.jobs);
    fx_loop_free(FX_TAKE(here->agent.loop));
    assert_int_equal(here->agent.running_order_count, 0);
}

static void
expect_state(const place *here, const char *id, Fortress__Link__OrderState state, fx_code code)
{
    const fx_order_record *record = fx_journal_find(here->agent.journal, id);
    assert_non_null(record);
    assert_int_equal(record->state, state);
    assert_int_equal(record->code, (uint32_t)code);
    assert_true(record->detail[0] != '\0');
}

static size_t
count_pending(const place *here)
{
    const fx_order_record *records[FX_JOURNAL_MAX];
    return fx_journal_pending(here->agent.journal, records, FX_JOURNAL_MAX);
}

static void
an_order_of_another_host_or_cluster_is_refused_and_told(void **state)
{
    place *here = *state;
    fx_link_order order = backup("order-1");
    order.host = fx_link_text("use1-db1");
    take(here, &order);
    order = backup("order-2");
    order.cluster = fx_link_text("other");
    take(here, &order);
    assert_int_equal(here->agent.running_order_count, 0);
    expect_state(here, "order-1", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_REFUSED, FX_ERR_DENIED);
    expect_state(here, "order-2", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_REFUSED, FX_ERR_DENIED);
    assert_int_equal(count_pending(here), 2);
}

static void
a_dangerous_order_without_endorsements_is_refused(void **state)
{
    place *here = *state;
    fx_link_order order = backup("order-1");
    order.kind = FORTRESS__LINK__ORDER_KIND__ORDER_DELETE;
    take(here, &order);
    assert_int_equal(here->agent.running_order_count, 0);
    expect_state(here, "order-1", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_REFUSED, FX_ERR_DENIED);
}

static void
a_fence_of_a_service_that_is_not_here_is_refused(void **state)
{
    place *here = *state;
    fx_link_order order = backup("order-1");
    order.kind = FORTRESS__LINK__ORDER_KIND__ORDER_FENCE;
    order.service = fx_link_text("elsewhere-db");
    order.epoch = 1;
    take(here, &order);
    assert_int_equal(here->agent.running_order_count, 0);
    expect_state(here, "order-1", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_REFUSED, FX_ERR_DENIED);
}

static void
a_failure_is_told_once_and_the_order_never_repeated(void **state)
{
    place *here = *state;
    fx_err err = {0};
    fx_link_order order = backup("order-1");
    take(here, &order);
    take(here, &order); /* the next reply brings it again */
    assert_int_equal(here->agent.running_order_count, 1);
    wait_for_all(here);
    expect_state(
        here, "order-1", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_FAILED, FX_ERR_NOT_FOUND);
    assert_int_equal(count_pending(here), 1);
    assert_int_equal(fx_journal_acknowledge(here->agent.journal, "order-1", &err), FX_OK);
    take(here, &order); /* known: not begun, though there is no loop to begin it on */
    assert_int_equal(here->agent.running_order_count, 0);
    assert_int_equal(count_pending(here), 0);
}

static void
an_unknown_job_is_a_failure_that_names_it(void **state)
{
    place *here = *state;
    fx_link_order order = backup("order-1");
    order.job = fx_link_text("nowhere");
    take(here, &order);
    wait_for_all(here);
    expect_state(
        here, "order-1", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_FAILED, FX_ERR_NOT_FOUND);
    assert_non_null(strstr(fx_journal_find(here->agent.journal, "order-1")->detail, "nowhere"));
}

/* Past the bound an order is not known yet, so that it comes again. */
static void
more_orders_than_can_run_are_put_off(void **state)
{
    place *here = *state;
    char id[32];
    for (int i = 0; i <= RUNNING_MAX; i++) {
        (void)snprintf(id, sizeof(id), "order-%d", i);
        fx_link_order order = backup(id);
        take(here, &order);
    }
    assert_int_equal(here->agent.running_order_count, RUNNING_MAX);
    assert_null(fx_journal_find(here->agent.journal, "order-8"));
    wait_for_all(here);
    assert_int_equal(count_pending(here), RUNNING_MAX);
}

/* ---- endorsed orders of a service ----------------------------------------------------------- */

static const char *const coordinators[COORDINATORS] = {"usw2-coord", "usw2-second", "use1-coord"};
static const char *const regions[COORDINATORS] = {"us-west-2", "us-west-2", "us-east-1"};

/* A service that has seen EPOCH, and the keys of three coordinators in two regions. */
typedef struct managed {
    place *here;
    char folder[64];
    char service_folder[PATH_BYTES];
    fx_config_managed config;
    fx_config_postgres postgres;
    fx_sign_key *keys[COORDINATORS];
} managed;

static void
open_service(managed *self)
{
    fx_err err = {0};
    static char name[] = "orders-db";
    fx_agent *agent = &self->here->agent;
    self->config = (fx_config_managed){.name = name, .postgres = &self->postgres};
    self->here->config.services = &self->config;
    self->here->config.services_count = 1;
    agent->service_options[0] = (fx_service_options){
        .config = &self->config, .state_dir = self->folder, .host = "usw2-db1", .log = &silent};
    (void)snprintf(self->service_folder, PATH_BYTES, "%s/%s", self->folder, name);
    assert_int_equal(fx_file_make_folder(self->service_folder, 0700, &err), FX_OK);
    assert_int_equal(
        fx_service_store_write(self->service_folder, FX_SERVICE_EPOCH, EPOCH, &err), FX_OK);
    assert_int_equal(fx_service_open(&agent->service_options[0], &agent->services[0], &err), FX_OK);
    agent->service_count = 1;
}

static int
begin_managed(void **state)
{
    fx_err err = {0};
    managed *self = calloc(1, sizeof(*self));
    assert_non_null(self);
    assert_int_equal(begin((void **)&self->here), 0);
    (void)snprintf(self->folder, sizeof(self->folder), "/tmp/fx_orders_folder_XXXXXX");
    assert_non_null(mkdtemp(self->folder));
    open_service(self);
    for (size_t i = 0; i < COORDINATORS; i++) {
        char path[PATH_BYTES];
        fx_name name = fx_name_of(coordinators[i]);
        fx_name region = fx_name_of(regions[i]);
        test_signing_key_make(self->folder, coordinators[i]);
        (void)snprintf(path, sizeof(path), "%s/%s.key", self->folder, coordinators[i]);
        assert_int_equal(fx_sign_key_load(path, &self->keys[i], &err), FX_OK);
        (void)snprintf(path, sizeof(path), "%s/%s.pub", self->folder, coordinators[i]);
        assert_int_equal(
            fx_endorsers_add(&self->here->agent.endorsers, &name, &region, path, &err), FX_OK);
    }
    *state = self;
    return 0;
}

static int
end_managed(void **state)
{
    managed *self = *state;
    for (size_t i = 0; i < COORDINATORS; i++) {
        fx_sign_key_free(self->keys[i]);
    }
    fx_endorsers_deinit(&self->here->agent.endorsers);
    fx_service *service = self->here->agent.services[0];
    void *here = self->here;
    fx_service_stop(service); /* what waits for it ends */
    (void)end(&here);
    fx_service_free(service);
    test_folder_remove(self->service_folder);
    test_folder_remove(self->folder);
    free(self);
    return 0;
}

static fx_link_order
promote(const char *id, uint64_t epoch)
{
    fx_link_order order = backup(id);
    order.kind = FORTRESS__LINK__ORDER_KIND__ORDER_PROMOTE;
    order.service = fx_link_text("orders-db");
    order.job = fx_link_text("");
    order.epoch = epoch;
    return order;
}

/* Endorsed by the coordinators `first` to `last`, of whom the last one signs nothing valid where
 * `forged`. */
static void
take_endorsed(managed *self, const fx_link_order *order, size_t first, size_t last, bool forged)
{
    fx_err err = {0};
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_LINK_ORDER_MAX_BYTES);
    assert_int_equal(fx_link_order_pack(order, &bytes, &err), FX_OK);
    Fortress__Link__Endorsement all[COORDINATORS];
    Fortress__Link__Endorsement *list[COORDINATORS];
    unsigned char signatures[COORDINATORS][FX_SIGN_BYTES];
    Fortress__Link__SignedOrder message;
    fortress__link__signed_order__init(&message);
    message.order.data = bytes.data;
    message.order.len = bytes.size_bytes;
    message.endorsements = list;
    for (size_t i = first; i <= last; i++) {
        fortress__link__endorsement__init(&all[i]);
        fx_endorsement_sign(self->keys[i], fx_buf_bytes(&bytes), signatures[i]);
        signatures[i][0] ^= forged && i == last ? 1 : 0;
        all[i].coordinator = fx_link_text(coordinators[i]);
        all[i].region = fx_link_text(regions[i]);
        all[i].signature.data = signatures[i];
        all[i].signature.len = FX_SIGN_BYTES;
        list[message.n_endorsements++] = &all[i];
    }
    fx_agent_take_order(&self->here->agent, &message);
}

static void
expect_nothing_done(const managed *self, const char *id, fx_code code)
{
    fx_err err = {0};
    fx_service_report report;
    FX_BUF_AUTO promotion;
    fx_buf_init(&promotion, FX_LINK_MESSAGE_MAX_BYTES);
    assert_int_equal(self->here->agent.running_order_count, 0);
    expect_state(self->here, id, FORTRESS__LINK__ORDER_STATE__ORDER_STATE_REFUSED, code);
    fx_service *service = self->here->agent.services[0];
    assert_int_equal(fx_service_load_promotion(service, &promotion, &err), FX_ERR_NOT_FOUND);
    fx_service_get_report(service, &report);
    assert_int_equal(report.epoch_seen, EPOCH);
}

static void
an_order_of_an_older_epoch_is_refused_as_stale(void **state)
{
    managed *self = *state;
    fx_link_order order = promote("order-1", EPOCH - 1);
    take_endorsed(self, &order, 0, 2, false);
    expect_nothing_done(self, "order-1", FX_ERR_STALE);
    order = promote("order-2", EPOCH - 1);
    order.kind = FORTRESS__LINK__ORDER_KIND__ORDER_FENCE;
    take_endorsed(self, &order, 0, 2, false);
    expect_nothing_done(self, "order-2", FX_ERR_STALE);
}

/* One, two of one region, and two of two of which one signed something else. */
static void
coordinators_of_one_region_are_too_few(void **state)
{
    managed *self = *state;
    fx_link_order order = promote("order-1", EPOCH + 1);
    take_endorsed(self, &order, 2, 2, false);
    expect_nothing_done(self, "order-1", FX_ERR_DENIED);
    order = promote("order-2", EPOCH + 1);
    take_endorsed(self, &order, 0, 1, false);
    expect_nothing_done(self, "order-2", FX_ERR_DENIED);
    order = promote("order-3", EPOCH + 1);
    take_endorsed(self, &order, 1, 2, true);
    expect_nothing_done(self, "order-3", FX_ERR_DENIED);
}

/* The same order with what the others lacked: order and epoch are on disk before it waits for the
 * server, which is not there. */
static void
two_regions_and_the_present_epoch_are_enough(void **state)
{
    managed *self = *state;
    fx_err err = {0};
    fx_service *service = self->here->agent.services[0];
    fx_service_stop(service);
    fx_link_order order = promote("order-1", EPOCH + 1);
    take_endorsed(self, &order, 1, 2, false);
    assert_int_equal(self->here->agent.running_order_count, 1);
    wait_for_all(self->here);
    expect_state(
        self->here, "order-1", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_UNKNOWN, FX_ERR_TIMEOUT);
    FX_BUF_AUTO promotion;
    fx_buf_init(&promotion, FX_LINK_MESSAGE_MAX_BYTES);
    assert_int_equal(fx_service_load_promotion(service, &promotion, &err), FX_OK);
    uint64_t epoch = 0;
    assert_int_equal(
        fx_service_store_read(self->service_folder, FX_SERVICE_EPOCH, &epoch, &err), FX_OK);
    assert_int_equal(epoch, EPOCH + 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            an_order_of_another_host_or_cluster_is_refused_and_told, begin, end),
        cmocka_unit_test_setup_teardown(
            a_dangerous_order_without_endorsements_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(
            a_fence_of_a_service_that_is_not_here_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(
            a_failure_is_told_once_and_the_order_never_repeated, begin, end),
        cmocka_unit_test_setup_teardown(an_unknown_job_is_a_failure_that_names_it, begin, end),
        cmocka_unit_test_setup_teardown(more_orders_than_can_run_are_put_off, begin, end),
        cmocka_unit_test_setup_teardown(
            an_order_of_an_older_epoch_is_refused_as_stale, begin_managed, end_managed),
        cmocka_unit_test_setup_teardown(
            coordinators_of_one_region_are_too_few, begin_managed, end_managed),
        cmocka_unit_test_setup_teardown(
            two_regions_and_the_present_epoch_are_enough, begin_managed, end_managed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
