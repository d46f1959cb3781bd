#include "agent/verbs/exit_code.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The page that people read is the specification: it and the code must say the same. */

enum { LINE_BYTES = 1024, CELL_BYTES = 256, STATUSES = 256, CODES_MAX = 64 };

typedef struct page {
    bool has_status[STATUSES];
    char codes[STATUSES][CELL_BYTES]; /* the row's names of codes, as written */
} page;

/* The row's cell, without blanks around it. */
static void
cell_of(const char *line, int number, char out_cell[CELL_BYTES])
{
    const char *at = line;
    for (int bar = 0; bar <= number && at != NULL; bar++) {
        at = strchr(at, '|');
        at = at == NULL ? NULL : at + 1;
    }
    const char *end = at == NULL ? NULL : strchr(at, '|');
    out_cell[0] = '\0';
    if (end == NULL) {
        return;
    }
    at += strspn(at, " ");
    while (end > at && end[-1] == ' ') {
        end--;
    }
    assert_true(end - at < CELL_BYTES);
    (void)snprintf(out_cell, CELL_BYTES, "%.*s", (int)(end - at), at);
}

/* The first table, which is the agent's. */
static void
read_page(page *out_page)
{
    char line[LINE_BYTES];
    FILE *file = fopen(FX_EXIT_CODES_PAGE, "re");
    assert_non_null(file);
    *out_page = (page){0};
    while (fgets(line, sizeof line, file) != NULL &&
           strncmp(line, "# Exit codes of `fortress`", 26) != 0) {
        char cell[CELL_BYTES];
        char *end = cell;
        cell_of(line, 0, cell);
        unsigned long status = strtoul(cell, &end, 10);
        if (end == cell || *end != '\0') {
            continue;
        }
        assert_true(status < STATUSES);
        assert_false(out_page->has_status[status]); /* two rows of one status */
        out_page->has_status[status] = true;
        cell_of(line, 1, out_page->codes[status]);
    }
    assert_int_equal(fclose(file), 0);
}

/* Is `NAME` among the row's codes? */
static bool
names(const char *codes, const char *name)
{
    char quoted[CELL_BYTES];
    (void)snprintf(quoted, sizeof quoted, "`%s`", name);
    return strstr(codes, quoted) != NULL;
}

static const fx_code codes[] = {
#define FX_ERR(name, number, class, text) FX_ERR_##name,
#include "common/base/err_codes.def"
#undef FX_ERR
};

static void
check_row(const page *rows, size_t status, fx_code code)
{
    bool is_its_own = (size_t)fx_exit_of(code) == status;
    if (names(rows->codes[status], fx_code_name(code)) != is_its_own) {
        fail_msg(
            "%s has status %d, but the row of %zu %s it",
            fx_code_name(code),
            (int)fx_exit_of(code),
            status,
            is_its_own ? "does not name" : "names");
    }
}

static void
each_code_stands_in_the_row_of_its_status(void **state)
{
    page rows;
    (void)state;
    read_page(&rows);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        for (size_t status = 0; status < STATUSES; status++) {
            check_row(&rows, status, codes[i]);
        }
    }
}

static void
each_status_has_a_row(void **state)
{
    page rows;
    (void)state;
    const fx_exit others[] = {
        FX_EXIT_OK, FX_EXIT_FAILED, FX_EXIT_USAGE, FX_EXIT_WARNINGS, FX_EXIT_RECOVERY_STOPS};
    bool is_used[STATUSES] = {0};
    read_page(&rows);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        is_used[others[i]] = true;
    }
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        is_used[fx_exit_of(codes[i])] = true;
    }
    for (size_t status = 0; status < STATUSES; status++) {
        if (rows.has_status[status] != is_used[status]) {
            fail_msg(
                "status %zu %s", status, is_used[status] ? "has no row" : "has a row and no use");
        }
    }
}

static bool
is_known(const char *text, size_t length)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        const char *name = fx_code_name(codes[i]);
        if (strlen(name) == length && strncmp(name, text, length) == 0) {
            return true;
        }
    }
    return false;
}

static void
check_names(size_t status, const char *cell)
{
    const char *at = strchr(cell, '`');
    while (at != NULL) {
        const char *end = strchr(++at, '`');
        assert_non_null(end);
        if (!is_known(at, (size_t)(end - at))) {
            fail_msg("the row of %zu names %.*s", status, (int)(end - at), at);
        }
        at = strchr(end + 1, '`');
    }
}

static void
a_row_names_codes_that_there_are(void **state)
{
    page rows;
    (void)state;
    read_page(&rows);
    for (size_t status = 0; status < STATUSES; status++) {
        check_names(status, rows.codes[status]);
    }
}

static void
failures_differ_from_success_and_from_signals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        int status = (int)fx_exit_of(codes[i]);
        assert_true(status > FX_EXIT_WARNINGS);
        assert_true(status < 125); /* what shells and PostgreSQL take for a broken command */
        for (size_t other = 0; other < i; other++) {
            bool may_share = (codes[other] == FX_ERR_UNREACHABLE && codes[i] == FX_ERR_TIMEOUT);
            assert_true(may_share || fx_exit_of(codes[other]) != fx_exit_of(codes[i]));
        }
    }
    assert_int_equal(fx_exit_of(FX_OK), FX_EXIT_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_code_stands_in_the_row_of_its_status),
        cmocka_unit_test(each_status_has_a_row),
        cmocka_unit_test(a_row_names_codes_that_there_are),
        cmocka_unit_test(failures_differ_from_success_and_from_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
