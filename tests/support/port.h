/* Ports for servers that a test starts. */
#pragma once

#include <stdint.h>

/*
 * A port of 127.0.0.1 for a server that listens only later. No connection takes it meanwhile, as it
 * lies below those that Linux gives out (ip(7), ip_local_port_range), and no other test, as an
 * abstract name (unix(7)) says so until this process ends. Ends the test where there is none.
 */
uint16_t test_free_port(void);
