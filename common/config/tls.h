/* The part of all configurations that says by what a program proves who it is. */
#pragma once

/* PEM files. */
typedef struct fx_config_tls {
    char *ca;
    char *certificate;
    char *key;
} fx_config_tls;
