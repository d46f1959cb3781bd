#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/xml/xml.h"

static fx_code
collect(void *ctx, const char *path, const char *text, fx_err *err)
{
    char *seen = ctx;
    size_t used = strlen(seen);
    (void)snprintf(seen + used, 500 - used, "%s=%s;", path, text);
    return strcmp(text, "stop") == 0 ? fx_fail(err, FX_ERR_CANCELLED, "could not go on") : FX_OK;
}

static fx_code
read_text(const char *text, char seen[500])
{
    fx_err err = {0};
    seen[0] = '\0';
    return fx_xml_read((fx_bytes){text, strlen(text)}, collect, seen, &err);
}

static void
values_come_with_their_place(void **state)
{
    (void)state;
    char seen[500];
    assert_int_equal(
        read_text(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
            "<L xmlns=\"http://x/\"><C><Key>a&amp;b</Key></C><s:C><Key>&#99;</Key></s:C><E/></L>",
            seen),
        FX_OK);
    assert_string_equal(seen, "L/C/Key=a&b;L/C=;L/C/Key=c;L/C=;L/E=;L=;");
}

static void
what_is_not_xml_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "busy",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
        "<a>&x;</a>",
        "<html><br></html>"};
    char seen[500];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(read_text(bad[i], seen), FX_ERR_DAMAGED);
    }
}

static void
depth_and_length_have_limits(void **state)
{
    (void)state;
    char seen[500];
    char text[FX_XML_TEXT_MAX_BYTES + 100];
    size_t used = 0;
    for (int i = 0; i < FX_XML_DEPTH_MAX + 1; i++) {
        text[used++] = '<';
        text[used++] = 'a';
        text[used++] = '>';
    }
    text[used] = '\0';
    assert_int_equal(read_text(text, seen), FX_ERR_DAMAGED);
    memset(text, 'x', sizeof text);
    memcpy(text, "<a>", 3);
    memcpy(text + sizeof text - 5, "</a>", 5);
    assert_int_equal(read_text(text, seen), FX_ERR_DAMAGED);
    memset(text, 'n', sizeof text);
    text[0] = '<';
    memcpy(text + 1000, "/>", 3);
    assert_int_equal(read_text(text, seen), FX_ERR_DAMAGED);
}

static void
a_failed_visit_ends_it(void **state)
{
    (void)state;
    char seen[500];
    assert_int_equal(read_text("<a><b>stop</b><c/></a>", seen), FX_ERR_CANCELLED);
    assert_string_equal(seen, "a/b=stop;");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_with_their_place),
        cmocka_unit_test(what_is_not_xml_is_refused),
        cmocka_unit_test(depth_and_length_have_limits),
        cmocka_unit_test(a_failed_visit_ends_it),
    };
    return cmocka_run_group_tests_name("xml", tests, NULL, NULL);
}
