/* A path of its own below /tmp for each test, for modules that make one file. cmocka's setup and
 * teardown. */
#pragma once

/* The path, at which nothing is when the test begins. */
extern char test_scratch_path[64];

int test_scratch_begin(void **state);
int test_scratch_end(void **state); /* removes the file */
