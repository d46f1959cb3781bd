#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/endorsement/endorsement.h"
#include "tests/unit/common/wire/certificates.h"

enum { COORDINATORS = 3, PATH_BYTES = 256 };

static char folder[] = "/tmp/fx_endorsement_test_XXXXXX";
static const char *const names[COORDINATORS] = {"usw2-coord", "usw2-second", "use1-coord"};
static const char *const regions[COORDINATORS] = {"us-west-2", "us-west-2", "us-east-1"};

static fx_endorsers endorsers;
static fx_sign_key *keys[COORDINATORS];
static unsigned char order_text[] = "the order";

/* An order with an endorsement by each coordinator, to be broken by each test. */
typedef struct sample {
    Fortress__Link__SignedOrder order;
    Fortress__Link__Endorsement endorsements[COORDINATORS];
    Fortress__Link__Endorsement *list[COORDINATORS];
    unsigned char signatures[COORDINATORS][FX_SIGN_BYTES];
} sample;

static fx_bytes
order_bytes(void)
{
    return (fx_bytes){.data = order_text, .size_bytes = sizeof(order_text)};
}

static void
sample_init(sample *self)
{
    fortress__link__signed_order__init(&self->order);
    self->order.order.data = order_text;
    self->order.order.len = sizeof(order_text);
    self->order.endorsements = self->list;
    self->order.n_endorsements = COORDINATORS;
    for (size_t i = 0; i < COORDINATORS; i++) {
        fortress__link__endorsement__init(&self->endorsements[i]);
        fx_endorsement_sign(keys[i], order_bytes(), self->signatures[i]);
        self->endorsements[i].coordinator = fx_link_text(names[i]);
        self->endorsements[i].region = fx_link_text(regions[i]);
        self->endorsements[i].signature.data = self->signatures[i];
        self->endorsements[i].signature.len = FX_SIGN_BYTES;
        self->list[i] = &self->endorsements[i];
    }
}

static size_t
count(const sample *self)
{
    return fx_endorsers_count_regions(&endorsers, &self->order);
}

static int
make_keys(void **state)
{
    (void)state;
    fx_err err;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    for (size_t i = 0; i < COORDINATORS; i++) {
        char path[PATH_BYTES];
        fx_name name = fx_name_of(names[i]);
        fx_name region = fx_name_of(regions[i]);
        test_signing_key_make(folder, names[i]);
        (void)snprintf(path, sizeof(path), "%s/%s.key", folder, names[i]);
        if (fx_sign_key_load(path, &keys[i], &err) != FX_OK) {
            return -1;
        }
        (void)snprintf(path, sizeof(path), "%s/%s.pub", folder, names[i]);
        if (fx_endorsers_add(&endorsers, &name, &region, path, &err) != FX_OK) {
            return -1;
        }
    }
    return 0;
}

static int
remove_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < COORDINATORS; i++) {
        fx_sign_key_free(keys[i]);
    }
    fx_endorsers_deinit(&endorsers);
    test_folder_remove(folder);
    return 0;
}

/* Three coordinators of two regions: two. Two of one region: one. */
static void
regions_count_not_coordinators(void **state)
{
    (void)state;
    sample good;
    sample_init(&good);
    assert_int_equal(count(&good), 2);
    good.order.n_endorsements = 2;
    assert_int_equal(count(&good), 1);
    good.order.n_endorsements = 0;
    assert_int_equal(count(&good), 0);
}

/* The same signature twice, or under another's name or region, counts for nothing more. */
static void
nobody_can_stand_for_another(void **state)
{
    (void)state;
    sample bad;
    sample_init(&bad);
    bad.list[2] = &bad.endorsements[0];
    assert_int_equal(count(&bad), 1);
    sample_init(&bad);
    bad.endorsements[2].signature.data = bad.signatures[0];
    assert_int_equal(count(&bad), 1);
    sample_init(&bad);
    bad.endorsements[2].region = fx_link_text("eu-west-1"); /* not what it is pinned with */
    assert_int_equal(count(&bad), 1);
    sample_init(&bad);
    bad.endorsements[1].region = fx_link_text("us-east-1");
    bad.order.n_endorsements = 2;
    assert_int_equal(count(&bad), 1);
    sample_init(&bad);
    bad.endorsements[2].coordinator = fx_link_text("nobody");
    assert_int_equal(count(&bad), 1);
}

/* One bit of the order or of a signature, and a signature without the prefix. */
static void
signatures_cover_every_bit(void **state)
{
    (void)state;
    sample bad;
    sample_init(&bad);
    bad.signatures[2][FX_SIGN_BYTES - 1] ^= 1U;
    assert_int_equal(count(&bad), 1);
    sample_init(&bad);
    order_text[4] ^= 1U;
    assert_int_equal(count(&bad), 0);
    order_text[4] ^= 1U;
    assert_int_equal(count(&bad), 2);
    bad.order.order.len--;
    assert_int_equal(count(&bad), 0);
    sample_init(&bad);
    fx_sign(keys[2], order_bytes(), bad.signatures[2]);
    assert_int_equal(count(&bad), 1);
    sample_init(&bad);
    bad.endorsements[2].signature.len = FX_SIGN_BYTES - 1;
    assert_int_equal(count(&bad), 1);
}

static void
a_coordinator_has_one_key(void **state)
{
    (void)state;
    char path[PATH_BYTES];
    fx_name name = fx_name_of(names[0]);
    fx_name region = fx_name_of(regions[2]);
    (void)snprintf(path, sizeof(path), "%s/%s.pub", folder, names[0]);
    fx_err err;
    assert_int_equal(fx_endorsers_add(&endorsers, &name, &region, path, &err), FX_ERR_EXISTS);
    name = fx_name_of("euw1-coord");
    assert_int_equal(
        fx_endorsers_add(&endorsers, &name, &region, "/dev/null/none", &err), FX_ERR_NOT_FOUND);
    assert_int_equal(endorsers.count, COORDINATORS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions_count_not_coordinators),
        cmocka_unit_test(nobody_can_stand_for_another),
        cmocka_unit_test(signatures_cover_every_bit),
        cmocka_unit_test(a_coordinator_has_one_key),
    };
    return cmocka_run_group_tests(tests, make_keys, remove_keys);
}
