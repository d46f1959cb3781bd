/*
 * What the schemas and checks of all programs' configurations share. Only files of this folder
 * include it.
 */
#pragma once

#include "common/config/tls.h"
#include "common/config/yaml.h"

/* Spelled once: key and member have the same name. */
#define TEXT(type, member)                                                                         \
    CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_DEFAULT, type, member, 1, FX_YAML_TEXT_MAX_BYTES)
#define TEXT_OPTIONAL(type, member)                                                                \
    CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_OPTIONAL, type, member, 1, FX_YAML_TEXT_MAX_BYTES)
#define NUMBER(type, member) CYAML_FIELD_UINT(#member, CYAML_FLAG_OPTIONAL, type, member)
#define LOG_LEVEL(type)                                                                            \
    CYAML_FIELD_ENUM(                                                                              \
        "log_level",                                                                               \
        CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT,                                                   \
        type,                                                                                      \
        log_level,                                                                                 \
        fx_fields_log_levels,                                                                      \
        sizeof fx_fields_log_levels / sizeof fx_fields_log_levels[0])

extern const cyaml_strval_t fx_fields_log_levels[4];
extern const cyaml_schema_value_t fx_fields_text; /* an entry of a list */
extern const cyaml_schema_field_t fx_fields_tls[4];

/* `tls` may be NULL. */
void fx_fields_resolve_tls(const char *config_path, fx_config_tls *tls);

FX_MUST_USE fx_code fx_fields_check_name(const char *text, const char *what, fx_err *err);

/* Names of a cluster's coordinator and its region. */
FX_MUST_USE fx_code fx_fields_check_coordinator(const char *name, const char *region, fx_err *err);
FX_MUST_USE fx_code fx_fields_check_version(unsigned version, fx_err *err);
