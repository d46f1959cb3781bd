#include "common/config/fields.h"

#include "common/base/log.h"
#include "common/base/name.h"

const cyaml_strval_t fx_fields_log_levels[4] = {
    {"debug", FX_DEBUG}, {"info", FX_INFO}, {"warn", FX_WARN}, {"error", FX_ERROR}};

const cyaml_schema_value_t fx_fields_text = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, FX_YAML_TEXT_MAX_BYTES)};

const cyaml_schema_field_t fx_fields_tls[4] = {
    TEXT(fx_config_tls, ca),
    TEXT(fx_config_tls, certificate),
    TEXT(fx_config_tls, key),
    CYAML_FIELD_END};

void
fx_fields_resolve_tls(const char *config_path, fx_config_tls *tls)
{
    if (tls != NULL) {
        fx_yaml_resolve(config_path, &tls->ca);
        fx_yaml_resolve(config_path, &tls->certificate);
        fx_yaml_resolve(config_path, &tls->key);
    }
}

fx_code
fx_fields_check_name(const char *text, const char *what, fx_err *err)
{
    fx_name ignored;
    return fx_name_parse(text, what, &ignored, err);
}

fx_code
fx_fields_check_coordinator(const char *name, const char *region, fx_err *err)
{
    return fx_fields_check_name(name, "name of a coordinator", err) == FX_OK
               ? fx_fields_check_name(region, "region of a coordinator", err)
               : err->code;
}

fx_code
fx_fields_check_version(unsigned version, fx_err *err)
{
    return version == 1
               ? FX_OK
               : fx_fail(err, FX_ERR_UNSUPPORTED, "version %u is not supported: use 1", version);
}
